"""One training step: towers, heads, one gather, losses, backward."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmssl.distributed import gather, total
from mmssl.model import Model
from mmssl.types import Batch


def step(model: Model, batch: Batch, backward: Callable[[Tensor], None], *, number: int) -> dict[str, Tensor]:
    """The losses over all processes; this process's share of their gradient is left in the parameters.

    Args:
        model: towers, joint space and objectives.
        batch: this process's rows; equally many on every process.
        backward: called once with the scalar to differentiate.
        number: of the step; with the seed and a row's number the key of every view.

    Returns:
        {objective.term: scalar}, unweighted, detached, equal on all processes, and their weighted sum as `loss`.
    """
    each = model(batch, number)
    own = model.rows(each, batch)
    losses = model.losses(own, gather(own))
    share = torch.stack([model.weight_of(name) * value for name, value in losses.items()]).sum()
    backward(share)
    found = {name: total(value.detach()) for name, value in losses.items()}
    return {"loss": total(share.detach()), **found}

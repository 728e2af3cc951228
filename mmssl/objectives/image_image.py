"""Two views of an image find each other among the views of all others.

SimCLR: Chen et al. 2020, eq. 1 (NT-Xent), https://arxiv.org/abs/2002.05709, with its two-layer head, batch norm over
all processes between the layers, and the views of the policy in the config.

Differences: other images of the same study or patient are left out of the negatives.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from mmssl.distributed import BatchNorm
from mmssl.losses import info_nce, same
from mmssl.types import Feature, Joint, Rows, Term

ONE, TWO = Feature("image", view=0), Feature("image", view=1)


class Objective(nn.Module):
    needs = (ONE, TWO)
    columns = ()

    def __init__(
        self, width: int, *, dim: Annotated[int, Ge(1)] = 128, temperature: Annotated[float, Gt(0)] = 0.2
    ) -> None:
        """`width`: of the image tower. The paper's best temperature for batches of a few hundred is 0.1 to 0.5."""
        super().__init__()
        self.head = nn.Sequential(
            nn.Linear(width, width, bias=False), BatchNorm(width), nn.ReLU(), nn.Linear(width, dim)
        )  # fmt: skip
        self.temperature = temperature

    def each(self, features: dict[Feature, Tensor]) -> dict[str, Tensor]:
        return {"one": features[ONE], "two": features[TWO]}

    def rows(self, each: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: F.normalize(self.head(x), dim=1) for name, x in each.items()}

    def loss(self, own: Rows, all: Rows, joint: Joint | None) -> dict[str, Term]:
        itself, image = same(own.row, all.row), same(own.image, all.image)
        keep = image | ~(same(own.study, all.study) | same(own.patient, all.patient))
        candidate = torch.cat([all.made["one"], all.made["two"]])  # [2N, D]
        nothing = torch.zeros_like(itself)

        def find(anchor: Tensor, own_place: list[Tensor]) -> Tensor:
            positive = torch.cat([image & ~place for place in own_place], dim=1)  # [B, 2N]
            kept = torch.cat([keep & ~place for place in own_place], dim=1)
            return info_nce(anchor, candidate, positive, kept, 1 / self.temperature) / 2

        value = find(own.made["one"], [itself, nothing]) + find(own.made["two"], [nothing, itself])
        return {"views": Term(value, torch.ones_like(value))}

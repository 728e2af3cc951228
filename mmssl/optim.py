"""What is trained, and how fast: frozen towers, and the groups of parameters that the optimizer is given."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

from mmssl.model import Model, Network, freeze
from mmssl.settings import Pretrain


def freeze_towers(settings: Pretrain, network: Network) -> None:
    """Stops the training of what the config freezes; heads and the joint space always learn."""
    for name, tower in (("image", settings.encoders.image), ("text", settings.encoders.text)):
        if tower is not None:
            freeze(network, name, tower.freeze)


def parameter_groups(settings: Pretrain, model: Model) -> list[dict[str, Any]]:
    """What the optimizer is given: every parameter with its tower's share of the rate."""
    scales = {"image": settings.encoders.image.lr_scale}
    if settings.encoders.text is not None:
        scales["text"] = settings.encoders.text.lr_scale
    return parameter_groups_of(model, weight_decay=settings.optim.weight_decay, lr_scales=scales)


def parameter_groups_of(
    model: Model, *, weight_decay: float, lr_scales: Mapping[str, float] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Parameters by tower and by whether weight decay applies: not to norms, biases and the scale."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tower = name.removeprefix("network.towers.").partition(".")[0]
            decay = weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((lr_scales.get(tower, 1.0), decay), []).append(parameter)
    return [
        {"params": some, "lr_scale": scale, "weight_decay": decay} for (scale, decay), some in sorted(groups.items())
    ]

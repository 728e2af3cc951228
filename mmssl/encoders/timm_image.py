"""Any image tower of timm, built as open_clip's `TimmModel` builds its trunk, so that it can be exported there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, Lt
from torch import Tensor, nn

from mmssl.errors import WrongUse, meant
from mmssl.types import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator

Three = tuple[float, float, float]


class Encoder(nn.Module):
    """`name: resnet18`; weights come from `init.image`, here all is drawn at random.

    Args:
        name: A model that `timm.list_models()` knows.
        image_size: Side of the square image in pixels.
        pool: How tokens become one vector; None leaves it to the model (average for convolutions, class token for ViT).
        drop_path: Share of residual branches left out in training (stochastic depth).
        mean: What is subtracted from the image in [0, 1], per channel; None takes the model's own.
        std: What it is divided by after that; None takes the model's own.

    Raises:
        WrongUse: when timm does not know the model, or the model cannot be built so.
    """

    tower: Literal["image"] = "image"
    trunk: Any

    def __init__(
        self,
        *,
        name: str,
        image_size: Annotated[int, Ge(8)] = 224,
        pool: Literal["avg", "token", "map", "max"] | None = None,
        drop_path: Annotated[float, Ge(0), Lt(1)] = 0.0,
        mean: Three | None = None,
        std: Three | None = None,
    ) -> None:
        super().__init__()
        self.name, self.image_size, self.pool, self.drop_path = name, image_size, pool, drop_path
        self.trunk = _build(name, image_size=image_size, pool=pool, drop_path=drop_path)
        self.width: int = self.trunk.head_hidden_size
        own = self.trunk.pretrained_cfg
        self.mean: Three = mean or tuple(own["mean"])
        self.std: Three = std or tuple(own["std"])
        self.prefix: int = vars(self.trunk).get("num_prefix_tokens", 0)
        """Class and register tokens that a ViT puts before the patches."""

    def forward(self, x: Tensor) -> Encoded:
        """`x` [B, 3, H, W], normalised; pooled [B, C], tokens [B, T, C] of the patches or the last feature map."""
        features = self.trunk.forward_features(x)
        return Encoded(self.trunk.forward_head(features), self._tokens(features))

    def _tokens(self, features: Tensor) -> Tensor:
        if features.ndim == 3:
            return features[:, self.prefix :]
        if features.shape[1] == self.trunk.num_features:
            return features.flatten(2).transpose(1, 2)
        return features.flatten(1, 2)  # [B, H, W, C], as Swin gives it

    def blocks(self) -> list[nn.Module]:
        """The layers as timm counts them: the stem with class token and positions first."""
        from timm.models import group_parameters

        groups = group_parameters(self.trunk, self.trunk.group_matcher(coarse=False))
        return [_gather(self.trunk, set(names)) for _, names in sorted(groups.items())]


def _build(name: str, *, image_size: int, pool: str | None, drop_path: float) -> Any:
    import timm

    try:
        known = timm.models.is_model(name) or name.startswith("hf-hub:")
        if not known:
            near = meant(name, timm.list_models())
            raise WrongUse(f"timm has no model {name!r}{near}; `timm.list_models('*resnet*')` lists them")
        config = timm.get_pretrained_cfg(name) if timm.models.is_model(name) else None
        options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        if config is not None and config.fixed_input_size and config.input_size[-1] != image_size:
            options["img_size"] = image_size
        trunk = cast(Any, timm.create_model(name, pretrained=False, **options))
        trunk.reset_classifier(0, **({"global_pool": pool} if pool else {}))
    except WrongUse:
        raise
    except (TypeError, AssertionError, ValueError, RuntimeError) as error:  # what timm raises for options it has not
        given = f"image_size={image_size}, pool={pool}, drop_path={drop_path}"
        raise WrongUse(f"timm cannot build {name!r} with {given}: {error or type(error).__name__}") from error
    return trunk


def _gather(root: nn.Module, names: set[str]) -> nn.Module:
    """The parameters named, within the largest modules that hold nothing else."""
    found: list[nn.Module] = []
    taken: set[str] = set()
    for prefix, module in _down(root):
        inside = {f"{prefix}{name}" for name, _ in module.named_parameters()}
        if inside and inside <= names and not inside & taken:
            found.append(module)
            taken |= inside
    loose = [root.get_parameter(name) for name in sorted(names - taken)]
    return nn.ModuleList([*found, nn.ParameterList(loose)])


def _down(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module with its dotted prefix, parents before children."""
    for name, module in root.named_modules():
        yield (f"{name}." if name else ""), module

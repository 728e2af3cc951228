"""open_clip's own image towers, without their last projection: that is the joint space's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn

from mmssl.errors import WrongUse, meant
from mmssl.types import Encoded

Three = tuple[float, float, float]


class Encoder(nn.Module):
    """`name: ViT-S-16`, or a vision transformer by its sizes (`width`, `layers`, `patch`).

    A vision transformer's `proj` is left out: it becomes `joint.image`. A modified ResNet ends in attention pooling
    whose output projection has a bias, which the joint space has not, so that stays in the tower.

    Args:
        name: A config that `open_clip.list_models()` lists.
        image_size: Side of the square image in pixels; None takes the config's, else 224.
        width, layers, patch, head_width, mlp_ratio: Sizes, where there is no name.
        quick_gelu: OpenAI's activation; None takes the config's. Weights trained with it need it.
        mean, std: Per channel of the image in [0, 1]; OpenAI's by default, as open_clip has them.

    Raises:
        WrongUse: when the name is unknown, or a tower of another kind.
    """

    tower: Literal["image"] = "image"
    trunk: Any

    def __init__(
        self,
        *,
        name: str | None = None,
        image_size: Annotated[int, Ge(8)] | None = None,
        width: Annotated[int, Ge(8)] | None = None,
        layers: Annotated[int, Ge(1)] | None = None,
        patch: Annotated[int, Ge(2)] | None = None,
        head_width: Annotated[int, Ge(4)] = 64,
        mlp_ratio: Annotated[float, Gt(0)] = 4.0,
        quick_gelu: bool | None = None,
        mean: Three = (0.48145466, 0.4578275, 0.40821073),
        std: Three = (0.26862954, 0.26130258, 0.27577711),
    ) -> None:
        super().__init__()
        from open_clip.model import CLIPVisionCfg, _build_vision_tower
        from open_clip.modified_resnet import ModifiedResNet

        sizes = {"width": width, "layers": layers, "patch": patch}
        model = _named(name, sizes) if name is not None else _sized(sizes, head_width=head_width, mlp_ratio=mlp_ratio)
        self.quick_gelu: bool = model.get("quick_gelu", False) if quick_gelu is None else quick_gelu
        self.config: dict[str, Any] = model["vision_cfg"] | ({"image_size": image_size} if image_size else {})
        """`vision_cfg` of an open_clip config."""
        built = CLIPVisionCfg(**self.config)
        self.image_size = _square(built.image_size)
        self.mean, self.std = mean, std
        trunk = _build_vision_tower(model["embed_dim"], built, self.quick_gelu)
        self.attention_pooled = isinstance(trunk, ModifiedResNet)
        """The tower ends in a projection with bias, which export merges with the joint space's."""
        self.trunk = trunk
        if self.attention_pooled:
            self.width: int = self.trunk.output_dim
        else:
            self.width = self.trunk.proj.shape[0]
            self.trunk.proj = None
            self.trunk.output_tokens = True

    def forward(self, x: Tensor) -> Encoded:
        """`x` [B, 3, H, W], normalised; pooled [B, C], tokens [B, T, C] of the patches."""
        if not self.attention_pooled:
            return Encoded(*self.trunk(x))
        features = self.trunk.stem(x)
        for layer in (self.trunk.layer1, self.trunk.layer2, self.trunk.layer3, self.trunk.layer4):
            features = layer(features)
        return Encoded(self.trunk.attnpool(features), features.flatten(2).transpose(1, 2))

    def blocks(self) -> list[nn.Module]:
        """The stem (with class token and positions) first, the last norm with the last block."""
        trunk = self.trunk
        if self.attention_pooled:
            stem = [trunk.conv1, trunk.bn1, trunk.conv2, trunk.bn2, trunk.conv3, trunk.bn3]
            stages = [trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4]
            return [nn.ModuleList(stem), *(block for stage in stages for block in stage), trunk.attnpool]
        places = nn.ParameterList([trunk.class_embedding, trunk.positional_embedding])
        pooling = [] if trunk.attn_pool is None else [trunk.attn_pool]
        *first, last = trunk.transformer.resblocks
        return [
            nn.ModuleList([trunk.conv1, trunk.ln_pre, places]),
            *first,
            nn.ModuleList([last, *pooling, trunk.ln_post]),
        ]


def _named(name: str, sizes: dict[str, int | None]) -> dict[str, Any]:
    import open_clip

    given = [key for key, value in sizes.items() if value is not None]
    if given:
        raise WrongUse(f"open_clip_image: name={name!r} already says {', '.join(given)}; give the name or the sizes")
    model = open_clip.get_model_config(name)
    if model is None:
        near = meant(name, open_clip.list_models())
        raise WrongUse(f"open_clip has no model config {name!r}{near}; `open_clip.list_models()` lists them")
    vision = model["vision_cfg"]
    if vision.get("timm_model_name"):
        trunk, pool = vision["timm_model_name"], vision.get("timm_pool", "avg")
        raise WrongUse(f"the image tower of {name!r} is timm's: write kind: timm_image, name: {trunk}, pool: {pool}")
    if isinstance(vision.get("attentional_pool", False), str):
        raise WrongUse(f"the image tower of {name!r} gives many vectors for one image; choose one that pools to one")
    return model


def _sized(sizes: dict[str, int | None], *, head_width: int, mlp_ratio: float) -> dict[str, Any]:
    missing = [key for key, value in sizes.items() if value is None]
    if missing:
        raise WrongUse(f"open_clip_image needs a name (say ViT-S-16) or all sizes; {', '.join(missing)} not given")
    width = sizes["width"]
    assert width is not None
    if width % head_width:
        raise WrongUse(f"open_clip_image: width {width} is no multiple of head_width {head_width}")
    rest = {"head_width": head_width, "mlp_ratio": mlp_ratio}
    vision = {"image_size": 224, "width": width, "layers": sizes["layers"], "patch_size": sizes["patch"], **rest}
    return {"embed_dim": width, "vision_cfg": vision}


def _square(size: int | tuple[int, int]) -> int:
    if isinstance(size, int):
        return size
    if size[0] != size[1]:
        raise WrongUse(f"image_size must be square, the config says {size}; give image_size")
    return size[0]

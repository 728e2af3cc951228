"""To timm: the image tower alone, a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mmssl.checkpoint import Loaded
from mmssl.encoders import open_clip_image, timm_image
from mmssl.errors import CannotDo, WrongUse

CLOSE = 1e-5
"""Largest difference of a pooled feature, relative to the largest feature."""
SIZES = {"image_size", "width", "layers", "patch_size", "head_width", "mlp_ratio"}
"""What an open_clip vision transformer may differ in to be one of timm's too."""

README = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags:
- timm
- medical
---
# {title}

The image tower of a model pre-trained with mmssl {version} (checkpoint `{hash}`), written for timm:

```python
import timm

tower = timm.create_model("local-dir:PATH OF THIS FOLDER", pretrained=True).eval()
features = tower(images)  # [B, 3, {size}, {size}], normalised -> [B, {width}]
```

Without `pretrained=True` timm builds the architecture and leaves the weights random. `num_classes=N` adds a new head.
The tower was trained on whole images, the longer side {size} pixels, the rest **black**; timm's own transforms
(`crop_mode="border"`) fill the rest with the mean colour instead. 16-bit images have to be windowed to 8 bits first.
"""


class Export:
    """The image tower without the joint space: what is pooled, not what is searched."""

    def write(self, loaded: Loaded, folder: Path, *, out: Path) -> list[str]:
        """Writes the folder and compares it with the checkpoint; returns what the user has to know.

        Raises:
            WrongUse: for a tower that timm does not have.
            CannotDo: when timm then gives other features.
        """
        tower: Any = loaded.model.towers["image"]
        config, weights = _described(tower)
        preprocess = loaded.info["preprocess"]
        config["pretrained_cfg"] |= {
            "input_size": [3, tower.image_size, tower.image_size],
            "mean": list(preprocess["mean"]),
            "std": list(preprocess["std"]),
            "interpolation": preprocess["interpolation"],
            "crop_pct": 1.0,
            "crop_mode": "border",
            "num_classes": 0,
        }
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in weights.items()},
                  folder / "model.safetensors", metadata={"format": "pt"})  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        about = {"title": out.name, "version": loaded.info["mmssl"], "hash": loaded.hash[:12]}
        readme = README.format(**about, size=tower.image_size, width=tower.width)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        _compare(tower, folder)
        call = 'timm.create_model("local-dir:...", pretrained=True).eval()'
        return [f"{call} gives the tower as it was trained; without pretrained=True its weights are random"]


def _described(tower: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config.json without preprocessing, and the weights, both by the names of timm."""
    if isinstance(tower, timm_image.Encoder):
        return _own(tower), tower.trunk.state_dict()
    if isinstance(tower, open_clip_image.Encoder):
        return _from_open_clip(tower)
    kind = type(tower).__module__.removeprefix("mmssl.encoders.")
    raise WrongUse(f"timm has no image tower like {kind}; those of timm_image and open_clip_image can be exported")


def _own(tower: timm_image.Encoder) -> dict[str, Any]:
    trunk = tower.trunk
    arguments: dict[str, Any] = {}
    own = trunk.pretrained_cfg
    if own["fixed_input_size"] and own["input_size"][-1] != tower.image_size:
        arguments["img_size"] = tower.image_size
    if tower.pool is not None:
        arguments["global_pool"] = tower.pool
        # Built with another pooling, a ViT would move its last norm behind the pooling; ours was told afterwards.
        if isinstance(dict(trunk.named_children()).get("fc_norm"), nn.Identity):
            arguments["fc_norm"] = False
    return {
        "architecture": own["architecture"],
        "num_classes": 0,
        "num_features": tower.width,
        "pretrained_cfg": {key: own[key] for key in ("first_conv", "classifier", "fixed_input_size")},
        "model_args": arguments,
    }


def _from_open_clip(tower: open_clip_image.Encoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The CLIP vision transformer of timm with the same sizes; timm itself converts the names."""
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    other = sorted(set(tower.config) - SIZES)
    if tower.attention_pooled or other:
        what = "a modified ResNet" if tower.attention_pooled else f"a vision transformer with {', '.join(other)}"
        raise WrongUse(f"timm has no such tower: {what} of open_clip; --to open_clip can hold it")
    width = tower.trunk.conv1.out_channels
    arguments = {
        "img_size": tower.image_size,
        "patch_size": tower.trunk.patch_size[0],
        "embed_dim": width,
        "depth": len(tower.trunk.transformer.resblocks),
        "num_heads": tower.trunk.transformer.resblocks[0].attn.num_heads,
        "mlp_ratio": tower.config.get("mlp_ratio", 4.0),
    }
    name = f"vit_base_patch16_clip_{'quickgelu_' if tower.quick_gelu else ''}224"
    theirs: Any = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    named = {f"visual.{key}": value for key, value in tower.trunk.state_dict().items()}
    weights = checkpoint_filter_fn(named, theirs)
    config = {
        "architecture": name,
        "num_classes": 0,
        "num_features": width,
        "pretrained_cfg": {"first_conv": "patch_embed.proj", "classifier": "head", "fixed_input_size": True},
        "model_args": arguments,
    }
    return config, {key: value for key, value in weights.items() if not key.startswith("head.")}


def _compare(tower: Any, folder: Path) -> None:
    """Loads what was written as timm does, and compares the features of noise."""
    import timm

    try:
        theirs: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError) as error:
        raise CannotDo(f"timm does not open what was written: {error}") from error
    noise = torch.randn(2, 3, tower.image_size, tower.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, other = tower(noise).pooled, theirs(noise)
    difference = ((ours - other).abs().max() / ours.abs().max()).item() if ours.shape == other.shape else float("nan")
    if not difference <= CLOSE:
        raise CannotDo(f"timm gives other features (by {difference:.1e} of the largest); nothing was exported")

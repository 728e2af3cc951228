"""To open_clip: a folder that `open_clip.create_model_and_transforms("local-dir:FOLDER")` opens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from mmssl.checkpoint import Loaded
from mmssl.encoders import hf_text, open_clip_image, open_clip_text, timm_image
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.model import MAX_LOG_SCALE

CLOSE = 1e-5
"""Largest difference of a component of an embedding, a unit vector."""
MODES = {"interpolation": ("bicubic", "bilinear"), "resize_mode": ("shortest", "longest", "squash")}
PROBES = [
    "small left pleural effusion",
    "",
    "No pneumothorax.  Heart size \u2265 50 % &amp; enlarged; na\u00efve reader's note",
    "there is a nodule in the right upper lobe " * 40,
]
"""Texts that are compared: usual, empty, with signs to be cleaned, too long."""

README = """---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags:
- clip
- medical
---
# {title}

A model of clinical images and reports, pre-trained with mmssl {version} (checkpoint `{hash}`), in open_clip's format:

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH OF THIS FOLDER")
model.eval()  # open_clip hands a model over as for training
tokenizer = open_clip.get_tokenizer("local-dir:PATH OF THIS FOLDER")
```

Its embeddings equal those of the checkpoint to {close:g}. Images are read whole (the longer side is {size} pixels, the
rest black); 16-bit images and DICOM files have to be windowed to 8 bits first, and pictures with a palette or with
transparency made grey or RGB, which mmssl does over black.
{remarks}"""


class Export:
    """Both towers, the joint space, preprocessing and tokenizer."""

    def write(self, loaded: Loaded, folder: Path, *, out: Path) -> list[str]:
        """Writes the folder and compares it with the checkpoint; returns what the user has to know.

        Raises:
            WrongUse: for towers or preprocessing that open_clip has no words for, with every reason.
            CannotDo: when open_clip then gives other embeddings.
        """
        network = loaded.model
        if network.joint is None:
            raise WrongUse(
                "this checkpoint was trained on images alone, and open_clip has no model without a text tower; "
                "--to timm gives its image tower"
            )
        towers: dict[str, Any] = dict(network.towers.named_children())
        problems = [*_against_image(towers["image"]), *_against_text(towers["text"])]
        problems += _against_preprocess(loaded.info["preprocess"], towers["image"])
        problems += _against_activation(towers["image"], towers["text"])
        if problems:
            raise WrongUse(many("what open_clip can hold", problems))
        kinds = {part["kind"] for part in loaded.info["config"]["objectives"].values()}
        biased = "sigmoid" in kinds
        save_file(_weights(network, biased=biased), folder / "open_clip_model.safetensors")
        _write_text_files(towers["text"], folder)
        config = {"model_cfg": _model_config(network, folder, biased=biased), "preprocess_cfg": _preprocess(loaded)}
        _write_config(folder, config)
        _compare(network, folder)
        remarks: list[str] = []
        if isinstance(towers["text"], hf_text.Encoder):
            config["model_cfg"]["text_cfg"]["hf_model_name"] = str(out / "text")
            _write_config(folder, config)
            remarks.append(
                f"open_clip finds the text tower's architecture by a path of this machine, {out / 'text'}: when the "
                "folder is moved, write the new path as hf_model_name into its open_clip_config.json"
            )
        (folder / "README.md").write_text(_readme(loaded, out, remarks), encoding="utf-8")
        return remarks


def _against_image(tower: nn.Module) -> list[str]:
    if isinstance(tower, open_clip_image.Encoder):
        return []
    if not isinstance(tower, timm_image.Encoder):
        return [f"image tower: open_clip has none like {_kind(tower)}; it has timm_image and open_clip_image"]
    problems = []
    own = tower.trunk.pretrained_cfg
    if own["fixed_input_size"] and own["input_size"][-1] != tower.image_size:
        problems.append(
            f"image tower: open_clip builds timm's {tower.name} for {own['input_size'][-1]} pixels and cannot be told "
            f"{tower.image_size}; train at {own['input_size'][-1]}, or with open_clip_image"
        )
    if tower.trunk.num_features != tower.width:
        problems.append(
            f"image tower: open_clip takes the {tower.trunk.num_features} channels of {tower.name}'s last map for its "
            f"width, which is {tower.width}"
        )
    return problems


def _against_text(tower: nn.Module) -> list[str]:
    if isinstance(tower, open_clip_text.Encoder):
        return []
    if not isinstance(tower, hf_text.Encoder):
        return [f"text tower: open_clip has none like {_kind(tower)}; it has open_clip_text and hf_text"]
    from open_clip.hf_configs import arch_dict

    kind = tower.trunk.config.model_type
    if kind not in arch_dict:
        return [f"text tower: open_clip knows the architectures {', '.join(arch_dict)} of transformers, not {kind}"]
    return []


def _against_preprocess(preprocess: dict[str, Any], tower: nn.Module) -> list[str]:
    problems = [
        f"preprocessing: open_clip's {key} is one of {', '.join(known)}, not {preprocess[key]!r}"
        for key, known in MODES.items()
        if preprocess[key] not in known
    ]
    if preprocess["size"] != tower.image_size:
        problems.append(f"preprocessing: images of {preprocess['size']} pixels for a tower of {tower.image_size}")
    return problems


def _against_activation(image: nn.Module, text: nn.Module) -> list[str]:
    native = isinstance(image, open_clip_image.Encoder) and isinstance(text, open_clip_text.Encoder)
    if not native or image.quick_gelu == text.quick_gelu:
        return []
    return [f"quick_gelu: open_clip has one for both towers, here {image.quick_gelu} and {text.quick_gelu}"]


def _kind(tower: nn.Module) -> str:
    return type(tower).__module__.removeprefix("mmssl.encoders.")


def _model_config(network: Any, folder: Path, *, biased: bool) -> dict[str, Any]:
    image, text = network.towers["image"], network.towers["text"]
    native = [tower for tower in (image, text) if isinstance(tower, open_clip_image.Encoder | open_clip_text.Encoder)]
    config: dict[str, Any] = {"embed_dim": network.dim, "vision_cfg": _vision(image), "text_cfg": _text(text, folder)}
    if any(tower.quick_gelu for tower in native):
        config["quick_gelu"] = True
    if biased:
        config["init_logit_bias"] = float(network.joint.bias)
    return config


def _vision(tower: timm_image.Encoder | open_clip_image.Encoder) -> dict[str, Any]:
    if isinstance(tower, open_clip_image.Encoder):
        return dict(tower.config)
    return {
        "timm_model_name": tower.name,
        "timm_model_pretrained": False,
        "timm_pool": tower.pool or "",
        "timm_proj": "linear",
        "image_size": tower.image_size,
    }


def _text(tower: hf_text.Encoder | open_clip_text.Encoder, folder: Path) -> dict[str, Any]:
    if isinstance(tower, open_clip_text.Encoder):
        config = tower.config | {"proj_type": "linear", "proj_bias": False}
        if tower.files:
            # open_clip takes the folder itself for the tokenizer wherever some name is given.
            config["hf_tokenizer_name"] = config.get("hf_tokenizer_name") or "tokenizer of this folder"
        return config
    pooler = {"mean": "mean_pooler", "cls": "cls_last_hidden_state_pooler"}[tower.pool]
    return {
        "hf_model_name": str(folder / "text"),
        "hf_model_pretrained": False,
        "hf_tokenizer_name": tower.name,
        "hf_proj_type": "linear",
        "hf_pooler_type": pooler,
        "context_length": tower.context_length,
    }


def _weights(network: Any, *, biased: bool) -> dict[str, Tensor]:
    found = _image_weights(network.towers["image"], network.joint.image.weight)
    found |= _text_weights(network.towers["text"], network.joint.text.weight)
    found["logit_scale"] = network.joint.log_scale.clamp(max=MAX_LOG_SCALE)
    if biased:
        found["logit_bias"] = network.joint.bias
    return {key: value.detach().cpu().clone().contiguous() for key, value in found.items()}


def _image_weights(tower: timm_image.Encoder | open_clip_image.Encoder, joint: Tensor) -> dict[str, Tensor]:
    """`joint` [D, C] as the tower's projection."""
    trunk: dict[str, Tensor] = tower.trunk.state_dict()
    if isinstance(tower, timm_image.Encoder):
        return {f"visual.trunk.{key}": value for key, value in trunk.items()} | {"visual.head.proj.weight": joint}
    found = {f"visual.{key}": value for key, value in trunk.items()}
    if not tower.attention_pooled:
        return found | {"visual.proj": joint.T}
    last = "visual.attnpool.c_proj"  # two linear maps in a row are one
    merged = {f"{last}.weight": joint @ found[f"{last}.weight"], f"{last}.bias": joint @ found[f"{last}.bias"]}
    return found | merged


def _text_weights(tower: hf_text.Encoder | open_clip_text.Encoder, joint: Tensor) -> dict[str, Tensor]:
    """`joint` [D, C] as the tower's projection."""
    trunk: dict[str, Tensor] = tower.trunk.state_dict()
    if isinstance(tower, open_clip_text.Encoder):
        return trunk | {"text_projection": joint.T}
    return {f"text.transformer.{key}": value for key, value in trunk.items()} | {"text.proj.weight": joint}


def _write_text_files(tower: hf_text.Encoder | open_clip_text.Encoder, folder: Path) -> None:
    """open_clip reads a tokenizer from the folder itself, and an architecture from the folder `text`."""
    for name, content in tower.files.items():
        (folder / name).write_bytes(content)
    if isinstance(tower, hf_text.Encoder):
        (folder / "text").mkdir()
        tower.trunk.config.save_pretrained(folder / "text")


def _preprocess(loaded: Loaded) -> dict[str, Any]:
    given = loaded.info["preprocess"]
    keys = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")
    return {"mode": "RGB"} | {key: given[key] for key in keys}


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _compare(network: Any, folder: Path) -> None:
    """Loads what was written as open_clip does, and compares embeddings of noise and of `PROBES`."""
    import open_clip

    try:
        theirs: Any = open_clip.create_model(f"local-dir:{folder}").eval()
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(f"local-dir:{folder}")
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError) as error:
        raise CannotDo(f"open_clip does not open what was written: {error}") from error
    image, text = network.towers["image"], network.towers["text"]
    noise = torch.randn(2, 3, image.image_size, image.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pairs = {
            "images": (network.embed_images(noise), F.normalize(theirs.encode_image(noise), dim=1)),
            "texts": (
                network.embed_texts(text.tokenizer(PROBES).ids),
                F.normalize(theirs.encode_text(tokenizer(PROBES)), dim=1),
            ),
        }
    for what, (ours, other) in pairs.items():
        difference = (ours - other).abs().max().item()
        if not difference <= CLOSE:
            raise CannotDo(f"open_clip embeds {what} otherwise (by up to {difference:.1e}); nothing was exported")


def _readme(loaded: Loaded, out: Path, remarks: list[str]) -> str:
    said = "".join(f"\n**Depends on a local path.** {remark[0].upper()}{remark[1:]}.\n" for remark in remarks)
    return README.format(
        title=out.name,
        version=loaded.info["mmssl"],
        hash=loaded.hash[:12],
        close=CLOSE,
        size=loaded.info["preprocess"]["size"],
        remarks=said,
    )

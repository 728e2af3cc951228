"""Start a network from weights that exist: ours, open_clip's, timm's or transformers', with every key accounted for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmssl import console, weights
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.settings import Init

State = Mapping[str, Tensor]
Part = Literal["image", "text", "joint"]

ENOUGH = 0.95
"""Least share of a tower's parameters that a source must fill."""
FROM_TO: dict[str, tuple[tuple[str, str], ...]] = {
    "image": (
        ("towers.image.", ""),
        ("visual.trunk.", "trunk."),
        ("visual.", "trunk."),
        ("backbone.", "trunk."),
        ("", "trunk."),
        ("", ""),
    ),
    "text": (
        ("towers.text.", ""),
        ("text.transformer.", "trunk."),
        ("text.", "trunk."),
        ("bert.", "trunk."),
        ("roberta.", "trunk."),
        ("distilbert.", "trunk."),
        ("model.", "trunk."),
        ("", "trunk."),
        ("", ""),
    ),
}
"""Prefixes that a tower's keys have elsewhere, and what they are here; the pair that fills most is taken."""
IMAGE_ELSEWHERE = ("visual.", "towers.image.", "joint.image.")
JOINT_ELSEWHERE = ("joint.", "logit_scale", "logit_bias")
TEXT_ELSEWHERE = ("text.", "towers.text.", "text_projection", "transformer.", "token_embedding.", "ln_final.")
OTHERS = {
    "image": (*JOINT_ELSEWHERE, *TEXT_ELSEWHERE, "positional_embedding"),
    "text": (*JOINT_ELSEWHERE, *IMAGE_ELSEWHERE, "text_projection", "text.proj.", "text.text_projection"),
}
"""Keys that belong to another part of the model, so that leaving them is no surprise."""

JOINT_NAMES = {
    "joint.image.weight": "image.weight",
    "visual.proj": "image.weight",
    "visual.head.proj.weight": "image.weight",
    "joint.text.weight": "text.weight",
    "text_projection": "text.weight",
    "text_projection.weight": "text.weight",
    "text.text_projection": "text.weight",
    "text.text_projection.weight": "text.weight",
    "text.proj.weight": "text.weight",
    "joint.log_scale": "log_scale",
    "logit_scale": "log_scale",
    "joint.bias": "bias",
    "logit_bias": "bias",
}
"""What the joint space's parameters are called by us, by open_clip and by transformers."""
TURNED = ("visual.proj", "text_projection", "text.text_projection")
"""Those that are multiplied from the right, and so are the transpose of ours."""


@dataclass(frozen=True)
class Report:
    """What came of one source for one part of the network; keys as the network names them, unexpected ones as given."""

    part: Part
    source: str
    origin: dict[str, Any]
    """Name, revision, file and SHA-256 of the weights."""
    filled: float
    """Share of the part's parameters, 0 to 1."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    resized: tuple[str, ...]
    """Each with its shape before and after."""


class Fit(NamedTuple):
    """How a source's tensors go into one module."""

    tensors: dict[str, Tensor]
    missing: tuple[str, ...]
    misfit: tuple[str, ...]
    unexpected: tuple[str, ...]
    resized: tuple[str, ...]
    filled: int  # parameters
    total: int  # parameters


class Source(NamedTuple):
    name: str
    origin: dict[str, Any]
    state: dict[str, Tensor]


def initialise(network: nn.Module, init: Init) -> list[Report]:
    """Fills `network.towers` and `network.joint` from what a config names, and says what was filled.

    `init.checkpoint` fills both towers and the joint space, `init.image` and `init.text` one tower each and go before
    it. Position embeddings of another grid or length are resized. Nothing is changed unless everything fits.

    Args:
        network: `mmssl.model.Network`.
        init: The config's `init`.

    Raises:
        WrongUse: when a source does not exist, fills less than 95 % of a tower's parameters, or has a joint space of
            another width; all such problems at once.
        CannotDo: when a source cannot be read or downloaded.
    """
    towers: dict[str, nn.Module] = dict(network.get_submodule("towers").named_children())
    joint = dict(network.named_children()).get("joint")
    wanted = {"image": init.image or init.checkpoint, "text": init.text or init.checkpoint}
    if init.text and "text" not in towers:
        raise WrongUse(f"init.text: {init.text!r} is for a text tower, and encoders.text is null: set one of them")
    sources: dict[str, Source] = {}
    reports: list[Report] = []
    todo: list[tuple[nn.Module, dict[str, Tensor]]] = []
    problems: list[str] = []
    for part in ("image", "text"):
        name = wanted[part]
        if name is None or part not in towers:
            continue
        source = sources[name] = sources.get(name) or _open(name)
        fit = _best_fit(source.state, towers[part], part)
        key = f"init.{part if vars(init)[part] else 'checkpoint'}"
        if key == "init.checkpoint":
            fit = fit._replace(unexpected=tuple(k for k in fit.unexpected if k not in JOINT_NAMES))
        if fit.filled < ENOUGH * fit.total:
            problems.append(f"{key}: {_too_little(source.name, part, fit)}")
        todo.append((towers[part], fit.tensors))
        reports.append(_report(part, source, fit))
    if init.checkpoint and joint is not None:
        source = sources[init.checkpoint] = sources.get(init.checkpoint) or _open(init.checkpoint)
        fit = _fit_joint(source.state, joint)
        problems += [f"init.checkpoint: {misfit}" for misfit in fit.misfit]
        todo.append((joint, fit.tensors))
        reports.append(_report("joint", source, fit))
    if problems:
        raise WrongUse(many("the weights to start from", problems))
    for module, tensors in todo:
        _copy(module, tensors)
    _show(reports, towers)
    return reports


def absent(init: Init) -> list[WrongUse | CannotDo]:
    """What a config starts from and cannot be had, so that it is said before anything is built."""
    problems: list[WrongUse | CannotDo] = []
    for part, name in vars(init).items():
        try:
            if name is not None:
                weights.find(name)
        except (WrongUse, CannotDo) as error:
            problems.append(type(error)(f"init.{part}: {error}"))
    return problems


def _open(name: str) -> Source:
    found = weights.find(name)
    if (found.path / "checkpoint" / "checkpoint.json").is_file():  # a run's folder
        found = found._replace(path=found.path / "checkpoint")
    return Source(name, weights.described(found), _openly_named(weights.read(found.path)))


def _best_fit(state: State, tower: nn.Module, part: str) -> Fit:
    """The fit under the prefix that fills most; the first of equals."""
    fits = [_fit(state, tower, part, before, after) for before, after in FROM_TO[part]]
    return max(fits, key=lambda fit: fit.filled)


def _fit(state: State, tower: nn.Module, part: str, before: str, after: str) -> Fit:
    own = tower.state_dict()
    tensors: dict[str, Tensor] = {}
    misfit, resized, used = [], [], set()
    for key, value in state.items():
        if not key.startswith(before):
            continue
        here = after + _modern(key.removeprefix(before))
        if here not in own:
            continue
        used.add(key)
        fitted = value if value.shape == own[here].shape else _resized(value, own[here], here, part)
        if fitted is None:
            misfit.append(f"{here} is {_shape(value)} in the source and {_shape(own[here])} in the tower")
            continue
        tensors[here] = fitted
        if fitted is not value:
            resized.append(f"{here} ({_shape(value)} to {_shape(fitted)})")
    return Fit(
        tensors,
        missing=tuple(key for key in own if key not in tensors),
        misfit=tuple(misfit),
        unexpected=tuple(key for key in state if key not in used and not key.startswith(_others(part, before))),
        resized=tuple(resized),
        filled=sum(p.numel() for key, p in tower.named_parameters() if key in tensors),
        total=sum(p.numel() for p in tower.parameters()),
    )


def _others(part: str, before: str) -> tuple[str, ...]:
    """How keys of other parts begin; in a source that is an image tower alone only those of the joint space do so."""
    return JOINT_ELSEWHERE if part == "image" and not before else OTHERS[part]


def _modern(key: str) -> str:
    """The names of layer norms that BERT's first files still have."""
    return re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: f"LayerNorm.{'weight' if m[1] == 'gamma' else 'bias'}", key)


def _resized(value: Tensor, like: Tensor, key: str, part: str) -> Tensor | None:
    """A tensor of another shape where there is a right way to carry it over, else None."""
    if value.ndim == 4 and like.ndim == 4 and value.shape[1] == 1 and value.shape[0] == like.shape[0]:
        if value.shape[2:] == like.shape[2:] and like.shape[1] == 3:
            return value.expand(-1, 3, -1, -1) / 3  # a grey image repeated over the channels gives the same
        return None
    if value.ndim != like.ndim or value.shape[-1] != like.shape[-1]:
        return None
    if part == "image" and key.endswith(("positional_embedding", "pos_embed")):
        return _resized_grid(value, like)
    if part == "text" and key.endswith(("positional_embedding", "position_embeddings.weight", "position")):
        return _resized_line(value, like.shape[0])
    return None


def _resized_grid(value: Tensor, like: Tensor) -> Tensor | None:
    """Positions [(1,) K + G², C] of a square grid, by bicubic interpolation as open_clip does; K tokens come first."""
    flat, length = value.reshape(-1, value.shape[-1]), like.numel() // like.shape[-1]
    for first in (1, 0, 2, 5):
        old, new = math.isqrt(max(len(flat) - first, 0)), math.isqrt(max(length - first, 0))
        if old and new and old**2 + first == len(flat) and new**2 + first == length:
            grid = flat[first:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, size=(new, new), mode="bicubic", antialias=True, align_corners=False)
            grid = grid.permute(0, 2, 3, 1).reshape(new * new, -1)
            return torch.cat([flat[:first].float(), grid]).reshape(like.shape)
    return None


def _resized_line(value: Tensor, length: int) -> Tensor:
    """Positions [L, C]: the first ones keep their meaning when there are fewer, else linear interpolation."""
    if length <= len(value):
        return value[:length].clone()
    return F.interpolate(value.float().T[None], size=length, mode="linear", align_corners=False)[0].T


def _fit_joint(state: State, joint: nn.Module) -> Fit:
    """Projections, scale and bias, from our names or open_clip's (whose parameters are transposed)."""
    own = joint.state_dict()
    tensors: dict[str, Tensor] = {}
    misfit: list[str] = []
    for here, theirs in _joint_names(state).items():
        value = theirs.reshape(()) if own[here].ndim == 0 else theirs
        if value.shape == own[here].shape:
            tensors[here] = value
        else:
            misfit.append(
                f"the joint space is {value.shape[0]} wide there for {value.shape[1]} of the tower's, here "
                f"{own[here].shape[0]} for {own[here].shape[1]} (joint.{here}): set joint.dim={value.shape[0]}, or "
                "name the weights as init.image and init.text, which leave the joint space new"
            )
    width = own["image.weight"].shape
    if "image.weight" not in tensors and not misfit and _has(state, "visual.") and width[0] == width[1]:
        tensors["image.weight"] = torch.eye(width[0])  # its tower ends in the joint space already
    return Fit(
        tensors,
        missing=tuple(f"joint.{key}" for key in own if key not in tensors),
        misfit=tuple(misfit),
        unexpected=tuple(key for key in ("text.text_projection.bias", "text_projection.bias") if key in state),
        resized=(),
        filled=sum(value.numel() for value in tensors.values()),
        total=sum(value.numel() for value in own.values()),
    )


def _joint_names(state: State) -> dict[str, Tensor]:
    """The joint space's parameters among a source's tensors, by our names and the way round they are here."""
    found = {name: state[name].T if name in TURNED else state[name] for name in JOINT_NAMES if name in state}
    return {JOINT_NAMES[name]: value for name, value in found.items()}


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _has(state: State, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)


def _copy(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = module.state_dict()
    with torch.no_grad():
        for key, value in tensors.items():
            own[key].copy_(value)


def _report(part: Part, source: Source, fit: Fit) -> Report:
    share = fit.filled / max(fit.total, 1)
    return Report(part, source.name, source.origin, share, fit.missing, fit.unexpected, fit.resized)


def _too_little(source: str, part: str, fit: Fit) -> str:
    first = ", ".join(fit.missing[:5])
    said = (
        f"{source} fills {fit.filled:,} of the {fit.total:,} parameters of the {part} tower "
        f"({fit.filled / max(fit.total, 1):.1%}, at least {ENOUGH:.0%} are needed); "
        f"{len(fit.missing)} keys are missing, first {first}"
    )
    if fit.misfit:
        said += f"; {len(fit.misfit)} have another shape, first {fit.misfit[0]}"
    if fit.unexpected:
        said += f"; {len(fit.unexpected)} of the source are of no use, first {', '.join(fit.unexpected[:5])}"
    return said


def _show(reports: list[Report], towers: dict[str, nn.Module]) -> None:
    if not reports:
        return
    columns = ("part", "source", "filled", "missing", "unexpected", "resized")
    rows = [(r.part, r.source, f"{r.filled:.1%}", len(r.missing), len(r.unexpected), len(r.resized)) for r in reports]
    console.table("Weights to start from", columns, rows)
    for report in reports:
        for what, keys in (("missing", report.missing), ("unexpected", report.unexpected), ("resized", report.resized)):
            if keys:
                console.say(f"{report.part}, {what}: {', '.join(keys)}")
        theirs = report.origin.get("quick_gelu")
        ours = vars(towers[report.part]).get("quick_gelu") if report.part in towers else None
        if theirs is not None and ours is not None and theirs != ours:
            console.say(
                f"{report.part}: these weights were trained with quick_gelu={theirs}, the tower has quick_gelu={ours}; "
                f"set encoders.{report.part}.quick_gelu={str(theirs).lower()}"
            )


# ---- transformers' CLIP, by open_clip's names ----------------------------------------------------------------------

CLIP_NAMES = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"(resblocks\.\d+)\.self_attn\.out_proj\.", r"\1.attn.out_proj."),
    (r"(resblocks\.\d+)\.layer_norm([12])\.", r"\1.ln_\2."),
    (r"(resblocks\.\d+)\.mlp\.fc1\.", r"\1.mlp.c_fc."),
    (r"(resblocks\.\d+)\.mlp\.fc2\.", r"\1.mlp.c_proj."),
)


def _openly_named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`CLIPModel` of transformers by open_clip's names, query, key and value joined; anything else as it is."""
    if "embeddings.class_embedding" in state:  # CLIPVisionModel alone
        state = {f"vision_model.{key}": value for key, value in state.items()}
    elif "embeddings.token_embedding.weight" in state:  # CLIPTextModel alone
        state = {f"text_model.{key}": value for key, value in state.items()}
    if not _has(state, "vision_model.embeddings.class_embedding") and not _has(state, "text_model.encoder.layers."):
        return state
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        for pattern, there in CLIP_NAMES:
            name = re.sub(pattern, there, name)
        third = re.search(r"^(.*resblocks\.\d+)\.self_attn\.([qkv])_proj\.(weight|bias)$", name)
        if third is None:
            found[name] = value
        elif third[2] == "q":
            parts = [state[key.replace(".q_proj.", f".{one}_proj.")] for one in "qkv"]
            found[f"{third[1]}.attn.in_proj_{third[3]}"] = torch.cat(parts)
    if "visual_projection.weight" in found:
        found["visual.proj"] = found.pop("visual_projection.weight").T
    return {key: value for key, value in found.items() if not key.endswith("embeddings.position_ids")}

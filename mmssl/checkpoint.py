"""A checkpoint: a folder without pickles that loads anywhere without the network.

checkpoint.json         format, resolved config, preprocessing, intensity and tokenizer contracts, store, lineage
model.safetensors       towers and joint space
heads.safetensors       what the objectives own, thrown away after training
text/                   the text tower's own files: its config and tokenizer
training_images.parquet what it and its parents were trained on: patients as keyed hashes, pixel hashes, pHashes
training/               optimizer and position, to go on from; not needed to use the model
calibration/            written later, one file for each set of prompts; outside the checkpoint's hash
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmssl import __version__, config
from mmssl.errors import CannotDo, many
from mmssl.files import former_of, hash_file, read_format, swapped, sync, usual_mode, whole_folder
from mmssl.model import Network, build_network
from mmssl.settings import Pretrain

FORMAT = 1
NEEDED = ("checkpoint.json", "model.safetensors")
TOLD = ("config", "weights_sha256")
"""Keys of checkpoint.json without which it is none."""
POSITION = ("step", "best", "elapsed", "reserve", "finished")
"""Where a run stands."""
SAMPLE = "No pleural effusion."
"""A text whose tokens are noted, so that another tokenizer is found out."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory."""

    model: Network
    info: dict[str, Any]
    path: Path
    hash: str
    """SHA-256 of checkpoint.json, which holds that of the weights."""


@dataclass(frozen=True)
class Training:
    """What is needed to go on: the optimizer's state and the position in the run."""

    optimizer: dict[str, Any]
    position: dict[str, Any]


def save(
    folder: Path,
    network: Network,
    objectives: nn.Module,
    info: dict[str, Any],
    *,
    training: Training | None = None,
    training_images: bytes | None = None,
) -> None:
    """Writes a checkpoint, which takes the place of the one before only when it is complete.

    Args:
        folder: RUN/checkpoint, say.
        network: towers and joint space.
        objectives: the heads.
        info: goes to checkpoint.json beside the format and the weights' hash.
        training: optimizer and position; None for a checkpoint that is not gone on from.
        training_images: a Parquet file's bytes.
    """
    with whole_folder(folder) as part:
        for module, name in ((network, "model.safetensors"), (objectives, "heads.safetensors")):
            save_file(_tensors(module), part / name)
            usual_mode(part / name)
        if "text" in network.towers:
            (part / "text").mkdir()
            network.towers["text"].save_files(part / "text")  # pyright: ignore
        if training_images is not None:
            (part / "training_images.parquet").write_bytes(training_images)
        if training is not None:
            (part / "training").mkdir()
            torch.save(training.optimizer, part / "training" / "optimizer.pt")
            _write(part / "training" / "position.json", training.position)
        weights = hash_file(part / "model.safetensors")
        _write(part / "checkpoint.json", {"format": FORMAT, "mmssl": __version__, "weights_sha256": weights, **info})
        sync(part / "checkpoint.json")


def find(path: Path) -> Path:
    """The checkpoint's own folder: the path itself, or the `checkpoint` in a run's folder.

    Raises:
        CannotDo: naming what is missing, and what is there instead.
    """
    path = Path(path)
    last = path.with_name("checkpoint")
    for folder in (path, path / "checkpoint", former_of(path), former_of(path / "checkpoint")):
        if (folder / "checkpoint.json").exists():
            missing = [name for name in NEEDED if not (folder / name).exists()]
            if missing:
                raise CannotDo(f"{folder}: the checkpoint is incomplete: no {', '.join(missing)}")
            return folder
    if not path.exists() and path.name == "best" and (last / "checkpoint.json").exists():
        metric = read_info(last)["config"]["checkpoint"]["best"]
        raise CannotDo(f"{path}: this run kept no best (no validation had its metric, {metric}); use {last}")
    if not path.exists():
        raise CannotDo(f"{path}: no such checkpoint")
    if said := swapped(path, needed="a checkpoint"):
        raise CannotDo(said)
    raise CannotDo(
        f"{path}: not a checkpoint: neither it nor its folder `checkpoint` holds checkpoint.json. "
        "A run that was ended before its first checkpoint has none yet"
    )


def read_info(path: Path) -> dict[str, Any]:
    """checkpoint.json, without loading any weights."""
    folder = find(path)
    info = read_format(folder / "checkpoint.json", newest=FORMAT, what="checkpoint")
    if missing := [key for key in TOLD if key not in info]:
        raise CannotDo(f"{folder / 'checkpoint.json'} is damaged: it has no {', '.join(missing)}")
    return info


def load(path: Path, *, trust: Sequence[str] = (), device: str = "cpu") -> Loaded:
    """The network of a checkpoint, ready to use, in evaluation mode.

    Args:
        path: a checkpoint's folder, or a run's.
        trust: modules outside mmssl that its config may name; a dotted path is code.
        device: where to.

    Raises:
        CannotDo: where a file is missing, damaged, or from a newer version.
        WrongUse: where its config names code that is not trusted.
    """
    folder = find(path)
    info = read_info(folder)
    settings = config.build(info["config"], Pretrain, name=f"{folder}/checkpoint.json", trust=list(trust))
    if settings.encoders.text is not None and not (folder / "text").is_dir():
        raise CannotDo(f"{folder}: the checkpoint is incomplete: no text")
    network = build_network(settings, files=folder / "text", trust=list(trust))
    if hash_file(folder / "model.safetensors") != info["weights_sha256"]:
        raise CannotDo(f"{folder}: model.safetensors is not the file this checkpoint was written with (damaged?)")
    check_tokenizer(network, info.get("tokenizer"), folder)
    fill(network, read_tensors(folder / "model.safetensors"))
    network.requires_grad_(False).eval().to(device)
    digest = hashlib.sha256((folder / "checkpoint.json").read_bytes()).hexdigest()
    return Loaded(network, info, folder, digest)


def tokenizer_contract(tower: Any, truncated: float | None) -> dict[str, Any]:
    """How texts became numbers for this tower, and the share of training texts that were too long for it."""
    sample = tower.tokenizer([SAMPLE])
    return {"context_length": tower.context_length, "sample": sample.ids[0].tolist(), "truncated_share": truncated}


def check_tokenizer(network: Network, told: dict[str, Any] | None, folder: Path) -> None:
    """Raises CannotDo where texts would become other numbers than those that the tower was trained on."""
    if told is None or "text" not in network.towers:
        return
    tokenizer: Any = network.towers["text"].tokenizer
    if tokenizer([SAMPLE]).ids[0].tolist() != told["sample"]:
        raise CannotDo(
            f"{folder}: the tokenizer in its folder `text` reads a text otherwise than when the checkpoint was "
            "written: a file of it is missing or damaged"
        )


def read_training(folder: Path) -> Training:
    """What a run goes on from."""
    kept = folder / "training"
    try:
        optimizer = torch.load(kept / "optimizer.pt", map_location="cpu", weights_only=True)
        position = json.loads((kept / "position.json").read_text(encoding="utf-8"))
        return Training(optimizer, {key: position[key] for key in POSITION})
    except KeyError as error:
        raise CannotDo(f"{kept}: cannot go on from here: position.json has no {error}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotDo(f"{kept}: cannot go on from here: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CannotDo(f"{path}: not a whole safetensors file: {error}") from None


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Every tensor in its place; a checkpoint of ours has to fit exactly."""
    found = module.load_state_dict(tensors, strict=False)
    problems = [f"missing: {key}" for key in found.missing_keys] + [
        f"left over: {key}" for key in found.unexpected_keys
    ]
    if problems:
        raise CannotDo(many("the checkpoint's weights", problems[:20]))


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone().contiguous() for key, value in module.state_dict().items()}


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""A checkpoint: a folder without pickles that loads anywhere without the network.

checkpoint.json         format, resolved config, preprocessing, intensity and tokenizer contracts, store, lineage
model.safetensors       towers and joint space
heads.safetensors       what the objectives own, thrown away after training
text/                   the text tower's own files: its config and tokenizer
training_images.parquet patients as keyed hashes, and the pixel hash and pHash of each training image
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
from mmssl.files import hash_file, read_format, sync, usual_mode, whole_folder
from mmssl.model import Network, build_network
from mmssl.settings import Pretrain

FORMAT = 1
NEEDED = ("checkpoint.json", "model.safetensors")


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
    for folder in (path, path / "checkpoint"):
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
    raise CannotDo(
        f"{path}: not a checkpoint: neither it nor its folder `checkpoint` holds checkpoint.json. "
        "A run that was ended before its first checkpoint has none yet"
    )


def read_info(path: Path) -> dict[str, Any]:
    """checkpoint.json, without loading any weights."""
    folder = find(path)
    return read_format(folder / "checkpoint.json", newest=FORMAT, what="checkpoint")


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
    network = build_network(settings, files=folder / "text", trust=list(trust))
    if hash_file(folder / "model.safetensors") != info["weights_sha256"]:
        raise CannotDo(f"{folder}: model.safetensors is not the file this checkpoint was written with (damaged?)")
    fill(network, read_tensors(folder / "model.safetensors"))
    network.requires_grad_(False).eval().to(device)
    digest = hashlib.sha256((folder / "checkpoint.json").read_bytes()).hexdigest()
    return Loaded(network, info, folder, digest)


def read_training(folder: Path) -> Training:
    """What a run goes on from."""
    kept = folder / "training"
    try:
        optimizer = torch.load(kept / "optimizer.pt", map_location="cpu", weights_only=True)
        return Training(optimizer, json.loads((kept / "position.json").read_text(encoding="utf-8")))
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

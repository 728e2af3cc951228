"""Where weights of others are found, by the name a config gives, and how they are read without running any code."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl.errors import CannotDo, WrongUse
from mmssl.files import hash_file

if TYPE_CHECKING:
    from torch import Tensor

HUB, PACKAGE, OPEN_CLIP = "hf-hub:", "package:", "open_clip:"
FORMS = "a folder, a .safetensors, .pt or .bin file, package:NAME/FOLDER, hf-hub:OWNER/NAME or open_clip:MODEL/TAG"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
IN_FOLDER = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of weights in a folder, the best first."""
SMALL = ["*.json", "*.txt", "*.model"]
"""What is fetched of a hub's repository before the weights."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")


class Found(NamedTuple):
    """Weights on this machine."""

    path: Path
    """A folder or a file."""
    origin: dict[str, Any]
    """{name, revision}: what the config named and which version of it this is (None for local files); where the
    weights say so, also whether they were trained with `quick_gelu`."""


def find(name: str, *, plain_hub: bool = False) -> Found:
    """The folder or file that a name means; only a hub's name written out in the config is ever downloaded.

    Args:
        name: One of `FORMS`.
        plain_hub: Whether a bare `ORGANISATION/NAME` that is no folder here means the hub.

    Raises:
        WrongUse: when the name means nothing here; says what was looked for.
        CannotDo: when the hub cannot be reached or does not have it.
    """
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB), name)
    if name.startswith(PACKAGE):
        return _in_package(name)
    if name.startswith(OPEN_CLIP):
        return _from_open_clip(name)
    path = Path(name).expanduser()
    if path.is_dir() or path.is_file():
        return Found(path, {"name": name, "revision": None, **_activation(path)})
    if plain_hub and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?(@[\w.-]+)?", name) and path.suffix not in SUFFIXES:
        return _from_hub(name, name)
    raise WrongUse(f"no weights at {name!r}; write {FORMS}")


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, or of a folder's first file of `IN_FOLDER`, on the CPU.

    A wrapping `{"state_dict": ...}` and a leading `module.` are taken off. Nothing is unpickled but tensors.

    Raises:
        WrongUse: when there are no weights, or none that can be read without running code.
    """
    path = Path(path)
    file = path if path.is_file() else weights_in(path)
    if file.name.endswith(".index.json"):
        parts = sorted(set(json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()))
        return {key: value for part in parts for key, value in read(file.with_name(part)).items()}
    if file.suffix == ".safetensors":
        return _unwrapped(_read_safetensors(file), file)
    if file.suffix in SUFFIXES:
        return _unwrapped(_read_pickled(file), file)
    raise WrongUse(f"{file}: weights are read from {', '.join(SUFFIXES)} files")


def weights_in(folder: Path) -> Path:
    """The file of a folder that holds its weights."""
    for name in IN_FOLDER:
        if (folder / name).is_file():
            return folder / name
    raise WrongUse(f"no weights in {folder}: none of {', '.join(IN_FOLDER)}")


def described(found: Found) -> dict[str, Any]:
    """Where weights come from, with the file's name and SHA-256, for a checkpoint to keep."""
    file = found.path if found.path.is_file() else weights_in(found.path)
    return found.origin | {"file": file.name, "sha256": hash_file(file)}


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise CannotDo(f"{file}: cannot be read as safetensors: {error}") from error


def _read_pickled(file: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WrongUse(
            f"{file}: holds more than tensors, or is no file of torch.save, and mmssl runs no code from weights "
            f"({first[:160]}). Where you trust it, save its state_dict as .safetensors and name that"
        ) from error


def _unwrapped(value: Any, file: Path) -> dict[str, Tensor]:
    import torch

    while isinstance(value, dict) and any(isinstance(value.get(name), dict) for name in WRAPPERS):
        value = next(value[name] for name in WRAPPERS if isinstance(value.get(name), dict))
    if not isinstance(value, dict):
        raise WrongUse(f"{file}: holds a {type(value).__name__}, not a mapping of names to tensors")
    tensors = {str(key): tensor for key, tensor in value.items() if isinstance(tensor, torch.Tensor)}
    if not tensors:
        raise WrongUse(f"{file}: holds no tensors; its keys are {', '.join(map(str, list(value)[:5])) or 'none'}")
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors


def _in_package(name: str) -> Found:
    package, _, inside = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise WrongUse(
            f"{name!r}: the package {package!r} is not installed in this environment; "
            f"install it (pip install {package.replace('_', '-')}) or name a folder"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inside
    if not folder.is_dir():
        inside_it = sorted(p.name for p in folder.parent.glob("*/") if not p.name.startswith("__"))
        raise WrongUse(f"{name!r}: {folder} is no folder; {folder.parent} has {', '.join(inside_it) or 'no folders'}")
    from importlib import metadata

    distribution = metadata.packages_distributions().get(package, [None])[0]
    revision = f"{distribution} {metadata.version(distribution)}" if distribution else None
    return Found(folder, {"name": name, "revision": revision})


def _from_hub(repository: str, name: str) -> Found:
    """A snapshot folder of the hub's cache; `@REVISION` after the name asks for one, HF_HUB_OFFLINE is honoured."""
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = repository.partition("@")
    try:
        where: dict[str, Any] = {"repo_id": repository, "revision": revision or None}
        folder = Path(huggingface_hub.snapshot_download(**where, allow_patterns=SMALL, ignore_patterns=["*/*"]))
        not_cached: LocalEntryNotFoundError | None = None
        for file in _order(folder):
            try:
                weights = Path(huggingface_hub.hf_hub_download(filename=file, **where))
            except LocalEntryNotFoundError as error:  # nobody knows whether the repository has it
                not_cached = error
                continue
            except EntryNotFoundError:
                continue
            if file.endswith(".index.json"):
                for part in sorted(set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values())):
                    huggingface_hub.hf_hub_download(filename=part, **where)
            origin = {"name": name, "revision": weights.parent.name, **_activation(weights.parent)}
            return Found(weights.parent, origin)
        if not_cached is not None:
            raise not_cached
    except HFValidationError as error:
        raise WrongUse(f"{name!r} is no name of a repository: {error}") from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise CannotDo(
            f"{name!r} cannot be had from the hub: {str(error).splitlines()[0]} Without a network (or with "
            "HF_HUB_OFFLINE=1) only what is in its cache can be used; a local folder always can"
        ) from error
    raise CannotDo(f"{name!r}: the hub's repository has none of {', '.join(IN_FOLDER)}")


def _order(folder: Path) -> list[str]:
    """`IN_FOLDER`, with open_clip's files first only where the folder is open_clip's."""
    theirs = [name for name in IN_FOLDER if name.startswith("open_clip")]
    others = [name for name in IN_FOLDER if name not in theirs]
    return [*theirs, *others] if (folder / "open_clip_config.json").exists() else [*others, *theirs]


def _from_open_clip(name: str) -> Found:
    import open_clip

    model, _, tag = name.removeprefix(OPEN_CLIP).partition("/")
    if model not in open_clip.list_models():
        raise WrongUse(f"{name!r}: open_clip has no model {model!r}; `open_clip.list_models()` lists them")
    if not open_clip.is_pretrained_cfg(model, tag):
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise WrongUse(f"{name!r}: open_clip has no weights {tag!r} for {model}; it has {', '.join(tags) or 'none'}")
    about = open_clip.get_pretrained_cfg(model, tag)
    try:
        file = Path(open_clip.download_pretrained(about))
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CannotDo(f"{name!r} cannot be downloaded: {first}") from error
    snapshot = re.search(r"/snapshots/([0-9a-f]{40})/", file.as_posix())
    origin = {"name": name, "revision": snapshot[1] if snapshot else None}
    return Found(file, origin | {"quick_gelu": about.get("quick_gelu", False)})


def _activation(path: Path) -> dict[str, bool]:
    """What a folder of open_clip says about the activation its weights were trained with."""
    file = path / "open_clip_config.json"
    if not file.is_file():
        return {}
    return {"quick_gelu": json.loads(file.read_text(encoding="utf-8"))["model_cfg"].get("quick_gelu", False)}

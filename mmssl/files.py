"""Files and folders that are there whole or not at all, and their hashes."""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmssl.errors import CannotDo, WrongUse, meant

CONFIGS = Path(__file__).parent / "configs"
"""What is shipped: configs/pretrain and configs/prompts."""


@contextlib.contextmanager
def whole_file(path: Path, *, synced: bool = True) -> Iterator[Path]:
    """Write to the path given, which becomes `path` only when all went well.

    The new file is synced before it takes the place of the old one, so a crash or a full disk leaves what was
    there before. `synced` False leaves that out, for what is only kept until the next start: a kill leaves it whole,
    and a power cut perhaps not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if synced:
            sync(part)
        os.replace(part, path)
        if synced:
            sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As `whole_file`, for a folder: the one that was there is replaced only by a complete one.

    Two renames are needed (a folder cannot be renamed onto another). A kill between them leaves the former
    folder under the name that `recover_folder` looks for; what a killed writer left half done is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir()
    handle = os.open(part, os.O_RDONLY)
    try:
        _lock(handle)
        yield part
        for file in sorted(part.rglob("*")):
            sync(file)
        sync(part)
        recover_folder(path)
        former = former_of(path)
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
            os.rename(path, former)
        os.rename(part, path)
        sync(path.parent)
        shutil.rmtree(former, ignore_errors=True)
    finally:
        os.close(handle)
        shutil.rmtree(part, ignore_errors=True)


def remove_left(path: Path) -> None:
    """Removes the half-written folders of `whole_folder(path)` whose writers were killed; those of others stay."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if re.fullmatch(r"[0-9a-f]{8}", part.name[len(path.name) + 2 : -len(".part")]) and part.is_dir():
            handle = os.open(part, os.O_RDONLY)
            free = _lock(handle)
            os.close(handle)
            if free:
                shutil.rmtree(part, ignore_errors=True)


def _lock(handle: int) -> bool:
    """Whether an open folder is this process's now; it is let go when it is closed, or the process ends."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else's, or on a file system without locks
        return False
    return True


def recover_folder(path: Path) -> None:
    """Puts back the folder that a kill in the middle of `whole_folder` left under its former name."""
    former = former_of(Path(path))
    if former.exists() and not Path(path).exists():
        os.rename(former, path)


def remove_parts(folder: Path) -> None:
    """Removes what killed writers left half done directly in a folder."""
    for part in Path(folder).glob(".*.part"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()


def check_folder_to_write(path: Path, *, option: str) -> None:
    """Raises WrongUse where no folder can be made, so that nothing is computed in vain."""
    there = next(one for one in (path, *path.parents) if one.exists() or one == one.parent)
    if not there.is_dir():
        raise WrongUse(f"{option} {path}: {there} is a file; name a folder")


def check_file_to_write(path: Path, *, option: str) -> None:
    """Raises WrongUse where no file can be written, so that nothing is computed in vain."""
    if path.is_dir():
        raise WrongUse(f"{option} {path}: this is a folder; name a file in it")
    check_folder_to_write(path.parent, option=option)


MARKS = {"manifest.json": "a store", "checkpoint.json": "a checkpoint", "mmssl.json": "an index"}
"""The file by which a folder of ours is known."""


def swapped(path: Path, *, needed: str) -> str | None:
    """What to say where a folder of ours stands in the place of another, as where arguments are swapped."""
    found = next((what for name, what in MARKS.items() if (path / name).is_file()), None)
    found = "a run" if (path / "checkpoint" / "checkpoint.json").is_file() else found
    return f"{path} is {found}, and {needed} is needed in its place; are two arguments swapped?" if found else None


def or_shipped(path: Path, folder: str) -> Path:
    """A file of the user's, which always wins, or else the shipped one that is meant.

    A shipped file is meant by its bare name, or by its path in the repository, from whatever folder.

    >>> or_shipped(Path("tiny"), "pretrain").relative_to(CONFIGS).as_posix()
    'pretrain/tiny.yaml'
    >>> or_shipped(Path("configs/pretrain/tiny.yaml"), "pretrain").name, or_shipped(Path("mine"), "pretrain").name
    ('tiny.yaml', 'mine')
    """
    if path.is_file():
        return path
    if len(path.parts) == 1:
        ours = CONFIGS / folder / f"{path}.yaml"
    else:
        ours = CONFIGS.joinpath(*path.parts[1:]) if path.parts[0] == CONFIGS.name else path
    return ours if ours.is_file() else path


def not_shipped(path: Path, folder: str) -> str:
    """What to say after "no such ...: PATH": the near miss, and what is shipped, by name."""
    names = sorted(file.stem for file in (CONFIGS / folder).glob("*.yaml"))
    return f"{meant(path.stem, names)}; with mmssl come {', '.join(names)}, by name; else give the path of a YAML file"


def write_json(path: Path, value: Any) -> None:
    with whole_file(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_format(file: Path, *, key: str = "format", newest: int, what: str, again: str = "") -> dict[str, Any]:
    """A JSON file of ours that says in which format its folder is written, a number under `key`.

    Args:
        file: The file, which is there.
        newest: The newest format that this version reads.
        what: What the folder is: "checkpoint", "index", "store".
        again: How to make it anew, for the message.

    Raises:
        CannotDo: where it cannot be read, names no format, or a newer version wrote it.
    """
    remedy = f"; {again}" if again else ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotDo(f"{file} cannot be read: {error}{remedy}") from None
    if not isinstance(found, dict) or not isinstance(found.get(key), int):
        raise CannotDo(f"{file} is no {what}'s: it names no {key}{remedy}")
    if found[key] > newest:
        raise CannotDo(
            f"{file.parent} was written by mmssl {found.get('mmssl', '?')} ({what} format {found[key]}); "
            f"this version reads format {newest}: update mmssl"
        )
    return found


def usual_mode(path: Path) -> None:
    """Gives a file that a library wrote for its owner alone the permission that the umask gives a new file."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        new.touch()
        shutil.copymode(new, path)
    finally:
        new.unlink(missing_ok=True)


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """SHA-256 of a value as canonical JSON, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def number_of(text: str) -> int:
    """A number of 63 bits that stands for a text: the key of positives and of all randomness.

    >>> number_of("patient 1") == number_of("patient 1") and number_of("patient 1") != number_of("patient 2")
    True
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def former_of(path: Path) -> Path:
    """Where a folder is for the moment between the two renames of `whole_folder`, and stays after a kill then."""
    return path.with_name(f".{path.name}.former")

"""Folders as people hand them over: every file below one, under names that can be written down."""

import os
from collections.abc import Iterator
from pathlib import Path

_ENDS = 4096  # bytes


def walk(path: Path, *, hidden: bool = True) -> Iterator[Path]:
    """Every file below a folder: those of a folder by name, then its folders by name.

    Links to folders are followed after all else, and each folder is entered once, so that a file is named by the folder
    that it lies in. A folder that may not be listed comes last, as if it were a file, so that it is not passed over in
    silence.

    Args:
        path: of the folder.
        hidden: with files and folders whose names begin with a dot.
    """
    closed: list[Path] = []
    entered: set[str] = set()
    waiting = [Path(path)]
    while waiting:
        for place, names, found in os.walk(waiting.pop(0), onerror=lambda error: closed.append(Path(error.filename))):
            folder, real = Path(place), os.path.realpath(place)
            if real in entered:
                names.clear()
                continue
            entered.add(real)
            names[:] = sorted(name for name in names if hidden or not name.startswith("."))
            yield from (folder / name for name in sorted(found) if hidden or not name.startswith("."))
            waiting += [folder / name for name in names if (folder / name).is_symlink()]
    yield from closed


def written(path: Path | str) -> str:
    r"""A path as text that every file takes; bytes of a name that are not UTF-8 are written as \xe9.

    >>> written(Path("a/b.png")), written(os.fsdecode(b"caf\xe9.png"))
    ('a/b.png', 'caf\\xe9.png')
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def below(folder: Path, path: Path) -> str:
    """The name of a file by where it lies below a folder.

    >>> below(Path("in"), Path("in/a/b.png"))
    'a/b.png'
    """
    return written(path.relative_to(folder).as_posix())


def is_file(path: Path) -> bool:
    """Whether there is a file, as far as can be seen: a name may be too long, or its folder closed to us.

    >>> is_file(Path("x" * 300)), is_file(Path(__file__))
    (False, True)
    """
    try:
        return path.is_file()
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return False


def is_folder(path: Path) -> bool:
    """As `is_file`, of a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return False


def ends(path: Path) -> tuple[bytes, bytes, int]:
    """The first and the last 4,096 bytes of a file, and its size; nothing where it cannot be read."""
    try:
        if not path.is_file():
            return b"", b"", 0
        with open(path, "rb") as file:
            start = file.read(_ENDS)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(len(start), size - _ENDS))
            return start, file.read(), size
    except OSError:
        return b"", b"", 0

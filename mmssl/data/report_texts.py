"""Reports as text files, in a folder or still in their zip: found by name, read one at a time."""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from mmssl.errors import CannotDo, WrongUse

Text = Callable[[str], str | None]
"""The text of a file by its path below the folder or in the zip, None where there is no such file."""


@contextlib.contextmanager
def opened(place: Path, *, below: str) -> Iterator[Text]:
    """A way to read the files of a folder or a .zip; bytes that are not UTF-8 are read as U+FFFD.

    Args:
        place: of the folder or zip.
        below: the folder in it that all files are in.

    Raises:
        WrongUse: where there is no such folder.
        CannotDo: where the zip cannot be read.
    """
    if place.is_dir():
        _check_below(place, below, is_there=(place / below).is_dir())
        yield lambda name: _from_folder(place / name)
        return
    try:
        archive = zipfile.ZipFile(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise CannotDo(
            f"{place} cannot be read as a zip ({error}): was its download interrupted? Fetch it again, and compare its "
            "checksum"
        ) from None
    with archive:
        _check_below(place, below, is_there=any(name.startswith(f"{below}/") for name in archive.NameToInfo))
        yield lambda name: _from_zip(archive, name)


def _check_below(place: Path, below: str, *, is_there: bool) -> None:
    if not is_there:
        raise WrongUse(
            f"{place} has no folder {below!r}, in which the reports are; is it another file, or packed anew?"
        )


def _from_folder(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    except OSError as error:
        raise CannotDo(f"{path} cannot be read: {error.strerror or error}") from None


def _from_zip(archive: zipfile.ZipFile, name: str) -> str | None:
    try:
        return archive.read(name).decode("utf-8", "replace")
    except KeyError:
        return None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CannotDo(f"{archive.filename}: {name} cannot be read ({error}); fetch the zip again") from None

"""The files of a source: one file, those of a folder, or those of an archive, which is never unpacked to disk."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mmssl.data import folders
from mmssl.errors import CannotDo, Unreadable

MOST_BYTES = 16 << 20
"""A file with one report is never larger."""

MOST_EXPANSION = 200
"""An archive that grows by more than this is no archive of reports (XML of them shrinks to a tenth)."""

SPARE = 64 << 20
"""Bytes that any archive may hold."""

ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)
"""What reading from a file or an archive may raise."""

_COMPRESSED: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


@dataclass(frozen=True)
class Member:
    """A file of a source; `open` works until the next one is asked for."""

    name: str
    """Where it lies below the source."""
    open: Callable[[], AbstractContextManager[IO[bytes]]]
    path: Path | None = None
    """On disk; None inside an archive."""

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def ending(self) -> str:
        return PurePosixPath(self.name).suffix.lower()

    def read(self) -> bytes:
        """All of it.

        Raises:
            Unreadable: unreadable, too_large.
        """
        try:
            with self.open() as file:
                content = file.read(MOST_BYTES + 1)
        except DAMAGED:
            raise Unreadable("unreadable") from None
        if len(content) > MOST_BYTES:
            raise Unreadable("too_large")
        return content

    def start(self) -> bytes:
        """The first 4,096 bytes; nothing where they cannot be read."""
        try:
            with self.open() as file:
                return file.read(4096)
        except DAMAGED:
            return b""


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


def members(path: Path) -> Iterator[Member]:
    """The files of a source in a fixed order: by name, or as the archive has them.

    Raises:
        CannotDo: for an archive that is damaged, or that is made to fill the memory.
    """
    if path.is_dir():
        for file in folders.walk(path, hidden=False):
            yield Member(folders.below(path, file), _opener(file), file)
    elif not is_archive(path):
        yield Member(folders.written(path.name), _opener(path), path)
    else:
        try:
            yield from _zipped(path) if path.name.lower().endswith(".zip") else _tarred(path)
        except DAMAGED as error:
            raise CannotDo(f"{path} is a damaged archive: {error}; fetch or make it anew") from None


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: open(path, "rb")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts if part not in (".", ".."))


def _zipped(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir() and not _is_hidden(entry.filename):
                yield Member(folders.written(entry.filename), lambda entry=entry: _entry(archive, entry))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    if entry.flag_bits & 1:
        raise zipfile.BadZipFile("a password is needed")
    return archive.open(entry)


def _tarred(path: Path) -> Iterator[Member]:
    with open(path, "rb") as file:
        start = file.read(6)
        file.seek(0)
        unpack = next((opener for magic, opener in _COMPRESSED if start.startswith(magic)), None)
        content = _Bounded(file if unpack is None else unpack(file), path)
        with tarfile.open(fileobj=content, mode="r|") as archive:  # as a stream: its list of entries is not kept
            for entry in archive:
                archive.members.clear()  # type: ignore[attr-defined]
                if entry.isreg() and not _is_hidden(entry.name):
                    found = archive.extractfile(entry)
                    assert found is not None, "a regular file has content"
                    yield Member(folders.written(entry.name), lambda found=found: found)


class _Bounded(io.RawIOBase):
    """What an archive unpacks to, which ends the job where it grows beyond all measure."""

    def __init__(self, content: IO[bytes], path: Path) -> None:
        self.content, self.path = content, path
        self.left = MOST_EXPANSION * path.stat().st_size + SPARE

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        found = self.content.read(size)
        self.left -= len(found)
        if self.left < 0:
            raise CannotDo(
                f"{self.path} unpacks to more than {MOST_EXPANSION} times its size, as no archive of reports does; "
                "unpack it yourself if you know where it comes from, and give the folder"
            )
        return found


def decoded(content: bytes, encoding: str | None) -> str:
    """Bytes as text: by a mark of Unicode, else in the encoding, else as UTF-8.

    Raises:
        Unreadable: bad_encoding.
    """
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if marked else encoding or "utf-8").removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError):
        raise Unreadable("bad_encoding") from None

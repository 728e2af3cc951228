"""What was decoded, on disk: a chunk of inputs is a file of facts and a file of pictures beside the store to be."""

import functools
import json
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from mmssl import files

FACTS = pa.schema(
    {
        "entry": pa.int64(), "frame": pa.int32(), "start": pa.int64(), "size": pa.int64(), "told": pa.int64(),
        "format": pa.string(), "width": pa.int32(), "height": pa.int32(), "colour": pa.bool_(),
        "pixel_hash": pa.binary(32), "phash": pa.uint64(), "reason": pa.string(),
    }
)  # fmt: skip
"""Where a picture is (`start`, `size`), how long the JSON behind it is (`told`), and what is compared of it."""


FACTS_OF_FRAME = ("format", "width", "height", "colour", "reason")


class Frame(NamedTuple):
    """One decoded picture without its bytes, or why there is none."""

    entry: int
    frame: int
    format: str | None
    width: int | None
    height: int | None
    colour: bool | None
    pixel_hash: str | None
    phash: str | None
    reason: str | None
    columns: dict[str, Any]
    """Of the store, that hold for this picture alone."""
    measures: dict[str, Any]
    """What cleaning judges it by."""


class Row(NamedTuple):
    """A frame on its way into the spool."""

    frame: Frame
    image: bytes = b""


def write(path: Path, rows: Sequence[Row]) -> None:
    """A chunk, whole or not at all: it is there when its facts are."""
    start, facts = 0, []
    with files.whole_file(path.with_suffix(".bin"), synced=False) as part, open(part, "wb") as file:
        for frame, content in rows:
            told = json.dumps([frame.columns, frame.measures], default=_plain).encode()
            file.write(content + told)
            facts.append(
                {
                    **{
                        name: getattr(frame, name) for name in ("entry", "frame", "format", "width", "height", "colour")
                    },
                    "reason": frame.reason,
                    "pixel_hash": bytes.fromhex(frame.pixel_hash) if frame.pixel_hash else None,
                    "phash": int(frame.phash, 16) if frame.phash else None,
                    "start": start,
                    "size": len(content),
                    "told": len(told),
                }
            )
            start += len(content) + len(told)
    with files.whole_file(path, synced=False) as part, pa.ipc.new_file(str(part), FACTS) as writer:
        writer.write_table(pa.Table.from_pylist(facts, schema=FACTS))


def is_there(path: Path) -> bool:
    """Whether a chunk was written whole; what a power cut left may have its name and not its content."""
    try:
        facts = pa.ipc.open_file(pa.OSFile(str(path))).read_all()
        sizes = facts.column("size").to_numpy() + facts.column("told").to_numpy()
        return path.with_suffix(".bin").stat().st_size == sizes.sum()
    except (OSError, KeyError, pa.ArrowException):
        return False


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


class Spool:
    """Frames in the order of their entries. In memory are some hundred bytes of each; the rest is read when asked for.

    Plain reads, no memory maps: pages of a map count as memory of this process.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        tables = [pa.ipc.open_file(pa.OSFile(str(path))).read_all() for path in paths]
        self._facts = pa.concat_tables([FACTS.empty_table(), *tables]).combine_chunks()
        self._paths = [path.with_suffix(".bin") for path in paths]
        self._chunk = np.repeat(np.arange(len(paths), dtype=np.int32), [len(table) for table in tables])
        self._start, self._size, self._told = (self._numbers(name) for name in ("start", "size", "told"))
        self.entry = self._numbers("entry")
        """[frames] The entry that each is of."""
        self.number = self._numbers("frame")
        """[frames] Its place in its entry."""
        self.phash = self._numbers("phash")
        """[frames] uint64, 0 where there is no picture."""
        self._open = functools.lru_cache(maxsize=64)(_Bytes)

    def _numbers(self, name: str) -> np.ndarray:
        return self._facts.column(name).fill_null(0).to_numpy()

    def __len__(self) -> int:
        return len(self.entry)

    def __getitem__(self, place: int) -> Frame:
        start = int(self._start[place] + self._size[place])
        columns, measures = json.loads(self._read(place, start, int(self._told[place])))
        fact = {
            name: self._facts.column(name)[place].as_py() for name in ("format", "width", "height", "colour", "reason")
        }
        digest = self.digest(place)
        return Frame(
            entry=int(self.entry[place]),
            frame=int(self.number[place]),
            pixel_hash=digest.hex() if digest else None,
            phash=f"{int(self.phash[place]):016x}" if digest else None,
            columns=columns,
            measures=measures,
            **fact,
        )

    def __iter__(self) -> Iterator[Frame]:
        return (self[place] for place in range(len(self)))

    def image(self, place: int) -> bytes:
        """The stored file of a frame."""
        return self._read(place, int(self._start[place]), int(self._size[place]))

    def size(self, place: int) -> int:
        return int(self._size[place])

    def reason(self, place: int) -> str | None:
        return self._facts.column("reason")[place].as_py()

    def digest(self, place: int) -> bytes | None:
        """SHA-256 of the pixels."""
        return self._facts.column("pixel_hash")[place].as_py()

    def digests(self) -> pa.Array:
        """[frames] those of all."""
        return self._facts.column("pixel_hash").combine_chunks()

    def reasons(self) -> list[str | None]:
        return self._facts.column("reason").to_pylist()

    @property
    def has_colour(self) -> bool:
        return bool(np.any(self._facts.column("colour").fill_null(False).to_numpy(zero_copy_only=False)))

    def colour(self, place: int) -> bool:
        return bool(self._facts.column("colour")[place].as_py())

    def _read(self, place: int, start: int, size: int) -> bytes:
        return self._open(self._paths[self._chunk[place]]).read(start, size)


class _Bytes:
    """An open file; closed when nobody holds it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._handle, size, start)

    def __del__(self) -> None:
        os.close(self._handle)

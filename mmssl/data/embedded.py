"""Images that lie inside a Parquet or Arrow file, one a row: bytes, or what Hugging Face `datasets` makes of an image.

Such an image is named by a path below the file: `train.parquet/#12` is row 12 of `train.parquet`.
"""

import bisect
import contextlib
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmssl.data import folders
from mmssl.errors import Unreadable

_STREAM = b"\xff\xff\xff\xff"  # what each message of an Arrow stream begins with; one of length 0 is the last

Chunks = tuple[list[int], Any]  # the first row of each chunk; the chunks


def row(file: Path, number: int) -> Path:
    return Path(file) / f"#{number}"


def is_row(path: Path) -> bool:
    return path.name.startswith("#") and folders.is_file(path.parent)


def holds_files(file: Path, column: str) -> bool:
    """Whether a column holds images themselves, not paths; a struct that names neither bytes nor path holds none."""
    kind = schema(file).field(column).type
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 or kind.get_field_index("path") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


@contextlib.contextmanager
def reasons(file: Path) -> Iterator[None]:
    """What a file cannot be read for, as a reason code.

    Raises:
        Unreadable: missing, no_permission, empty, truncated, decode_failed.
    """
    try:
        yield
    except FileNotFoundError:
        raise Unreadable("missing") from None
    except PermissionError:
        raise Unreadable("no_permission") from None
    except (OSError, ValueError, pa.ArrowException):
        raise Unreadable(_what_is_wrong(file)) from None


def schema(file: Path) -> pa.Schema:
    return pq.read_schema(file) if _is_parquet(file) else _arrow(file).schema


def names(file: Path, column: str) -> list[str | None]:
    """What each row's image is called, without its bytes."""
    kind = schema(file).field(column).type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None] * _length(file)
    if not _is_parquet(file):
        values = _arrow(file).column(column)
        return [name for chunk in values.chunks for name in _paths(chunk)]
    if not pa.types.is_struct(kind):
        return pq.read_table(file, columns=[column], memory_map=True).column(column).to_pylist()
    if kind.get_field_index("path") < 0:
        return [None] * _length(file)
    table = pq.ParquetFile(file, memory_map=True).read(columns=[f"{column}.path"])
    return [value and value["path"] for value in table.column(column).to_pylist()]


def rows(file: Path, columns: list[str]) -> list[dict[str, Any]]:
    """Some columns of all rows."""
    if _is_parquet(file):
        return pq.ParquetFile(file, memory_map=True).read(columns=columns).to_pylist()
    return _arrow(file).select(columns).to_pylist()


def each_row(file: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """As `rows`, one after the other, of which only some are in memory."""
    if not _is_parquet(file):
        yield from rows(file, columns)
        return
    for batch in pq.ParquetFile(file, memory_map=True).iter_batches(1024, columns=columns):
        yield from batch.to_pylist()


def read(path: Path, column: str) -> bytes | Path:
    """The bytes of the image at `FILE/#NUMBER`, or the path that stands in their place.

    Raises:
        Unreadable: `missing` where the cell is empty.
    """
    file, number = path.parent, int(path.name[1:])
    starts, chunks = _chunks(file, column)
    chunk = bisect.bisect_right(starts, number) - 1
    values: Any = chunks(chunk) if callable(chunks) else chunks[chunk]
    value = values[number - starts[chunk]].as_py()
    if isinstance(value, dict):
        found = value.get("bytes")
        value = found if found is not None else value.get("path")
    if value is None or value == "":
        raise Unreadable("missing")
    return value if isinstance(value, bytes) else file.parent / value


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _what_is_wrong(file: Path) -> str:
    """By how the file begins and ends; pyarrow says it in words only."""
    with open(file, "rb") as content:
        start = content.read(8)
        content.seek(-len(start), os.SEEK_END)
        end = content.read()
    if not start:
        return "empty"
    for first, last in ((b"PAR1", b"PAR1"), (b"ARROW1", b"ARROW1"), (_STREAM, _STREAM + bytes(4))):
        if start.startswith(first):
            return "decode_failed" if end.endswith(last) else "truncated"
    return "decode_failed"


def _paths(chunk: pa.Array) -> list[str | None]:
    if pa.types.is_struct(chunk.type):
        if chunk.type.get_field_index("path") < 0:
            return [None] * len(chunk)
        return chunk.field("path").to_pylist()
    return chunk.to_pylist()


def _length(file: Path) -> int:
    return pq.read_metadata(file).num_rows if _is_parquet(file) else _arrow(file).num_rows


@functools.lru_cache(maxsize=64)
def _arrow(file: Path) -> pa.Table:
    """An Arrow stream or file, mapped into memory."""
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


@functools.lru_cache(maxsize=64)
def _chunks(file: Path, column: str) -> Chunks:
    """The first row of each chunk, and the chunks or a function that reads one."""
    if not _is_parquet(file):
        values = _arrow(file).column(column)
        return [0, *itertools.accumulate(len(chunk) for chunk in values.chunks)], values.chunks
    opened = pq.ParquetFile(file, memory_map=True)
    sizes = (opened.metadata.row_group(i).num_rows for i in range(opened.num_row_groups))

    @functools.lru_cache(maxsize=1)  # rows are decoded in their order
    def group(number: int) -> pa.ChunkedArray:
        return opened.read_row_group(number, columns=[column], use_threads=False).column(0)

    return [0, *itertools.accumulate(sizes)], group

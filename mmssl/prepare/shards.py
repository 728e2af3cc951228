"""Rows into shards: new ones, and those of an older version without what is replaced."""

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from mmssl.data import store
from mmssl.data.store import Shard

pc: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them


class Part(NamedTuple):
    """A shard under the name that it has until all are counted."""

    split: str
    path: Path
    rows: int


def write_rows(
    folder: Path,
    split: str,
    schema: pa.Schema,
    rows: Iterable[Mapping[str, Any]],
    mean_bytes: float,
    *,
    ending: str = "new",
) -> list[Part]:
    """Rows in shards, of which none grows too large; `mean_bytes` of an image decides how they are grouped.

    Their files end in `ending` until `named` names them.
    """
    parts: list[Part] = []
    remaining = iter(rows)
    while (first := next(remaining, None)) is not None:
        counted = _Counted(itertools.chain([first], remaining))
        path = folder / "data" / f"{split}-{len(parts)}.{ending}"
        store.write_shard(path, schema, counted, mean_bytes)
        parts.append(Part(split, path, counted.rows))
    return parts


class _Counted:
    """Rows until a shard is full."""

    def __init__(self, rows: Iterator[Mapping[str, Any]]) -> None:
        self._left, self.rows, self._bytes = rows, 0, 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        while self.rows < store.SHARD_ROWS and self._bytes < store.SHARD_BYTES:
            row = next(self._left, None)
            if row is None:
                return
            self.rows += 1
            self._bytes += len(row["image"]["bytes"])
            yield row


def keep(folder: Path, shards: Iterable[Shard], path: Path, removed: set[str]) -> tuple[list[Shard], list[Part]]:
    """The shards of an older version: untouched ones as links, those that lose rows written anew.

    Args:
        folder: of the new version.
        shards: of the older one.
        path: of the older one.
        removed: ids of rows that are not kept.

    Returns:
        Those that are untouched, and those that were written anew.
    """
    untouched, parts = [], []
    gone = pa.array(sorted(removed), pa.string())
    for shard in shards:
        ids = pq.ParquetFile(path / shard.file).read(columns=["id"])["id"]
        lost = pc.sum(pc.is_in(ids, gone)).as_py() or 0
        if not lost:
            link(path / shard.file, folder / shard.file)
            untouched.append(shard)
        elif lost < shard.rows:
            part = folder / "data" / f"{Path(shard.file).stem}.new"
            _without(path / shard.file, part, gone)
            parts.append(Part(shard.split, part, shard.rows - lost))
    return untouched, parts


def named(folder: Path, parts: Iterable[Part], version: int) -> list[Shard]:
    """Parts under their names as shards of a version."""
    by_split: dict[str, list[Part]] = {}
    for part in parts:
        by_split.setdefault(part.split, []).append(part)
    found = []
    for split, here in by_split.items():
        for number, part in enumerate(here):
            name = store.shard_name(split, number, len(here), version)
            os.replace(part.path, folder / name)
            found.append(Shard(name, split, part.rows, (folder / name).stat().st_size))
    return found


def link(old: Path, new: Path) -> None:
    """The same file under another name; a copy where the file system has no links."""
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)


def _without(old: Path, new: Path, gone: pa.Array) -> None:
    file = pq.ParquetFile(old)
    with store.shard_writer(new, file.schema_arrow) as writer:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            kept = group.filter(pc.invert(pc.is_in(group["id"], gone)))
            if len(kept):
                writer.write_table(kept, row_group_size=len(kept))

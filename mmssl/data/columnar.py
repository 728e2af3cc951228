"""Large tables of public data sets, kept in columns: a row becomes an object only when its turn comes.

Every cell is text or null: a key is never parsed as a number, so leading zeros stay.
"""

import csv
import gzip
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from mmssl.errors import CannotDo, WrongUse

CHUNK = 2048
"""Rows that are objects at the same time."""

_GZIP = b"\x1f\x8b"


class Columns(NamedTuple):
    """A table, and the lines that are no rows of it."""

    rows: pa.Table
    bad: list[int]
    """Numbers of rows, from 1, with more or fewer cells than the header, or without a key."""


def find(folder: Path, name: str) -> Path | None:
    """A table in a folder, packed or not.

    >>> find(Path(__file__).parent, "train.csv") is None
    True
    """
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    return None


def read(path: Path, wanted: Sequence[str], *, optional: Sequence[str] = (), keys: Sequence[str] = ()) -> Columns:
    """Some columns of a .csv or .csv.gz.

    Args:
        path: of the table.
        wanted: columns that must be there.
        optional: columns that are null where the table lacks them.
        keys: columns without which a row is none.

    Raises:
        WrongUse: where a wanted column is missing.
        CannotDo: where the file cannot be read, or ends before it should.
    """
    there = header(path)
    if missing := [name for name in wanted if name not in there]:
        raise WrongUse(
            f"{path} has no column {', '.join(missing)}: it is another table, or was changed; it has "
            f"{', '.join(there) or 'none'}. Put the file in its place as it was published"
        )
    names = [*wanted, *(name for name in optional if name in there)]
    torn: list[int] = []

    def skip(row: Any) -> str:
        torn.append(row.number - 1)  # the header is row 1
        return "skip"

    try:
        rows = pacsv.read_csv(
            path,
            # One thread: only then does a row that is none know its number.
            read_options=pacsv.ReadOptions(use_threads=False, block_size=1 << 22),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
            convert_options=pacsv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (OSError, EOFError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise CannotDo(_unread(path, error)) from None
    for name in optional:
        if name not in there:
            rows = rows.append_column(name, pa.nulls(len(rows), pa.string()))
    whole: dict[str, Any] = {}
    for name in (*wanted, *optional):
        whole[name] = rows[name].combine_chunks()
        rows = rows.drop_columns([name])  # column by column, so that not all of them are there twice
    return _with_keys(pa.table(whole), torn, keys)


def groups(rows: pa.Table, by: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows that agree in some columns, group by group in the order of these; few are objects at a time."""
    by_columns = pc.SortOptions(sort_keys=[(name, "ascending") for name in by])
    order = pc.call_function("sort_indices", [rows], by_columns)
    taken = (rows.take(order.slice(start, CHUNK)).to_pylist() for start in range(0, len(rows), CHUNK))
    for _, group in itertools.groupby(itertools.chain.from_iterable(taken), lambda row: [row[name] for name in by]):
        yield list(group)


def check_unique(path: Path, rows: pa.Table, key: str) -> None:
    """Raises WrongUse where a table that has a row for each key has two for one."""
    twice = len(rows) - len(rows[key].unique())
    if twice:
        raise WrongUse(
            f"{path}: {twice} rows have a {key} that was there before; as it was published, each has one row. Was the "
            "table changed, or joined with another? Put the published file in its place"
        )


def header(path: Path) -> list[str]:
    """The names of a table's columns, none where it is empty.

    Raises:
        CannotDo: where the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == _GZIP
        opened = gzip.open if packed else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, EOFError, ValueError) as error:
        raise CannotDo(_unread(path, error)) from None


def _unread(path: Path, error: Exception) -> str:
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"{path} cannot be read ({said}): was its download interrupted? Fetch it again, and compare its checksum"


def _with_keys(rows: pa.Table, torn: list[int], keys: Sequence[str]) -> Columns:
    """The rows that have all keys; the others are among the bad ones."""
    if not any(rows[key].null_count for key in keys):
        return Columns(rows, torn)
    whole = [all(cells) for cells in zip(*(rows[key].is_valid().to_pylist() for key in keys), strict=True)]
    skipped = iter(sorted(torn))
    numbers, bad, after = itertools.count(1), list(torn), next(skipped, None)
    for valid in whole:
        number = next(numbers)
        while number == after:
            number, after = next(numbers), next(skipped, None)
        if not valid:
            bad.append(number)
    return Columns(rows.filter(pa.array(whole)), sorted(bad))

"""The index: vectors, metadata and thumbnails of a store's images in one folder that needs neither again.

    INDEX/rows.lance    a LanceDB table: `vector` [D] float32 of length one, `thumbnail` (JPEG), the store's columns
    INDEX/mmssl.json    what it was made from

Search is exact: every row that a filter leaves is compared.

An index of a store that has grown is written anew beside the old one, which it then replaces whole: what it holds
already is copied and not embedded again, and nothing is left on the disk of rows that are gone from the store.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import mmssl
from mmssl import console, page
from mmssl.errors import CannotDo, WrongUse
from mmssl.files import read_format, swapped, whole_folder, write_json
from mmssl.search.held import Held, lancedb
from mmssl.where import OWN, given_name, sql_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from mmssl.data.store import Store

FORMAT = 1
ROWS, INFO = "rows", "mmssl.json"
CHUNK, AT_ONCE = 64, 4096
"""Rows encoded between two moves of the progress bar, and rows written at a time."""


class Encodes(Protocol):
    """What is asked of an embedder (`mmssl.embed.Embedder`); vectors are [N, D] float32 of length one."""

    path: Path
    hash: str

    @property
    def dim(self) -> int: ...
    @property
    def has_text(self) -> bool: ...
    def encode_rows(self, store: Store, rows: Sequence[int]) -> np.ndarray: ...
    def encode_text(self, texts: Sequence[str]) -> np.ndarray: ...
    def encode_image(self, pictures: Sequence[Any]) -> np.ndarray: ...
    def truncated(self, texts: Sequence[str]) -> list[bool]: ...


# ---- making one ----------------------------------------------------------------------------------------------------


def index(
    checkpoint: Path | str, store: Path | str, index: Path | str, *, split: str = "all", where: str | None = None
) -> Path:
    """Makes the images of a store searchable.

    Args:
        checkpoint: whose encoders read them.
        store: as `mmssl prepare` makes it.
        index: folder to write; it is there whole or not at all. One of the same store, checkpoint and choice follows
            the store where that has changed since: only pictures that are new are embedded.
        split: train, validation, test or all.
        where: which rows, `view in ('PA', 'AP') and age > 60`.

    Returns:
        The folder.

    Raises:
        WrongUse: where `index` is there already and was made from something else.
        CannotDo: where checkpoint or store cannot be read, no row is left, or the index cannot be written.
    """
    from mmssl import embed
    from mmssl.data.store import Store

    return build(embed.load(checkpoint), Store(Path(store)), Path(index), split=split, where=where)


def build(embedder: Encodes, store: Store, path: Path, *, split: str = "all", where: str | None = None) -> Path:
    """As `index`, with an embedder and a store that are open already."""
    _check_place(path, embedder.path, store.path)
    info = {
        "format": FORMAT,
        "mmssl": mmssl.__version__,
        "kind": "image_text" if embedder.has_text else "image",
        "dim": embedder.dim,
        "split": split,
        "where": where,
        "checkpoint": _place(path, embedder.path) | {"hash": embedder.hash},
        "store": _place(path, store.path) | {"content_hash": store.content_hash, "version": store.version},
        "deidentified": store.manifest["deidentified"],
    }
    there = _there(path, info)
    if there is not None and _made_from(there.info) == _made_from(info):
        _name_version(there, info)
        console.say(f"{path} is there and complete: nothing to do")
        return path
    table = store.select(split=split, where=where)
    if not len(table):
        chosen = " and ".join(filter(None, [f"split {split}", where]))
        raise CannotDo(f"no row of {store.path} is left to index by: {chosen}")
    held = _held(there, store, table)
    with whole_folder(path) as part:
        _write(part, embedder, store, table, held)
        write_json(part / INFO, info | {"rows": len(table), "created": datetime.now(UTC).isoformat(timespec="seconds")})
    console.say(f'{len(table)} images in {path}; ask it with: mmssl search {path} "..."')
    return path


def _place(index: Path, other: Path) -> dict[str, str]:
    """Where another folder lies, also as seen from the index: the two may be moved together."""
    return {"path": str(other.resolve()), "beside": os.path.relpath(other.resolve(), index.resolve())}


def _check_place(path: Path, checkpoint: Path, store: Path) -> None:
    """Raises WrongUse where an index would lie inside what it is made from, or over something else."""
    for name, other in (("checkpoint", checkpoint), ("store", store)):
        if path.resolve().is_relative_to(other.resolve()):
            raise WrongUse(f"the index {path} would lie inside the {name} {other}; name a folder of its own")
    if path.exists() and not path.is_dir():
        raise WrongUse(f"{path} is a file; an index is a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / INFO).exists():
        raise WrongUse(f"{path} is there and is no index; name another folder, or remove it")


def _there(path: Path, info: dict[str, Any]) -> Index | None:
    """The index at `path`, of the same, or of what its store held before; an error where it is of something else."""
    if not (path / INFO).exists():
        return None
    there = open_index(path)
    now, then = _made_from(info), _made_from(there.info)
    same_place = there.place_of("store").resolve() == Path(info["store"]["path"])
    if now == then or (same_place and now | {"store": then["store"]} == then):
        return there
    other = "; ".join(f"{name} {then[name]}, now {now[name]}" for name in now if now[name] != then[name])
    raise WrongUse(f"{path} is an index of something else ({other}); name another folder, or remove it")


def _name_version(there: Index, info: dict[str, Any]) -> None:
    """Notes the version of a store that brought nothing to its index."""
    if there.info["store"]["version"] != info["store"]["version"]:
        store = there.info["store"] | {"version": info["store"]["version"]}
        write_json(there.path / INFO, there.info | {"store": store})


def _held(there: Index | None, store: Store, table: pa.Table) -> Held | None:
    """What the index that is there holds of the rows to come, said aloud; None without one."""
    if there is None:
        return None
    with there.reading():
        held = Held(there.table, there.info["rows"], table)
    then = there.info["store"]["version"]
    console.say(
        f"the store {store.path} has changed since {there.path} was made (version {then} then, {store.version} now): "
        f"{held.changes.said()}"
    )
    return held


def _made_from(info: dict[str, Any]) -> dict[str, str]:
    """What decides what is in an index."""
    checkpoint, store = info["checkpoint"]["hash"][:12], info["store"]["content_hash"][:12]
    return {"checkpoint": checkpoint, "store": store, "split": info["split"], "where": info["where"] or "none"}


def _write(path: Path, embedder: Encodes, store: Store, table: pa.Table, held: Held | None) -> None:
    import pyarrow as pa

    metadata, numbers = tidy(table.drop_columns(["row"])), table["row"].to_pylist()
    own = [pa.field("vector", pa.list_(pa.float32(), embedder.dim)), pa.field("thumbnail", pa.binary())]
    schema = pa.schema([*metadata.schema, *own])
    with _written(path):
        lance = lancedb().connect(path).create_table(ROWS, schema=schema)
    with console.progress("index", len(numbers), "images") as advance:
        for start in range(0, len(numbers), AT_ONCE):
            ids = table["id"].slice(start, AT_ONCE).to_pylist()
            here = dict(zip(ids, numbers[start : start + AT_ONCE], strict=True))
            vectors, thumbnails = _shown(embedder, store, here, held, advance)
            columns = [*metadata.slice(start, AT_ONCE).columns, vectors, thumbnails]
            with _written(path):
                lance.add(pa.Table.from_arrays(columns, schema=schema))


def _shown(
    embedder: Encodes, store: Store, rows: dict[str, int], held: Held | None, advance: Callable[..., None]
) -> tuple[pa.Array, pa.Array]:
    """Vectors and thumbnails of rows {id: number}, each from the index that is there, or made now."""
    import numpy as np
    import pyarrow as pa

    found = held.take([one for one in rows if one in held]) if held else {}
    advance(len(found))
    new = {one: row for one, row in rows.items() if one not in found}
    if new:
        made = _vectors(embedder, store, list(new.values()), advance)
        thumbnails = [page.thumbnail(store.image(row)) for row in new.values()]
        found |= dict(zip(new, zip(made, thumbnails, strict=True), strict=True))
    vectors = np.stack([found[one][0] for one in rows]).ravel()
    pictures = pa.array([found[one][1] for one in rows], pa.binary())
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors), embedder.dim), pictures


def _vectors(embedder: Encodes, store: Store, rows: list[int], advance: Callable[..., None]) -> np.ndarray:
    """[N, D] float32, one for each row."""
    import numpy as np

    found = []
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        vectors = embedder.encode_rows(store, some)
        assert vectors.shape == (len(some), embedder.dim), f"vectors of shape {vectors.shape} for {len(some)} rows"
        if not np.isfinite(vectors).all():
            raise CannotDo(f"{embedder.path} gives vectors that are not finite: it did not train well")
        found.append(vectors)
        advance(len(some))
    return np.concatenate(found).astype(np.float32)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """What LanceDB cannot write, as an error that says so."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        why = "the disk is full" if "No space left" in str(error) else str(error).splitlines()[0]
        raise CannotDo(f"no index could be written to {path.parent}: {why}; nothing of it is left there") from error


def tidy(table: pa.Table) -> pa.Table:
    """The table as LanceDB and `Where.sql` take it: plain names, null instead of NaN, text where nothing is known."""
    import pyarrow as pa

    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_floating(column.type):
            column = pa.array(column.to_numpy(zero_copy_only=False), column.type, from_pandas=True)
        columns[sql_name(name)] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    return pa.table(columns)


# ---- opening one ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Index:
    """An index that is whole and of a format known here."""

    path: Path
    info: dict[str, Any]
    table: Any
    """The LanceDB table."""

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What its table cannot answer, as an error that says so; a table opens without a look at its rows."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise CannotDo(
                f"{self.path} is an incomplete index: its rows cannot be read; remove it and {_again(self.path)}"
            ) from error

    def place_of(self, what: Literal["checkpoint", "store"]) -> Path:
        """Where that was when the index was made, or lies now that both were moved together."""
        then, beside = Path(self.info[what]["path"]), self.path / self.info[what]["beside"]
        return beside if beside.exists() and not then.exists() else then

    @property
    def columns(self) -> pa.Schema:
        """The metadata that hits carry and filters may name, as the store called it."""
        import pyarrow as pa

        own = [field for field in self.table.schema if field.name not in OWN]
        return pa.schema([field.with_name(given_name(field.name)) for field in own])


def open_index(path: Path) -> Index:
    """Opens an index.

    Raises:
        CannotDo: where there is none, it is incomplete, or a newer version wrote it.
    """
    again = _again(path)
    if not path.is_dir():
        raise CannotDo(f"there is no index at {path}; {again}")
    if not (path / INFO).exists():
        if said := swapped(path, needed="an index"):
            raise CannotDo(said)
        raise CannotDo(f"{path} is no index, or an incomplete one: it has no {INFO}; {again}")
    info = read_format(path / INFO, newest=FORMAT, what="index", again=again)
    try:
        table = lancedb().connect(path).open_table(ROWS)
        rows = table.count_rows()
    except (OSError, RuntimeError, ValueError):
        raise CannotDo(f"{path} is an incomplete index: its table cannot be opened; remove it and {again}") from None
    if rows != info["rows"]:
        raise CannotDo(f"{path} is an incomplete index: {rows} of {info['rows']} rows are there; remove it and {again}")
    return Index(path, info, table)


def _again(path: Path) -> str:
    return f"make it with: mmssl index CHECKPOINT STORE {path}"

"""The store: one folder of Parquet files, a row per image, that plain `datasets.load_dataset(PATH)` opens too.

`data/SPLIT-00000-of-0000N-v1.parquet` hold the rows, `sources.parquet` and `rejected.parquet` say what became of
every input, `manifest.json` says what is here. The image column is neither compressed nor dictionary-encoded and row
groups are small, so that single images are read fast and nothing is copied into a cache.
"""

import bisect
import hashlib
import io
import itertools
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mmssl.errors import CannotDo, WrongUse, meant
from mmssl.files import read_format, swapped

if TYPE_CHECKING:
    from PIL import Image

FORMAT = 2
"""The layout written here; a store of a higher number was written by a newer mmssl."""

OLDEST = 2
"""The oldest layout that is read here."""

TOLD = ("version", "shards", "content_hash")
"""Keys of manifest.json without which it is none."""

SPLITS = ("train", "validation", "test")

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "text": pa.string(),
        "text_from": pa.string(),
        "report": pa.string(),
        "sections": pa.list_(pa.struct({"name": pa.string(), "text": pa.string()})),
        "sentences": pa.list_(pa.string()),
        "needs_prior": pa.list_(pa.bool_()),
        "findings": pa.list_(
            pa.struct({"name": pa.string(), "code": pa.string(), "assertion": pa.string(), "laterality": pa.string()})
        ),
        "language": pa.string(),
        "patient_id": pa.string(),
        "study_id": pa.string(),
        "study_datetime": pa.timestamp("s"),
        "prior_study_id": pa.string(),
        "modality": pa.string(),
        "body_part": pa.string(),
        "view": pa.string(),
        "laterality": pa.string(),
        "sex": pa.string(),
        "age": pa.float32(),
        "ethnicity": pa.string(),
        "site": pa.string(),
        "scanner": pa.string(),
        "flags": pa.list_(pa.string()),
        "split": pa.string(),
        "source_id": pa.string(),
        "instance_id": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "pixel_hash": pa.string(),
        "phash": pa.string(),
        "shown": pa.string(),
        "window_width": pa.float32(),
        "row_hash": pa.string(),
        "version": pa.int32(),
    }
)
"""The columns that every store has, all nullable; a store may have more (label_NAME, source_NAME, a table's own)."""

SOURCES = pa.schema(
    {
        "source_id": pa.string(), "row_ids": pa.list_(pa.string()), "reason": pa.string(),
        "version": pa.int32(), "replaced": pa.int32(), "stamp": pa.string(),
    }
)  # fmt: skip
"""A line for each input: its rows or why there are none, the version of the store that brought it, the one that
replaced it, and a hash by which its file is known again."""

REJECTED = pa.schema(
    {
        "source_id": pa.string(), "frame": pa.int32(), "reason": pa.string(), "detail": pa.string(),
        "split": pa.string(), "version": pa.int32(),
    }
)  # fmt: skip
PAIRS = pa.schema({"id": pa.string(), "like": pa.string(), "kind": pa.string(), "version": pa.int32()})
"""Rows of two patients that show the same picture, or nearly: `duplicate` or `near_duplicate`, for review."""

STUDIES = pa.schema({"study_id": pa.string(), "stamp": pa.string(), "version": pa.int32()})
"""A line for each study: a hash of all that it was made of, and the version that made it."""

GROUP_ROWS = 32
"""Most rows of a row group; all of a group is touched to read one image."""
GROUP_BYTES = 1 << 20
SHARD_ROWS = 8192
SHARD_BYTES = 512 << 20


class Shard(NamedTuple):
    """One Parquet file of rows, as the manifest lists it."""

    file: str
    split: str
    rows: int
    bytes: int


class Store:
    """Reads a store; opens its files when they are first needed, in each process anew.

    Example:
        store = Store(Path("STORE"))
        rows = store.select(split="test", where="age > 60", columns=["text"])
        picture = store.image(rows["row"][0].as_py())

    Raises:
        CannotDo: where the folder is no store, is incomplete, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.shards = [Shard(**shard) for shard in self.manifest["shards"]]
        self._starts = [0, *itertools.accumulate(shard.rows for shard in self.shards)]
        self._check_complete()
        self._local = threading.local()
        self._modality: list[str | None] | None = None
        self.schema: pa.Schema = pq.read_schema(self.path / self.shards[0].file)
        """Of all columns: those of the shards, then those that came with a later version, which lie in `extra`."""
        self._later = {name: self.path / later_file(name) for name in self.manifest.get("later_columns", ())}
        for name, file in self._later.items():
            self.schema = self.schema.append(pq.read_schema(file).field("value").with_name(name))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_local": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    @property
    def version(self) -> int:
        return self.manifest["version"]

    @property
    def content_hash(self) -> str:
        """SHA-256 over ids and contents of all rows; the same for the same rows, whenever they were written."""
        return self.manifest["content_hash"]

    @property
    def columns(self) -> list[str]:
        return self.schema.names

    def select(
        self, *, split: str | None = None, where: str | None = None, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Columns of the rows that are asked for, in store order, with their numbers in `row`; never the image.

        Raises:
            WrongUse: for a split or column that the store lacks, or a filter that cannot be meant.
        """
        from mmssl import where as filters

        wanted = [name for name in self.columns if name != "image"] if columns is None else list(columns)
        known = [name for name in self.columns if name != "image"]
        for name in wanted:
            if name not in known and name != "row":
                raise WrongUse(f"{self.path} has no column {name!r}{meant(name, known)}; there are {', '.join(known)}")
        condition = None
        if where is not None:
            condition = filters.parse(where).check(pa.schema([self.schema.field(name) for name in known]))
        shown: list[str] = list(dict.fromkeys(["id", *(name for name in wanted if name != "row")]))
        read: list[str] = list(dict.fromkeys([*shown, *(condition.columns() if condition else [])]))
        table = self._read(self._shards_of(split), read)
        if condition:
            table = table.filter(condition.expression())
        return table.select(["row", *shown])

    def parts(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """As `select` of all rows, shard by shard, so that no more than one is in memory."""
        for shard in self.shards:
            yield self._read([shard], list(dict.fromkeys(["id", *columns])))

    def image_bytes(self, row: int) -> bytes:
        """The stored file of a row: JPEG or PNG, or as the source had it."""
        return self._cells(row, ["image.bytes"])[0].field(0)[0].as_py()

    def image_name(self, row: int) -> str:
        """The name of the stored file of a row: its id, and an ending that says of what kind it is."""
        return self._cells(row, ["image.path"])[0].field(0)[0].as_py()

    def row(self, row: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """What the shards say of one row, without its image: all, or the columns that are asked for."""
        wanted = [name for name in columns or self.schema.names if name != "image" and name not in self._later]
        return dict(zip(wanted, (cell[0].as_py() for cell in self._cells(row, wanted)), strict=True))

    def _cells(self, row: int, columns: list[str]) -> list[pa.Array]:
        """[1] for each column, of one row."""
        number = bisect.bisect_right(self._starts, row) - 1
        if row < 0 or number >= len(self.shards):
            raise IndexError(f"row {row} of {len(self)} rows")
        file, groups = self._open(number)
        inside = row - self._starts[number]
        group = bisect.bisect_right(groups, inside) - 1
        table = file.read_row_group(group, columns=columns, use_threads=False)
        return [column.chunk(0).slice(inside - groups[group], 1) for column in table.columns]

    def image(self, row: int) -> "Image.Image":
        """The picture of a row as towers see it: 8 bit, mode L or RGB, by the intensity contract."""
        from PIL import Image

        from mmssl.data import images

        modality = self._modality or self._read(self.shards, ["modality"])["modality"].to_pylist()
        self._modality = modality
        return images.view8(Image.open(io.BytesIO(self.image_bytes(row))), modality[row], self.manifest["intensity"])

    def _read(self, shards: Sequence[Shard], columns: list[str]) -> pa.Table:
        later = [name for name in columns if name in self._later]
        if later:
            table = self._read(shards, list(dict.fromkeys(["id", *(name for name in columns if name not in later)])))
            for name in later:
                table = table.append_column(name, self._later_values(name, table["id"]))
            return table.select([*columns, "row"])
        tables = []
        for shard in shards:
            table = pq.ParquetFile(self.path / shard.file, memory_map=True).read(columns=columns)
            first = self._starts[self.shards.index(shard)]
            numbers = pa.array(range(first, first + shard.rows), pa.int64())
            tables.append(table.append_column("row", numbers))
        if not tables:
            empty = pa.schema([*(self.schema.field(name) for name in columns), pa.field("row", pa.int64())])
            return empty.empty_table()
        return pa.concat_tables(tables).replace_schema_metadata(None)

    def _later_values(self, name: str, ids: pa.ChunkedArray) -> pa.ChunkedArray:
        """A column that came with a later version, for rows by their ids; null where it says nothing of them."""
        import pyarrow.compute

        compute: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them
        told = pq.read_table(self._later[name])
        return told["value"].take(compute.index_in(ids, told["id"].combine_chunks()))

    def _shards_of(self, split: str | None) -> list[Shard]:
        if split is None or split == "all":
            return self.shards
        if split not in SPLITS:
            raise WrongUse(
                f"no such split: {split!r}{meant(split, [*SPLITS, 'all'])}; there are {', '.join(SPLITS)}, all"
            )
        return [shard for shard in self.shards if shard.split == split]

    def _open(self, number: int) -> tuple[pq.ParquetFile, list[int]]:
        """A shard's file and the first row of each of its row groups; not shared by threads or forked processes."""
        local = self._local
        if local.__dict__.get("process") != os.getpid():
            local.process, local.files = os.getpid(), {}
        if number not in local.files:
            file = pq.ParquetFile(self.path / self.shards[number].file, memory_map=True, pre_buffer=False)
            sizes = (file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))
            local.files[number] = file, [0, *itertools.accumulate(sizes)][:-1]
        return local.files[number]

    def _check_complete(self) -> None:
        if not self.shards:
            raise CannotDo(f"{self.path} is an incomplete store: its manifest lists no rows; prepare it again")
        for shard in self.shards:
            file = self.path / shard.file
            if not file.is_file() or file.stat().st_size != shard.bytes:
                said = "is missing" if not file.is_file() else "has another size than when it was written"
                raise CannotDo(f"{self.path} is an incomplete store: {shard.file} {said}; prepare it again")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of the store at a path.

    Raises:
        CannotDo: where there is none that this version understands.
    """
    file, again = Path(path) / "manifest.json", f"make one with: mmssl prepare SOURCE {path}"
    if not file.exists():
        if said := swapped(Path(path), needed="a store"):
            raise CannotDo(said)
        what = "has no manifest.json" if Path(path).exists() else "does not exist"
        raise CannotDo(f"{path} is no store: it {what}; {again}")
    told = read_format(file, key="schema", newest=FORMAT, what="store", again=again)
    if told["schema"] < OLDEST:
        raise CannotDo(f"{path} was written by an older mmssl (store format {told['schema']}); {again}")
    if missing := [key for key in TOLD if key not in told]:
        raise CannotDo(f"{file} is damaged: it has no {', '.join(missing)}; {again}")
    return told


# ---- writing -------------------------------------------------------------------------------------------------------


def schema_with(extra: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of a store's shards: our columns, then the extra ones by name, and how `datasets` shows the image."""
    shown = {"info": {"features": {"image": {"_type": "Image"}}}}
    more = [pa.field(name, extra[name]) for name in sorted(extra)]
    return pa.schema([*SCHEMA, *more]).with_metadata({"huggingface": json.dumps(shown)})


def write_shard(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]], mean_bytes: float) -> None:
    """One Parquet file of rows; `mean_bytes` of an image decides how many rows make a row group."""
    size = group_rows(mean_bytes)
    with shard_writer(path, schema) as writer:
        remaining = iter(rows)
        while group := list(itertools.islice(remaining, size)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema), row_group_size=size)


def shard_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes shards: pictures as they are, all else compressed."""
    leaves = list(_leaves(schema))
    plain = {"image.bytes", "image.path"}
    return pq.ParquetWriter(
        path,
        schema,
        compression={leaf: "NONE" if leaf in plain else "ZSTD" for leaf in leaves},  # pyright: ignore[reportArgumentType]
        use_dictionary=[leaf for leaf in leaves if leaf not in plain],  # pyright: ignore[reportArgumentType]
        write_statistics=False,
    )


def group_rows(mean_bytes: float) -> int:
    """Rows of a row group for images of so many bytes: about a megabyte, 4 to 32 rows."""
    return max(4, min(GROUP_ROWS, int(GROUP_BYTES / max(mean_bytes, 1))))


def shard_name(split: str, number: int, of: int, version: int = 1) -> str:
    """`data/train-00000-of-00003-v1.parquet`, a name by which `datasets` knows the split."""
    return f"data/{split}-{number:05d}-of-{of:05d}-v{version}.parquet"


def later_file(column: str) -> str:
    """Where the values of a column lie that came with a later version: columns `id` and `value`."""
    return (
        f"extra/{hashlib.sha256(column.encode()).hexdigest()[:8]}-{re.sub('[^A-Za-z0-9_-]', '_', column)[:64]}.parquet"
    )


def _leaves(schema: pa.Schema) -> Iterator[str]:
    """Names of the columns as Parquet stores them, nested ones spelt out."""

    def below(name: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for child in kind.fields:
                yield from below(f"{name}.{child.name}", child.type)
        elif pa.types.is_list(kind):
            yield from below(f"{name}.list.element", kind.value_type)
        else:
            yield name

    for field in schema:
        yield from below(field.name, field.type)

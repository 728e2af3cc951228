"""What became of every input, and what a store holds, counted from its own files."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from mmssl import files
from mmssl.data import folders, store
from mmssl.prepare import rows
from mmssl.prepare.entries import Entry
from mmssl.prepare.rows import Content
from mmssl.prepare.there import There

if TYPE_CHECKING:
    from mmssl.prepare.write import Changes

pc: Any = pyarrow.compute  # makes its functions when imported, so that type checkers do not see them

BATCH = 4096
"""Lines that are written together."""

COUNTED = ["patient_id", "study_id", "flags", "text_from", "row_hash", "text", "report", "language"]

Line = dict[str, Any]


def write(folder: Path, content: Content, changes: "Changes") -> None:
    """`sources.parquet`, `rejected.parquet` and `studies.parquet`.

    A line of an older version stays where its input did not come again, or came to the same; where it came to
    something else, the line says which version replaced it.
    """
    before = changes.there.lines(changes.came) if changes.there else {}
    same = {line["source_id"] for line in _lines(content) if _is_same(line, before, changes)}
    renewed = before.keys() - same
    version = changes.version
    old_sources, old_rejected, old_studies = (
        changes.there.table(name) if changes.there else () for name in ("sources", "rejected", "studies")
    )
    sources = itertools.chain(
        (line | {"replaced": version} if _is_renewed(line, renewed) else line for line in old_sources),
        (line | {"version": version} for line in _lines(content) if line["source_id"] not in same),
    )
    rejected = itertools.chain(
        (line for line in old_rejected if line["source_id"] not in renewed),
        (line | {"version": version} for line in _rejected(content) if line["source_id"] not in same),
    )
    stamps = content.stamps
    studies = itertools.chain(
        (line for line in old_studies if line["study_id"] not in stamps),
        ({"study_id": name, "stamp": stamp, "version": version} for name, stamp in stamps.items()),
    )
    _write(folder / "pairs.parquet", store.PAIRS, _pairs(content, changes))
    _write(folder / "sources.parquet", store.SOURCES, sources)
    _write(folder / "rejected.parquet", store.REJECTED, rejected)
    _write(folder / "studies.parquet", store.STUDIES, studies)


def _is_same(line: Line, before: Mapping[str, Line], changes: "Changes") -> bool:
    old = before.get(line["source_id"])
    return (
        old is not None
        and (old["row_ids"], old["reason"]) == (line["row_ids"], line["reason"])
        and changes.unchanged.issuperset(line["row_ids"])
    )


def _is_renewed(line: Line, renewed: set[str]) -> bool:
    return line["replaced"] is None and line["source_id"] in renewed


def _frames(content: Content) -> Iterator[tuple[Entry, list[int]]]:
    """Every entry with the places of its frames."""
    places = itertools.groupby(range(len(content.spool)), key=lambda place: int(content.spool.entry[place]))
    for number, here in places:
        yield content.entries[number], list(here)


def _lines(content: Content) -> Iterator[Line]:
    """One for each input: its rows, or the reason why there are none."""
    for entry, places in _frames(content):
        why = [content.verdicts.reasons[place] for place in places]
        kept = [place for place, reason in zip(places, why, strict=True) if reason is None]
        ids = [rows.row_id(entry.source_id, int(content.spool.number[place])) for place in kept]
        yield {
            "source_id": entry.source_id,
            "stamp": entry.stamp,
            "row_ids": ids,
            "reason": None if ids else next(filter(None, why)),
            "replaced": None,
        }


def _rejected(content: Content) -> Iterator[Line]:
    """One for each frame that is no row."""
    for entry, places in _frames(content):
        for place in places:
            if content.verdicts.reasons[place] is not None:
                yield {
                    "source_id": entry.source_id,
                    "frame": int(content.spool.number[place]),
                    "reason": content.verdicts.reasons[place],
                    "detail": content.verdicts.details.get(place) or looked_for(entry, content),
                    "split": entry.split,
                }


def _pairs(content: Content, changes: "Changes") -> Iterator[Line]:
    """Pairs for review, of which both are rows."""
    there, verdicts = changes.there, content.verdicts

    def name(place: int) -> str | None:
        if place >= len(content.spool):
            return verdicts.known.row_id(place - len(content.spool))
        if verdicts.reasons[place] is not None:
            return None
        entry = content.entries[int(content.spool.entry[place])]
        return rows.row_id(entry.source_id, int(content.spool.number[place]))

    seen: set[tuple[str, str]] = set()
    for place, like, kind in verdicts.pairs:
        one, other = name(place), name(like)
        if one and other:
            seen.add((one, other))
            yield {"id": one, "like": other, "kind": kind, "version": changes.version}
    gone = changes.removed - changes.moved
    for line in there.table("pairs") if there else ():
        if (line["id"], line["like"]) not in seen and not {line["id"], line["like"]} & gone:
            yield line


def looked_for(entry: Entry, content: Content) -> str | None:
    """The whole path of an input's file; None where it has none, or where ids are pseudonyms."""
    path = entry.picture.path
    return folders.written(os.path.normpath(path.absolute())) if path and content.names_paths else None


def _write(path: Path, schema: pa.Schema, lines: Iterable[Line]) -> None:
    remaining = iter(lines)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(remaining, BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def write_later(
    folder: Path,
    later: Mapping[str, Mapping[str, Any]],
    there: There | None,
    removed: set[str],
    types: Mapping[str, pa.DataType],
) -> list[str]:
    """Columns that the shards lack, each in a file of its own; what older versions said of rows that stay is kept.

    Returns:
        The names of all such columns.
    """
    old = there.later() if there else {}
    for name in dict.fromkeys((*old, *later)):
        told = {row: value for row, value in old.get(name, {}).items() if row not in removed} | dict(
            later.get(name, {})
        )
        kinds = {types[name]} if name in types else set()
        kinds |= {there.store.schema.field(name).type} if there and name in old else set()
        kind = rows.common(kinds)
        table = pa.table(
            {
                "id": pa.array(list(told), pa.string()),
                "value": pa.array([rows.fit(value, kind) for value in told.values()], kind),
            }
        )
        path = folder / store.later_file(name)
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
    return sorted({*old, *later})


# ---- counted -------------------------------------------------------------------------------------------------------


def count(folder: Path, shards: Sequence[store.Shard]) -> dict[str, Any]:
    """What a manifest says of the files of a store: counts, flags, splits, text and content_hash."""
    patients: dict[str, set[int]] = {split: set() for split in store.SPLITS}
    studies: set[int] = set()
    flags, text_from, per_split = Counter[str](), Counter[str](), Counter[str]()
    languages = Counter[str]()
    with_text = 0
    hashes = rows.ContentHash()
    for shard in shards:
        file = pq.ParquetFile(folder / shard.file)
        for batch in file.iter_batches(BATCH, columns=COUNTED):
            per_split[shard.split] += len(batch)
            patients[shard.split].update(map(files.number_of, pc.unique(batch["patient_id"]).to_pylist()))
            studies.update(map(files.number_of, pc.unique(batch["study_id"]).to_pylist()))
            flags.update(pc.list_flatten(batch["flags"]).to_pylist())
            text_from.update(batch["text_from"].to_pylist())
            languages.update(batch.filter(pc.is_valid(batch["report"]))["language"].to_pylist())
            with_text += len(batch) - batch["text"].null_count
            hashes.add(batch["row_hash"].to_pylist())
    total = sum(per_split.values())
    return {
        "content_hash": hashes.hexdigest(),
        "counts": _sources(folder)
        | {"rows": total, "patients": len(set().union(*patients.values())), "studies": len(studies)},
        "flags": dict(sorted(flags.items())),
        "splits": {split: {"rows": per_split[split], "patients": len(patients[split])} for split in store.SPLITS},
        "languages": {str(name): number for name, number in sorted(languages.items(), key=str)},
        "text": dict(sorted(text_from.items())) | {"rows_with_text": with_text},
    }


def _sources(folder: Path) -> dict[str, Any]:
    """Counts of the inputs that no later version replaced."""
    why: Counter[str | None] = Counter()
    kept: list[np.ndarray] = []
    num_rows = 0
    for batch in pq.ParquetFile(folder / "sources.parquet").iter_batches(BATCH):
        here = batch.filter(pc.is_null(batch["replaced"]))
        why.update(here["reason"].to_pylist())
        names = here.filter(pc.is_null(here["reason"]))["source_id"].to_pylist()
        kept.append(np.array([files.number_of(name) for name in names], np.int64))
        num_rows += pc.sum(pc.list_value_length(here["row_ids"])).as_py() or 0
    numbers = np.concatenate([*kept, np.zeros(0, np.int64)])
    left_out = 0
    for batch in pq.ParquetFile(folder / "rejected.parquet").iter_batches(BATCH, columns=["source_id"]):
        here = np.array([files.number_of(name) for name in batch["source_id"].to_pylist()], np.int64)
        left_out += int(np.isin(here, numbers).sum())
    rejected = {reason: number for reason, number in sorted(why.items(), key=str) if reason is not None}
    return {
        "inputs": sum(why.values()),
        "kept": why[None],
        "rejected": sum(rejected.values()),
        "reasons": rejected,
        "rejected_frames_of_kept": left_out,
        "rows_of_inputs": num_rows,
    }

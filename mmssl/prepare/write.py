"""The files of a store, or of its next version: rows that are new or have changed, and links to all that has not.

A row that comes again and says the same stays where it is. One that says something else takes the place of the old one,
and brings its study with it, so that rows of a study stay together.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmssl import console
from mmssl.data import store
from mmssl.data.splits import Split
from mmssl.errors import CannotDo
from mmssl.prepare import accounts, rows, shards, texts
from mmssl.prepare.entries import Entry
from mmssl.prepare.merging import Merged
from mmssl.prepare.rows import Content
from mmssl.prepare.there import There

OF_STUDY = ("sex", "age", "ethnicity", "site", "study_datetime", "prior_study_id", "language")
"""Columns that a study that comes again brings to its other pictures too, beside its labels."""
OF_TEXT = ("text_", "report_")
"""How flags begin that are of what was written."""


@dataclass
class Changes:
    """What a version does to the one before it."""

    version: int
    there: There | None
    of_study: dict[str, list[int]]
    """{study id: rows} of the version before, of the studies that come again."""
    came: set[str]
    """Source ids of the inputs that were read for this version."""
    entry_of: dict[str, int] = field(default_factory=dict)
    """{study id: an entry of it} of the studies that come again, until their rows were looked at."""
    new: int = 0
    unchanged: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    """Ids of rows of the version before that are not kept as they were, or where they were."""
    moved: set[str] = field(default_factory=set)
    """Ids of those of them that are written again, with their study."""
    replaced: int = 0
    """How many of these have another content now."""
    later: dict[str, dict[str, Any]] = field(default_factory=dict)
    """{column that the shards lack: {row id: value}}."""
    merged: Merged = field(default_factory=Merged)


def write(folder: Path, content: Content, there: There | None = None, merged: Merged | None = None) -> dict[str, Any]:
    """Writes the tables of a store into a folder.

    Args:
        folder: to write to; empty.
        content: what there is to write.
        there: the version before, which stays as it is.
        merged: whose ids are one patient's; rows of the version before are rewritten where that changes them.

    Returns:
        What the manifest says of them: version, shards, later_columns, counts, content_hash, splits, text ...

    Raises:
        CannotDo: where no row is left.
    """
    order = _order(content)
    if there is None and not any(map(len, order.values())):
        raise CannotDo(_no_row(content))
    changes = _changes(content, there, merged or Merged())
    extra = rows.extra_types(content)
    if there is not None:
        extra |= there.types()
    schema = store.schema_with(extra) if there is None else there.shard_schema
    mean = _mean_bytes(content, order, there)
    parts: list[shards.Part] = []
    (folder / "data").mkdir()
    with console.progress("write", sum(map(len, order.values())), "rows") as advance:
        for split, places in order.items():
            made = itertools.chain(
                _rows(content, places, extra, changes, advance), _of_studies_without_rows(content, split, changes)
            )
            parts += shards.write_rows(folder, split, schema, _fitted(made, schema, changes), mean)
    untouched: list[store.Shard] = []
    if there is not None:
        _remove_replaced(changes)
        for split, numbers in there.rows_of(changes.merged).items():
            made = _fitted(_of_merged(numbers, changes), schema, changes)
            parts += shards.write_rows(folder, split, schema, made, mean, ending="merged")
        untouched, kept = shards.keep(folder, there.store.shards, there.store.path, changes.removed)
        parts += kept
    found = sorted([*untouched, *shards.named(folder, parts, changes.version)], key=_place)
    later = accounts.write_later(folder, changes.later, there, changes.removed, extra)
    accounts.write(folder, content, changes)
    return {
        "version": changes.version,
        "shards": [shard._asdict() for shard in found],
        "later_columns": later,
        "colour": content.spool.has_colour or (there is not None and there.store.manifest["colour"]),
        "changes": {
            "new": changes.new,
            "replaced": changes.replaced,
            "unchanged": len(changes.unchanged),
            "untouched_shards": len(untouched),
        },
        **_counts(folder, content, found, there),
    }


def _counts(folder: Path, content: Content, found: Sequence[store.Shard], there: There | None) -> dict[str, Any]:
    told = accounts.count(folder, found)
    before = there.store.manifest["counts"]["patient_missing"] if there else 0
    counts = told["counts"]
    counts["patient_missing"] = before + sum("patient_missing" in entry.flags for entry in content.entries)
    assert counts["inputs"] == counts["kept"] + counts["rejected"], "every input is kept or has a reason"
    assert counts["rows"] == counts.pop("rows_of_inputs"), "every row belongs to an input"
    return told


def _place(shard: store.Shard) -> tuple[int, str]:
    return store.SPLITS.index(shard.split), shard.file


def _mean_bytes(content: Content, order: Mapping[Split, np.ndarray], there: There | None) -> float:
    """Of an image; of those that are there, where none is new."""
    sizes = [content.spool.size(int(place)) for places in order.values() for place in places]
    if not sizes and there is not None:
        return sum(shard.bytes for shard in there.store.shards) / len(there.store)
    return float(np.mean(sizes or [1]))


def _changes(content: Content, there: There | None, merged: Merged) -> Changes:
    if there is None:
        return Changes(1, None, {}, set(), merged=merged)
    came = {entry.source_id for entry in content.entries}
    studies = {(entry.study_id, entry.patient_id) for entry in content.entries}
    of_study = there.studies_of(studies, merged.whose)
    changes = Changes(there.version + 1, there, of_study, came, merged=merged)
    for number, entry in enumerate(content.entries):
        if entry.study_id in of_study:
            changes.entry_of.setdefault(entry.study_id, number)
    return changes


# ---- rows ----------------------------------------------------------------------------------------------------------


def _order(content: Content) -> dict[Split, np.ndarray]:
    """Places in the spool of the rows of each split: studies in hash order, rows of one adjacent."""
    kept = np.array([place for place, why in enumerate(content.verdicts.reasons) if why is None], np.int64)
    of = content.spool.entry[kept]
    told = [_study_key(entry) for entry in content.entries]
    keys = np.array([key for key, _ in told], np.uint64)[of] if told else np.zeros(0, np.uint64)
    splits = np.array([store.SPLITS.index(split) for _, split in told], np.int8)[of] if told else keys
    order = np.lexsort((content.spool.number[kept], content.entries.rank[of], content.entries.study[of], keys))
    ordered, splits = kept[order], splits[order]
    named: tuple[Split, ...] = ("train", "validation", "test")
    return {split: ordered[splits == number] for number, split in enumerate(named)}


def _study_key(entry: Entry) -> tuple[int, str]:
    return int.from_bytes(hashlib.sha256(entry.study_id.encode()).digest()[:8], "big"), entry.split


def _rows(
    content: Content, places: Iterable[int], extra: Mapping[str, pa.DataType], changes: Changes, advance: Any
) -> Iterator[dict[str, Any]]:
    """The rows to write, study by study: those that are new or changed, with the others of their study."""

    def made(place: int) -> dict[str, Any]:
        advance()
        return rows.row(content, int(place), extra)

    def study(place: int) -> str:
        return content.entries[int(content.spool.entry[place])].study_id

    for name, here in itertools.groupby(places, key=study):
        if name in changes.of_study:
            entry = content.entries[changes.entry_of.pop(name)]
            yield from _of_known_study(content, entry, [made(place) for place in here], changes)
        else:
            for place in here:
                changes.new += 1
                yield made(place)


def _of_studies_without_rows(content: Content, split: Split, changes: Changes) -> Iterator[dict[str, Any]]:
    """Studies of a split of which no input became a row, as where all are there already: what they say still counts."""
    for name, number in list(changes.entry_of.items()):
        entry = content.entries[number]
        if entry.split == split:
            del changes.entry_of[name]
            yield from _of_known_study(content, entry, [], changes)


def _of_known_study(
    content: Content, entry: Entry, came: Sequence[dict[str, Any]], changes: Changes
) -> Iterator[dict[str, Any]]:
    """The rows of a study that the store has: none where nothing changed, else all of them.

    Args:
        content: what there is to write.
        entry: one of the study.
        came: its rows that are new or came again.
        changes: grow.
    """
    assert changes.there is not None
    before = {one["id"]: one for row in changes.of_study[entry.study_id] for one in [changes.there.row(row)]}
    now = {row["id"]: row for row in came}
    stay = {name: row for name, row in before.items() if name not in now and row["source_id"] not in changes.came}
    carried = {name: _carried(changes.merged.row(row), entry, content) for name, row in stay.items()}
    all_now = now | carried
    same = {name for name, row in all_now.items() if name in before and before[name]["row_hash"] == row["row_hash"]}
    if len(same) == len(all_now) == len(before):
        changes.unchanged |= same
        return
    changes.removed |= before.keys()
    changes.moved |= before.keys() & all_now.keys()
    changes.unchanged |= same
    changes.replaced += len(before.keys() - same)
    changes.new += len(now.keys() - before.keys())
    for name, row in all_now.items():
        yield {**row, "version": before[name]["version"]} if name in same else row


def _carried(row: dict[str, Any], entry: Entry, content: Content) -> dict[str, Any]:
    """A row that did not come again, with what its study brings."""
    told = {
        name: value
        for name, value in entry.columns.items()
        if value is not None and name in row and (name in OF_STUDY or name.startswith("label_"))
    }
    row = {**row, **told}
    if entry.shares_report and entry.report != row["report"]:
        others = tuple(flag for flag in row["flags"] or () if not flag.startswith(OF_TEXT))
        brought = tuple(flag for flag in entry.flags if flag.startswith("report_"))
        row |= texts.columns_of(entry, row, (*others, *brought), content.reader)
    return {**row, "row_hash": rows.row_hash(row), "version": None}


def _of_merged(numbers: Iterable[int], changes: Changes) -> Iterator[dict[str, Any]]:
    """Rows of merged patients that nothing new takes the place of: all they say but whose they are stays."""
    assert changes.there is not None
    for number in numbers:
        before = changes.there.row(number)
        row = changes.merged.row(before)
        if before["id"] in changes.removed or row == before:
            continue
        changes.removed.add(before["id"])
        changes.replaced += 1
        yield {**row, "row_hash": rows.row_hash(row), "version": None}


def _remove_replaced(changes: Changes) -> None:
    """Rows of inputs that came again and are no rows any more, or of another study now."""
    assert changes.there is not None
    for name, source_id in changes.there.source_ids():
        if source_id in changes.came and name not in changes.unchanged:
            if name not in changes.removed:
                changes.replaced += 1
            changes.removed.add(name)


def _fitted(made: Iterable[dict[str, Any]], schema: pa.Schema, changes: Changes) -> Iterator[dict[str, Any]]:
    """Rows as the shards take them; what has no column there is kept for those that come later."""
    for row in made:
        for name in row.keys() - schema.names:
            if row[name] is not None:
                changes.later.setdefault(name, {})[row["id"]] = row[name]
        fitted = {name: row.get(name) for name in schema.names}
        yield fitted | {"version": row.get("version") or changes.version}


# ---- what is said of it --------------------------------------------------------------------------------------------


def examples(content: Content, number: int = 3) -> dict[str, str]:
    """The first inputs that were rejected for each reason, in words: {reason: names}, the commonest reason first."""
    counts = Counter(reason for reason in content.verdicts.reasons if reason is not None)
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for place, reason in enumerate(content.verdicts.reasons):
        if reason is not None and len(found[reason]) <= number:
            entry = content.entries[int(content.spool.entry[place])]
            detail = content.verdicts.details.get(place)
            like = f" (as {detail})" if detail else ""
            found[reason][(accounts.looked_for(entry, content) or entry.source_id) + like] = None
    return {
        reason: ", ".join([*[*found[reason]][:number], *(["..."] if len(found[reason]) > number else [])])
        for reason, _ in counts.most_common()
    }


def _no_row(content: Content) -> str:
    why = Counter(content.verdicts.reasons)
    if not why:
        return "no row is kept: the source has no images"
    lines = [f"no row is kept: {', '.join(f'{count} {reason}' for reason, count in why.most_common())}"]
    lines += [f"  {reason}: {names}" for reason, names in examples(content).items()]
    if "missing" in why and content.has_root:
        lines.append("are these the right places? source.root=FOLDER says where the paths of the table begin")
    return "\n".join(lines)

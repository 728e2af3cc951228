"""Rows, and what became of every input, as the files of a store."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import mmssl
from mmssl import console, files
from mmssl.data import folders, intensity, reports, store, table_rows
from mmssl.data.splits import Split
from mmssl.errors import CannotDo
from mmssl.prepare.clean import Verdict
from mmssl.prepare.decode import Spool
from mmssl.prepare.plan import Entry

ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
"""Of files, where they are not the format's name in lower case."""


@dataclass(frozen=True)
class Content:
    """All that goes into a store."""

    entries: Sequence[Entry]
    spool: Spool
    verdicts: Sequence[Verdict]
    sections: Sequence[str]
    """Of a report, to train on."""
    is_cleaned: bool
    """Whether defects of texts are flagged, and placeholders emptied."""
    names_paths: bool
    """Whether files may be named: ids are no pseudonyms."""
    has_root: bool
    """Whether the source can be told where its paths begin."""
    text: Counter[str] = field(default_factory=Counter)
    """How the texts to train on were found."""


def write(folder: Path, content: Content) -> dict[str, Any]:
    """Writes the tables of a store into a folder.

    Returns:
        What the manifest says of them: shards, counts, colour, content_hash, splits, text.

    Raises:
        CannotDo: where no row is left.
    """
    order = _order(content)
    if not any(order.values()):
        raise CannotDo(_no_row(content))
    schema = store.schema_with(_extra_types(content, order))
    shards: list[store.Shard] = []
    digest = hashlib.sha256()
    kept = Kept()
    (folder / "data").mkdir()
    with console.progress("write", sum(map(len, order.values())), "rows") as advance:
        for split, places in order.items():
            parts = _parts(content, places)
            for number, part in enumerate(parts):
                name = store.shard_name(split, number, len(parts))
                mean = sum(content.spool.size(place) for place in part) / len(part)
                rows = _told(_rows(content, part, schema), digest, kept, advance)
                store.write_shard(folder / name, schema, rows, mean)
                shards.append(store.Shard(name, split, len(part), (folder / name).stat().st_size))
    counts = _write_accounts(folder, content, kept)
    return {
        "shards": [shard._asdict() for shard in shards],
        "content_hash": digest.hexdigest(),
        "colour": any(content.spool.frames[place].colour for places in order.values() for place in places),
        "counts": counts | {"rows": kept.rows, "patients": len(kept.patients), "studies": len(kept.studies)},
        "flags": dict(sorted(kept.flags.items())),
        "splits": {
            split: {
                "rows": len(places),
                "patients": len({content.entries[content.spool.frames[p].entry].patient_id for p in places}),
            }
            for split, places in order.items()
        },
        "text": dict(sorted(content.text.items())) | {"rows_with_text": kept.with_text},
    }


@dataclass
class Kept:
    """What was written."""

    rows: int = 0
    with_text: int = 0
    patients: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    flags: Counter[str] = field(default_factory=Counter)


def row_id(source_id: str, frame: int) -> str:
    """The id of a row: 16 hexadecimal digits that depend on its source alone."""
    return hashlib.sha256(f"{source_id}\0{frame}".encode()).hexdigest()[:16]


def _order(content: Content) -> dict[Split, list[int]]:
    """Places in the spool of the rows of each split: studies in hash order, rows of one adjacent."""
    found: dict[Split, list[int]] = {"train": [], "validation": [], "test": []}
    for place, verdict in enumerate(content.verdicts):
        if verdict.reason is None:
            found[content.entries[content.spool.frames[place].entry].split].append(place)

    def key(place: int) -> tuple[str, str, str, int]:
        frame = content.spool.frames[place]
        entry = content.entries[frame.entry]
        study = hashlib.sha256(entry.study_id.encode()).hexdigest()
        return study, entry.study_id, entry.source_id, frame.frame

    return {split: sorted(places, key=key) for split, places in found.items()}


def _parts(content: Content, places: list[int]) -> list[list[int]]:
    """Rows of each shard, so that none grows too large."""
    parts: list[list[int]] = []
    size = store.SHARD_BYTES
    for place in places:
        if size >= store.SHARD_BYTES or len(parts[-1]) >= store.SHARD_ROWS:
            parts.append([])
            size = 0
        parts[-1].append(place)
        size += content.spool.size(place)
    return parts


def _rows(content: Content, places: Sequence[int], schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Rows as the schema has them."""
    extra = schema.names[len(store.SCHEMA) :]
    for place in places:
        frame, verdict = content.spool.frames[place], content.verdicts[place]
        entry = content.entries[frame.entry]
        columns = entry.columns | {name: value for name, value in frame.columns.items() if value is not None}
        name = row_id(entry.source_id, frame.frame)
        text, flags = _text(content, entry, verdict.flags)
        row: dict[str, Any] = {name: columns.get(name) for name in table_rows.PER_IMAGE} | {
            "id": name,
            "image": {"bytes": content.spool.bytes(place), "path": f"{name}.{_ending(frame.format)}"},
            "text": text,
            "report": entry.report if entry.report is not None else entry.text,
            "sections": _sections(entry.report),
            "sentences": reports.sentences(text) if text else None,
            "patient_id": entry.patient_id,
            "study_id": entry.study_id,
            "flags": list(flags),
            "split": entry.split,
            "source_id": entry.source_id,
            "width": frame.width,
            "height": frame.height,
            "pixel_hash": frame.pixel_hash,
            "phash": frame.phash,
            "study_datetime": table_rows.own("study_datetime", columns.get("study_datetime")),
        }
        yield row | {one: _fit(columns.get(one), schema.field(one).type) for one in extra}


def _ending(format: str | None) -> str:
    assert format is not None, "a frame that is kept has a format"
    return ENDINGS.get(format, format.lower())


def _text(content: Content, entry: Entry, flags: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The text to train on, and the flags of the row with what is wrong with it."""
    if entry.text is not None:
        text, how = entry.text, "given"
    else:
        text, how = reports.training_text(entry.report or "", tuple(content.sections))
    flagged = "text_placeholder" in flags
    others = tuple(flag for flag in flags if flag != "text_placeholder")
    if content.is_cleaned and text and (flagged or reports.is_placeholder(text)):
        content.text["placeholder"] += 1
        return None, (*others, "text_placeholder")
    content.text[how] += 1
    if not content.is_cleaned:
        return text or None, others
    if text:
        return text, others
    only_others = how == "no_section" and reports.sections(entry.report or "")
    return None, (*others, "text_only_other_sections" if only_others else "text_missing")


def _sections(report: str | None) -> list[dict[str, str]] | None:
    found = [{"name": name, "text": text} for name, text in reports.sections(report)] if report else []
    return found or None


def _told(rows: Iterator[dict[str, Any]], digest: Any, kept: Kept, advance: Any) -> Iterator[dict[str, Any]]:
    """Passes rows on, and adds what they hold to the content hash and to the counts."""
    for row in rows:
        image = row["image"]["bytes"]
        plain = json.dumps({**row, "image": hashlib.sha256(image).hexdigest()}, sort_keys=True, default=str)
        digest.update(plain.encode())
        kept.rows += 1
        kept.with_text += bool(row["text"])
        kept.patients.add(row["patient_id"])
        kept.studies.add(row["study_id"])
        kept.flags.update(row["flags"])
        advance()
        yield row


def _extra_types(content: Content, order: Mapping[Split, list[int]]) -> dict[str, pa.DataType]:
    """The columns that are not ours, each in the type that holds all its values; text where there is none."""
    kinds: defaultdict[str, set[pa.DataType]] = defaultdict(set)
    for places in order.values():
        for place in places:
            frame = content.spool.frames[place]
            for columns in (content.entries[frame.entry].columns, frame.columns):
                for name, value in columns.items():
                    if name not in store.SCHEMA.names:
                        kinds[name].add(_kind(value))
    for entry in content.entries:  # a column without a value on any row is still a column
        for name in entry.columns.keys() - store.SCHEMA.names:
            kinds.setdefault(name, set())
    return {name: _common(found - {pa.null()}) for name, found in kinds.items()}


def _kind(value: Any) -> pa.DataType:
    if value is None:
        return pa.null()
    if isinstance(value, list):
        return pa.list_(pa.string())
    if isinstance(value, bool | int):
        return pa.int64() if -(2**63) <= value < 2**63 else pa.string()
    return (
        pa.float64() if isinstance(value, float) else pa.timestamp("s") if isinstance(value, datetime) else pa.string()
    )


def _common(kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _fit(value: Any, kind: pa.DataType) -> Any:
    if value is None or (pa.types.is_string(kind) and isinstance(value, str)):
        return value
    if pa.types.is_string(kind):
        return json.dumps(value, default=str)
    return float(value) if pa.types.is_floating(kind) else int(value) if pa.types.is_integer(kind) else value


def _write_accounts(folder: Path, content: Content, kept: Kept) -> dict[str, Any]:
    """`sources.parquet`, one line per input, `rejected.parquet`, and counts that close the sum."""
    ids: defaultdict[int, list[str]] = defaultdict(list)
    reasons: dict[int, str] = {}
    rejected = []
    for frame, verdict in zip(content.spool.frames, content.verdicts, strict=True):
        entry = content.entries[frame.entry]
        if verdict.reason is None:
            ids[frame.entry].append(row_id(entry.source_id, frame.frame))
            continue
        reasons.setdefault(frame.entry, verdict.reason)
        rejected.append(
            {
                "source_id": entry.source_id,
                "frame": frame.frame,
                "reason": verdict.reason,
                "detail": verdict.detail or _looked_for(entry, content),
                "split": entry.split,
            }
        )
    lines = [
        {"source_id": entry.source_id, "row_ids": ids[number], "reason": None if ids[number] else reasons[number]}
        for number, entry in enumerate(content.entries)
    ]
    pq.write_table(pa.Table.from_pylist(lines, schema=store.SOURCES), folder / "sources.parquet")
    pq.write_table(pa.Table.from_pylist(rejected, schema=store.REJECTED), folder / "rejected.parquet")
    why = Counter(line["reason"] for line in lines if line["reason"])
    missing = sum("patient_missing" in entry.flags for entry in content.entries)
    counts = {
        "inputs": len(lines),
        "kept": sum(line["reason"] is None for line in lines),
        "rejected": sum(why.values()),
        "reasons": dict(sorted(why.items())),
        "rejected_frames_of_kept": sum(
            len(ids[f.entry]) > 0 for f, v in zip(content.spool.frames, content.verdicts, strict=True) if v.reason
        ),
        "patient_missing": missing,
    }
    assert counts["inputs"] == counts["kept"] + counts["rejected"], "every input is kept or has a reason"
    assert kept.rows == sum(map(len, ids.values())), "every row belongs to an input"
    return counts


def _looked_for(entry: Entry, content: Content) -> str | None:
    """The whole path of an input's file; None where it has none, or where ids are pseudonyms."""
    path = entry.picture.path
    return folders.written(os.path.normpath(path.absolute())) if path and content.names_paths else None


def examples(content: Content, number: int = 3) -> dict[str, str]:
    """The first inputs that were rejected for each reason, in words: {reason: names}, the commonest reason first."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for frame, verdict in zip(content.spool.frames, content.verdicts, strict=True):
        if verdict.reason is not None:
            entry = content.entries[frame.entry]
            like = f" (as {verdict.detail})" if verdict.detail else ""
            found[verdict.reason][(_looked_for(entry, content) or entry.source_id) + like] = None
    most_first = sorted(found, key=lambda reason: -len(found[reason]))
    return {
        reason: ", ".join([*[*found[reason]][:number], *(["..."] if len(found[reason]) > number else [])])
        for reason in most_first
    }


def _no_row(content: Content) -> str:
    why = Counter(verdict.reason for verdict in content.verdicts)
    if not why:
        return "no row is kept: the source has no images"
    lines = [f"no row is kept: {', '.join(f'{count} {reason}' for reason, count in why.most_common())}"]
    lines += [f"  {reason}: {names}" for reason, names in examples(content).items()]
    if "missing" in why and content.has_root:
        lines.append("are these the right places? source.root=FOLDER says where the paths of the table begin")
    return "\n".join(lines)


def manifest(written: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The manifest of a store that was just written."""
    return {
        "schema": store.FORMAT,
        "mmssl": mmssl.__version__,
        "version": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
        **written,
        "intensity": intensity.INTENSITY,
        "deidentified": "none",
    }


def write_manifest(folder: Path, value: Mapping[str, Any]) -> None:
    files.write_json(folder / "manifest.json", value)

"""Rows of a store, made of what is known of an input and what was decoded of it."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from mmssl.data import store, table_rows
from mmssl.prepare import texts
from mmssl.prepare.clean import Verdicts
from mmssl.prepare.entries import Entries
from mmssl.prepare.spool import Frame, Spool
from mmssl.prepare.texts import Reader

ENDINGS = {"JPEG": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}
"""Of files, where they are not the format's name in lower case."""

MARKS = ("row_hash", "version")
"""Columns that say nothing of a row's content."""


@dataclass(frozen=True)
class Content:
    """All that goes into a store."""

    entries: Entries
    spool: Spool
    verdicts: Verdicts
    reader: Reader
    """How texts are read."""
    names_paths: bool
    """Whether files may be named: ids are no pseudonyms."""
    has_root: bool
    """Whether the source can be told where its paths begin."""
    stamps: Mapping[str, str]
    """{study id: a hash of all that its rows are made of}."""


def row_id(source_id: str, frame: int) -> str:
    """The id of a row: 16 hexadecimal digits that depend on its source alone."""
    return hashlib.sha256(f"{source_id}\0{frame}".encode()).hexdigest()[:16]


def row(content: Content, place: int, extra: Mapping[str, pa.DataType]) -> dict[str, Any]:
    """The row of a frame, as the schema of a store has it.

    Args:
        content: with the frame.
        place: of the frame in the spool.
        extra: the columns that are not ours, with their types.
    """
    frame, flags = content.spool[place], content.verdicts[place].flags
    entry = content.entries[frame.entry]
    columns = entry.columns | {name: value for name, value in frame.columns.items() if value is not None}
    flags = (*flags, *(columns.pop("flags", None) or ()))
    name = row_id(entry.source_id, frame.frame)
    image = content.spool.image(place)
    found: dict[str, Any] = {name: columns.get(name) for name in table_rows.PER_IMAGE} | {
        "id": name,
        "image": {"bytes": image, "path": f"{name}.{_ending(frame)}"},
        "patient_id": entry.patient_id,
        "study_id": entry.study_id,
        "split": entry.split,
        "source_id": entry.source_id,
        "width": frame.width,
        "height": frame.height,
        "pixel_hash": frame.pixel_hash,
        "phash": frame.phash,
        "instance_id": columns.get("instance_id"),
        "shown": columns.get("shown"),
        "window_width": columns.get("window_width"),
        "study_datetime": table_rows.own("study_datetime", columns.get("study_datetime")),
    }
    found |= texts.columns_of(entry, columns, tuple(flags), content.reader)
    found |= {one: fit(columns.get(one), kind) for one, kind in extra.items()}
    return found | {"row_hash": row_hash(found)}


def row_hash(found: Mapping[str, Any]) -> str:
    """SHA-256 of what a row says, 32 hexadecimal digits; columns without a value make no difference."""
    told = {name: value for name, value in found.items() if value is not None and name not in MARKS}
    told["image"] = hashlib.sha256(found["image"]["bytes"]).hexdigest()
    told |= {name: f"{value:.6g}" for name, value in told.items() if isinstance(value, float)}  # as float32 keeps it
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]


class ContentHash:
    """A hash of all rows of a store, the same in whatever order and whenever they were written.

    >>> one, other = ContentHash(), ContentHash()
    >>> one.add(["0a", "0b"]), other.add(["0b"]), other.add(["0a"])
    (None, None, None)
    >>> one.hexdigest() == other.hexdigest() != ContentHash().hexdigest()
    True
    """

    def __init__(self) -> None:
        self._total = self._count = 0

    def add(self, row_hashes: Iterable[str]) -> None:
        for one in row_hashes:
            self._total, self._count = self._total + int(one, 16), self._count + 1

    def hexdigest(self) -> str:
        return hashlib.sha256(f"{self._count} {self._total:x}".encode()).hexdigest()


def _ending(frame: Frame) -> str:
    assert frame.format is not None, "a frame that is kept has a format"
    return ENDINGS.get(frame.format, frame.format.lower())


# ---- columns of the source -----------------------------------------------------------------------------------------


def extra_types(content: Content) -> dict[str, pa.DataType]:
    """The columns that are not ours, each in the type that holds all its values; text where there is none."""
    kinds: defaultdict[str, set[pa.DataType]] = defaultdict(set)
    kept = np.zeros(len(content.entries), bool)
    kept[content.spool.entry[[why is None for why in content.verdicts.reasons]]] = True
    for is_kept, entry in zip(kept, content.entries, strict=True):
        for name in entry.columns.keys() - store.SCHEMA.names:  # one without a value on any row is still a column
            kinds[name] |= {_kind(entry.columns[name])} if is_kept else set()
    for place, why in enumerate(content.verdicts.reasons):
        if why is None:
            for name, value in content.spool[place].columns.items():
                if name not in store.SCHEMA.names:
                    kinds[name].add(_kind(value))
    return {name: common(found - {pa.null()}) for name, found in sorted(kinds.items())}


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


def common(kinds: set[pa.DataType]) -> pa.DataType:
    """The type that holds values of all these.

    >>> common({pa.int64(), pa.float64()}), common(set())
    (DataType(double), DataType(string))
    """
    if len(kinds) == 1:
        return next(iter(kinds))
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def fit(value: Any, kind: pa.DataType) -> Any:
    """A value in a type that `common` found; None where it has no place in one that an older version fixed.

    >>> fit(1, pa.float64()), fit("a", pa.int64()), fit(2.5, pa.string())
    (1.0, None, '2.5')
    """
    try:
        return _fit(value, kind)
    except (TypeError, ValueError):
        return None


def _fit(value: Any, kind: pa.DataType) -> Any:
    if value is None or (pa.types.is_string(kind) and isinstance(value, str)):
        return value
    if pa.types.is_string(kind):
        return json.dumps(value, default=str)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        return None if isinstance(value, float) and not value.is_integer() else int(value)
    return value if isinstance(value, datetime if pa.types.is_timestamp(kind) else list) else None

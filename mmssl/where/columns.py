"""What a column can be compared with, and the value of its own type that stands for one as written."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from mmssl.where.reading import moment
from mmssl.where.tree import Compare, Contains, Given, In, IsNull, Leaf, Operator, Value

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["text", "number", "truth", "time", "list", "nothing", "other"]
HOLDS: dict[Kind, str] = {
    "text": "text, so the value is written in quotes: '{}'",
    "number": "numbers, '{}' is none",
    "truth": "true or false, '{}' is neither",
    "time": "dates, '{}' is none; write it like '2024-01-31' or '2024-01-31 10:30'",
}


def kind_of(column: pa.DataType) -> Kind:
    import pyarrow.types as is_

    if is_.is_string(column) or is_.is_large_string(column):
        return "text"
    if is_.is_integer(column) or is_.is_floating(column):
        return "number"
    if is_.is_boolean(column):
        return "truth"
    if is_.is_timestamp(column) or is_.is_date(column):
        return "time"
    if is_.is_list(column) or is_.is_large_list(column):
        return "list" if kind_of(column.value_type) == "text" else "other"
    return "nothing" if is_.is_null(column) else "other"


def mismatches(leaf: Leaf, column: pa.DataType) -> list[tuple[str, int]]:
    """What of a comparison cannot be meant for a column of this type, and where it stands."""
    kind, name = kind_of(column), leaf.column
    if isinstance(leaf, IsNull) and kind != "other":
        return []
    if kind == "other" or isinstance(leaf, IsNull):
        return [(f"{name} ({column}) cannot be filtered by", leaf.at)]
    given = leaf.given if isinstance(leaf, In) else (leaf.given,)
    if kind == "nothing":
        return []
    if isinstance(leaf, Contains) != (kind == "list"):
        if kind == "list":
            return [(f"{name} holds lists; write  {name} contains '{given[0].value}'", leaf.at)]
        return [(f"{name} holds no lists, which contains is for; write  {name} = '{given[0].value}'", leaf.at)]
    if isinstance(leaf, Compare) and kind == "truth" and leaf.op not in ("=", "!="):
        return [(f"{name} holds true or false, which {leaf.op} does not order", leaf.at)]
    holds = HOLDS["text" if kind == "list" else kind]
    wrong = [one for one in given if not _fits(one.value, kind, column)]
    return [(f"{name} holds {holds.format(_plain(one.value))}", one.at) for one in wrong]


def _fits(value: Value, kind: Kind, column: pa.DataType) -> bool:
    match kind:
        case "text" | "list":
            return isinstance(value, str)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "truth":
            return isinstance(value, bool)
        case _:
            return _time(value) is not None


def _plain(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _time(value: Value) -> datetime | None:
    return value if isinstance(value, datetime) else moment(value) if isinstance(value, str) else None


def listed(given: tuple[Given, ...], column: pa.DataType) -> list[Any]:
    """The values of `in (...)` that a column of this type can hold; both zeros, which lists tell apart."""
    values = [held("=", one.value, column)[1] for one in given]
    zeros = [-0.0] if any(isinstance(value, float) and value == 0 for value in values) else []
    return [value for value in values if value is not None] + [0.0 for _ in zeros] + zeros


def held(op: Operator, value: Value, column: pa.DataType) -> tuple[Operator, Any]:
    """The comparison with a value that a column of this type can hold; (`=` or `!=`, None) is never or always true.

    A column of integers is compared with the integer beside 1.5; float32 with the float32 nearest to 60.1, because
    that is what the column holds where 60.1 was written.
    """
    import numpy as np
    import pyarrow.types as is_

    kind = kind_of(column)
    if kind == "time":
        when = _time(value)
        assert when is not None, "checked before"
        if not is_.is_date(column):
            return op, when
        whole = when == datetime(when.year, when.month, when.day)
        return _beside(op, when.date(), whole=whole)
    if kind != "number":
        return op, value
    assert isinstance(value, (int, float)), "checked before"
    if is_.is_floating(column):
        with np.errstate(over="ignore"):
            return op, float(np.dtype(column.to_pandas_dtype()).type(value))
    least, most = (np.iinfo(column.to_pandas_dtype()).min, np.iinfo(column.to_pandas_dtype()).max)
    if not least <= value <= most:
        true = op == "!=" or (op in ("<", "<=") if value > most else op in (">", ">="))
        return ("!=" if true else "="), None
    return _beside(op, math.floor(value), whole=float(value).is_integer() or isinstance(value, int))


def _beside(op: Operator, below: Any, *, whole: bool) -> tuple[Operator, Any]:
    """The comparison with a value between `below` and the next one, as one with `below`."""
    if whole:
        return op, below
    if op in ("=", "!="):
        return op, None
    return ("<=" if op in ("<", "<=") else ">"), below

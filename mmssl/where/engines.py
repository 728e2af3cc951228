"""The same rows in two engines: a checked filter as a pyarrow expression, and as SQL for LanceDB."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from mmssl.where.columns import held, kind_of, listed
from mmssl.where.tree import Compare, Contains, In, IsNull, Not, Together, Tree

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

OWN = ("vector", "thumbnail")
"""Columns of an index that the store does not have; everything else is metadata."""


def _compute() -> Any:
    """pyarrow.compute, which makes its functions when imported, so that type checkers do not see them."""
    import pyarrow.compute

    return pyarrow.compute


def expression(tree: Tree, types: Mapping[str, pa.DataType]) -> pc.Expression:
    """For pyarrow; NaN counts as null."""
    import pyarrow as pa

    pc = _compute()
    match tree:
        case Not(part):
            return ~expression(part, types)
        case Together(how, parts):
            return _balanced(how, [expression(part, types) for part in parts])
    field, column = pc.field(tree.column), types[tree.column]
    nothing = pc.scalar(pa.scalar(None, pa.bool_()))
    if kind_of(column) == "nothing":
        return field.is_null() if isinstance(tree, IsNull) else nothing
    if pa.types.is_floating(column):
        field = pc.if_else(pc.is_nan(field), pc.scalar(pa.scalar(None, column)), field)
    match tree:
        case IsNull():
            return field.is_null()
        case Contains(_, given):
            return pc.Expression._call(_contains(column), [field, pc.scalar(given.value)])
        case In(_, given):
            return pc.if_else(field.is_null(), nothing, field.isin(pa.array(listed(given, column), column)))
        case Compare(_, op, given):
            op, value = held(op, given.value, column)
            if value is None:
                return pc.if_else(field.is_null(), nothing, pc.scalar(op == "!="))
            scalar = pc.scalar(pa.scalar(value, column))
            compared = {
                "=": field == scalar, "!=": field != scalar, "<": field < scalar, "<=": field <= scalar,
                ">": field > scalar, ">=": field >= scalar,
            }  # fmt: skip
            return compared[op]


def _balanced(how: Literal["and", "or"], parts: list[pc.Expression]) -> pc.Expression:
    """All parts together, as a tree of little depth."""
    if len(parts) == 1:
        return parts[0]
    left, right = _balanced(how, parts[: len(parts) // 2]), _balanced(how, parts[len(parts) // 2 :])
    return left & right if how == "and" else left | right


def _contains(column: pa.DataType) -> str:
    """The name of a pyarrow function (list, text) -> bool for lists of this type; pyarrow brings none of its own."""
    import pyarrow as pa

    pc = _compute()
    name = f"mmssl_contains_{column}"
    if name not in pc.list_functions():
        about = {"summary": "whether a list contains a text", "description": "null where the list is null"}
        takes = {"lists": column, "text": pa.string()}
        pc.register_scalar_function(lambda _, *given: _lists_with(*given), name, about, takes, pa.bool_())
    return name


def _lists_with(lists: pa.Array, text: pa.Scalar) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    pc = _compute()
    values, rows = pc.list_flatten(lists), pc.list_parent_indices(lists)
    found = np.zeros(len(lists), bool)
    found[rows.filter(pc.equal(values, text)).to_numpy(zero_copy_only=False)] = True
    return pc.if_else(pc.is_valid(lists), pa.array(found), pa.scalar(None, pa.bool_()))


def sql(tree: Tree, types: Mapping[str, pa.DataType]) -> str:
    """For DataFusion, over columns named by `sql_name`."""
    match tree:
        case Not(IsNull(name, _)):
            return f"`{sql_name(name)}` IS NOT NULL"
        case Not(part):
            return f"NOT ({sql(part, types)})"
        case Together(how, parts):
            return f" {how.upper()} ".join(f"({sql(part, types)})" for part in parts)
    field, column = f"`{sql_name(tree.column)}`", types[tree.column]
    if isinstance(tree, IsNull):
        return f"{field} IS NULL"
    if kind_of(column) == "nothing":
        return f"{field} = {field}"
    match tree:
        case Contains(_, given):
            return f"array_has({field}, {_literal(given.value)})"
        case In(_, given):
            values = ", ".join(_literal(value) for value in listed(given, column))
            return f"{field} IN ({values})" if values else f"{field} != {field}"
        case Compare(_, op, given):
            op, value = held(op, given.value, column)
            if value is None:
                return f"{field} {'=' if op == '!=' else '!='} {field}"
            return f"{field} {op} {_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"timestamp '{value:%Y-%m-%d %H:%M:%S}'"
    return f"date '{value}'" if isinstance(value, date) else repr(value)


def sql_name(column: str) -> str:
    """A column's name in a LanceDB table, which allows neither dots nor backticks and has names of its own.

    Those begin with `_` (`_rowid`, `_distance`); like ours, they are theirs in lower case alone.

    >>> sql_name("source_Ref. No"), sql_name("_rowid"), sql_name("vector")
    ('source_Ref%2E No', '%5Frowid', '%76ector')
    """
    escaped = column.translate({ord(sign): _escaped(sign) for sign in "%.`"})
    taken = column.startswith("_") or column in OWN
    return _escaped(column[0]) + escaped[1:] if taken else escaped


def _escaped(sign: str) -> str:
    return f"%{ord(sign):02X}"


def given_name(sql_name: str) -> str:
    """What `sql_name` was made from."""
    return urllib.parse.unquote(sql_name)

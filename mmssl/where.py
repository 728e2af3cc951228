"""The filter language: `view in ('PA', 'AP') and age > 60`, the same rows in every place that takes a filter.

    comparison   = != < <= > >=  (also == and <>), in (...), not in (...), is null, is not null
    lists        flags contains 'blank'
    together     and, or, not, parentheses
    values       'text' or "text" (a quote inside is doubled), 12.5, true, false, '2024-01-31', '2024-01-31 10:30'
    columns      age, label_Edema; in backticks where the name is no plain word: `label_Pleural Effusion`

Missing values behave as in SQL: a comparison with nothing is neither true nor false, so neither `age > 60` nor
`not age > 60` takes a row without an age; `is null` does. NaN is a missing value. Text compares by code point,
a date without a time is its midnight.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from mmssl import errors

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

Value = str | int | float | bool | datetime
Operator = Literal["=", "!=", "<", "<=", ">", ">="]

LONGEST, DEEPEST, MOST = 10_000, 20, 500
"""Characters of a filter, parentheses and `not` within one another, comparisons: what every engine still takes."""


# ---- the tree ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """A value as written, and where."""

    value: Value
    at: int


@dataclass(frozen=True)
class Compare:
    column: str
    op: Operator
    given: Given
    at: int


@dataclass(frozen=True)
class In:
    column: str
    given: tuple[Given, ...]
    at: int


@dataclass(frozen=True)
class Contains:
    column: str
    given: Given
    at: int


@dataclass(frozen=True)
class IsNull:
    column: str
    at: int


@dataclass(frozen=True)
class Not:
    part: Tree


@dataclass(frozen=True)
class Together:
    how: Literal["and", "or"]
    parts: tuple[Tree, ...]


Leaf = Compare | In | Contains | IsNull
Tree = Leaf | Not | Together


@dataclass
class Where:
    """A filter that could be read; `check` binds it to the columns of a table, which the other two need.

    >>> parse("age > 60 and sex = 'F'").columns()
    ['age', 'sex']
    """

    text: str
    tree: Tree
    types: Mapping[str, pa.DataType] | None = None
    """Of the columns it names; None until checked."""

    def columns(self) -> list[str]:
        """The columns it reads, each once."""
        return list(dict.fromkeys(leaf.column for leaf in _leaves(self.tree)))

    def check(self, schema: pa.Schema) -> Where:
        """This filter itself, from now on bound to a table's columns.

        Raises:
            WrongUse: with every unknown column and every value of the wrong kind.
        """
        kinds = {field.name: _kind(field.type) for field in schema}
        usable = [name for name, kind in kinds.items() if kind != "other"]
        found: dict[str, int] = {}
        for leaf in _leaves(self.tree):
            if leaf.column not in kinds:
                near = errors.meant(leaf.column, usable)
                found.setdefault(f"there is no column {leaf.column!r}{near}", leaf.at)
            else:
                for problem, at in _mismatches(leaf, schema.field(leaf.column).type):
                    found.setdefault(problem, at)
        if found:
            lines = [*_shown(self.text, list(found.values())), *found]
            if any(leaf.column not in kinds for leaf in _leaves(self.tree)):
                lines.append(f"columns are {', '.join(usable)}")
            count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
            raise errors.WrongUse("\n  ".join([f"{count} in the filter", *lines]))
        self.types = {name: schema.field(name).type for name in self.columns()}
        return self

    def expression(self) -> pc.Expression:
        """For pyarrow: `table.filter(...)`; in Parquet scans only where no column read holds NaN.

        A scan decides by statistics which row groups to read, and Parquet's statistics pass over NaN.
        """
        return _expression(self.tree, self._types())

    def sql(self) -> str:
        """For LanceDB (DataFusion); its columns are named by `sql_name`, its numbers hold null instead of NaN."""
        return _sql(self.tree, self._types())

    def _types(self) -> Mapping[str, pa.DataType]:
        assert self.types is not None, "bind the filter to a table first: parse(text).check(schema)"
        return self.types


def sql_name(column: str) -> str:
    """A column's name in a LanceDB table, which allows neither dots nor backticks.

    >>> sql_name("source_Ref. No")
    'source_Ref%2E No'
    """
    return column.replace("%", "%25").replace(".", "%2E").replace("`", "%60")


def given_name(sql_name: str) -> str:
    """What `sql_name` was made from."""
    return sql_name.replace("%60", "`").replace("%2E", ".").replace("%25", "%")


def _leaves(tree: Tree) -> list[Leaf]:
    match tree:
        case Not(part):
            return _leaves(part)
        case Together(_, parts):
            return [leaf for part in parts for leaf in _leaves(part)]
        case _:
            return [tree]


# ---- reading -------------------------------------------------------------------------------------------------------

TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<op><=|>=|==|!=|<>|=|<|>)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
WORDS = ("and", "or", "not", "in", "is", "null", "contains", "true", "false")
OPERATORS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip


@dataclass(frozen=True)
class Token:
    kind: str  # text, number, quoted, word, op, mark, end
    text: str
    at: int

    def said(self) -> str:
        return self.text.lower() if self.kind == "word" else self.text


def parse(text: str) -> Where:
    """Reads a filter; what is asked of which column is checked later, by `Where.check`.

    Raises:
        WrongUse: with the place where it cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
        raise errors.WrongUse("the filter is empty; write one like  age > 60 and sex = 'F'  or leave it out")
    if len(text) > LONGEST:
        raise errors.WrongUse(f"the filter has {len(text)} characters, at most {LONGEST} are read")
    return Where(text, _Reader(text).all())


class _Reader:
    """Recursive descent: any = all (or all)*; all = one (and one)*; one = not one | ( any ) | comparison."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.place = 0
        self.comparisons = 0

    def _tokens(self) -> list[Token]:
        found, at = [], 0
        while self.text[at:].strip():
            match = TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                start = at + len(self.text[at:]) - len(self.text[at:].lstrip())
                sign = self.text[start]
                if sign in "'\"`":
                    raise self._error(f"this {sign} is never closed", start)
                what = "this is no number" if sign.isdigit() or sign in "+-." else f"{sign!r} has no meaning here"
                raise self._error(what, start)
            found.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        return [*found, Token("end", "", len(self.text.rstrip()))]

    def all(self) -> Tree:
        tree = self._together("or", 0)
        if self.next.kind != "end":
            raise self._error("and, or, or the end of the filter is expected here")
        return tree

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def _take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _taken(self, *words: str) -> bool:
        """Takes these words or marks if they come next."""
        coming = self.tokens[self.place : self.place + len(words)]
        if [t.said() if t.kind in ("word", "mark") else None for t in coming] != list(words):
            return False
        self.place += len(words)
        return True

    def _together(self, how: Literal["and", "or"], depth: int) -> Tree:
        part: Callable[[int], Tree] = self._one if how == "and" else lambda depth: self._together("and", depth)
        parts = [part(depth)]
        while self._taken(how):
            parts.append(part(depth))
        return parts[0] if len(parts) == 1 else Together(how, tuple(parts))

    def _one(self, depth: int) -> Tree:
        if depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} parentheses and nots are within one another here")
        if self._taken("not"):
            return Not(self._one(depth + 1))
        if self._taken("("):
            tree = self._together("or", depth + 1)
            self._expect(")")
            return tree
        return self._comparison()

    def _comparison(self) -> Tree:
        self.comparisons += 1
        if self.comparisons > MOST:
            raise self._error(f"more than {MOST} comparisons; use  column in (...)  for many values")
        start = self.next
        if start.kind == "quoted":
            column = start.text[1:-1].replace("``", "`")
        elif start.kind == "word" and start.said() not in WORDS:
            column = start.text
        else:
            raise self._error("the name of a column is expected here")
        self._take()
        if self.next.kind == "op":
            op = OPERATORS[self._take().text]
            return Compare(column, op, self._value(), start.at)
        if self._taken("contains"):
            return Contains(column, self._value(), start.at)
        if self._taken("is", "not", "null"):
            return Not(IsNull(column, start.at))
        if self._taken("is", "null"):
            return IsNull(column, start.at)
        negated = self._taken("not", "in")
        if negated or self._taken("in"):
            inside = In(column, self._values(), start.at)
            return Not(inside) if negated else inside
        raise self._error(f"after {column}, one of = != < <= > >= in, not in, contains, is null is expected here")

    def _values(self) -> tuple[Given, ...]:
        self._expect("(")
        values = [self._value()]
        while self._taken(","):
            values.append(self._value())
        self._expect(")")
        return tuple(values)

    def _value(self) -> Given:
        token = self.next
        if token.kind == "word" and token.said() == "date" and self.tokens[self.place + 1].kind == "text":
            self._take()
            when = _moment(_unquoted(self.next.text))
            if when is None:
                raise self._error("this is no date; write it like '2024-01-31' or '2024-01-31 10:30'")
            return Given(when, self._take().at)
        if token.kind == "text":
            return Given(_unquoted(self._take().text), token.at)
        if token.kind == "number":
            return Given(self._number(self._take()), token.at)
        if token.kind == "word" and token.said() in ("true", "false"):
            return Given(self._take().said() == "true", token.at)
        if token.kind == "word" and token.said() == "null":
            raise self._error("nothing compares to null; write  is null  or  is not null")
        if token.kind in ("word", "quoted") and token.said() not in WORDS:
            raise self._error(f"a value is expected here; text is written in quotes: '{token.text.strip('`')}'")
        raise self._error("a value is expected here: 'text', a number, true, false")

    def _number(self, token: Token) -> int | float:
        if re.fullmatch(r"[+-]?\d+", token.text):
            return int(token.text)
        if math.isinf(value := float(token.text)):
            raise self._error("this number is too large", token.at)
        return value

    def _expect(self, mark: str) -> None:
        if not self._taken(mark):
            raise self._error(f"{mark} is expected here")

    def _error(self, problem: str, at: int | None = None) -> errors.WrongUse:
        at = self.next.at if at is None else at
        return errors.WrongUse("\n  ".join(["the filter cannot be read", *_shown(self.text, [at]), problem]))


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _shown(text: str, places: list[int]) -> list[str]:
    """The filter, or the part of it around the first place, and a line of carets under the places."""
    shown, start = re.sub(r"\s", " ", text), 0
    if len(text) > 100:
        start = max(0, min(places) - 50)
        shown = ("..." if start else "") + shown[start : start + 97] + ("..." if start + 97 < len(text) else "")
    inside = {place - start + (3 if start else 0) for place in places}
    width = max(place for place in inside if place <= len(shown))
    return [shown, "".join("^" if i in inside else " " for i in range(width + 1))]


# ---- what a column can be compared with ----------------------------------------------------------------------------

Kind = Literal["text", "number", "truth", "time", "list", "nothing", "other"]
HOLDS: dict[Kind, str] = {
    "text": "text, so the value is written in quotes: '{}'",
    "number": "numbers, '{}' is none",
    "truth": "true or false, '{}' is neither",
    "time": "dates, '{}' is none; write it like '2024-01-31' or '2024-01-31 10:30'",
}


def _kind(column: pa.DataType) -> Kind:
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
        return "list" if _kind(column.value_type) == "text" else "other"
    return "nothing" if is_.is_null(column) else "other"


def _mismatches(leaf: Leaf, column: pa.DataType) -> list[tuple[str, int]]:
    """What of a comparison cannot be meant for a column of this type, and where it stands."""
    kind, name = _kind(column), leaf.column
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
    return value if isinstance(value, datetime) else _moment(value) if isinstance(value, str) else None


def _moment(text: str) -> datetime | None:
    """A day, or a day and a time to the second, without a time zone."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?", text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


# ---- the same rows in two engines ----------------------------------------------------------------------------------


def _exact(op: Operator, value: Value, column: pa.DataType) -> tuple[Operator, Any]:
    """The comparison with a value that a column of this type can hold; (`=` or `!=`, None) is never or always true.

    A column of integers is compared with the integer beside 1.5; float32 with the float32 nearest to 60.1, because
    that is what the column holds where 60.1 was written.
    """
    import numpy as np
    import pyarrow.types as is_

    kind = _kind(column)
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


def _compute() -> Any:
    """pyarrow.compute, which makes its functions when imported, so that type checkers do not see them."""
    import pyarrow.compute

    return pyarrow.compute


def _expression(tree: Tree, types: Mapping[str, pa.DataType]) -> pc.Expression:
    import pyarrow as pa

    pc = _compute()

    match tree:
        case Not(part):
            return ~_expression(part, types)
        case Together(how, parts):
            return _balanced(how, [_expression(part, types) for part in parts])
    field, column = pc.field(tree.column), types[tree.column]
    nothing = pc.scalar(pa.scalar(None, pa.bool_()))
    if _kind(column) == "nothing":
        return field.is_null() if isinstance(tree, IsNull) else nothing
    if pa.types.is_floating(column):
        field = pc.if_else(pc.is_nan(field), pc.scalar(pa.scalar(None, column)), field)
    match tree:
        case IsNull():
            return field.is_null()
        case Contains(_, given):
            return pc.Expression._call(_contains(column), [field, pc.scalar(given.value)])
        case In(_, given):
            exact = [value for one in given if (value := _exact("=", one.value, column)[1]) is not None]
            return pc.if_else(field.is_null(), nothing, field.isin(pa.array(exact, column)))
        case Compare(_, op, given):
            op, value = _exact(op, given.value, column)
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


def _sql(tree: Tree, types: Mapping[str, pa.DataType]) -> str:
    match tree:
        case Not(IsNull(name, _)):
            return f"`{sql_name(name)}` IS NOT NULL"
        case Not(part):
            return f"NOT ({_sql(part, types)})"
        case Together(how, parts):
            return f" {how.upper()} ".join(f"({_sql(part, types)})" for part in parts)
    field, column = f"`{sql_name(tree.column)}`", types[tree.column]
    if isinstance(tree, IsNull):
        return f"{field} IS NULL"
    if _kind(column) == "nothing":
        return f"{field} = {field}"
    match tree:
        case Contains(_, given):
            return f"array_has({field}, {_literal(given.value, column)})"
        case In(_, given):
            exact = [value for one in given if (value := _exact("=", one.value, column)[1]) is not None]
            return f"{field} IN ({', '.join(_literal(v, column) for v in exact)})" if exact else f"{field} != {field}"
        case Compare(_, op, given):
            op, value = _exact(op, given.value, column)
            if value is None:
                return f"{field} {'=' if op == '!=' else '!='} {field}"
            return f"{field} {op} {_literal(value, column)}"


def _literal(value: Any, column: pa.DataType) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"timestamp '{value:%Y-%m-%d %H:%M:%S}'"
    return f"date '{value}'" if isinstance(value, date) else repr(value)

import datetime as dt
import math
import operator
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmssl import where
from mmssl.errors import WrongUse

SCHEMA = pa.schema({
    "age": pa.float32(), "dose": pa.float64(), "width": pa.int32(), "sex": pa.string(), "label_No Finding": pa.string(),
    "source_a.b": pa.string(), "urgent": pa.bool_(), "study_datetime": pa.timestamp("s"), "day": pa.date32(),
    "flags": pa.list_(pa.string()), "empty": pa.null(), "sections": pa.list_(pa.struct({"name": pa.string()})),
})  # fmt: skip


def rows(table: pa.Table, text: str) -> list[int]:
    condition = where.parse(text).check(table.schema).expression()
    return table.append_column("row", pa.array(range(len(table)))).filter(condition)["row"].to_pylist()


PEOPLE = pa.table({
    "age": pa.array([70, 60, None, 30, math.nan, 60.1], pa.float32()),
    "sex": ["F", "M", "F", None, "F", "it's"],
    "view": ["PA", "AP", "LATERAL", None, "PA", "AP"],
    "width": pa.array([1, 2, 3, None, 5, 6], pa.int32()),
    "dose": [0.0, -0.0, 1.0, math.nan, None, 7.0],
    "urgent": [True, False, None, True, False, True],
    "flags": pa.array([["blank"], [], None, ["blank", "dup"], ["dup"], [None, "x"]], pa.list_(pa.string())),
    "study_datetime": pa.array([dt.datetime(2024, 1, 31, 10), dt.datetime(2024, 1, 31), None, dt.datetime(2023, 5, 1),
                                dt.datetime(2025, 1, 1), dt.datetime(1999, 12, 31)], pa.timestamp("s")),
    "day": [dt.date(2024, 1, 31), dt.date(2024, 1, 31), None, dt.date(2023, 5, 1), dt.date(2025, 1, 1),
            dt.date(1999, 12, 31)],
    "label_Pleural Effusion": ["1", "0", "1", None, "-1", "1"],
})  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("view in ('PA','AP') and age > 60", [0, 5]),
        ("sex = 'F' and age > 60", [0]),
        ("age > 60", [0, 5]),
        ("NOT age > 60", [1, 3]),  # neither null nor NaN is a match, under not too
        ("age is null", [2, 4]),
        ("age is not null", [0, 1, 3, 5]),
        ("not age is null", [0, 1, 3, 5]),
        ("age = 60.1", [5]),  # stored as float32
        ("age > 60.1", [0]),
        ("sex != 'F'", [1, 5]),
        ("sex <> 'F' or sex is null", [1, 3, 5]),
        ("sex not in ('F', 'M')", [5]),
        ("not sex in ('F', 'M')", [5]),
        ("sex == 'it''s'", [5]),
        ('sex == "it\'s"', [5]),
        ("width > 1.5 and width <= 5", [1, 2, 4]),
        ("width < 1.5", [0]),
        ("width >= 2.5", [2, 4, 5]),
        ("day < '2024-01-31 10:00'", [0, 1, 3, 5]),
        ("day >= '2024-01-31 10:00'", [4]),
        ("width = 1.5", []),
        ("width != 1.5", [0, 1, 2, 4, 5]),
        ("width < 5000000000", [0, 1, 2, 4, 5]),
        ("width in (1, 2.5, 6)", [0, 5]),
        ("width = 1e0", [0]),
        ("width > -3 and width >= +6", [5]),
        ("dose in (0)", [0, 1]),
        ("dose not in (-0.0, 7)", [2]),
        ("urgent = TRUE", [0, 3, 5]),
        ("not urgent = true", [1, 4]),
        ("urgent in (true, false)", [0, 1, 3, 4, 5]),
        ("flags contains 'blank'", [0, 3]),
        ("not flags contains 'blank'", [1, 4, 5]),
        ("flags is null", [2]),
        ("study_datetime >= '2024-01-31'", [0, 1, 4]),
        ("study_datetime = date '2024-01-31'", [1]),
        ("study_datetime > '2024-01-31 09:59'", [0, 4]),
        ("study_datetime > '2024-01-31T10:00:00'", [4]),
        ("`label_Pleural Effusion` = '1'", [0, 2, 5]),
        ("sex = 'F' or sex = 'M' and age < 10", [0, 2, 4]),  # and binds closer
        ("(sex = 'F' or sex = 'M') and age < 65", [1]),
        ("not (sex = 'F' and age > 60)", [1, 3, 5]),  # null and true is null, null and false is false
    ],
)
def test_takes_the_rows_one_expects(text: str, found: list[int]) -> None:
    assert rows(PEOPLE, text) == found


# ---- every engine takes the same rows ------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", "F", "M", "it's", 'a"b', "\\'", "%", "é\n", "日本", "a`b", "--", "2024-01-31"])
FLOATS = st.sampled_from([0.0, -0.0, 0.1, 1.0, 1.5, -2.25, 60.1, 1e-30, 3e38])
INTS = st.sampled_from([-3, 0, 1, 2, 7, 2**31 - 1, -(2**31)])
TIMES = st.sampled_from(
    [(1969, 12, 31, 23, 59, 59), (2024, 1, 31), (2024, 1, 31, 10), (1500, 1, 1), (9999, 12, 31)]
).map(lambda parts: dt.datetime(*parts))
CELLS = {
    "age": FLOATS | st.just(math.nan), "dose": FLOATS | st.just(math.nan), "width": INTS, "sex": TEXTS,
    "label_No Finding": TEXTS, "source_a.b": TEXTS, "urgent": st.booleans(), "study_datetime": TIMES,
    "day": TIMES.map(dt.datetime.date),
    "flags": st.lists(TEXTS | st.none(), max_size=3), "empty": st.none(), "sections": st.none(),
}  # fmt: skip
NUMBERS = FLOATS | INTS | st.sampled_from([2.5, 5_000_000_000, -1e300])
FLIP = {"==": "=", "<>": "!="}


def quoted(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["'" + text.replace("'", "''") + "'", '"' + text.replace('"', '""') + '"'])


@st.composite
def values(draw, column: str):
    """(as written, as Python value) of a kind that fits the column."""
    if column in ("age", "dose", "width"):
        value = draw(NUMBERS if column != "age" else FLOATS | INTS)
        return repr(value), value
    if column == "urgent":
        value = draw(st.booleans())
        return draw(st.sampled_from([str(value).lower(), str(value).upper()])), value
    if column in ("study_datetime", "day"):
        value = draw(TIMES)
        text = draw(quoted(str(value).removesuffix(" 00:00:00")))
        return draw(st.sampled_from(["", "date "])) + text, value
    value = draw(TEXTS)
    return draw(quoted(value)), value


@st.composite
def filters(draw, depth: int = 3):
    """(as written, tree of tuples) of a random filter."""
    kind = draw(st.sampled_from(["leaf", "leaf", "not", "and", "or"])) if depth else "leaf"
    if kind == "not":
        text, tree = draw(filters(depth - 1))
        return f"not ({text})", ("not", tree)
    if kind in ("and", "or"):
        parts = draw(st.lists(filters(depth - 1), min_size=2, max_size=3))
        word = draw(st.sampled_from([kind, kind.upper()]))
        return f" {word} ".join(f"({text})" for text, _ in parts), (kind, [tree for _, tree in parts])
    column = draw(st.sampled_from([name for name in SCHEMA.names if name != "sections"]))
    name = f"`{column}`" if not column.isidentifier() else column
    kinds = {"flags": ["null", "contains"], "urgent": ["null", "=", "!=", "in"]}
    op = draw(st.sampled_from(kinds.get(column, ["null", "=", "==", "!=", "<>", "<", "<=", ">", ">=", "in"])))
    negated = draw(st.booleans())
    if op == "null":
        tree = ("null", column)
        return f"{name} is {'not ' * negated}null", ("not", tree) if negated else tree
    if op == "in":
        some = draw(st.lists(values(column), min_size=1, max_size=3))
        tree = ("in", column, [value for _, value in some])
        written = f"{name} {'not ' * negated}in ({', '.join(text for text, _ in some)})"
        return written, ("not", tree) if negated else tree
    text, value = draw(values(column))
    return f"{name} {op} {text}", (FLIP.get(op, op), column, value)


def truth(tree, row: dict) -> bool | None:
    """Three-valued logic, cell by cell: the reference."""
    op = tree[0]
    if op == "not":
        inner = truth(tree[1], row)
        return None if inner is None else not inner
    if op in ("and", "or"):
        parts = [truth(part, row) for part in tree[1]]
        decides = op == "or"
        return decides if decides in parts else None if None in parts else not decides
    column, cell = tree[1], row[tree[1]]
    if isinstance(cell, float) and math.isnan(cell):
        cell = None
    if op == "null":
        return cell is None
    if cell is None:
        return None
    if op == "contains":
        return tree[2] in cell
    if op == "in":
        return any(truth(("=", column, value), row) for value in tree[2])
    value = tree[2]
    if column == "age":
        value = float(np.float32(value))
    if column == "day":
        cell = dt.datetime(cell.year, cell.month, cell.day)
    compare = {"=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[op]
    return getattr(operator, compare)(cell, value)


SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_pyarrow_and_lancedb_take_the_same_rows_as_a_plain_loop(data, tmp_path) -> None:
    import lancedb

    row = st.fixed_dictionaries({name: cell | st.none() for name, cell in CELLS.items()})
    cells = data.draw(st.lists(row, min_size=1, max_size=9))
    table = pa.Table.from_pylist(cells, SCHEMA)
    cells = table.to_pylist()  # float32 as it is held
    numbers = pa.array(range(len(table)))
    kept = {where.sql_name(name): _nan_to_null(table[name]) for name in SCHEMA.names} | {"row": numbers}
    lance = lancedb.connect(tmp_path).create_table("rows", pa.table(kept), mode="overwrite")
    pa.parquet.write_table(table.append_column("row", numbers), tmp_path / "rows.parquet")
    for text, tree in data.draw(st.lists(filters(), min_size=6, max_size=6)):
        expected = [i for i, row in enumerate(cells) if truth(tree, row)]
        bound = where.parse(text).check(SCHEMA)
        assert rows(table, text) == expected, text
        assert rows(table.slice(1), text) == [i - 1 for i in expected if i], text
        if not any(isinstance(cell, float) and math.isnan(cell) for row in cells for cell in row.values()):
            scanned = pa.dataset.dataset(tmp_path / "rows.parquet").to_table(filter=bound.expression())
            assert scanned["row"].to_pylist() == expected, text
        hits = lance.search().where(bound.sql()).select(["row"]).limit(100).to_list()
        assert sorted(hit["row"] for hit in hits) == expected, (text, bound.sql())


def _nan_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    cells = [None if cell is None or math.isnan(cell) else cell for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, column.type)])


def test_the_largest_filters_that_are_read_run_in_both_engines(tmp_path) -> None:
    import lancedb

    table = pa.table({"width": pa.array(range(1000), pa.int32())})
    lance = lancedb.connect(tmp_path).create_table("rows", table)
    many = " or ".join(f"width = {i}" for i in range(500))
    deep = "not (" * 10 + "width < 500" + ")" * 10
    listed = f"width in ({', '.join(str(i) for i in range(500))})"
    for text in (many, deep, listed):
        assert rows(table, text) == list(range(500))
        assert lance.count_rows(where.parse(text).check(table.schema).sql()) == 500


# ---- what cannot be meant ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "problem"),
    [
        ("age > ", 5, "a value is expected here"),
        ("age > and sex = 'F'", 6, "a value is expected here"),
        ("age 60", 4, "after age, one of = != <"),
        ("age > 60 sex = 'F'", 9, "and, or, or the end of the filter is expected here"),
        ("(age > 60", 9, ") is expected here"),
        ("age > 60)", 8, "and, or, or the end"),
        ("sex = 'F", 6, "this ' is never closed"),
        ("sex = F", 6, "text is written in quotes: 'F'"),
        ("age = null", 6, "write  is null"),
        ("age in ()", 8, "a value is expected here"),
        ("age > 1.2.3", 6, "this is no number"),
        ("age > 1e999", 6, "this number is too large"),
        ("study_datetime > date '2024-02-30'", 22, "this is no date; write it like '2024-01-31'"),
        ("60 < age", 0, "the name of a column is expected here"),
        ("sex like 'F%'", 4, "after sex, one of"),
        ("age > 60 and", 12, "the name of a column is expected here"),
    ],
)
def test_a_syntax_error_shows_its_place(text: str, at: int, problem: str) -> None:
    with pytest.raises(WrongUse) as raised:
        where.parse(text)
    first, shown, carets, said = str(raised.value).split("\n")
    assert first == "the filter cannot be read"
    assert shown.strip() == text.strip()
    assert carets[2:].index("^") == at
    assert problem in said


@pytest.mark.parametrize(
    "text",
    [
        "1=1; drop table rows", "age > 60; drop table rows", "age > 60 -- x", "age > 60 /* x */", "1=1",
        "age > 60 or 1=1", "sex = '' union select * from rows", "sex = (select sex from rows)", "sleep(1) = 1",
        "sex = char(70)", "age + 1 > 2", "sex = 'F'' or 1=1", "`age` = 1 or `1`=`1`", "id = '\\' or 1=1 --'",
        "_rowid in (1) = true", "vector is null",
    ],
)  # fmt: skip
def test_injection_is_refused(text: str) -> None:
    with pytest.raises(WrongUse):
        where.parse(text).check(SCHEMA)


def test_a_quote_that_could_end_a_text_early_stays_inside_it() -> None:
    hostile = "x' or 'a'='a"
    bound = where.parse("sex = 'x'' or ''a''=''a'").check(SCHEMA)
    assert bound.sql() == "`sex` = 'x'' or ''a''=''a'"
    assert rows(pa.table({"sex": ["F", hostile]}), f'sex = "{hostile}"') == [1]


def test_all_that_does_not_fit_the_columns_is_said_at_once() -> None:
    text = "agee > 60 and (age > 'old' or sex = 1) and flags = 'x' and sex contains 'F' and study_datetime > 'May'"
    with pytest.raises(WrongUse) as raised:
        where.parse(text).check(PEOPLE.schema)
    said = str(raised.value)
    assert said.startswith("6 problems in the filter\n")
    for problem in (
        "there is no column 'agee', did you mean 'age'?",
        "age holds numbers, 'old' is none",
        "sex holds text, so the value is written in quotes: '1'",
        "flags holds lists; write  flags contains 'x'",
        "sex holds no lists, which contains is for; write  sex = 'F'",
        "study_datetime holds dates, 'May' is none; write it like '2024-01-31' or '2024-01-31 10:30'",
        "columns are age, sex, view, width, dose, urgent, flags, study_datetime, day, label_Pleural Effusion",
    ):
        assert problem in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("urgent > true", "urgent holds true or false, which > does not order"),
        ("urgent = 'yes'", "urgent holds true or false, 'yes' is neither"),
        ("age = true", "age holds numbers, 'true' is none"),
        ("sections is null", "cannot be filtered by"),
        ("age in (1, 'two', 3)", "age holds numbers, 'two' is none"),
    ],
)
def test_a_value_of_the_wrong_kind(text: str, problem: str) -> None:
    with pytest.raises(WrongUse, match=problem):
        where.parse(text).check(SCHEMA)


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_filter(text: str) -> None:
    with pytest.raises(WrongUse, match="the filter is empty"):
        where.parse(text)


def test_what_would_exhaust_an_engine_is_refused() -> None:
    deep, negated = "(" * 100 + "age > 1" + ")" * 100, "not " * 2000 + "age > 1"
    for text in (deep, negated, " or ".join(["age > 1"] * 600), "age > 1" + " " * 10_000):
        with pytest.raises(WrongUse):
            where.parse(text)


def test_a_long_filter_shows_what_is_around_the_mistake() -> None:
    text = "age > 1 and " * 50 + "sex > and age > 1" + " and age > 1" * 50
    with pytest.raises(WrongUse) as raised:
        where.parse(text)
    _, shown, carets, _ = str(raised.value).split("\n")
    assert len(shown) < 110
    assert shown[carets.index("^") :].startswith("and age > 1")


@given(st.text() | st.text("%.`_256E7F vector") | st.sampled_from(["vector", "thumbnail", "_rowid", "%76ector"]))
def test_names_that_lancedb_does_not_allow_come_back(name: str) -> None:
    kept = where.sql_name(name)
    assert where.given_name(kept) == name
    assert not set(kept) & set(".`")
    assert not kept.startswith("_")
    assert kept not in where.OWN


def test_reading_a_filter_loads_no_heavy_library() -> None:
    code = "import sys; from mmssl import where; where.parse('age > 60'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert not {"pyarrow", "lancedb", "numpy"} & set(out.stdout.split())

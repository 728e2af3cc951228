"""Large tables in columns: packed or not, torn lines, groups, and what is said of a broken one."""

import gzip

import pytest

from mmssl.data import columnar, observations
from mmssl.errors import CannotDo, WrongUse

TABLE = 'id,group,text\n007,b,"two\nlines, and a comma"\n008,a,\n,a,no key\nx,y\n009,b,last\n010,b,one,two\n'


@pytest.fixture(params=["t.csv", "t.csv.gz"])
def table(request, tmp_path):
    content = TABLE.encode()
    (tmp_path / request.param).write_bytes(gzip.compress(content) if request.param.endswith("gz") else content)
    return columnar.find(tmp_path, "t.csv")


def test_rows_are_text_and_torn_lines_and_rows_without_a_key_are_told(table):
    rows, bad = columnar.read(table, ["id", "group"], optional=["text", "other"], keys=["id"])
    assert rows.to_pylist() == [
        {"id": "007", "group": "b", "text": "two\nlines, and a comma", "other": None},
        {"id": "008", "group": "a", "text": None, "other": None},
        {"id": "009", "group": "b", "text": "last", "other": None},
    ]
    assert bad == [3, 4, 6]  # without a key; too few cells; too many


def test_groups_come_in_order_whatever_the_order_of_rows(table, monkeypatch):
    rows, _ = columnar.read(table, ["id", "group"], keys=["id"])
    for chunk in (1, 2, 100):
        monkeypatch.setattr(columnar, "CHUNK", chunk)
        found = [[row["id"] for row in group] for group in columnar.groups(rows, ["group", "id"])]
        assert found == [["008"], ["007"], ["009"]]
        assert [[row["id"] for row in group] for group in columnar.groups(rows, ["group"])] == [["008"], ["007", "009"]]


def test_a_table_of_something_else_is_told_by_its_columns(table):
    with pytest.raises(WrongUse, match=r"no column dicom_id: it is another table.*it has id, group, text"):
        columnar.read(table, ["id", "dicom_id"])


def test_a_key_that_comes_twice_is_refused(table):
    rows, _ = columnar.read(table, ["id", "group"], keys=["id"])
    columnar.check_unique(table, rows, "id")
    with pytest.raises(WrongUse, match="1 rows have a group that was there before"):
        columnar.check_unique(table, rows, "group")


@pytest.mark.parametrize("length", [1, 20, 400])
def test_a_download_that_was_cut_short_is_told(tmp_path, length):
    whole = gzip.compress(b"id,text\n" + b"".join(b"%d,%d\n" % (i, i * i * 7919 % 10007) for i in range(400)))
    (tmp_path / "t.csv.gz").write_bytes(whole[:length])
    with pytest.raises((CannotDo, WrongUse), match=r"download interrupted|no column"):
        columnar.read(tmp_path / "t.csv.gz", ["id"])


def test_labels_are_1_0_uncertain_and_not_mentioned():
    cells = dict(zip(observations.NAMES, ["1.0", "0.0", "-1.0", None, "1", "0", "-1"], strict=False))
    told = [observations.labels(cells, "t.csv")[f"label_{name}"] for name in observations.NAMES]
    assert told == [1, 0, -1, None, 1, 0, -1, *[None] * 7]
    with pytest.raises(WrongUse, match=r"t\.csv: Edema is '0\.5'"):
        observations.labels({"Edema": "0.5"}, "t.csv")

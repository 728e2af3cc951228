"""What is true of each row: cells of every kind, and labels joined from a table."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.errors import WrongUse
from mmssl.evaluation import truth

nan = np.nan


def assert_same(found, wanted):
    np.testing.assert_array_equal(found, np.array(wanted, float))


def test_lists_of_names():
    cells = [["Edema", "Other"], [], None, "Mass|Edema", " Mass ", "", float("nan")]
    assert_same(
        truth.from_lists(cells, ["Edema", "Mass"]), [[1, 0], [0, 0], [nan] * 2, [1, 1], [0, 1], [0, 0], [nan] * 2]
    )


def test_numbers_as_they_come():
    cells = [1, 0, -1, None, "1", "-1.0", "", 1.0, True, False, "yes", " No ", float("nan")]
    assert_same(truth.from_numbers(cells, "label_edema"), [1, 0, -1, nan, 1, -1, nan, 1, 1, 0, 1, 0, nan])
    with pytest.raises(WrongUse, match=r"the column label_edema is .* but it holds 'maybe' \(2 rows\), 2 \(1 rows\)"):
        truth.from_numbers(["maybe", 1, "maybe", 2], "label_edema")


def test_of_labels_names_every_bad_column():
    table = {"a": [1, "x"], "b": [["q"], 0], "c": [1, 0]}
    with pytest.raises(WrongUse, match=r"2 problems in the truth\n.*column a.*\n.*column b"):
        truth.of_labels(table, ["A", "B", "C"], column=None, columns={"A": "a", "B": "b", "C": "c"})
    assert_same(truth.of_labels(table, ["C"], column="c", columns={}), [[1], [0]])  # one label, one column of numbers
    with pytest.raises(WrongUse, match="the column c holds numbers"):
        truth.of_labels(table, ["C", "D"], column="c", columns={})


def test_classes():
    found = truth.of_classes(["Head", ["Thorax"], None, "Foot", ["Head", "Thorax"], 3.0, []], ["Head", "Thorax", "3"])
    assert found.number.tolist() == [0, 1, -1, -1, -1, 2, -1]
    assert found.left_out == {"null": 1, "Foot": 1, "Head|Thorax": 1, "none": 1}


@pytest.mark.parametrize(("cells", "stored"), [(["Mass", ""], "text"), (["Mass|Edema", ""], "lists")])
def test_an_empty_cell_is_none_of_the_names_whether_or_not_another_has_two(tmp_path, cells, stored):
    rows = [{"id": f"r{n}", "truth": cell} for n, cell in enumerate(cells)]
    found = truth.join(written(tmp_path, "l.csv", rows), ROWS).columns["label_truth"]
    assert found == {"text": ["Mass", "", None, None], "lists": [["Mass", "Edema"], [], None, None]}[stored]
    assert_same(truth.from_lists(found, ["Mass"]), [[1], [0], [nan], [nan]])
    classes = truth.of_classes(found, ["Mass"])
    assert (classes.number.tolist(), classes.left_out) == ([0, -1, -1, -1], {"none": 1, "null": 2})


def test_an_empty_cell_among_numbers_is_not_known(tmp_path):
    rows = [{"id": f"r{n}", "edema": cell} for n, cell in enumerate(["1", "", "0"])]
    found = truth.join(written(tmp_path, "l.csv", rows), ROWS).columns["label_edema"]
    assert found == [1, None, 0, None]
    assert_same(truth.from_numbers(found, "label_edema"), [1, nan, 0, nan])


def test_studies():
    groups = np.array([0, 0, 0, 1, 1, 2, 2])
    images = np.array([[0, nan], [1, 0], [-1, nan], [0, nan], [-1, nan], [0, 1], [nan, 0]], float)
    assert_same(truth.of_groups(images, groups), [[1, 0], [-1, nan], [0, 1]])
    united = truth.united(["Head", None, "Head", "Head", "Foot", None, None], groups)
    assert united == [["Head"], ["Head", "Foot"], None]


def test_uncertain():
    assert_same(truth.decided(np.array([1, -1, 0, nan]), "positive"), [1, 1, 0, nan])
    assert_same(truth.decided(np.array([1, -1, 0, nan]), "negative"), [1, 0, 0, nan])
    assert_same(truth.decided(np.array([1, -1, 0, nan]), "ignore"), [1, nan, 0, nan])


def test_columns_by_their_short_names():
    columns = ["id", "label_truth", "source_view", "view"]
    assert [truth.column_of(name, columns) for name in ("truth", "label_truth", "view", "x")] == [
        "label_truth", "label_truth", "view", None
    ]  # fmt: skip


def test_names_that_never_occur_have_their_near_miss():
    assert truth.never_named([["Edema"], None], ["edema", "Edema"]) == [
        "edema never occurs in the truth, did you mean 'Edema'?"
    ]
    assert truth.never_named([None], ["edema"]) == []


ROWS = {
    "id": ["r0", "r1", "r2", "r3"],
    "source_id": ["a.png", "b.png", "c.png", None],
    "study_id": ["007", "007", "42", "9"],
    "patient_id": ["p", "p", "q", None],
}


def written(folder, name, rows):
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        cells = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
        path.write_text("\n".join(("\t" if name.endswith("tsv") else ",").join(line) for line in cells) + "\n")
    return path


@pytest.mark.parametrize("name", ["l.csv", "l.tsv", "l.jsonl", "l.parquet"])
@pytest.mark.parametrize("key", ["study_id", "StudyInstanceUID", "study", "Study ID"])
def test_join_by_study_keeps_leading_zeros(tmp_path, name, key):
    table = [{key: "007", "truth": "Edema|Mass"}, {key: " 42 ", "truth": "Mass"}, {key: "7", "truth": "Mass"}]
    joined = truth.join(written(tmp_path, name, table), ROWS)
    assert joined.columns == {"label_truth": [["Edema", "Mass"], ["Edema", "Mass"], ["Mass"], None]}
    assert (joined.key, joined.matched, joined.unmatched, joined.unused, joined.ambiguous) == (key, 3, 1, 1, 0)


def test_join_takes_the_finest_key_that_matches(tmp_path):
    table = [
        {"PatientID": "p", "id": "r1", "label_edema": 1},
        {"PatientID": "p", "id": "r0", "label_edema": 0},
        {"PatientID": "q", "id": "", "label_edema": -1},
    ]
    joined = truth.join(written(tmp_path, "l.csv", table), ROWS)
    assert (joined.key, joined.columns) == ("id", {"label_edema": [0, 1, None, None]})
    table = [{"PatientID": one["PatientID"], "id": "x", "label_edema": i} for i, one in enumerate(table)]
    joined = truth.join(written(tmp_path, "l.csv", table), ROWS)  # ids match nothing; the patient p says two things
    assert (joined.key, joined.columns, joined.ambiguous) == ("PatientID", {"label_edema": [None, None, 2, None]}, 1)
    assert joined.said() == "labels joined by PatientID: 1 rows matched, 3 without labels, 0 keys unused, 1 ambiguous"


def test_a_key_of_two_patients_gives_neither_its_labels(tmp_path):
    rows = ROWS | {"AccessionNumber": ["1", "1", "1", "2"]}
    table = [{"accession": "1", "edema": 1}, {"accession": "2", "edema": 0}]
    joined = truth.join(written(tmp_path, "l.csv", table), rows)
    assert (joined.columns, joined.ambiguous) == ({"label_edema": [None, None, None, 0]}, 1)


def test_rows_that_say_the_same_are_not_ambiguous(tmp_path):
    table = [{"image": "a.png", "truth": "Mass"}] * 2 + [{"image": "b.png", "truth": ""}]
    joined = truth.join(written(tmp_path, "l.csv", table), ROWS)
    assert joined.columns == {"label_truth": ["Mass", "", None, None]}
    assert joined.ambiguous == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"name": "x", "truth": "Mass"}],
            "has no column to join by: it has name, truth; the store knows its rows by id",
        ),
        ([{"id": "r0"}], "has no labels: its only columns are the keys id"),
        (
            [{"id": "x9", "AccessionNumber": "A1", "truth": "Mass"}],
            "whose keys match no row\n  id: none of 1 keys like A9 is among the 4 of id in these rows like A9",
        ),
        ([{"PatientID": "Doe42", "truth": "Mass"}], "none of 1 keys like AAA99 is among the 2 of patient_id"),
    ],
)
def test_what_cannot_be_joined(tmp_path, rows, said):
    with pytest.raises(WrongUse) as error:
        truth.join(written(tmp_path, "l.csv", rows), ROWS)
    assert said in str(error.value)
    assert "Doe42" not in str(error.value)


def test_a_table_without_rows_says_so(tmp_path):
    (tmp_path / "l.csv").write_text("id,truth\n")
    with pytest.raises(WrongUse, match=r"l\.csv: the table has no rows"):
        truth.join(tmp_path / "l.csv", ROWS)


def test_pseudonyms_are_joined_through_the_private_file_beside_the_store(tmp_path):
    store = tmp_path / "my.store"
    assert truth.private_keys(store, ["x0"]) == {}
    lines = [
        {"source_id": "x0", "path": "a/0.dcm", "keys": {"AccessionNumber": "0042", "PatientID": "7"}},
        {"source_id": "x1", "path": "a/1.dcm", "keys": {"AccessionNumber": "43", "PatientID": "7"}},
        {"source_id": "x9", "path": "a/9.dcm"},
    ]
    (tmp_path / "my.store.sources.private").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = {"id": ["r0", "r1", "r2"], "source_id": ["x1", "x0", "x8"], "study_id": ["s1", "s0", "s8"]}
    rows |= truth.private_keys(store, rows["source_id"])
    assert rows["AccessionNumber"] == ["43", "0042", None]
    for key, values in (
        ("accession_number", ("0042", "43")),
        ("image", ("a/0.dcm", "a/1.dcm")),
        ("study", ("s0", "s1")),
    ):
        table = [{"PatientID": "7", key: value, "truth": f"{i}|"} for i, value in enumerate(values)]
        joined = truth.join(written(tmp_path, "l.csv", table), rows)
        assert (joined.key, joined.columns) == (key, {"label_truth": [["1"], ["0"], None]})


def test_the_real_patient_is_found_beside_the_pseudonym(tmp_path):
    """PatientID and patient_id are one name but for case and `_`; in a store of pseudonyms they are two things."""
    line = {"source_id": "x0", "path": "a/0.dcm", "keys": {"PatientID": "0007"}}
    (tmp_path / "my.store.sources.private").write_text(json.dumps(line) + "\n")
    rows = {"id": ["r0", "r1"], "source_id": ["x0", "x1"], "patient_id": ["keyed0", "keyed1"]}
    rows |= truth.private_keys(tmp_path / "my.store", rows["source_id"])
    for name in ("PatientID", "patient_id"):
        for value, found in (("0007", [["1"], None]), ("keyed1", [None, ["1"]])):
            joined = truth.join(written(tmp_path, "l.csv", [{name: value, "truth": "1|"}]), rows)
            assert (joined.key, joined.columns) == (name, {"label_truth": found})

import json

import pytest

from mmssl.data import table_rows, tables
from mmssl.errors import WrongUse
from mmssl.prepare import join
from mmssl.prepare.settings import Join
from mmssl.types import Picture, Study
from tests.preparing import made, pictures, write_csv

DEFAULT = Join()


def study(number, patient="", site=None, **keys):
    """A study of its own patient unless one is named; None where the source does not say."""
    patient = keys.get("PatientID", f"p{number}") if patient == "" else patient
    return Study(
        f"s{number}", patient, (Picture(f"{number}.dcm", None),), columns={"site": site} if site else {}, keys=keys
    )


def joined(tmp_path, studies, rows, settings=DEFAULT):
    """[report of each study], and the counts."""
    file = write_csv(tmp_path / "reports.csv", rows)
    found, told = join.with_reports(studies, file, settings)
    counts = told.counts(file)
    json.dumps(counts)
    return [one.report for one in found], counts, found


def test_keys_are_text_and_leading_zeros_count(tmp_path):
    studies = [study(n, AccessionNumber=key) for n, key in enumerate(("0042", "42", "042"))]
    rows = [{"AccessionNumber": " 0042 ", "report": "a"}, {"AccessionNumber": "42", "report": "b"}]
    reports, counts, _ = joined(tmp_path, studies, rows)
    assert reports == ["a", "b", None]
    assert counts == {
        "file": "reports.csv",
        "key": "AccessionNumber",
        "lines": {"matched": 2},
        "studies": {"matched": 2, "unmatched": 1},
        "images": {"matched": 2, "unmatched": 1},
    }


def test_different_reports_of_one_key_are_ambiguous_and_equal_ones_are_one(tmp_path):
    studies = [study(n, AccessionNumber=str(n)) for n in range(3)]
    rows = [
        {"AccessionNumber": "0", "report": "a"},
        {"AccessionNumber": "0", "report": "b"},
        {"AccessionNumber": "1", "report": "same"},
        {"AccessionNumber": "1", "report": "same"},
        {"AccessionNumber": "2", "report": "c"},
        {"AccessionNumber": "9", "report": "nobody's"},
        {"AccessionNumber": "", "report": "without a key"},
        {"AccessionNumber": "2", "report": " "},
    ]
    reports, counts, found = joined(tmp_path, studies, rows)
    assert reports == [None, "same", "c"]
    assert found[0].columns["flags"] == ["report_ambiguous"]
    assert counts["lines"] == {"ambiguous": 2, "matched": 3, "unmatched": 1, "without_key": 1, "without_text": 1}
    assert sum(counts["lines"].values()) == len(rows)
    assert counts["studies"] == {"ambiguous": 1, "matched": 2}


def test_a_patients_one_report_belongs_to_none_of_two_studies(tmp_path):
    studies = [study(0, PatientID="A"), study(1, PatientID="A"), study(2, PatientID="B")]
    rows = [{"PatientID": "A", "report": "a"}, {"PatientID": "B", "report": "b"}]
    reports, counts, _ = joined(tmp_path, studies, rows)
    assert reports == [None, None, "b"]
    assert counts["studies"] == {"ambiguous": 2, "matched": 1}
    # an order may well be of two studies, which one report describes
    studies = [study(0, "p", AccessionNumber="A"), study(1, "p", AccessionNumber="A")]
    assert joined(tmp_path, studies, [{"AccessionNumber": "A", "report": "a"}])[0] == ["a", "a"]


SEVERAL = {"ids": (("p", "N"), ("q", "N")), "sites": (("p", "N"), ("p", "S")), "nobody": ((None, "N"), (None, "N"))}


@pytest.mark.parametrize(
    ("key", "who"),
    [(key, who) for key in tables.KEYS for who in SEVERAL if (key, who) != ("StudyInstanceUID", "nobody")],
)  # without a patient, who shares a StudyInstanceUID is one study
def test_a_key_of_two_patients_gives_neither_a_report_nor_labels(tmp_path, key, who):
    studies = [study(n, *one, **{key: "1"}) for n, one in enumerate(SEVERAL[who])]
    studies.append(study(2, "r", **{key: "2"}))
    reports, counts, found = joined(tmp_path, studies, [{key: "1", "report": "a"}, {key: "2", "report": "b"}])
    assert reports == [None, None, "b"]
    assert [one.columns.get("flags") for one in found] == [["report_ambiguous"]] * 2 + [None]
    assert (counts["lines"], counts["studies"]) == ({"ambiguous": 1, "matched": 1}, {"ambiguous": 2, "matched": 1})
    table = write_csv(tmp_path / "truth.csv", [{key: "1", "edema": "1"}, {key: "2", "edema": "0"}])
    found, told = join.with_labels(studies, table, DEFAULT)
    assert [one.columns["label_edema"] for one in found] == [None, None, 0]
    assert (told.rows, told.studies) == ({"ambiguous": 1, "matched": 1}, {"ambiguous": 2, "matched": 1})


def test_who_gave_out_a_dicom_patient_id_is_part_of_it_and_the_site_is_not(tmp_path):
    studies = [study(n, "NGH\\7", site, AccessionNumber="1") for n, site in enumerate(("North", "South"))]
    table = write_csv(tmp_path / "reports.csv", [{"AccessionNumber": "1", "report": "a"}])
    found, _ = join.with_reports(studies, table, DEFAULT, origin=join.Origin(ids_name_realm=True))
    assert [one.report for one in found] == ["a", "a"]


def test_reports_are_compared_by_their_words_and_other_columns_are_filled_where_lines_agree(tmp_path):
    rows = [
        {"PatientID": "A", "report": "No mass.\nNormal.", "sex": "F", "age": "60", "site": ""},
        {"PatientID": "A", "report": "No  mass. Normal. ", "sex": "M", "age": "60", "site": "N"},
    ]
    reports, counts, found = joined(tmp_path, [study(0, PatientID="A")], rows)
    assert reports == ["No mass.\nNormal."]
    assert found[0].columns == {"site": "N", "age": 60}
    assert (counts["lines"], counts["disagree"]) == ({"matched": 2}, {"sex": 1})


def test_mapped_columns_are_keys_by_their_meaning_and_by_their_own_names(tmp_path):
    studies = [
        study(n, f"m{n}", StudyInstanceUID=f"e{n}", PatientID=f"m{n}", exam=f"e{n}", hospno=f"m{n}") for n in range(2)
    ]
    origin = join.Origin(columns={"study_id": "exam", "patient_id": "hospno", "text": "caption"})
    for key, values in (("exam", "e0 e1"), ("study_uid", "e0 e1"), ("hospno", "m0 m1"), ("PatientID", "m0 m1")):
        rows = [{key: value, "grade": n} for n, value in enumerate(values.split())]
        found, told = join.with_labels(studies, write_csv(tmp_path / "truth.csv", rows), DEFAULT, origin=origin)
        assert [one.columns for one in found] == [{"label_grade": n} for n in range(2)]
        assert told.studies == {"matched": 2}
    twice = [*studies, study(2, "m0", exam="e2", hospno="m0")]  # a patient's one report is of none of two studies
    table = write_csv(tmp_path / "reports.csv", [{"hospno": "m0", "report": "a"}, {"hospno": "m1", "report": "b"}])
    found, told = join.with_reports(twice, table, DEFAULT, origin=origin)
    assert ([one.report for one in found], told.key) == ([None, "b", None], "hospno")


def test_the_most_particular_key_that_matches_anything_is_taken(tmp_path):
    studies = [study(0, AccessionNumber="1", PatientID="A"), study(1, AccessionNumber="2", PatientID="A")]
    rows = [
        {"PatientID": "A", "AccessionNumber": "1", "study_uid": "other", "report": "a"},
        {"PatientID": "A", "AccessionNumber": "3", "study_uid": "other", "report": "b"},
    ]
    reports, counts, _ = joined(tmp_path, studies, rows)
    assert reports == ["a", None]
    assert counts["key"] == "AccessionNumber"
    assert joined(tmp_path, studies, rows, Join(key="PatientID"))[1]["key"] == "PatientID"
    assert joined(tmp_path, studies, rows, Join(key="PatientID", reports="AccessionNumber"))[0] == ["a", None]


def test_a_key_may_have_another_name_in_the_tables(tmp_path):
    studies = [study(0, PatientID="007"), study(1, PatientID="8")]
    called = Join(columns={"PatientID": "MR number"})
    reports, counts, _ = joined(tmp_path, studies, [{"MR number": "007", "text": "a"}], called)
    assert reports == ["a", None]
    assert counts["key"] == "PatientID"
    table = write_csv(tmp_path / "truth.csv", [{"MR number": "8", "edema": "1"}])
    found, _ = join.with_labels(studies, table, called)
    assert [one.columns for one in found] == [{"label_edema": None}, {"label_edema": 1}]
    with pytest.raises(WrongUse, match=r"say which is one: join\.columns\.PatientID=NAME"):
        join.with_labels(studies, table, DEFAULT)


def test_a_key_that_is_named_is_one_of_both_tables_or_of_one(tmp_path):
    studies = [study(0, AccessionNumber="1", PatientID="A")]
    table = write_csv(tmp_path / "truth.csv", [{"PatientID": "A", "edema": "1"}])
    there = "there are PatientID, edema; say which is one: join.columns.AccessionNumber=NAME; "
    in_table = "columns label_NAME of the source's own table are labels too"
    with pytest.raises(WrongUse) as said:
        join.with_labels(studies, table, Join(key="AccessionNumber"))
    assert str(said.value) == (
        f"join.key=AccessionNumber: {table} has no column AccessionNumber to join labels by; {there}"
        f"join.labels=KEY names one for labels alone; {in_table}"
    )
    with pytest.raises(WrongUse, match=f"^join.labels=AccessionNumber: .*; {there}{in_table}$"):
        join.with_labels(studies, table, Join(labels="AccessionNumber"))
    found, _ = join.with_labels(studies, table, Join(key="AccessionNumber", labels="PatientID"))
    assert found[0].columns["label_edema"] == 1


def test_keys_that_match_nothing_are_said_without_telling_them(tmp_path):
    studies = [study(0, AccessionNumber="ACC-0042", PatientID="P7")]
    rows = [{"AccessionNumber": "42", "PatientID": "7", "report": "a"}]
    with pytest.raises(WrongUse) as said:
        joined(tmp_path, studies, rows)
    assert str(said.value) == (
        "no report of reports.csv belongs to any image: its keys match nothing\n"
        "  AccessionNumber: 1 in the table like 99, 1 with the images like AAA-9999\n"
        "  PatientID: 1 in the table like 9, 1 with the images like A9\n"
        "(shapes of keys: A stands for a letter, 9 for a digit; keys are text, so 0042 is not 42)"
    )
    with pytest.raises(
        WrongUse, match="has no column AccessionNumber or StudyInstanceUID or PatientID to join reports by"
    ):
        joined(tmp_path, studies, [{"number": "42", "report": "a"}])


def test_where_the_report_stands(tmp_path):
    studies = [study(0, PatientID="A")]
    assert joined(tmp_path, studies, [{"PatientID": "A", "Text": "a"}])[0] == ["a"]
    rows = [{"PatientID": "A", "findings": "No mass.", "impression": "Normal."}]
    assert joined(tmp_path, studies, rows)[0] == ["FINDINGS: No mass.\nIMPRESSION: Normal."]
    assert joined(tmp_path, studies, [{"PatientID": "A", "befund": "x"}], Join(text="befund"))[0] == ["x"]
    with pytest.raises(
        WrongUse, match=r"has no column with reports, say report; there are PatientID, befund; name it with"
    ):
        joined(tmp_path, studies, [{"PatientID": "A", "befund": "x"}])
    with pytest.raises(WrongUse, match=r"join.text=befnd: .* has no such column, did you mean 'befund'\?"):
        joined(tmp_path, studies, [{"PatientID": "A", "befund": "x"}], Join(text="befnd"))


def test_a_table_fills_what_the_images_leave_open_and_nothing_else(tmp_path):
    known = Study("s", "p", (Picture("x", None),), columns={"sex": "F", "age": None}, keys={"PatientID": "A"})
    rows = [{"PatientID": "A", "report": "a", "sex": "M", "age": "061Y", "date": "2024-02-03", "name": "Doe"}]
    columns = joined(tmp_path, [known], rows)[2][0].columns
    assert columns["sex"] == "F"
    assert columns["age"] == 61
    assert columns["study_datetime"] == table_rows.own("study_datetime", "2024-02-03")
    assert "Doe" not in columns.values()


def test_labels_keep_their_types_and_hold_for_all_studies_of_a_patient(tmp_path):
    studies = [study(0, PatientID="A"), study(1, PatientID="A"), study(2, PatientID="B"), study(3, PatientID="C")]
    rows = [
        {"PatientID": "A", "truth": "Edema|Left Effusion", "Edema": "1", "grade": "mild", "label_x": "0.5"},
        {"PatientID": "B", "truth": "", "Edema": "-1", "grade": "", "label_x": ""},
    ]
    found, told = join.with_labels(studies, write_csv(tmp_path / "truth.csv", rows), DEFAULT)
    assert [one.columns for one in found] == [
        {"label_truth": ["Edema", "Left Effusion"], "label_Edema": 1, "label_grade": "mild", "label_x": 0.5},
        {"label_truth": ["Edema", "Left Effusion"], "label_Edema": 1, "label_grade": "mild", "label_x": 0.5},
        {"label_truth": [], "label_Edema": -1, "label_grade": "", "label_x": None},
        {"label_truth": None, "label_Edema": None, "label_grade": None, "label_x": None},
    ]
    assert told.studies == {"matched": 3, "unmatched": 1}
    rows.append({**rows[0], "Edema": "0"})
    found, told = join.with_labels(studies, write_csv(tmp_path / "truth.csv", rows), DEFAULT)
    assert found[0].columns["label_Edema"] is None
    assert told.studies == {"ambiguous": 2, "matched": 1, "unmatched": 1}
    with pytest.raises(WrongUse, match="has no labels: its columns are PatientID"):
        join.with_labels(studies, write_csv(tmp_path / "truth.csv", [{"PatientID": "A"}]), DEFAULT)
    twice = write_csv(tmp_path / "truth.csv", [{"PatientID": "A", "Edema": "1", "label_Edema": "0"}])
    with pytest.raises(WrongUse, match="Edema and label_Edema would both be the label's column"):
        join.with_labels(studies, twice, DEFAULT)


def test_labels_of_a_table_take_the_place_of_those_the_source_has(tmp_path):
    pictures(tmp_path, ["0.png", "1.png"])
    rows = [{"image": f"{n}.png", "study_id": f"s{n}", "label_Edema": str(n), "label_grade": "own"} for n in range(2)]
    labels = write_csv(tmp_path / "truth.csv", [{"study_id": "s0", "Edema": "5"}])
    found = made(write_csv(tmp_path / "t.csv", rows), tmp_path / "out", labels=labels)
    assert [(row["label_Edema"], row["label_grade"]) for _, row in sorted(found.items())] == [(5, "own"), (None, "own")]

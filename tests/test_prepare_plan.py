"""Splits where ids are half known, and what pseudonyms leave in a store."""

import json

import pytest

from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, rows_of, source, write_csv
from tests.test_prepare import manifest
from tests.test_prepare_dicom import film

HALVES = {"validation": 0.3, "test": 0.4}


def splits_of(found, by):
    """{value of a column: splits of its rows}."""
    told = {}
    for row in found.values():
        told.setdefault(by(row), set()).add(row["split"])
    return told


# ---- splits --------------------------------------------------------------------------------------------------------


def test_a_patient_whose_site_is_missing_on_some_rows_is_in_one_split(tmp_path, capsys):
    rows = [
        {"text": "t", "patient_id": f" p{n // 2}", "site": "N" if n % 2 or n >= 50 else "", "study_id": f"s{n}"}
        for n in range(60)
    ]
    found = made(source(tmp_path / "in", rows), tmp_path / "out", splits=HALVES)
    told = splits_of(found, lambda row: row["patient_id"].split(":")[-1])
    assert len(told) == 30
    assert all(len(one) == 1 for one in told.values())
    assert set.union(*told.values()) == {"train", "validation", "test"}
    assert {row["patient_id"] for row in found.values() if row["study_id"] in ("s0", "s1")} == {":p0", "N:p0"}
    remark = "25 patient ids occur both with and without a site or issuer"
    assert any(remark in one for one in manifest(tmp_path / "out")["remarks"])
    assert remark in " ".join(capsys.readouterr().err.split())


def test_a_split_given_for_some_rows_of_an_id_is_that_of_the_others(tmp_path):
    rows = [
        {"text": "t", "patient_id": f"p{n // 2}", "site": "" if n % 2 else "N", "split": "" if n % 2 else "test"}
        for n in range(20)
    ]
    found = made(source(tmp_path / "in", rows), tmp_path / "out")
    assert {row["split"] for row in found.values()} == {"test"}


def test_dicom_files_with_and_without_an_issuer_share_a_split(tmp_path, capsys):
    for number in range(24):
        known = {"IssuerOfPatientID": "NGH"} if number % 2 else {"InstitutionName": ""}
        patient = {"PatientID": f"PAT{number // 2}", **known}
        film(tmp_path / f"in/{number:02d}.dcm", number, patient=None, accession=f"A{number}", **patient)
    prepare(tmp_path / "in", tmp_path / "out", workers=1, splits=HALVES, overrides=["clean=off"])
    lines = map(json.loads, (tmp_path / "out.sources.private").read_text().splitlines())
    bare = {line["source_id"]: line["keys"]["PatientID"] for line in lines}
    found = rows_of(tmp_path / "out")
    told = splits_of(found, lambda row: bare[row["source_id"]])
    assert len(told) == 12
    assert all(len(one) == 1 for one in told.values())
    assert len({row["patient_id"] for row in found.values()}) == 24
    assert "12 patient ids occur both with and without a site or issuer" in " ".join(capsys.readouterr().err.split())


def test_one_row_given_to_test_moves_nobody_else(tmp_path):
    rows = [{"text": "t", "patient_id": f"p{n}", "split": ""} for n in range(60)]
    before = made(source(tmp_path / "in", rows), tmp_path / "before", splits=HALVES)
    moved = next(n for n in range(60) if before[f"{n}.png"]["split"] == "train")
    rows[moved]["split"] = "Test"
    after = made(source(tmp_path / "in", rows), tmp_path / "after", splits=HALVES)
    assert {n: r["split"] for n, r in after.items()} == {
        n: "test" if n == f"{moved}.png" else r["split"] for n, r in before.items()
    }
    assert {row["split"] for row in before.values()} == {"train", "validation", "test"}


def test_where_a_source_gives_train_and_test_alone_its_train_is_divided(tmp_path, capsys):
    rows = [{"text": "t", "patient_id": f"p{n // 2}", "split": "train" if n < 40 else "test"} for n in range(60)]
    table = source(tmp_path / "in", rows)
    with open(table, "a") as file:
        file.write("a line that is no row,x\n")
    found = made(table, tmp_path / "out", splits=HALVES)
    of_patient = splits_of(found, lambda row: row["patient_id"])
    assert {patient for patient, told in of_patient.items() if told == {"test"}} == {f"p{n}" for n in range(20, 30)}
    drawn = [patient for patient, told in of_patient.items() if told == {"validation"}]
    said = f"the source gives no validation split: {len(drawn)} patients that it gives to train are in validation"
    assert 0 < len(drawn) < 20
    assert said in manifest(tmp_path / "out")["remarks"][0]
    assert said in " ".join(capsys.readouterr().err.split())
    open_ones = [{**row, "split": ""} for row in rows]
    shares = {"validation": 0.3, "test": 0.0}  # the same people are drawn where nothing is given
    all_drawn = made(source(tmp_path / "in", open_ones), tmp_path / "drawn", splits=shares)
    assert {row["patient_id"] for row in all_drawn.values() if row["split"] == "validation"} >= set(drawn)


@pytest.mark.parametrize(("first", "overrides"), [("validation", []), ("", []), ("train", ["split=train"])])
def test_train_is_not_divided_where_validation_is_given_or_drawn_or_all_is_one_split(tmp_path, first, overrides):
    rows = [{"text": "t", "patient_id": f"p{n}", "split": "train" if n else first} for n in range(30)]
    found = made(source(tmp_path / "in", rows), tmp_path / "out", splits=HALVES, overrides=overrides)
    assert {row["split"] for name, row in found.items() if name != "0.png"} == {"train"}


# ---- pseudonyms ----------------------------------------------------------------------------------------------------


def test_pseudonyms_leave_no_key_in_another_column(tmp_path, capsys):
    rows = [
        {
            "text": "t", "exam": f"EXAM-{n}", "mrn": f"MRN-{n}", "name": f"FILE-{n}", "AccessionNumber": f"ACC-{n}",
            "Study Instance UID": f"UID-{n}", "patient_id": f"PAT-{n}", "PatientID": f"OTHER-{n}", "id": f"ID-{n}",
            "ward": "W",
        }
        for n in range(3)
    ]  # fmt: skip
    overrides = ["ids=keyed", "columns.study_id=exam", "columns.patient_id=mrn", "columns.id=name"]
    labels = write_csv(tmp_path / "l.csv", [{"exam": f"EXAM-{n}", "accession": f"ACC-{n}", "n": n} for n in range(3)])
    found = made(source(tmp_path / "in", rows), tmp_path / "out", overrides=overrides, labels=labels)
    assert sorted(row["label_n"] for row in found.values()) == [0, 1, 2]
    assert {row["ward"] for row in found.values()} == {"W"}
    said = (
        "ids are pseudonyms, so columns with keys are not in the store: "
        "AccessionNumber, PatientID, Study Instance UID, source_patient_id, source_source_id"
    )
    assert said in manifest(tmp_path / "out")["remarks"]
    assert said in " ".join(capsys.readouterr().err.split())
    told = ("EXAM", "MRN", "FILE", "ACC", "UID", "PAT", "OTHER", "ID")
    for file in (tmp_path / "out").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(f"{word}-1".encode() in content for word in told), file


def test_a_store_whose_key_was_moved_is_refused_before_another_is_made(tmp_path):
    table = source(tmp_path / "in", [{"text": "t", "patient_id": "p"}])
    made(table, tmp_path / "out", ids="keyed")
    (tmp_path / "out.key").rename(tmp_path / "safe")
    with pytest.raises(WrongUse, match=r"made with a key that is not at .*out.key: put it back, or name it with key="):
        prepare(table, tmp_path / "out", ids="keyed")
    assert not (tmp_path / "out.key").exists()
    assert prepare(table, tmp_path / "out", ids="keyed", key=tmp_path / "safe").skipped


def test_which_of_two_alike_stays_does_not_depend_on_the_key(tmp_path):
    table = source(tmp_path / "in", [{"text": "t", "patient_id": "p"}] * 3)
    for name in ("1.png", "2.png"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "in/0.png").read_bytes())
    for number in range(6):
        store = tmp_path / f"{number}.store"
        (row,) = made(table, store, ids="keyed").values()
        told = map(json.loads, (tmp_path / f"{number}.store.sources.private").read_text().splitlines())
        assert {line["source_id"]: line["path"] for line in told}[row["source_id"]] == "0.png"

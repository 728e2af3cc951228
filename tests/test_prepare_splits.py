"""Splits by time and by site through `prepare`: whom the rule moves, and who stays where they were put before."""

import datetime

import pytest

from mmssl import cli
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, picture, rows_of, source
from tests.test_prepare import manifest
from tests.test_prepare_dicom import film
from tests.test_prepare_plan import splits_of

BY_TIME = ["splits.by=time", "splits.test_from=2024-03-01", "splits.validation=0.0"]
BY_SITE = ["splits.by=site", "splits.test_sites=['st mary']", "splits.validation=0.0"]


def dated(days, **columns):
    """A study of each day, two for each patient; a column is a value, or a function of the number."""
    rows = []
    for n, day in enumerate(days):
        row = {"text": "words", "patient_id": f"p{n // 2}", "study_id": f"s{n}", "study_datetime": day}
        rows.append(row | {key: value(n) if callable(value) else value for key, value in columns.items()})
    return rows


def of_patients(found):
    told = splits_of(found, lambda row: row["patient_id"])
    assert all(len(one) == 1 for one in told.values())
    return {patient: one.pop() for patient, one in told.items()}


def months(*numbers):
    return [f"2024-{number:02d}-10" for number in numbers]


# ---- by time -------------------------------------------------------------------------------------------------------


def test_by_time_the_newest_patients_are_test_as_a_whole(tmp_path, capsys):
    table = source(tmp_path / "in", dated(months(1, 2, 2, 3, 1, 1, 4, 5)))
    assert cli.run(["prepare", str(table), str(tmp_path / "out"), *BY_TIME, "workers=1"]) == 0
    found = rows_of(tmp_path / "out")
    assert of_patients(found) == {"p0": "train", "p1": "test", "p2": "train", "p3": "test"}
    for row in found.values():  # nothing is trained on from that day on
        assert row["split"] == "test" or row["study_datetime"] < datetime.datetime(2024, 3, 1)
    remark = "1 patients kept for evaluation have 1 studies from before 2024-03-01 too, which went with them"
    assert remark in manifest(tmp_path / "out")["remarks"]
    assert remark in " ".join(capsys.readouterr().err.split())


def test_by_time_of_the_first_study_and_with_validation(tmp_path):
    table = source(tmp_path / "in", dated(months(1, 4, 2, 3, 4, 4, 1, 1)))
    rule = [*BY_TIME[:2], "splits.validation_from=2024-02-01", "splits.decided_by=first"]
    assert of_patients(made(table, tmp_path / "out", overrides=rule)) == {
        "p0": "train", "p1": "validation", "p2": "test", "p3": "train",
    }  # fmt: skip


def test_by_time_a_patient_without_a_date_stops_or_goes_where_it_is_said(tmp_path):
    table = source(tmp_path / "in", dated([*months(1, 1, 4, 4), "", ""]))
    with pytest.raises(WrongUse, match=r"of 1 patients no study has a date: splits\.unknown=train"):
        prepare(table, tmp_path / "out", workers=1, overrides=BY_TIME)
    assert not (tmp_path / "out").exists()
    found = made(table, tmp_path / "out", overrides=[*BY_TIME, "splits.unknown=validation"])
    assert of_patients(found) == {"p0": "train", "p1": "test", "p2": "validation"}


def test_by_time_of_dicom_files(tmp_path):
    for number, day in enumerate(("20240110", "20240310", "20240120", "20240121")):
        patient = {"PatientID": f"PAT{number // 2}", "StudyDate": day}
        film(tmp_path / f"in/{number}.dcm", number, patient=None, accession=f"A{number}", **patient)
    prepare(tmp_path / "in", tmp_path / "out", workers=1, overrides=[*BY_TIME, "clean=off"])
    found = rows_of(tmp_path / "out").values()
    assert sorted((row["study_datetime"].month, row["split"]) for row in found) == [
        (1, "test"), (1, "train"), (1, "train"), (3, "test"),
    ]  # fmt: skip


def test_by_time_whoever_is_in_the_store_stays_and_the_new_are_judged_by_their_days(tmp_path):
    store = tmp_path / "out"
    made(source(tmp_path / "in", dated(months(1, 1, 4, 4))), store, overrides=BY_TIME)
    days = [*months(1, 1, 4, 4, 4, 1), "2024-05-01", "2024-05-02"]
    rows = dated(days)
    rows[6]["patient_id"] = rows[7]["patient_id"] = "p0"
    found = made(source(tmp_path / "in", rows), store, overrides=BY_TIME)
    assert of_patients(found) == {"p0": "train", "p1": "test", "p2": "test"}
    with pytest.raises(WrongUse, match=r"splits.test_from: \"2024-03-01\" then, \"2024-04-01\" now"):
        prepare(tmp_path / "in/table.csv", store, workers=1, overrides=[BY_TIME[0], "splits.test_from=2024-04-01"])


def test_by_time_a_patient_of_the_store_needs_no_date_any_more(tmp_path):
    store = tmp_path / "out"
    made(source(tmp_path / "in", dated(months(1, 1, 4, 4))), store, overrides=BY_TIME)
    row = {**dated([""])[0], "image": "4.png", "patient_id": "p1", "study_id": "s4"}
    table = source(tmp_path / "second", [row])
    picture(9).save(tmp_path / "second/4.png")
    found = made(table, store, overrides=BY_TIME)
    assert found["4.png"]["split"] == "test"


def test_a_split_that_is_given_wins_over_the_rule_and_that_is_said(tmp_path):
    rows = dated(months(1, 1, 4, 4, 4, 4), split=lambda n: "train" if n in (2, 3) else "")
    found = made(source(tmp_path / "in", rows), tmp_path / "out", overrides=BY_TIME)
    assert of_patients(found) == {"p0": "train", "p1": "train", "p2": "test"}
    said = "splits.by=time decided nothing for 1 patients or studies whose split was given"
    assert said in manifest(tmp_path / "out")["remarks"]


# ---- by site -------------------------------------------------------------------------------------------------------


def test_by_site_all_who_were_seen_there_are_test(tmp_path):
    rows = dated(months(1, 1, 1, 1, 1, 1), site=lambda n: "North" if n < 4 else "St  Mary")
    found = made(source(tmp_path / "in", rows), tmp_path / "out", overrides=BY_SITE)
    assert of_patients(found) == {"p0": "train", "p1": "train", "p2": "test"}


def test_by_site_a_site_that_there_is_not_is_said_with_those_that_there_are(tmp_path):
    rows = dated(months(1, 1, 1, 1), site=lambda n: "North" if n < 2 else "St Marys")
    with pytest.raises(WrongUse, match=r"no study is from the site 'st mary'.*; there are North, St Marys"):
        prepare(source(tmp_path / "in", rows), tmp_path / "out", workers=1, overrides=BY_SITE)


def test_by_site_a_patient_of_dicom_files_goes_as_a_whole(tmp_path):
    for number, site in enumerate(("North", "St Mary", "North", "North")):
        patient = {"PatientID": f"PAT{number // 2}", "InstitutionName": site, "IssuerOfPatientID": "NGH"}
        film(tmp_path / f"in/{number}.dcm", number, patient=None, accession=f"A{number}", **patient)
    prepare(tmp_path / "in", tmp_path / "out", workers=1, overrides=[*BY_SITE, "clean=off"])
    found = rows_of(tmp_path / "out").values()
    assert sorted((row["site"], row["split"]) for row in found) == [
        ("North", "test"), ("North", "train"), ("North", "train"), ("St Mary", "test"),
    ]  # fmt: skip
    assert any(
        "1 patients were seen at sites of different splits" in one for one in manifest(tmp_path / "out")["remarks"]
    )


def test_a_study_of_nobody_at_a_site_that_is_kept_is_not_trained_on(tmp_path):
    rows = dated(months(1, 1, 1, 1), site=lambda n: "North" if n % 2 else "St Mary")
    for row in rows[2:]:
        row["patient_id"] = ""
    found = made(source(tmp_path / "in", rows), tmp_path / "out", overrides=BY_SITE)
    nobody = {row["site"]: row["split"] for row in found.values() if "patient_missing" in row["flags"]}
    assert nobody == {"St Mary": "test", "North": "train"}
    assert "in train unless its site is kept" in " ".join(manifest(tmp_path / "out")["remarks"])


def test_rules_that_cannot_be_meant_are_refused(tmp_path, capsys):
    table = source(tmp_path / "in", dated(months(1, 1)))
    words = ["prepare", str(table), str(tmp_path / "out")]
    assert cli.run([*words, "splits.by=time"]) == 2
    assert "by=time needs test_from=YYYY-MM-DD" in " ".join(capsys.readouterr().err.split())
    assert cli.run([*words, "splits.by=site", "splits.test_from=2024-01-01", "splits.test_sites=[a]"]) == 2
    assert "only with by=time, this is by=site" in " ".join(capsys.readouterr().err.split())
    assert cli.run([*words, "splits.validation=0.6", "splits.test=0.6"]) == 2
    assert "are more than all patients" in capsys.readouterr().err

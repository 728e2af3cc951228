"""Ids that are hardly one person's: placeholders that many share, two sexes, two birth dates."""

import json

import pytest

from mmssl import cli
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, rows_of, source
from tests.test_prepare import manifest
from tests.test_prepare_dicom import film


def studies(patient, numbers, **columns):
    return [{"text": "words", "patient_id": patient, "study_id": f"s{n}", "sex": "", **columns} for n in numbers]


@pytest.fixture
def shared(tmp_path):
    """A table with three patients and "Anonymous", who has six studies."""
    rows = [row for n in range(3) for row in studies(f"p{n}", [2 * n, 2 * n + 1])]
    return source(tmp_path / "in", rows + studies("Anonymous", range(6, 12)))


def test_an_id_with_too_many_studies_stops_with_the_list_and_nothing_is_made(shared, tmp_path, capsys):
    words = ["prepare", str(shared), str(tmp_path / "out"), "patients.max_studies=5", "workers=1"]
    assert cli.run(words) == 2
    said = capsys.readouterr().err
    assert "patient Anonymous: 6 studies, 5 are allowed" in said
    assert "patients.placeholders=[ID, ...]" in said
    assert not (tmp_path / "out").exists()
    assert cli.run([*words[:3], "patients.max_studies=6", "workers=1"]) == 0
    assert len(rows_of(tmp_path / "out")) == 12


def test_studies_of_a_placeholder_are_nobodys_and_in_train(shared, tmp_path):
    overrides = ["patients.max_studies=5", "patients.placeholders=[ANONYMOUS]", "splits.test=0.5"]
    found = made(shared, tmp_path / "out", overrides=[*overrides, "splits.validation=0.5"])
    nobody = [row for row in found.values() if "patient_missing" in row["flags"]]
    assert {row["study_id"] for row in nobody} == {f"s{n}" for n in range(6, 12)}
    assert len({row["patient_id"] for row in nobody}) == 6
    assert {row["split"] for row in nobody} == {"train"}
    assert "train" not in {row["split"] for row in found.values() if row not in nobody}
    assert "6 inputs name no patient" in " ".join(manifest(tmp_path / "out")["remarks"])


def test_two_sexes_stop_unless_they_are_to_be_flagged(tmp_path):
    rows = studies("a", [0], sex="M") + studies("a", [1], sex="female") + studies("b", [2, 3], sex="O")
    table = source(tmp_path / "in", rows + studies("b", [4], sex="F"))
    with pytest.raises(WrongUse, match="patient a: two sexes") as said:
        prepare(table, tmp_path / "out", workers=1)
    assert "patient b" not in str(said.value)
    found = made(table, tmp_path / "out", overrides=["patients.contradictions=flag"])
    assert {row["study_id"]: row["flags"] for row in found.values() if row["flags"]} == {
        "s0": ["patient_doubtful"], "s1": ["patient_doubtful"],
    }  # fmt: skip
    assert manifest(tmp_path / "out")["flags"] == {"patient_doubtful": 2}


def test_two_sexes_of_one_studys_pictures_are_seen_too(tmp_path):
    rows = studies("a", [0, 0]) + studies("b", [1])
    rows[0]["sex"], rows[1]["sex"] = "M", "F"
    with pytest.raises(WrongUse, match="patient a: two sexes"):
        prepare(source(tmp_path / "in", rows), tmp_path / "out", workers=1)


def test_two_birth_dates_of_an_id_stop_under_its_pseudonym_and_are_not_shown(tmp_path):
    for number, birth in enumerate(("19500102", "19610304", "19610304")):
        patient = {"PatientID": f"PAT{number // 2}", "PatientBirthDate": birth, "PatientAge": None}
        film(tmp_path / f"in/{number}.dcm", number, patient=None, accession=f"A{number}", **patient)
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef")
    with pytest.raises(WrongUse, match="2 birth dates") as said:
        prepare(tmp_path / "in", tmp_path / "out", workers=1, key=tmp_path / "key")
    shown = str(said.value)
    assert not any(word in shown for word in ("PAT0", "1950", "1961", "PAT1"))
    options = {"workers": 1, "key": tmp_path / "key", "overrides": ["patients.contradictions=flag", "clean=off"]}
    prepare(tmp_path / "in", tmp_path / "out", **options)
    found = rows_of(tmp_path / "out")
    doubtful = {row["patient_id"] for row in found.values() if "patient_doubtful" in row["flags"]}
    assert len(doubtful) == 1
    assert f"patient {doubtful.pop()}: 2 birth dates" in shown
    assert sum("patient_doubtful" in row["flags"] for row in found.values()) == 2


def test_studies_that_a_store_has_count_too(tmp_path):
    store, overrides = tmp_path / "out", ["patients.max_studies=5"]
    made(source(tmp_path / "first", studies("a", range(3), sex="F")), store, overrides=overrides)
    again = source(tmp_path / "first", studies("a", range(5), sex="F"))
    made(again, store, overrides=overrides)
    other = source(tmp_path / "second", [{**row, "image": f"new{n}.png"} for n, row in enumerate(studies("a", [9]))])
    with pytest.raises(WrongUse, match="patient a: 6 studies, 5 are allowed"):
        prepare(other, store, workers=1, overrides=overrides)
    man = [{**row, "image": f"new{n}.png"} for n, row in enumerate(studies("a", [9], sex="M"))]
    with pytest.raises(WrongUse, match="patient a: two sexes"):
        prepare(source(tmp_path / "third", man), store, workers=1)
    assert manifest(store)["version"] == 2


def test_a_contradiction_that_comes_later_flags_the_studies_of_a_source_that_grew(tmp_path):
    store, overrides = tmp_path / "out", ["patients.contradictions=flag"]
    rows = studies("a", [0], sex="F") + studies("b", [1], sex="F")
    made(source(tmp_path / "in", rows), store, overrides=overrides)
    found = made(source(tmp_path / "in", rows + studies("a", [2], sex="M")), store, overrides=overrides)
    assert {row["study_id"] for row in found.values() if row["flags"]} == {"s0", "s2"}


def test_a_store_that_was_made_before_there_was_a_setting_still_grows(tmp_path):
    store, table = tmp_path / "out", source(tmp_path / "in", studies("a", range(3)))
    made(table, store)
    told = manifest(store)
    del told["history"][0]["source"]["options"]["patients"]
    (store / "manifest.json").write_text(json.dumps(told))
    assert prepare(table, store, workers=1).skipped
    with pytest.raises(WrongUse, match=r"patients.max_studies: 500 then, 5 now"):
        prepare(table, store, workers=1, overrides=["patients.max_studies=5"])

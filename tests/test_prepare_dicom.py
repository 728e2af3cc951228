import json
import stat

import numpy as np
import pytest

from mmssl.data.dicom_write import write_image
from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import picture, reasons, write_csv

IDENTIFIERS = ("Okonkwo", "PAT00", "ACC00", "1.2.826.77", "NGH", "Dr Strange", "19610203")
"""What must be nowhere in a store, a preview, a message."""


def film(path, number, *, patient, accession, study=None, instance=1, values=None, **more):
    header = {
        "Modality": "DX", "PatientName": "Okonkwo^Ada", "PatientBirthDate": "19610203", "PatientSex": "F",
        "PatientAge": "060Y", "AccessionNumber": accession, "StudyInstanceUID": study or f"1.2.826.77.{number}",
        "SeriesInstanceUID": f"1.2.826.77.{number}.1", "SOPInstanceUID": f"1.2.826.77.{number}.1.{instance}",
        "StudyDate": "20210405", "StudyTime": "101500", "InstitutionName": "North",
        "ReferringPhysicianName": "Dr Strange",
        "ViewPosition": "PA", "WindowCenter": 2048, "WindowWidth": 4096, **more,
    }  # fmt: skip
    if patient:
        header |= {"PatientID": patient, "IssuerOfPatientID": "NGH"}
    pixels = np.asarray(picture(number)).astype(np.uint16) * 16 if values is None else values
    write_image(path, pixels, header, bits_stored=12)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Three patients, one with two studies, one study of two films; files without id, corrupt, blank and doubled."""
    folder = tmp_path_factory.mktemp("hospital")
    tree = folder / "PAT00-archive"
    film(tree / "a/1.dcm", 1, patient="PAT001", accession="ACC001")
    film(tree / "a/2.dcm", 2, patient="PAT001", accession="ACC001", study="1.2.826.77.1", instance=2)
    film(tree / "b/1.dcm", 3, patient="PAT001", accession="ACC002", StudyDate="20210601")
    film(tree / "c/1.dcm", 4, patient="PAT002", accession="ACC003")
    film(tree / "d/1.dcm", 5, patient="PAT003", accession="ACC004")
    film(tree / "nobody.dcm", 6, patient=None, accession="ACC005")
    film(tree / "flat.dcm", 7, patient="PAT003", accession="ACC004", values=np.full((40, 40), 700, np.uint16))
    (tree / "d/copy.dcm").write_bytes((tree / "d/1.dcm").read_bytes())
    (tree / "cut.dcm").write_bytes((tree / "d/1.dcm").read_bytes()[:900])
    (tree / "README").write_text("by PAT00")
    reports = [
        {"AccessionNumber": "ACC001", "report": "FINDINGS: Large heart.", "site": "South", "date": "2021-04-05"},
        {"AccessionNumber": "ACC002", "report": "IMPRESSION: Heart smaller."},
        {"AccessionNumber": "ACC003", "report": "one"},
        {"AccessionNumber": "ACC003", "report": "another"},
        {"AccessionNumber": "ACC999", "report": "of nobody here"},
    ]
    keys = ("AccessionNumber", "report", "site", "date")
    write_csv(folder / "reports.csv", [{key: row.get(key, "") for key in keys} for row in reports])
    truth = [{"AccessionNumber": f"ACC00{n}", "truth": "A|B" if n < 3 else "A"} for n in range(1, 6)]
    write_csv(folder / "truth.csv", truth)
    return folder


@pytest.fixture(scope="module")
def store(hospital):
    tables = {"reports": hospital / "reports.csv", "labels": hospital / "truth.csv"}
    prepare(hospital / "PAT00-archive", hospital / "out", workers=1, **tables)
    return Store(hospital / "out")


@pytest.fixture(scope="module")
def rows(store):
    """Rows by the path they came from."""
    lines = (store.path.parent / "out.sources.private").read_text().splitlines()
    paths = {line["source_id"]: line["path"] for line in map(json.loads, lines)}
    return {paths[row["source_id"]]: row for row in store.select().to_pylist()}


def test_what_becomes_of_every_file(store, hospital):
    lines = (hospital / "out.sources.private").read_text().splitlines()
    paths = {line["source_id"]: line["path"] for line in map(json.loads, lines)}
    assert {paths[name]: reason for name, reason in reasons(store.path).items()} == {
        "a/1.dcm": None, "a/2.dcm": None, "b/1.dcm": None, "c/1.dcm": None, "nobody.dcm": None, "flat.dcm": "constant",
        "cut.dcm": "truncated", "README": "not_dicom", "d/1.dcm": None, "d/copy.dcm": "duplicate",
    }  # fmt: skip


def test_ids_are_pseudonyms_and_no_header_value_is_in_the_store(store, hospital):
    assert store.manifest["ids"] == "keyed"
    for file in store.path.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert not any(word.encode() in content for word in IDENTIFIERS), file
    for table in (store.select(), *(read(store.path / f"{name}.parquet") for name in ("sources", "rejected"))):
        assert not any(word in str(table.to_pylist()) for word in IDENTIFIERS)
    for name in ("out.key", "out.sources.private"):
        assert stat.S_IMODE((hospital / name).stat().st_mode) == 0o600


def read(path):
    import pyarrow.parquet as pq

    return pq.read_table(path)


def test_nothing_on_the_screen_names_anybody(hospital, tmp_path, capfd):
    tables = {"reports": hospital / "reports.csv", "labels": hospital / "truth.csv"}
    prepare(hospital / "PAT00-archive", tmp_path / "out", workers=1, **tables)
    told = "".join(capfd.readouterr()).replace("PAT00-archive", "")
    assert "1 inputs name no patient" in told
    assert not any(word in told for word in IDENTIFIERS)


def test_columns_of_a_row(rows):
    row = rows["a/1.dcm"]
    assert (row["modality"], row["view"], row["sex"], row["age"], row["site"]) == ("DX", "PA", "F", 60, "North")
    assert str(row["study_datetime"]) == "2021-04-05 10:15:00"
    assert row["text"] == "Large heart."
    assert row["label_truth"] == ["A", "B"]
    assert len(row["patient_id"]) == len(row["study_id"]) == 32


def test_studies_and_priors_hold_together_under_pseudonyms(rows):
    assert rows["a/1.dcm"]["study_id"] == rows["a/2.dcm"]["study_id"] != rows["b/1.dcm"]["study_id"]
    assert rows["b/1.dcm"]["prior_study_id"] == rows["a/1.dcm"]["study_id"]
    assert rows["a/1.dcm"]["prior_study_id"] is None
    assert rows["a/1.dcm"]["patient_id"] == rows["b/1.dcm"]["patient_id"] != rows["c/1.dcm"]["patient_id"]
    assert rows["a/1.dcm"]["split"] == rows["b/1.dcm"]["split"]


def test_reports_are_counted_on_both_sides(store, rows):
    assert store.manifest["reports"] == {
        "file": "reports.csv", "key": "AccessionNumber",
        "lines": {"ambiguous": 2, "matched": 2, "unmatched": 1},
        "studies": {"ambiguous": 1, "matched": 2, "unmatched": 4},
        "images": {"ambiguous": 1, "matched": 3, "unmatched": 6},
        "reasons": {"ambiguous": {"no_time": 2}, "studies": {"no_time": 1}},
    }  # fmt: skip
    assert rows["c/1.dcm"]["text"] is None
    assert rows["c/1.dcm"]["flags"] == ["report_ambiguous", "text_missing"]


def test_a_file_without_a_patient_is_counted_and_its_study_is_in_train(store, rows):
    assert store.manifest["counts"]["patient_missing"] == 1
    assert rows["nobody.dcm"]["split"] == "train"
    assert "patient_missing" in rows["nobody.dcm"]["flags"]
    assert rows["nobody.dcm"]["patient_id"] == rows["nobody.dcm"]["study_id"]


def test_reports_are_optional_and_keys_that_match_nothing_are_not(hospital, tmp_path):
    tree = hospital / "PAT00-archive"
    assert prepare(tree, tmp_path / "out", workers=1).rows == 6
    assert any("--reports FILE" in remark for remark in Store(tmp_path / "out").manifest["remarks"])
    wrong = write_csv(tmp_path / "r.csv", [{"AccessionNumber": "1", "report": "x"}])
    with pytest.raises(WrongUse, match=r"no report of r.csv belongs to any image: its keys match nothing") as said:
        prepare(tree, tmp_path / "other", workers=1, reports=wrong)
    assert "AccessionNumber: 1 in the table like 9, 5 with the images like AAA999" in str(said.value)
    assert not list(tmp_path.glob("*other*"))  # neither a store nor a key

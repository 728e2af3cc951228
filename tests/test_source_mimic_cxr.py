"""MIMIC-CXR, JPG and DICOM: every file and row accounted for, splits, labels, reports, and priors by date."""

import datetime
import pickle
import shutil
import zipfile

import pytest

from mmssl import plugins
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from mmssl.sources.mimic_cxr import Source
from tests import replicas
from tests.preparing import made, reasons
from tests.replicas import MIMIC_IMAGES, MIMIC_STUDIES, mimic_place, mimic_text

NAMES = {name: f"{mimic_place(study)}/{name}.jpg" for name, (study, _, _) in MIMIC_IMAGES.items()}
PRIORS = {"50000001": "50000002", "50000002": "50000003", "50000006": "50000005"}
DATES = {
    "50000001": datetime.datetime(2180, 8, 1, 9, 30, 14),
    "50000002": datetime.datetime(2180, 5, 6, 21, 30, 14),
    "50000003": datetime.datetime(2180, 5, 6, 0, 1, 31),
    "50000004": datetime.datetime(2176, 1, 1, 0, 12),
    "50000005": datetime.datetime(2199, 1, 1, 23, 59, 59),
    "50000006": datetime.datetime(2199, 1, 2),
}


def by_image(found, ending=".jpg"):
    return {name: found[f"{mimic_place(study)}/{name}{ending}"] for name, (study, _, _) in MIMIC_IMAGES.items()}


def check_common(rows):
    """What both forms of the data set say."""
    for name, (study, _, _) in MIMIC_IMAGES.items():
        row, (subject, _, _, split) = rows[name], MIMIC_STUDIES[study]
        assert (row["patient_id"], row["study_id"]) == (subject, study)
        assert row["split"] == {"validate": "validation"}.get(split, split)
        assert row["study_datetime"] == DATES[study]
        assert row["prior_study_id"] == PRIORS.get(study)
        assert row["report"] == mimic_text(study)
        assert row["text"] == f"Lungs of {study} are clear.\nNormal chest in {study}."
        assert [section["name"] for section in row["sections"]][-2:] == ["findings", "impression"]
        assert row["body_part"] == "CHEST"


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "csv"])
@pytest.mark.parametrize("reports", ["zip", "", "mimic-cxr-reports"], ids=["zip", "beside the images", "unpacked"])
def test_jpg(tmp_path, packed, reports):
    rows = by_image(made(replicas.mimic_jpg(tmp_path / "in", packed=packed, reports=reports), tmp_path / "out"))
    check_common(rows)
    assert [rows[name]["view"] for name in MIMIC_IMAGES] == ["PA", "LL", "AP", "unknown", "AP", "PA", "PA"]
    assert {row["modality"] for row in rows.values()} == {"XR"}
    assert {row["PatientOrientationCodeSequence_CodeMeaning"] for row in rows.values()} == {"Erect"}
    assert set(reasons(tmp_path / "out").values()) == {None}


def test_labels_are_kept_as_they_are(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    rows = by_image(made(root, tmp_path / "out"))
    told = [rows["aaaa0001"][f"label_{name}"] for name in ("Edema", "Pneumonia", "Atelectasis", "No Finding")]
    assert told == [-1, 0, 1, None]
    assert rows["aaaa0002"]["label_Edema"] == -1  # a label is the study's
    assert rows["aaaa0003"]["label_Edema"] is None
    assert rows["aaaa0005"]["label_No Finding"] == 1
    rows = by_image(made(root, tmp_path / "other", overrides=["source.labels=negbio"]))
    assert rows["aaaa0001"]["label_Edema"] == 1


def test_dicom_headers_tell_what_no_table_does(tmp_path):
    rows = by_image(made(replicas.mimic_dicom(tmp_path / "in"), tmp_path / "out", layout="mimic_cxr"), ".dcm")
    check_common(rows)
    assert {row["modality"] for row in rows.values()} == {"DX"}
    assert [rows[name]["view"] for name in ("aaaa0001", "aaaa0004")] == ["PA", "unknown"]


def test_both_forms_of_an_image_are_one_row(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    replicas.mimic_dicom(root)
    made(root, tmp_path / "out", layout="mimic_cxr")
    why = reasons(tmp_path / "out")
    assert {why[name] for name in NAMES.values()} == {None}
    assert {why[name.replace(".jpg", ".dcm")] for name in NAMES.values()} == {"duplicate"}


def test_rows_without_an_image_and_images_without_a_row_are_accounted_for(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    (root / NAMES["aaaa0003"]).unlink()
    shutil.rmtree(root / mimic_place("50000005"))
    replicas.table(
        root / "mimic-cxr-2.0.0-chexpert.csv.gz",
        ["subject_id", "study_id", *replicas.observations.NAMES],
        [["10000009", "50000099", *replicas.labelled(Edema="1.0")], ["10000009", "", *replicas.labelled()]],
    )
    extra = {
        "known study": f"{mimic_place('50000001')}/cccc0001.jpg",
        "known patient": "files/p10/p10000001/s59999999/cccc0002.jpg",
        "new patient": "files/p12/p12000001/s58888888/cccc0003.png",
    }
    for name in extra.values():
        replicas.image(root / name, next(replicas.numbers))
    (root / mimic_place("50000001") / "index.html").write_text("made by wget")
    told = {picture.source_id: picture for study in Source(root).studies() for picture in study.pictures}
    assert told[NAMES["aaaa0003"]].reason == "missing"  # known before anything is decoded
    assert told[NAMES["aaaa0003"]].path == root / NAMES["aaaa0003"]
    rows = made(root, tmp_path / "out")
    why = reasons(tmp_path / "out")
    assert {name: reason for name, reason in why.items() if reason} == {
        NAMES["aaaa0003"]: "missing",
        NAMES["aaaa0006"]: "missing",
        "files/p10/p10000009/s50000099": "missing",
        "mimic-cxr-2.0.0-chexpert.csv.gz row 2": "bad_row",
    }
    assert set(rows) == {*NAMES.values(), *extra.values()} - {NAMES["aaaa0003"], NAMES["aaaa0006"]}
    told = {what: rows[name] for what, name in extra.items()}
    assert all(row["flags"][0] == "not_in_metadata" for row in told.values())
    assert [row["split"] for row in told.values()] == ["train"] * 3
    assert (told["known study"]["study_id"], told["known study"]["report"]) == ("50000001", mimic_text("50000001"))
    assert (told["new patient"]["patient_id"], told["new patient"]["study_id"]) == ("12000001", "58888888")


def test_a_date_that_is_none_is_kept_and_flagged(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    rows = [["aaaa0001", "10000001", "50000001", "", "PA", 1, 1, "21800230", "1.0", "", "", ""],
            ["aaaa0003", "10000001", "50000002", "", "PA", 1, 1, "21800506", "999999", "", "", ""]]  # fmt: skip
    replicas.table(root / "mimic-cxr-2.0.0-metadata.csv.gz", replicas.MIMIC_METADATA, rows)
    found = by_image(made(root, tmp_path / "out"))
    told = [(found[name]["study_datetime"], found[name]["source_study_datetime"]) for name in ("aaaa0001", "aaaa0003")]
    assert told == [(None, "21800230 1.0"), (datetime.datetime(2180, 5, 6), "21800506 999999")]
    assert "value_unreadable" in found["aaaa0001"]["flags"]


def test_sex_and_age_come_from_the_patients_of_mimic_iv(tmp_path):
    patients = replicas.table(
        tmp_path / "patients.csv.gz",
        ["subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"],
        [["10000001", "F", "52", "2180", "2014 - 2016", ""], ["10000002", "M", "60", "2170", "2011 - 2013", ""]],
    )
    rows = by_image(
        made(replicas.mimic_jpg(tmp_path / "in"), tmp_path / "out", overrides=[f"source.patients={patients}"])
    )
    assert [(rows[name]["sex"], rows[name]["age"]) for name in ("aaaa0001", "aaaa0005", "aaaa0006")] == [
        ("F", 52.0), ("M", 66.0), (None, None),
    ]  # fmt: skip


def test_only_this_layout_is_recognised_where_its_tables_are(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    assert [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(root)] == [
        "mimic_cxr"
    ]
    assert Source.recognises(replicas.mimic_dicom(tmp_path / "dicom"))
    assert not Source.recognises(tmp_path)
    (tmp_path / "files").mkdir()
    assert not Source.recognises(tmp_path / "files")


@pytest.mark.parametrize("place", ["physionet.org", "physionet.org/files/mimic-cxr-jpg",
                                   "physionet.org/files/mimic-cxr-jpg/2.1.0/files",
                                   "physionet.org/files/mimic-cxr-jpg/2.1.0/files/p10/p10000001"])  # fmt: skip
def test_the_wrong_folder_names_the_right_one(tmp_path, place):
    root = replicas.mimic_jpg(tmp_path / "physionet.org/files/mimic-cxr-jpg/2.1.0")
    assert Source.recognises(tmp_path / place)
    with pytest.raises(WrongUse, match=f"is not the folder of MIMIC-CXR's tables and `files`; say {root}$"):
        prepare(tmp_path / place, tmp_path / "out", layout="mimic_cxr")


def test_all_that_is_missing_is_told_at_once(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    (root / "mimic-cxr-reports.zip").rename(tmp_path / "elsewhere.zip")
    (root / "mimic-cxr-2.0.0-split.csv.gz").unlink()
    with pytest.raises(WrongUse) as error:
        prepare(root, tmp_path / "out")
    assert "mimic-cxr-2.0.0-split.csv.gz of MIMIC-CXR-JPG is not in" in str(error.value)
    assert "say source.reports=FILE, or source.with_reports=false for images alone" in str(error.value)
    told = ["source.official_splits=false", f"source.reports={tmp_path / 'elsewhere.zip'}"]
    rows = by_image(made(root, tmp_path / "out", overrides=told))
    assert rows["aaaa0001"]["report"] == mimic_text("50000001")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("p10/p10000001/s50000001.txt", "packed anew")
    told[1] = f"source.reports={tmp_path / 'other.zip'}"
    with pytest.raises(WrongUse, match="has no folder 'files', in which the reports are"):
        prepare(root, tmp_path / "third", overrides=told)
    alone = made(root, tmp_path / "alone", overrides=["source.official_splits=false", "source.with_reports=false"])
    assert {row["text"] for row in alone.values()} == {None}
    with pytest.raises(WrongUse, match=r"it has neither mimic-cxr-2\.0\.0-metadata\.csv\.gz"):
        prepare(tmp_path / "out", tmp_path / "more", layout="mimic_cxr")


def test_a_download_that_was_cut_short_is_told(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    for name in ("mimic-cxr-reports.zip", "mimic-cxr-2.0.0-metadata.csv.gz"):
        file = root / name
        file.write_bytes(file.read_bytes()[:-30])
        with pytest.raises(CannotDo, match=f"{name} cannot be read.*was its download interrupted"):
            list(Source(root).studies())
        replicas.mimic_jpg(root)


def test_studies_are_told_twice_and_a_source_pickles(tmp_path):
    source = Source(replicas.mimic_jpg(tmp_path / "in"))
    once = list(source.studies())
    assert list(source.studies()) == once
    assert list(pickle.loads(pickle.dumps(source)).studies()) == once
    assert [study.study_id for study in once] == sorted(MIMIC_STUDIES)


def test_the_fingerprint_is_of_tables_reports_and_patients(tmp_path):
    root = replicas.mimic_jpg(tmp_path / "in")
    first = Source(root).fingerprint()
    shutil.copytree(root, tmp_path / "copy")
    assert Source(tmp_path / "copy").fingerprint() == first
    replicas.image(root / "files/p12/p12000001/s58888888/x.jpg", 77)
    second = Source(root).fingerprint()
    replicas.mimic_reports(root, "zip")
    (root / "mimic-cxr-2.0.0-negbio.csv.gz").unlink()
    assert Source(root).fingerprint() == second != first
    (root / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    assert Source(root).fingerprint() != second


def test_the_radiologists_labels_of_the_test_set_join_by_study(tmp_path):
    labels = replicas.table(
        tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv",
        ["study_id", "Airspace Opacity", "Edema"],
        [["50000005", "1.0", "-1.0"], ["50000006", "", "0.0"]],
    )
    rows = by_image(made(replicas.mimic_jpg(tmp_path / "in"), tmp_path / "out", labels=labels))
    told = [
        (rows[name]["label_Airspace Opacity"], rows[name]["label_Edema"])
        for name in ("aaaa0006", "aaaa0007", "aaaa0001")
    ]
    assert told == [(1, -1), (None, 0), (None, None)]
    assert rows["aaaa0001"]["label_Atelectasis"] == 1

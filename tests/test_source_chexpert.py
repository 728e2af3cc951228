"""CheXpert and CheXpert Plus: official splits, labels as they are, reports, and every file and row accounted for."""

import pickle

import pytest

from mmssl import plugins
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from mmssl.sources.chexpert import Source
from tests import replicas
from tests.preparing import made, reasons, rows_of
from tests.replicas import CHEXPERT

LABELS = {
    "train/patient00001/study1/view1_frontal": {"Edema": -1},
    "train/patient00001/study2/view2_lateral": {"Pneumonia": 0},
    "train/patient00002/study1/view1_frontal": {"No Finding": 1},
    "valid/patient64541/study1/view1_frontal": {"Cardiomegaly": 1},
    "test/patient64741/study1/view2_lateral": {"Atelectasis": 1},
}


def check(rows):
    """`rows` by image: what every form of the data set says."""
    for place in rows:
        folder, patient, study, _ = place.split("/")
        row = rows[place]
        assert (row["patient_id"], row["study_id"]) == (patient, f"{patient}/{study}")
        assert row["split"] == {"valid": "validation"}.get(folder, folder)
        assert (row["study_datetime"], row["prior_study_id"]) == (None, None)
        assert row["body_part"] == "CHEST"
    first, unknown = rows["train/patient00001/study1/view1_frontal"], rows["train/patient00002/study1/view1_frontal"]
    assert (first["sex"], first["age"], first["view"]) == ("F", 68, "AP")
    assert (unknown["sex"], unknown["age"], unknown["view"]) == (None, 0, "FRONTAL")
    assert rows["train/patient00001/study2/view2_lateral"]["view"] == "LATERAL"


def check_labels(rows):
    for place, known in LABELS.items():
        told = {name: rows[place][f"label_{name}"] for name in ("Edema", "Pneumonia", "No Finding", "Cardiomegaly",
                                                               "Atelectasis")}  # fmt: skip
        assert told == dict.fromkeys(told) | known


def by_image(found, root="", ending=".jpg"):
    return {name.removeprefix(root).removesuffix(ending): row for name, row in found.items()}


@pytest.mark.parametrize(("name", "packed"), [("CheXpert-v1.0-small", False), ("CheXpert-v1.0", True)])
@pytest.mark.parametrize("test", ["test_labels.csv", "groundtruth.csv"])
def test_labels_and_splits(tmp_path, name, packed, test):
    rows = by_image(made(replicas.chexpert(tmp_path / "in", name=name, packed=packed, test=test), tmp_path / "out"))
    assert set(rows) == set(CHEXPERT)
    check(rows)
    check_labels(rows)
    assert [rows[f"test/patient64741/study1/{view}"]["view"] for view in ("view1_frontal", "view2_lateral")] == [
        "FRONTAL", "LATERAL",
    ]  # fmt: skip
    assert {row["text"] for row in rows.values()} == {None}
    assert set(reasons(tmp_path / "out").values()) == {None}


def test_reports_of_plus_join_by_image_and_study(tmp_path):
    rows = by_image(made(replicas.chexpert_plus(replicas.chexpert(tmp_path / "in")), tmp_path / "out"))
    assert set(rows) == set(CHEXPERT)
    check(rows)
    check_labels(rows)
    for place, row in rows.items():
        study = place.rpartition("/")[0]
        if place.startswith("test"):
            assert row["report"] is None
        elif "patient00002" in place:  # no section was found in it
            assert row["report"] == f"NARRATIVE:\nall of {study}\nACCESSION NUMBER: 123"
        else:
            assert row["report"] == f"CLINICAL HISTORY: Cough.\nIMPRESSION: 1. No change,\n\n2. in {study}."
            assert row["text"] == f"1. No change,\n\n2. in {study}."
            assert (row["race"], row["patient_report_date_order"]) == ("White", str(9 - list(CHEXPERT).index(place)))
    alone = made(tmp_path / "in", tmp_path / "alone", overrides=["source.with_reports=false"])
    assert {row["report"] for row in alone.values()} == {None}


@pytest.mark.parametrize(("images", "ending"), [("PNG", ".png"), ("PNG/PNG", ".png"), ("DICOM", ".dcm")])
def test_plus_alone(tmp_path, images, ending):
    root = replicas.chexpert_plus(tmp_path / "in", images=images)
    rows = by_image(made(root, tmp_path / "out", layout="chexpert"), f"{images}/", ending)
    assert set(rows) == {place for place in CHEXPERT if not place.startswith("test")}
    check(rows)
    assert "label_Edema" not in rows["train/patient00001/study1/view1_frontal"]
    assert {row["modality"] for row in rows.values()} == {"DX" if ending == ".dcm" else "XR"}


def test_the_batches_as_they_are_downloaded(tmp_path):
    root = replicas.chexpert(tmp_path / "whole", name="CheXpert-v1.0")
    batches = tmp_path / "in"
    one = batches / "CheXpert-v1.0 batch 1 (validate & csv)"
    one.mkdir(parents=True)
    for name in ("train.csv", "valid.csv", "valid"):
        (root / name).rename(one / name)
    for number, patient in enumerate(("patient00001", "patient00002"), 2):
        (batches / f"CheXpert-v1.0 batch {number} (train {number - 1})").mkdir()
        (root / "train" / patient).rename(batches / f"CheXpert-v1.0 batch {number} (train {number - 1})" / patient)
    rows = made(batches, tmp_path / "out")
    assert len(rows) == 5
    assert set(reasons(tmp_path / "out").values()) == {None}
    assert rows["CheXpert-v1.0 batch 3 (train 2)/patient00002/study1/view1_frontal.jpg"]["label_No Finding"] == 1
    with pytest.raises(WrongUse, match=rf"say {batches}$"):
        prepare(one, tmp_path / "other", layout="chexpert")


def test_what_is_missing_or_left_over_is_accounted_for(tmp_path):
    root = replicas.chexpert(tmp_path / "in")
    (root / "train/patient00001/study2/view1_frontal.jpg").unlink()
    for name in ("train/patient00001/study2/view3_frontal", "train/patient00001/study9/view1_frontal",
                 "train/patient00099/study1/view1_frontal"):  # fmt: skip
        replicas.image(root / f"{name}.jpg", next(replicas.numbers))
    replicas.image(root / "train/patient00001/study1/view1_frontal.png", 0)
    content = (root / "valid.csv").read_text()
    (root / "valid.csv").write_text(content + "somewhere/else.jpg" + "," * 18 + "\none,cell,too,few\n")
    made(root, tmp_path / "out")
    assert {name: why for name, why in reasons(tmp_path / "out").items() if why} == {
        "train/patient00001/study2/view1_frontal.jpg": "missing",
        "train/patient00001/study1/view1_frontal.png": "duplicate",
        "valid.csv: somewhere/else.jpg": "bad_row",
        "valid.csv row 3": "bad_row",
    }
    rows = rows_of(tmp_path / "out")
    left = [row for row in rows.values() if "not_in_metadata" in row["flags"]]
    assert {row["source_id"] for row in left} == {
        "train/patient00001/study2/view3_frontal.jpg", "train/patient00001/study9/view1_frontal.jpg",
        "train/patient00099/study1/view1_frontal.jpg",
    }  # fmt: skip
    assert {(row["split"], row["label_Pneumonia"]) for row in left} == {("train", None)}


def test_mistakes_are_told_with_what_to_do(tmp_path):
    root = replicas.chexpert(tmp_path / "in/CheXpert-v1.0-small")
    for place in (tmp_path / "in", root / "train", root / "train/patient00001"):
        assert Source.recognises(place)
        with pytest.raises(WrongUse, match=rf"say {root}$"):
            prepare(place, tmp_path / "out", layout="chexpert")
    replicas.table(root / "train.csv", ["Path", "Label"], [["a.jpg", "1"]])
    (root / "valid.csv").unlink()
    (root / "test_labels.csv").unlink()
    with pytest.raises(WrongUse, match=r"is not CheXpert: none of train\.csv, valid\.csv"):
        prepare(root, tmp_path / "out", layout="chexpert")
    only = replicas.chexpert(tmp_path / "only")
    (tmp_path / "elsewhere").mkdir()
    for split in ("train", "valid", "test"):
        (only / split).rename(tmp_path / "elsewhere" / split)
    with pytest.raises(WrongUse, match=r"has no images.*or say source\.images=FOLDER"):
        prepare(only, tmp_path / "out", layout="chexpert")
    assert len(made(only, tmp_path / "out", overrides=[f"source.images={tmp_path / 'elsewhere'}"])) == len(CHEXPERT)


def test_a_label_of_another_kind_is_refused(tmp_path):
    root = replicas.chexpert(tmp_path / "in")
    rows = [["CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg", "Male", "73", "Frontal", "AP",
             *replicas.labelled(Edema="0.7")]]  # fmt: skip
    replicas.table(root / "valid.csv", replicas.CHEXPERT_COLUMNS, rows)
    with pytest.raises(WrongUse, match=r"valid\.csv: Edema is '0\.7'"):
        prepare(root, tmp_path / "out")


def test_only_this_layout_is_recognised(tmp_path):
    root = replicas.chexpert(tmp_path / "in")
    assert [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(root)] == ["chexpert"]
    assert not Source.recognises(tmp_path)
    (tmp_path / "train.csv").write_bytes(b"\xff\xfe\x00 not text")
    assert not Source.recognises(tmp_path)


def test_studies_are_told_twice_and_a_source_pickles(tmp_path):
    source = Source(replicas.chexpert_plus(replicas.chexpert(tmp_path / "in")))
    once = list(source.studies())
    assert list(pickle.loads(pickle.dumps(source)).studies()) == list(source.studies()) == once
    first = source.fingerprint()
    replicas.image(tmp_path / "in/train/patient00099/study1/view1_frontal.jpg", 7)
    assert source.fingerprint() != first

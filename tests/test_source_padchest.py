"""PadChest: Spanish reports, 16-bit images, ages from years of birth, priors by date, and everything accounted for."""

import datetime
import pickle

import numpy as np
import pytest

from mmssl import plugins
from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from mmssl.sources.padchest import Source
from tests import replicas
from tests.preparing import made, picture, reasons, rows_of
from tests.replicas import PADCHEST


@pytest.mark.parametrize("packed", [True, False], ids=["gz", "csv"])
def test_rows_are_what_the_table_says(tmp_path, packed):
    found = made(replicas.padchest(tmp_path / "in", packed=packed), tmp_path / "out")
    rows = {name.split("/")[1]: row for name, row in found.items()}
    assert set(rows) == set(PADCHEST)
    for name, (folder, date, study, patient, *_) in PADCHEST.items():
        row = rows[name]
        assert row["source_id"] == f"{folder}/{name}"
        assert (row["study_id"], row["patient_id"]) == (study, patient)
        assert row["study_datetime"] == datetime.datetime.strptime(date, "%Y%m%d")
        assert row["prior_study_id"] == {"S3": "S1", "S1": "S9"}.get(study)
        assert row["report"] == row["text"] == (f"sin hallazg patolog en {study} ." if study != "S2" else None)
        assert (row["language"], row["modality"], row["MethodLabel"]) == ("es", "CR", "Physician")
        assert row["Localizations"] == ["loc basal"]
    assert [rows[name]["view"] for name in PADCHEST] == ["PA", "LATERAL", "AP", "PA", "COSTAL"]
    assert rows["200_a.png"]["Projection"] == "AP_horizontal"
    assert [rows[name]["age"] for name in PADCHEST] == [84, 84, 82, 83, None]
    assert [rows[name]["sex"] for name in ("100_a.png", "400_a.png")] == ["F", None]
    assert [rows[name]["label_padchest"] for name in ("100_a.png", "200_a.png", "300_a.png", "400_a.png")] == [
        ["pleural effusion", "unchanged"], ["normal"], [], None,
    ]  # fmt: skip
    assert len({row["split"] for row in rows.values() if row["patient_id"] == "P1"}) == 1


def test_sixteen_bits_are_not_clipped(tmp_path):
    made(replicas.padchest(tmp_path / "in"), tmp_path / "out")
    store = Store(tmp_path / "out")
    row = next(row for row in store.select().to_pylist() if row["source_id"] == "0/100_a.png")
    shown = np.asarray(store.image(row["row"]), dtype=float)
    expected = np.asarray(picture(0, (64, 56)), dtype=float)
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99
    assert shown.std() > 30


def test_smaller_copies_lie_in_one_folder(tmp_path):
    found = made(replicas.padchest(tmp_path / "in", flat="images-224"), tmp_path / "out")
    assert set(found) == {f"images-224/{name}" for name in PADCHEST}
    root = replicas.padchest(tmp_path / "flat", flat="")
    assert set(made(root, tmp_path / "other")) == set(PADCHEST)
    (tmp_path / "images").mkdir()
    for file in root.glob("*.png"):
        file.rename(tmp_path / "images" / file.name)
    found = made(root, tmp_path / "third", overrides=[f"source.images={tmp_path / 'images'}"])
    assert set(found) == set(PADCHEST)


def test_what_is_missing_left_over_or_not_understood_is_accounted_for(tmp_path):
    replaced = {
        "200_a.png": {"Labels": "['normal'", "StudyDate_DICOM": "20121301"},
        "300_a.png": {"PatientBirth": "2020"},
    }
    root = replicas.padchest(tmp_path / "in", replaced=replaced)
    (root / "0/100_b.png").unlink()
    replicas.image16(root / "1/999_z.png", 77)
    replicas.image16(root / "images/200_a.png", 2)
    file = root / replicas.PADCHEST_TABLE
    file.write_text(file.read_text() + "7,a.png,0\n" + ",".join(["8", "", "0", *[""] * 33]) + "\n")
    made(root, tmp_path / "out")
    assert {name: why for name, why in reasons(tmp_path / "out").items() if why} == {
        "0/100_b.png": "missing",
        "images/200_a.png": "duplicate",
        f"{file.name} row 6": "bad_row",
        f"{file.name} row 7": "bad_row",
    }
    rows = rows_of(tmp_path / "out")
    assert rows["1/999_z.png"]["flags"][0] == "not_in_metadata"
    two, three = rows["1/200_a.png"], rows["54/300_a.png"]
    assert (two["label_padchest"], two["source_Labels"]) == (None, "['normal'")
    assert (two["study_datetime"], two["source_study_datetime"], two["age"]) == (None, "20121301", None)
    assert (three["age"], three["source_PatientBirth"]) == (None, "2020")
    assert all("value_unreadable" in row["flags"] for row in (two, three))


def test_mistakes_are_told_with_what_to_do(tmp_path):
    root = replicas.padchest(tmp_path / "in")
    for place in (root / "0", root / replicas.PADCHEST_TABLE):
        assert Source.recognises(place)
        with pytest.raises(WrongUse, match=rf"say {root}$"):
            prepare(place, tmp_path / "out", layout="padchest")
    with pytest.raises(
        WrongUse, match=r"is not PadChest: no PADCHEST_chest_x_ray_images_labels_160K_01\.02\.19\.csv is"
    ):
        prepare(tmp_path / "in" / "..", tmp_path.parent / "out", layout="padchest")
    for folder in ("0", "1", "54"):
        (root / folder).rename(tmp_path / folder)
        (root / f"{folder}.zip").write_bytes(b"packed")
    with pytest.raises(WrongUse, match=r"has no images.*unpack 0\.zip and the other zip files there"):
        prepare(root, tmp_path / "out")


def test_an_image_that_is_listed_twice_is_told(tmp_path):
    root = replicas.padchest(tmp_path / "in")
    file = root / replicas.PADCHEST_TABLE
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    with pytest.raises(WrongUse, match="1 rows have a ImageID that was there before"):
        prepare(root, tmp_path / "out")


def test_only_this_layout_is_recognised_and_a_source_pickles(tmp_path):
    root = replicas.padchest(tmp_path / "in")
    assert [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(root)] == ["padchest"]
    assert not Source.recognises(tmp_path)
    source = Source(root)
    once = list(source.studies())
    assert list(pickle.loads(pickle.dumps(source)).studies()) == list(source.studies()) == once
    first = source.fingerprint()
    replicas.image16(root / "55/x.png", 4)
    assert source.fingerprint() != first

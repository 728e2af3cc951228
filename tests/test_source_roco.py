"""ROCO and ROCOv2: captions as they stand, official splits, concepts, and figures and captions without one another."""

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl import plugins
from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from mmssl.sources.roco import Source
from tests import replicas
from tests.preparing import made, reasons, rows_of
from tests.replicas import ROCO, ROCO_2
from tests.test_sources import encoded

SPLITS = {"valid": "validation"}


@pytest.mark.parametrize("by_links", [True, False], ids=["by dlinks.txt", "by ID"])
@pytest.mark.parametrize("base", ["data", "all_data", ""])
def test_roco(tmp_path, base, by_links):
    rows = made(replicas.roco(tmp_path / "in", base=base, by_links=by_links), tmp_path / "out", layout="roco")
    assert set(rows) == {name for captions in ROCO.values() for name in captions}
    for split, captions in ROCO.items():
        for name, caption in captions.items():
            row = rows[name]
            assert (row["text"], row["report"], row["split"], row["study_id"]) == (caption, caption, split, name)
            assert (row["keywords"], row["cuis"]) == (["arrow", "pelvis"], ["C0000726"])
    assert rows["ROCO_00002"]["article"] == "PMC7000"
    assert set(reasons(tmp_path / "out").values()) == {None}


def test_figures_of_no_radiology_are_there_when_they_are_asked_for(tmp_path):
    root = replicas.roco(tmp_path / "in")
    rows = made(root, tmp_path / "out", layout="roco", overrides=["source.non_radiology=true"])
    assert rows["ROCO_81826"]["text"] == "A chart."


@pytest.mark.parametrize("images", ["{split}", "{split}_images/{split}", "{split}_images"])
def test_roco_2(tmp_path, images):
    rows = made(replicas.roco2(tmp_path / "in", images=images), tmp_path / "out")
    assert set(rows) == {name for captions in ROCO_2.values() for name in captions}
    for split, captions in ROCO_2.items():
        for name, (caption, codes) in captions.items():
            row = rows[name]
            assert (row["text"], row["split"]) == (caption, SPLITS.get(split, split))
            assert row["label_concepts"] == row["label_concepts_manual"] == (codes.split(";") if codes else None)
    assert set(reasons(tmp_path / "out").values()) == {None}


def test_roco_2_as_parquet_is_a_hugging_face_data_set(tmp_path):
    (tmp_path / "in/data").mkdir(parents=True)
    for number, split in enumerate(("train", "validation", "test")):
        rows = [{"image": {"bytes": encoded(2 * number + n), "path": None}, "image_id": f"ROCOv2_2023_{split}_00000{n}",
                 "caption": f"caption {n} of {split}", "cui": ["C0040405"]} for n in range(2)]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"in/data/{split}-00000-of-00001.parquet")
    found = made(tmp_path / "in", tmp_path / "out", overrides=["columns.text=caption", "columns.id=image_id"])
    assert {row["text"]: row["split"] for row in found.values()} == {
        f"caption {n} of {split}": split for split in ("train", "validation", "test") for n in range(2)
    }
    assert {tuple(row["cui"]) for row in found.values()} == {("C0040405",)}


def test_what_is_missing_or_left_over_is_accounted_for(tmp_path):
    root = replicas.roco(tmp_path / "in", by_links=False)
    folder = root / "data/train/radiology"
    (folder / "images/ROCO_00003.jpg").unlink()
    replicas.image(folder / "images/PMC1_other.jpg", next(replicas.numbers))
    with open(folder / "captions.txt", "a") as file:
        file.write("no tab in this line\nROCO_00002\tanother caption\n")
    made(root, tmp_path / "out", layout="roco")
    assert {name: why for name, why in reasons(tmp_path / "out").items() if why} == {
        "ROCO_00003": "missing",
        "train/radiology/captions.txt row 3": "bad_row",
        "ROCO_00002#2": "duplicate_id",
    }
    left = rows_of(tmp_path / "out")["data/train/radiology/images/PMC1_other.jpg"]
    assert (left["flags"], left["split"]) == (["not_in_metadata", "text_missing"], "train")
    two = replicas.roco2(tmp_path / "two")
    (two / "valid/ROCOv2_2023_valid_000001.jpg").unlink()
    replicas.image(two / "train/ROCOv2_2023_train_000001.png", 0)
    (two / "test_captions.csv").write_text((two / "test_captions.csv").read_text() + "a,b,c\n")
    made(two, tmp_path / "other")
    assert {name: why for name, why in reasons(tmp_path / "other").items() if why} == {
        "ROCOv2_2023_valid_000001": "missing",
        "train/ROCOv2_2023_train_000001.png": "duplicate",
        "test_captions.csv row 2": "bad_row",
    }


def test_mistakes_are_told_with_what_to_do(tmp_path):
    root = replicas.roco(tmp_path / "in")
    for place in (root / "data/train", root / "data/train/radiology/images"):
        assert Source.recognises(place)
        with pytest.raises(WrongUse, match=rf"say {root}(/data)?$"):
            prepare(place, tmp_path / "out", layout="roco")
    with pytest.raises(WrongUse, match=r"is not ROCO: neither data/train/radiology/captions\.txt"):
        prepare(tmp_path / "in/..", tmp_path.parent / "out", layout="roco")
    two = replicas.roco2(tmp_path / "two")
    for split in ("train", "valid", "test"):
        (two / split).rename(tmp_path / split)
        (two / f"{split}_images.zip").write_bytes(b"packed")
    with pytest.raises(WrongUse, match=r"has no images beside its captions; unpack test_images\.zip and the others"):
        prepare(two, tmp_path / "out")


def test_only_this_layout_is_recognised_and_a_source_pickles(tmp_path):
    one, two = replicas.roco(tmp_path / "one"), replicas.roco2(tmp_path / "two")
    assert Source.recognises(one)
    assert [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(two)] == ["roco"]
    assert not Source.recognises(tmp_path)
    for root in (one, two):
        source = Source(root)
        once = list(source.studies())
        assert list(pickle.loads(pickle.dumps(source)).studies()) == list(source.studies()) == once
        first = source.fingerprint()
        next(root.rglob("*.jpg")).unlink()
        assert source.fingerprint() != first

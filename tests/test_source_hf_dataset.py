"""Hugging Face data sets: names that do not depend on how a split is cut, and files that cannot be read."""

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, reasons
from tests.test_sources import encoded, recognised


def put(path, numbers, *, image="image", **more):
    """A Parquet file of different pictures; a function makes the cells of each further column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {image: {"bytes": encoded(n), "path": None}, "text": f"caption {n}"} | {name: f(n) for name, f in more.items()}
        for n in numbers
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def texts(found):
    return {name: (row["text"], row["split"]) for name, row in found.items()}


def test_ids_that_restart_in_each_split_stay_apart(tmp_path):
    put(tmp_path / "in/train.parquet", [0, 1], id=lambda n: n)
    put(tmp_path / "in/validation.parquet", [2, 3], id=lambda n: n - 2)
    assert texts(made(tmp_path / "in", tmp_path / "out")) == {
        "train:0": ("caption 0", "train"), "train:1": ("caption 1", "train"),
        "validation:0": ("caption 2", "validation"), "validation:1": ("caption 3", "validation"),
    }  # fmt: skip


def test_an_id_that_is_repeated_in_another_file_of_a_split_is_a_duplicate(tmp_path):
    put(tmp_path / "in/train-0.parquet", [0, 1], id=lambda n: n)
    put(tmp_path / "in/train-1.parquet", [2, 3], id=lambda n: n - 1)
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {"0": None, "1": None, "1#2": "duplicate_id", "2": None}


@pytest.mark.parametrize("also_test", [False, True])
def test_into_how_many_files_a_split_is_cut_makes_no_difference(tmp_path, also_test):
    for name, cuts in (("one", [range(30)]), ("three", [range(7), range(7, 8), range(8, 30)])):
        for number, cut in enumerate(cuts):
            put(tmp_path / name / f"data/train-{number}-of-{len(cuts)}.parquet", cut)
        if also_test:
            put(tmp_path / name / "data/test.parquet", [30, 31])
    one, three = (
        texts(made(tmp_path / name, tmp_path / f"{name}.store", splits={"validation": 0.4, "test": 0.3}))
        for name in ("one", "three")
    )
    assert one == three
    prefix = "train:" if also_test else ""
    assert one[f"{prefix}row 12"][0] == "caption 11"
    assert {split for _, split in one.values()} == {"train", "validation", "test"}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_file_that_cannot_be_read_is_one_input(tmp_path, kind):
    if kind == "parquet":
        parts = [put(tmp_path / f"in/train-{number}.parquet", [2 * number, 2 * number + 1]) for number in range(4)]
    else:
        rows = {"image": [{"bytes": encoded(n), "path": None} for n in range(8)], "text": list("abcdefgh")}
        datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "in", num_shards=4)
        parts = sorted((tmp_path / "in").glob("*.arrow"))
    parts[1].write_bytes(parts[1].read_bytes()[:700])
    parts[2].write_bytes(b"nothing of that kind")
    parts[3].write_bytes(b"")
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {
        "row 1": None, "row 2": None,
        parts[1].name: "truncated", parts[2].name: "decode_failed", parts[3].name: "empty",
    }  # fmt: skip


def test_where_no_file_can_be_read_it_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train.parquet").write_bytes(b"")
    with pytest.raises(CannotDo, match=r"none of its files can be read: train.parquet is empty"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_pages_that_are_spoilt_make_one_input_of_their_file(tmp_path):
    put(tmp_path / "in/train-0.parquet", [0])
    spoilt = put(tmp_path / "in/train-1.parquet", [1])
    content = spoilt.read_bytes()
    place = pq.read_metadata(spoilt).row_group(0).column(2).dictionary_page_offset  # of `text`
    spoilt.write_bytes(content[:place] + b"\xff" * 40 + content[place + 40 :])
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {"row 1": None, "train-1.parquet": "decode_failed"}


@pytest.mark.parametrize("file", ["dataset_dict.json", "train/state.json"])
@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"splits": 1, "_data_files": [1]}'])
def test_a_spoilt_description_is_named(tmp_path, file, content):
    rows = datasets.Dataset.from_dict({"image": ["a"], "text": ["b"]})
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "in")
    (tmp_path / "in" / file).write_text(content)
    with pytest.raises(CannotDo, match=f"{file} cannot be read: it is not as save_to_disk writes it"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_a_column_that_a_file_lacks_is_null_there(tmp_path):
    put(tmp_path / "in/train-0.parquet", [0], ward=lambda n: "W")
    put(tmp_path / "in/train-1.parquet", [1], sex=lambda n: "F")
    found = made(tmp_path / "in", tmp_path / "out")
    assert {name: (row["ward"], row["sex"]) for name, row in found.items()} == {
        "row 1": ("W", None),
        "row 2": (None, "F"),
    }


def test_a_file_without_the_images_is_named(tmp_path):
    put(tmp_path / "in/train-0.parquet", [0])
    put(tmp_path / "in/train-1.parquet", [1], image="scan")
    with pytest.raises(WrongUse, match=r"no column 'image', which has the images, in train-1.parquet"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_files_at_any_depth_and_with_any_case_of_their_ending(tmp_path):
    put(tmp_path / "in/default/train/0000.parquet", [0])
    put(tmp_path / "in/default/test/0000.PARQUET", [1])
    assert recognised(tmp_path / "in") == ["hf_dataset"]
    assert {row["split"] for row in made(tmp_path / "in", tmp_path / "out").values()} == {"train", "test"}


def test_lists_of_classes_are_lists_of_their_names(tmp_path):
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Sequence(datasets.ClassLabel(names=["mass", "effusion"]))}
    )
    rows = {"image": [{"bytes": encoded(n), "path": None} for n in range(2)], "label": [[1, 0], []]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "in")
    found = made(tmp_path / "in", tmp_path / "out")
    assert {name: row["label"] for name, row in found.items()} == {"row 1": ["effusion", "mass"], "row 2": []}

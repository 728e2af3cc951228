import io
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmssl.data.store import Store, group_rows, read_manifest
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, picture, source, write_csv


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """70 rows of 35 patients, three studies of which have a JPEG in colour."""
    folder = tmp_path_factory.mktemp("store")
    rows = [
        {
            "text": f"caption {n}",
            "patient_id": f"p{n // 2}",
            "study_id": f"s{n // 2}",
            "age": n,
            "sex": "FM"[n // 2 % 2],
        }
        for n in range(70)
    ]
    table = source(folder / "in", rows)
    for number in (3, 4, 5):
        picture(number, channels=3).save(folder / f"in/{number}.png", "JPEG")
    prepare(table, folder / "out", workers=1, **{"splits.validation": 0.2, "splits.test": 0.2})
    return Store(folder / "out")


def test_every_image_is_the_very_file_that_went_in(store):
    ids = store.select(columns=["source_id"]).to_pylist()
    assert len(ids) == len(store) == 70
    folder = store.path.parent / "in"
    for row in ids:
        assert store.image_bytes(row["row"]) == (folder / row["source_id"]).read_bytes()


def test_rows_are_numbered_in_store_order_and_rows_of_a_study_are_adjacent(store):
    table = store.select(columns=["study_id", "split"])
    assert table["row"].to_pylist() == list(range(70))
    studies = table["study_id"].to_pylist()
    changes = sum(a != b for a, b in itertools.pairwise(studies))
    assert changes == len(set(studies)) - 1
    splits = table["split"].to_pylist()
    assert splits == sorted(splits, key=["train", "validation", "test"].index)
    assert len(set(splits)) == 3


def test_a_selection_of_rows_has_the_numbers_by_which_images_are_read(store):
    old = store.select(split="test", where="age > 20 and sex = 'F'", columns=["age", "sex", "split"])
    assert old.column_names == ["row", "id", "age", "sex", "split"]
    assert 0 < old.num_rows < 35
    everything = store.select(columns=["age", "sex", "split"]).to_pylist()
    wanted = [r for r in everything if r["split"] == "test" and r["age"] > 20 and r["sex"] == "F"]
    assert old.to_pylist() == wanted


def test_filters_may_use_columns_that_are_not_asked_for_and_lists(store):
    assert store.select(where="source_id = '7.png'", columns=["text"])["text"].to_pylist() == ["caption 7"]
    assert store.select(where="flags contains 'blank'").num_rows == 0


def test_what_cannot_be_selected_is_said(store):
    with pytest.raises(WrongUse, match=r"no column 'txt', did you mean 'text'\?"):
        store.select(columns=["txt"])
    with pytest.raises(WrongUse, match=r"no such split: 'tset', did you mean 'test'\?"):
        store.select(split="tset")
    with pytest.raises(WrongUse, match="no column 'agee'"):
        store.select(where="agee > 1")
    with pytest.raises(IndexError, match="row 70 of 70"):
        store.image_bytes(70)
    with pytest.raises(IndexError):
        store.image_bytes(-1)


def test_pictures_come_in_eight_bits_and_one_or_three_channels(store):
    modes = [store.image(row).mode for row in range(len(store))]
    assert modes.count("RGB") == 3
    assert modes.count("L") == 67
    assert store.manifest["colour"] is True


def test_sixteen_bits_are_kept_and_shown_in_eight(tmp_path):
    deep = (np.asarray(picture(0)).astype(np.uint16) * 200) + 500
    (tmp_path / "in").mkdir()
    Image.fromarray(deep).save(tmp_path / "in/deep.png")
    store = tmp_path / "out"
    prepare(write_csv(tmp_path / "in/t.csv", [{"image": "deep.png", "text": "x"}]), store, workers=1)
    opened = Store(store)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(opened.image_bytes(0)))), deep)
    shown = opened.image(0)
    assert shown.mode == "L"
    assert np.asarray(shown).max() == 255
    assert opened.manifest["colour"] is False


def test_a_store_goes_to_other_processes(store):
    assert pickle.loads(pickle.dumps(store)).image_bytes(12) == store.image_bytes(12)
    child = os.fork()  # a loader's worker: the parent has opened files already
    if child == 0:
        os._exit(0 if store.image_bytes(69) == Store(store.path).image_bytes(69) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_files_have_small_row_groups_and_plain_images(store):
    for shard in store.shards:
        metadata = pq.read_metadata(store.path / shard.file)
        names = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        for group in range(metadata.num_row_groups):
            assert metadata.row_group(group).num_rows <= 32
            image = metadata.row_group(group).column(names["image.bytes"])
            assert image.compression == "UNCOMPRESSED"
            assert not image.has_dictionary_page
    assert [group_rows(size) for size in (1, 20_000, 100_000, 10**7)] == [32, 32, 10, 4]


def test_datasets_opens_it_and_our_reader_makes_no_copy(store, tmp_path):
    program = """
import sys
from pathlib import Path
from mmssl.data.store import Store
store = Store(Path(sys.argv[1]))
rows = store.select().to_pylist()
[store.image(row) for row in range(len(store))]
assert not any(Path(sys.argv[2]).rglob("*")), list(Path(sys.argv[2]).rglob("*"))
import datasets
opened = datasets.load_dataset(sys.argv[1])
assert set(opened) == {"train", "validation", "test"}
both = [row for split in ("train", "validation", "test") for row in opened[split]]
assert [row["id"] for row in both] == [row["id"] for row in rows]
assert [row["image"].size for row in both] == [(row["width"], row["height"]) for row in rows]
"""
    homes = {name: str(tmp_path) for name in ("HOME", "HF_HOME", "TMPDIR", "XDG_CACHE_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", program, str(store.path), str(tmp_path)],
        env={**os.environ, **homes, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_the_content_hash_is_of_the_content(tmp_path):
    rows = [{"text": f"caption {n}", "patient_id": f"p{n}"} for n in range(9)]
    first = source(tmp_path / "a", rows)
    made(first, tmp_path / "one")
    lines = first.read_text().splitlines()
    first.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    prepare(first, tmp_path / "two", workers=2)
    hashes = [Store(tmp_path / name).content_hash for name in ("one", "two")]
    assert hashes[0] == hashes[1]
    first.write_text(first.read_text().replace("caption 5", "caption five"))
    prepare(first, tmp_path / "three", workers=1)
    assert Store(tmp_path / "three").content_hash != hashes[0]


def test_what_is_no_store_is_refused(store, tmp_path):
    with pytest.raises(CannotDo, match="is no store: it does not exist; make one with: mmssl prepare SOURCE"):
        Store(tmp_path / "nothing")
    with pytest.raises(CannotDo, match="is no store: it has no manifest"):
        Store(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    manifest = read_manifest(copy)
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema": 3, "mmssl": "9.1"}))
    with pytest.raises(CannotDo, match=r"written by mmssl 9.1 \(store format 3\); this version reads format 2"):
        Store(copy)
    (copy / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))
    with pytest.raises(CannotDo, match=r"was written by an older mmssl \(store format 1\); make one with"):
        Store(copy)
    (copy / "manifest.json").write_text('{"schema": 2, "version": 1}')
    with pytest.raises(CannotDo, match=r"manifest.json is damaged: it has no shards, content_hash; make one with"):
        Store(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(CannotDo, match=r"manifest.json cannot be read"):
        Store(copy)


def test_an_incomplete_store_is_refused(store, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(store.path, copy)
    shard = copy / store.shards[1].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CannotDo, match=r"incomplete store: data/validation-00000-of-00001-v1.parquet has another size"):
        Store(copy)
    shard.unlink()
    with pytest.raises(CannotDo, match=r"incomplete store: data/validation-00000-of-00001-v1.parquet is missing"):
        Store(copy)

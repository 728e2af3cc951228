"""An index follows its store: what is new is embedded, what is gone is gone from the disk, all else is copied."""

import json
import shutil

import numpy as np
import pytest

from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from mmssl.search import index as indexing
from mmssl.search.index import build, open_index
from mmssl.search.query import find
from tests.preparing import picture, write_csv

TEXT = "a word that is nowhere else, xylophone {}"


class Pixels:
    """An embedder whose vectors are small pictures, so that a row's right vector is known."""

    has_text, dim = False, 48

    def __init__(self, path):
        self.path, self.hash, self.asked = path, "a" * 64, []
        path.mkdir()

    def encode_image(self, pictures):
        small = np.stack([np.asarray(one.convert("L").resize((8, 6)), np.float32).ravel() - 99.5 for one in pictures])
        return small / np.linalg.norm(small, axis=1, keepdims=True)

    def encode_rows(self, store, rows):
        self.asked += [store.row(row, ["source_id"])["source_id"] for row in rows]
        return self.encode_image([store.image(row) for row in rows])

    def encode_text(self, texts):
        raise WrongUse("no text tower")


def table(folder, numbers, text=TEXT, pictures=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture((pictures or {}).get(number, number)).save(folder / f"{number}.png")
    rows = [
        {"image": f"{n}.png", "patient_id": f"p{n // 2}", "study_id": f"s{n}", "text": text.format(n)} for n in numbers
    ]
    return write_csv(folder / "table.csv", rows)


def grow(source, store):
    return prepare(source, store, workers=1)


@pytest.fixture
def embedder(tmp_path):
    return Pixels(tmp_path / "checkpoint")


@pytest.fixture
def store(tmp_path):
    grow(table(tmp_path / "first", range(20)), tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def index(store, embedder, tmp_path):
    path = build(embedder, Store(store), tmp_path / "index")
    embedder.asked.clear()
    return path


def content(path):
    return open_index(path).table.to_arrow()


def assert_same_as_at_once(index, store, embedder, tmp_path):
    """Row by row, and for each of some questions the very hits that exact search over all vectors gives."""
    at_once = build(embedder, Store(store), tmp_path / "at once")
    assert content(index).equals(content(at_once))
    rows = content(at_once)
    vectors = np.stack(rows["vector"].to_numpy())
    opened = open_index(index)
    for seed in (3, 12, 22, 500):
        asked = embedder.encode_image([picture(seed)])[0]
        best = sorted(zip(-np.round(vectors @ asked, 6), rows["id"].to_pylist(), strict=True))[:5]
        assert [hit["id"] for hit in find(opened, asked, k=5)[0]] == [name for _, name in best]


def test_only_what_is_new_is_embedded(store, index, embedder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(indexing, "AT_ONCE", 7)  # old and new rows in one write, and a write of old ones alone
    grow(table(tmp_path / "second", range(20, 27)), store)
    capsys.readouterr()
    build(embedder, Store(store), index)
    assert sorted(embedder.asked) == [f"{n}.png" for n in range(20, 27)]
    said = capsys.readouterr().err
    assert "(version 1 then, 2 now): 7 rows added, 0 replaced, 0 removed, 20 kept; 7 pictures embedded" in said
    told = json.loads((index / "mmssl.json").read_text())
    assert told["store"]["version"] == 2
    assert told["store"]["content_hash"] == Store(store).content_hash
    assert told["rows"] == 27
    assert_same_as_at_once(index, store, embedder, tmp_path)
    embedder.asked.clear()
    build(embedder, Store(store), index)
    assert "nothing to do" in capsys.readouterr().err
    assert not embedder.asked


def test_a_text_that_changed_is_replaced_and_its_picture_stays(store, index, embedder, tmp_path, capsys):
    source = table(tmp_path / "first", range(20), text="amended {}")
    grow(source, store)
    build(embedder, Store(store), index)
    assert not embedder.asked
    assert "0 rows added, 20 replaced, 0 removed, 0 kept; 0 pictures embedded" in capsys.readouterr().err
    assert sorted(content(index)["text"].to_pylist()) == sorted(f"amended {n}" for n in range(20))
    assert_same_as_at_once(index, store, embedder, tmp_path)


def test_a_picture_that_changed_is_embedded_anew(store, index, embedder, tmp_path, capsys):
    grow(table(tmp_path / "first", range(20), pictures={5: 95}), store)
    build(embedder, Store(store), index)
    assert embedder.asked == ["5.png"]
    assert "0 rows added, 1 replaced, 0 removed, 19 kept; 1 pictures embedded" in capsys.readouterr().err
    assert_same_as_at_once(index, store, embedder, tmp_path)


def bytes_of(folder):
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_what_is_gone_from_the_store_is_gone_from_the_disk(store, index, embedder, tmp_path, capsys):
    thumbnail = next(row["thumbnail"] for row in content(index).to_pylist() if row["source_id"] == "3.png")
    assert thumbnail in bytes_of(tmp_path / "index")
    (tmp_path / "first/3.png").write_bytes(b"")  # it cannot be read any more, and loses its row
    grow(tmp_path / "first/table.csv", store)
    build(embedder, Store(store), index)
    assert "0 rows added, 0 replaced, 1 removed, 19 kept; 0 pictures embedded" in capsys.readouterr().err
    assert thumbnail not in bytes_of(tmp_path / "index")
    assert not list(tmp_path.glob(".index*"))
    assert_same_as_at_once(index, store, embedder, tmp_path)


def test_an_index_of_some_rows_follows_its_filter(store, embedder, tmp_path, capsys):
    where = f"text in ('amended 4', '{TEXT.format(5)}')"
    path = build(embedder, Store(store), tmp_path / "index", where=where)
    assert content(path)["source_id"].to_pylist() == ["5.png"]
    grow(table(tmp_path / "first", range(20), text="amended {}"), store)
    build(embedder, Store(store), path, where=where)
    assert content(path)["source_id"].to_pylist() == ["4.png"]
    assert "1 rows added, 0 replaced, 1 removed, 0 kept; 1 pictures embedded" in capsys.readouterr().err


def test_a_version_without_new_rows_is_named(store, index, embedder, tmp_path):
    table(tmp_path / "second", [4])
    row = {"image": "4.png", "id": "copy", "patient_id": "p2", "study_id": "s4b", "text": TEXT.format(4)}
    grow(write_csv(tmp_path / "second/table.csv", [row]), store)  # a duplicate within a patient
    assert Store(store).version == 2
    build(embedder, Store(store), index)
    assert json.loads((index / "mmssl.json").read_text())["store"]["version"] == 2
    assert not embedder.asked


def test_what_is_interrupted_leaves_the_old_index_and_a_rerun_goes_on(store, index, embedder, tmp_path):
    before = content(index)
    grow(table(tmp_path / "second", range(20, 27)), store)
    encode, embedder.encode_rows = embedder.encode_rows, None
    with pytest.raises(TypeError):
        build(embedder, Store(store), index)
    assert content(index).equals(before)
    assert not list(tmp_path.glob(".index*"))
    embedder.encode_rows = encode
    build(embedder, Store(store), index)
    assert len(embedder.asked) == 7
    assert_same_as_at_once(index, store, embedder, tmp_path)


def test_another_checkpoint_or_store_is_refused(store, index, embedder, tmp_path):
    grow(table(tmp_path / "second", range(20, 27)), store)
    shutil.copytree(store, tmp_path / "copy")
    with pytest.raises(WrongUse, match=r"index of something else \(store \w+, now \w+\)"):
        build(embedder, Store(tmp_path / "copy"), index)
    embedder.hash = "b" * 64
    with pytest.raises(WrongUse, match="index of something else \\(checkpoint aaaaaaaaaaaa, now bbbbbbbbbbbb"):
        build(embedder, Store(store), index)
    assert len(content(index)) == 20


def test_an_index_that_is_damaged_says_so(store, index, embedder, tmp_path):
    grow(table(tmp_path / "second", range(20, 27)), store)
    for file in (index / "rows.lance/data").iterdir():
        file.write_bytes(b"")
    with pytest.raises(CannotDo, match="incomplete index"):
        build(embedder, Store(store), index)

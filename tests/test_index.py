import io
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmssl.errors import CannotDo, WrongUse
from mmssl.search import index as indexing
from mmssl.search.index import build, open_index
from tests.search_oracle import DIM, OracleEmbedder, OracleStore


@pytest.fixture
def store(tmp_path):
    return OracleStore(tmp_path / "store")


@pytest.fixture
def embedder(tmp_path):
    return OracleEmbedder(tmp_path / "checkpoint")


def test_an_index_holds_vectors_metadata_and_thumbnails(store, embedder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(indexing, "CHUNK", 7)
    monkeypatch.setattr(indexing, "AT_ONCE", 25)  # several chunks and writes, none of which divides the rows
    path = build(embedder, store, tmp_path / "index")
    assert path == tmp_path / "index"
    assert "index: 60/60" in capsys.readouterr().err
    opened = open_index(path)
    rows = opened.table.to_arrow()
    assert rows.column_names[-2:] == ["vector", "thumbnail"]
    assert rows["id"].to_pylist() == store.table["id"].to_pylist()
    vectors = np.stack(rows["vector"].to_numpy())
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, embedder.encode_rows(store, range(60)))
    assert opened.columns.names == [name for name in store.table.column_names if name != "row"]
    assert opened.columns.field("study_datetime").type == store.table.schema.field("study_datetime").type
    assert rows["study_datetime"].to_pylist() == store.table["study_datetime"].to_pylist()
    ages = [None if age is None or math.isnan(age) else age for age in store.table["age"].to_pylist()]
    assert rows["age"].to_pylist() == ages
    thumbnail = Image.open(io.BytesIO(rows["thumbnail"][1].as_py()))
    assert (thumbnail.format, thumbnail.size, thumbnail.mode) == ("JPEG", (256, 192), "L")
    assert abs(np.asarray(thumbnail).mean() - 60) < 1.5  # row 1 shows an effusion


def test_what_it_was_made_from_lies_beside_it(store, embedder, tmp_path):
    path = build(embedder, store, tmp_path / "index", split="test", where="age > 40")
    info = json.loads((path / "mmssl.json").read_text())
    assert info.pop("created")
    assert info.pop("mmssl")
    assert info == {
        "format": 1, "kind": "image_text", "dim": DIM, "split": "test", "where": "age > 40",
        "rows": open_index(path).table.count_rows(),
        "checkpoint": {"path": str(tmp_path / "checkpoint"), "beside": "../checkpoint", "hash": "a" * 64},
        "store": {"path": str(tmp_path / "store"), "beside": "../store", "content_hash": "c" * 64, "version": 1},
        "deidentified": "none",
    }  # fmt: skip
    assert 0 < info["rows"] < 20
    assert set(open_index(path).table.to_arrow()["split"].to_pylist()) == {"test"}


def test_an_index_of_images_alone_says_so(store, tmp_path):
    path = build(OracleEmbedder(tmp_path / "checkpoint", has_text=False), store, tmp_path / "index")
    assert open_index(path).info["kind"] == "image"


def test_the_same_again_does_nothing(store, embedder, tmp_path, capsys):
    path = build(embedder, store, tmp_path / "index", where="age > 40")
    asked, files = embedder.asked, sorted(path.rglob("*"))
    build(embedder, store, path, where="age > 40")
    assert "nothing to do" in capsys.readouterr().err
    assert embedder.asked == asked
    assert sorted(path.rglob("*")) == files


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"split": "test"}, "split all, now test"),
        ({"where": "age > 50"}, "where none, now age > 50"),
        ({"hash": "b" * 64}, "checkpoint aaaaaaaaaaaa, now bbbbbbbbbbbb"),
        ({"content_hash": "d" * 64, "split": "test"}, "store cccccccccccc, now dddddddddddd; split all, now test"),
    ],
)
def test_an_index_of_something_else_is_not_overwritten(store, embedder, tmp_path, changed, said):
    path = build(embedder, store, tmp_path / "index")
    embedder.hash = changed.pop("hash", embedder.hash)
    store.content_hash = changed.pop("content_hash", store.content_hash)
    with pytest.raises(WrongUse, match=f"index of something else \\({said}\\); name another folder, or remove it"):
        build(embedder, store, path, **changed)
    assert open_index(path).info["rows"] == 60


def test_an_index_follows_where_only_the_content_of_its_store_changed(store, embedder, tmp_path, capsys):
    path = build(embedder, store, tmp_path / "index")
    store.content_hash, store.table = "d" * 64, store.table.slice(0, 24)
    encode, embedder.encode_rows = embedder.encode_rows, None
    with pytest.raises(TypeError):
        build(embedder, store, path)
    assert open_index(path).info["rows"] == 60, "what was there is lost only to something whole"
    embedder.encode_rows = encode
    capsys.readouterr()
    build(embedder, store, path)
    said = f"the store {store.path} has changed since {path} was made (version 1 then, 1 now): "
    assert said in capsys.readouterr().err
    assert open_index(path).info["rows"] == 24
    other = OracleStore(tmp_path / "other")
    with pytest.raises(WrongUse, match=r"index of something else \(store d+, now c+\)"):
        build(embedder, other, path)


def test_other_things_are_not_overwritten(store, embedder, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    with pytest.raises(WrongUse, match="is no index; name another folder"):
        build(embedder, store, tmp_path / "thesis")
    with pytest.raises(WrongUse, match="is a file; an index is a folder"):
        build(embedder, store, tmp_path / "thesis" / "chapter")
    with pytest.raises(WrongUse, match="would lie inside the store"):
        build(embedder, store, store.path / "index")
    with pytest.raises(WrongUse, match="would lie inside the checkpoint"):
        build(embedder, store, embedder.path)
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    assert open_index(build(embedder, store, tmp_path / "empty")).info["rows"] == 60


def test_no_row_left(store, embedder, tmp_path):
    with pytest.raises(CannotDo, match=r"no row of .* is left to index by: split test and age > 400"):
        build(embedder, store, tmp_path / "index", split="test", where="age > 400")
    with pytest.raises(WrongUse, match="did you mean 'age'"):
        build(embedder, store, tmp_path / "index", where="aeg > 4")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CannotDo("a picture is gone"), RuntimeError("out of memory")])
def test_what_is_not_finished_leaves_nothing(store, embedder, tmp_path, monkeypatch, error):
    monkeypatch.setattr(indexing, "CHUNK", 7)
    monkeypatch.setattr(indexing, "AT_ONCE", 14)
    encode, calls = embedder.encode_rows, []

    def fails(store, rows):
        calls.append(rows)
        if len(calls) == 6:
            raise error
        return encode(store, rows)

    embedder.encode_rows = fails
    before = sorted(tmp_path.iterdir())
    with pytest.raises(type(error)) as raised:
        build(embedder, store, tmp_path / "index")
    assert raised.value is error
    assert sorted(tmp_path.iterdir()) == before


def test_vectors_that_are_not_finite(store, embedder, tmp_path):
    encode = embedder.encode_rows
    embedder.encode_rows = lambda store, rows: encode(store, rows) * np.float32("nan")
    with pytest.raises(CannotDo, match="vectors that are not finite"):
        build(embedder, store, tmp_path / "index")
    assert not (tmp_path / "index").exists()


FULL = """
import resource, sys
from pathlib import Path
from mmssl.search import index as indexing
from mmssl.errors import CannotDo
from tests.search_oracle import OracleEmbedder, OracleStore
place = Path(sys.argv[1])
store, embedder = OracleStore(place / "store"), OracleEmbedder(place / "checkpoint")
indexing.lancedb()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    indexing.build(embedder, store, place / "index")
except CannotDo as error:
    print(error)
"""


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert f"no index could be written to {tmp_path}: " in done.stdout
    assert "nothing of it is left there" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "store"]


def test_a_full_disk_is_named(store, embedder, tmp_path, monkeypatch):
    class Full:
        def connect(self, path):
            raise OSError("IO error: No space left on device (os error 28)")

    monkeypatch.setattr(indexing, "lancedb", Full)
    with pytest.raises(CannotDo, match=f"no index could be written to {tmp_path}: the disk is full"):
        build(embedder, store, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_what_is_no_whole_index_of_a_known_format_is_not_opened(store, embedder, tmp_path):
    with pytest.raises(CannotDo, match=f"there is no index at {tmp_path / 'none'}; make it with: mmssl index"):
        open_index(tmp_path / "none")
    path = build(embedder, store, tmp_path / "index")
    info = json.loads((path / "mmssl.json").read_text())

    def broken(said, **changes):
        (path / "mmssl.json").write_text(json.dumps(info | changes))
        with pytest.raises(CannotDo, match=said):
            open_index(path)

    newer = r"was written by mmssl 9.0 \(index format 2\); this version reads format 1: update mmssl"
    broken(newer, format=2, mmssl="9.0")
    broken("names no format", format=None)
    broken("incomplete index: 60 of 61 rows are there", rows=61)
    (path / "mmssl.json").write_text("{")
    with pytest.raises(CannotDo, match="cannot be read"):
        open_index(path)
    (path / "mmssl.json").unlink()
    with pytest.raises(CannotDo, match="is no index, or an incomplete one: it has no mmssl"):
        open_index(path)
    (path / "mmssl.json").write_text(json.dumps(info))
    data = next((path / "rows.lance" / "data").iterdir())
    for manifest in (path / "rows.lance" / "_versions").iterdir():
        manifest.unlink()
    with pytest.raises(CannotDo, match="incomplete index: its table cannot be opened"):
        open_index(path)
    assert data.exists()

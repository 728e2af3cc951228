import datetime as dt
import html.parser
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import mmssl.embed
from mmssl import cli, console
from mmssl.errors import CannotDo, WrongUse
from mmssl.search import query as asking
from mmssl.search.index import build, open_index
from mmssl.search.query import find, print_hits, search, to_json
from tests.search_oracle import DIM, SHOWN, OracleEmbedder, OracleStore, level


class World:
    """An index in its place, and the embedder that is loaded for it."""

    def __init__(self, folder, **options):
        self.store = OracleStore(folder / "store")
        self.embedder = OracleEmbedder(folder / "checkpoint", **options)
        self.index = build(self.embedder, self.store, folder / "index")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def loads(monkeypatch):
    """Checkpoints are oracles; what was loaded from where."""
    loaded = []

    def load(path):
        loaded.append(path)
        return OracleEmbedder(path)

    monkeypatch.setattr(mmssl.embed, "load", load)
    return loaded


def rows(hits):
    return [int(hit["id"], 16) for hit in hits]


def expected(k, shown="nodule", allowed=lambda i: True):
    """The lower the row, the nearer to its axis."""
    return [i for i in range(60) if SHOWN[i % 6] == shown and allowed(i)][:k]


@pytest.mark.parametrize("shown", SHOWN)
def test_words_find_the_images_that_show_it_best_first(made, shown):
    hits = search(made.index, f"a patient with {shown}", k=5)
    assert rows(hits) == expected(5, shown)
    assert [hit["label_truth"] for hit in hits] == [[shown]] * 5
    assert hits[0]["score"] == pytest.approx(1 / np.hypot(1, rows(hits)[0] / 200), abs=2e-6)


def test_a_hit_carries_all_that_the_store_knows(made):
    [hit] = search(made.index, "nodule", k=1)
    assert list(hit)[:5] == ["id", "score", "study_id", "patient_id", "text"]
    assert set(hit) == {*made.store.table.column_names, "score"} - {"row"}
    row = made.store.table.slice(3, 1).to_pylist()[0]
    assert hit["age"] == 33.1  # as it was written, not as float32 holds it
    for name in ("study_id", "patient_id", "text", "report", "study_datetime", "source_Ref. No", "sections", "flags"):
        assert hit[name] == row[name]


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("sex = 'F'", lambda i: i % 3 == 0),
        ("age > 60", lambda i: i % 10 < 8 and 30.1 + i > 60),
        ("age is null", lambda i: i % 10 >= 8),
        ("not age > 60", lambda i: i % 10 < 8 and 30.1 + i <= 60),
        ("split in ('train', 'test') and view != 'PA'", lambda i: i // 4 % 3 != 1 and i % 3 != 0),
        ("flags contains 'blank' or site = 'site 1'", lambda i: i % 3 == 0 or i % 2 == 1),
        ("study_datetime >= '2023-01-01'", lambda i: bool(i % 5) and i % 5 >= 3),
        ("`source_Ref. No` in ('r9', 'r45')", lambda i: i in (9, 45)),
        ("label_truth contains 'nodule'", lambda i: True),
        ("text is null", lambda i: i % 7 == 0),
    ],
)
def test_each_filter(made, where, allowed):
    assert rows(search(made.index, "nodule", k=10, where=where))[:20] == ranked(allowed)[:10]


@pytest.mark.parametrize(
    "name", ["vector", "Vector", "thumbnail", "_distance", "_rowid", "_rowaddr", "_rowoffset", "_score", "%5Frowid"]
)
def test_a_column_may_be_called_as_lancedb_or_the_index_calls_its_own(tmp_path, name):
    store, embedder = OracleStore(tmp_path / "store"), OracleEmbedder(tmp_path / "checkpoint")
    store.table = store.table.append_column(name, pa.array([f"v{i}" for i in range(60)]))
    index = build(embedder, store, tmp_path / "index")
    assert [hit[name] for hit in search(index, "nodule", k=3)] == ["v3", "v9", "v15"]
    where = f"`{name}` in ('v9', 'v15')"
    assert rows(search(index, "nodule", where=where)) == store.select(where=where)["row"].to_pylist() == [9, 15]


def ranked(allowed):
    """Rows as they must come: those that show a nodule, then the others by their lean, of which all have none."""
    others = [i for i in range(60) if SHOWN[i % 6] != "nodule" and allowed(i)]
    return expected(60, allowed=allowed) + others


def test_the_query_patient_is_left_out(made):
    assert rows(search(made.index, "nodule", k=3)) == [3, 9, 15]
    assert rows(search(made.index, "nodule", k=3, not_patient="p0")) == [9, 15, 21]
    assert rows(search(made.index, "nodule", k=3, not_patient=["p0", "p2"], where="view = 'PA'")) == [15, 21, 27]
    left = rows(search(made.index, "nodule", k=60, not_patient="p0"))
    assert sorted(left) == list(range(4, 60))  # those of patients that nobody knows stay


def test_where_a_filter_leaves_nothing_the_values_there_are_are_said(made, capsys):
    assert search(made.index, "nodule", where="sex = 'female' and view = 'PA' and age > 1") == []
    said = capsys.readouterr().err
    assert "sex has the values F, M\n" in said
    assert "age has" not in said


def test_arguments_the_wrong_way_round_are_told_so(made, capsys):
    assert cli.run(["search", "nodule in the lung", str(made.index)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the index comes first: mmssl search" in said


def test_several_patients_are_left_out_by_the_command(made, capsys):
    words = ["search", str(made.index), "nodule", "-k", "60", "--json", "--not-patient", "p0", "--not-patient", " p2 "]
    assert cli.run(words) == 0
    out, err = capsys.readouterr()
    assert not {hit["patient_id"] for hit in json.loads(out)} & {"p0", "p2"}
    assert len(json.loads(out)) == 60 - 8
    assert "knows no patient" not in err


def test_an_unknown_patient_is_said(made, capsys):
    assert rows(search(made.index, "nodule", k=1, not_patient="o'hara")) == [3]
    assert 'warning: the index knows no patient "o\'hara"; nothing was left out for it' in capsys.readouterr().err


def test_quiet_leaves_warnings_and_clean_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", False)  # put back afterwards: -q sets it
    world = World(tmp_path)
    shutil.rmtree(world.store.path)
    capsys.readouterr()
    words = ["search", str(world.index), "a nodule " * 7, "-k", "1", "-q", "--json", "--not-patient", "nobody"]
    assert cli.run(words) == 0
    out, err = capsys.readouterr()
    assert rows(json.loads(out)) == [3]
    unknown, long, gone = err.splitlines()
    assert unknown == "warning: the index knows no patient 'nobody'; nothing was left out for it"
    assert long.startswith("warning: the query is longer than the model reads")
    assert gone.startswith(f"warning: the store {world.store.path} is no longer there")


def test_an_image_finds_its_like(made, tmp_path):
    film = Image.new("L", (100, 100), level("hernia"))
    for name in ("film.png", "film.jpg"):
        film.save(tmp_path / name)
        assert rows(search(made.index, image=tmp_path / name, k=4)) == expected(4, "hernia")
    assert rows(search(made.index, image=film, k=4)) == expected(4, "hernia")


def test_words_and_image_together_lie_halfway(made):
    film = Image.new("L", (100, 100), level("hernia"))
    vector = asking._vector(made.embedder, "nodule", film)
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector[SHOWN.index("nodule")] == vector[SHOWN.index("hernia")] == pytest.approx(2**-0.5)
    assert {SHOWN[i % 6] for i in rows(search(made.index, "nodule", image=film, k=20))} == {"nodule", "hernia"}


def test_more_hits_than_rows(made):
    hits = search(made.index, "nodule", k=1000)
    assert len(hits) == 60
    keys = [(-hit["score"], hit["id"]) for hit in hits]
    assert keys == sorted(keys)


@pytest.mark.parametrize("k", [1, 3, 10, 59, 60])
def test_equal_scores_go_by_id_however_few_are_asked_for(tmp_path, k):
    store, embedder = OracleStore(tmp_path / "store"), OracleEmbedder(tmp_path / "checkpoint")
    embedder.encode_rows = lambda store, rows: np.repeat(embedder.encode_text(["nodule"]), len(rows), axis=0)
    order = np.random.default_rng(0).permutation(60)
    store.table = store.table.take(order)
    hits = search(build(embedder, store, tmp_path / "index"), "nodule", k=k)
    assert rows(hits) == list(range(60))[:k]


def test_exact_search_is_brute_force(tmp_path):
    store, embedder = OracleStore(tmp_path / "store", 500), OracleEmbedder(tmp_path / "checkpoint")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embedder.encode_rows = lambda store, rows: vectors[list(rows)]
    opened = open_index(build(embedder, store, tmp_path / "index"))
    for query in random.normal(size=(5, DIM)).astype(np.float32):
        query /= np.linalg.norm(query)
        hits, thumbnails = find(opened, query, k=12)
        best = np.argsort(-(vectors @ query))[:12]
        assert rows(hits) == best.tolist()
        np.testing.assert_allclose([hit["score"] for hit in hits], (vectors @ query)[best], atol=2e-6)
        assert len(thumbnails) == 12


def test_a_filter_that_leaves_nothing(made, capsys, tmp_path):
    assert search(made.index, "nodule", where="age > 400", html=tmp_path / "hits.html") == []
    assert "no hits: none of the 60 images" in capsys.readouterr().err
    assert "No hits" in (tmp_path / "hits.html").read_text()


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [None, "", "  \n"])
def test_an_empty_query(made, query, loads):
    with pytest.raises(WrongUse, match="the query is empty; say what to look for"):
        search(made.index, query)
    assert loads == []  # said before anything slow


def test_all_mistakes_of_a_request_at_once(made, tmp_path):
    with pytest.raises(WrongUse) as raised:
        search(made.index, " ", image=tmp_path / "none.png", k=0)
    said = str(raised.value).split("\n")
    assert said == [
        "the query is empty; leave it out to search by the image alone",
        f"there is no image {tmp_path / 'none.png'}",
        "0 hits cannot be asked for, only 1 to 1000",
    ]
    with pytest.raises(WrongUse, match="is a folder; give one image"):
        search(made.index, image=tmp_path)


def test_where_the_page_cannot_be_written_is_said_before_anything_is_computed(made, tmp_path, loads):
    with pytest.raises(WrongUse, match=f"--html {tmp_path}: this is a folder; name a file in it"):
        search(made.index, "nodule", html=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(WrongUse, match=f"{tmp_path}/file is a file; name a folder"):
        search(made.index, "nodule", html=tmp_path / "file" / "hits.html")
    assert loads == []


@pytest.mark.parametrize(("k", "status"), [(asking.MOST, 0), (asking.MOST + 1, 2)])
def test_the_command_and_the_function_take_the_same_k(calls, k, status):
    assert cli.run(["search", "my.index", "x", "-k", str(k)]) == status


@pytest.mark.parametrize(
    "where", ["aeg > 4", "1=1; drop table rows", "age > 'old'", "vector is null", "thumbnail is null", ""]
)
def test_filters_that_cannot_be_meant(made, where, loads):
    with pytest.raises(WrongUse, match="filter"):
        search(made.index, "nodule", where=where)
    assert loads == []


def test_how_much_of_a_query_is_read_that_is_longer_than_the_model_takes(made, capsys):
    search(made.index, "there is a nodule in the left upper lobe of the lung and more", k=1)
    said = capsys.readouterr().err
    assert "of its 14 words the first 12 count, up to: ... lobe of the lung" in said
    search(made.index, "a nodule", k=1)
    assert "longer than the model reads" not in capsys.readouterr().err


@pytest.mark.parametrize("options", [{}, {"not_patient": "p0"}, {"where": "sex = 'F'"}])
def test_an_index_whose_rows_are_gone_is_incomplete(tmp_path, options):
    index = World(tmp_path).index
    shutil.rmtree(index / "rows.lance" / "data")
    said = f"{index} is an incomplete index: its rows cannot be read; remove it and make it with: mmssl index"
    with pytest.raises(CannotDo, match=said):
        search(index, "nodule", **options)


def test_an_index_with_a_damaged_file_is_incomplete(tmp_path):
    index = World(tmp_path).index
    [file] = (index / "rows.lance" / "data").iterdir()
    file.write_bytes(file.read_bytes()[::-1])
    with pytest.raises(CannotDo, match="is an incomplete index: its rows cannot be read"):
        search(index, "nodule")


def test_words_asked_of_images_alone(tmp_path):
    world = World(tmp_path, has_text=False)
    with pytest.raises(WrongUse, match="learnt from images alone and has no text tower; search with an image"):
        search(world.index, "nodule")
    assert rows(search(world.index, image=Image.new("L", (9, 9), level("nodule")), k=2)) == [3, 9]


def test_a_store_that_changed_since(made, monkeypatch, capsys):
    class Changed:
        path, version, content_hash = made.store.path, 2, "d" * 64

    monkeypatch.setattr("mmssl.data.store.Store", lambda path: Changed)
    assert rows(search(made.index, "nodule", k=1)) == [3]
    said = capsys.readouterr().err
    changed = f"the store {made.store.path} has changed since {made.index} was built (version 1 then, 2 now): "
    assert f"warning: {changed}" in said
    again = f"run: mmssl index {made.embedder.path} {made.store.path} {made.index}\n"
    assert said.endswith(again)
    Changed.version = 1
    search(made.index, "nodule", k=1)
    assert "version" not in capsys.readouterr().err
    Changed.content_hash = made.store.content_hash
    search(made.index, "nodule", k=1)
    assert "warning" not in capsys.readouterr().err


def test_a_store_that_is_gone_is_said_and_not_missed(tmp_path, capsys):
    world = World(tmp_path)
    shutil.rmtree(world.store.path)
    capsys.readouterr()
    assert rows(search(world.index, "nodule", k=2)) == [3, 9]
    gone = f"the store {world.store.path} is no longer there: hits show what it held when {world.index} was built"
    assert capsys.readouterr().err == f"warning: {gone}\n"


def test_a_checkpoint_that_was_moved(tmp_path, loads):
    world = World(tmp_path / "here")
    shutil.move(tmp_path / "here" / "checkpoint", tmp_path / "kept")
    with pytest.raises(CannotDo, match=r"no longer at .*/here/checkpoint; say where it is now: --checkpoint"):
        search(world.index, "nodule")
    assert rows(search(world.index, "nodule", k=1, checkpoint=tmp_path / "kept")) == [3]
    with pytest.raises(WrongUse, match="there is no checkpoint at"):
        search(world.index, "nodule", checkpoint=tmp_path / "elsewhere")
    assert loads == [tmp_path / "kept"]


def test_index_and_checkpoint_moved_together(tmp_path, loads):
    World(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert rows(search(tmp_path / "there" / "index", "nodule", k=1)) == [3]
    assert [path.resolve() for path in loads] == [tmp_path / "there" / "checkpoint"]


def test_another_checkpoint(made, monkeypatch, tmp_path):
    other = OracleEmbedder(tmp_path / "other")
    other.hash = "b" * 64
    monkeypatch.setattr(mmssl.embed, "load", lambda path: other)
    with pytest.raises(WrongUse, match=r"is another checkpoint \(bbbbbbbbbbbb\) than the one .* \(aaaaaaaaaaaa\)"):
        search(made.index, "nodule", checkpoint=tmp_path / "other")


# ---- what is shown -------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]

    def handle_data(self, data):
        self.words += f"{data} "


def test_the_contact_sheet_is_one_file_with_all_that_was_asked(made, tmp_path):
    sheet = tmp_path / "new" / "hits.html"
    film = Image.new("L", (100, 100), level("nodule"))
    film.save(tmp_path / "<film>.png")
    options = {"where": "sex = 'F' and age < 200", "not_patient": "p2", "image": tmp_path / "<film>.png"}
    hits = search(made.index, "nodule <script>alert(1)</script>", k=6, html=sheet, **options)
    page = Page(sheet.read_text())
    assert len(hits) == 6
    assert page.tags.count("img") == 7
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.links)
    assert "script" not in page.tags
    assert "b" not in page.tags  # a report is text, not markup
    words = " ".join(page.words.split())
    for said in (
        '"nodule <script>alert(1)</script>" and like <film>.png', "sex = 'F' and age < 200", "without patient p2",
        "6 of 60 images", f"similarity {hits[0]['score']:.3f}", "There is a nodule.", "<b>Signed</b>",
        "For research use only", "De-identification",
        f"study {hits[0]['study_id']}, patient {hits[0]['patient_id']}",
    ):  # fmt: skip
        assert said in words
    assert "vector" not in words


def test_the_table_names_the_score_and_leaves_out_what_no_hit_has(made, capsys, monkeypatch):
    hits = search(made.index, "nodule", k=2)
    capsys.readouterr()
    print_hits(hits, title="nodule")
    out = capsys.readouterr().out
    for said in ("similarity", "1.000", "DX", "F", "33 y", "train", "There is a nodule."):
        assert said in out
    assert "part" not in out
    print_hits([])
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(console, "quiet", True)
    print_hits(hits, title="nodule")
    assert capsys.readouterr().out == out, "hits are the result, which -q leaves"


def test_hits_as_json(made):
    hits = search(made.index, "nodule", k=3)
    read = json.loads(to_json(hits))
    assert [hit["id"] for hit in read] == [hit["id"] for hit in hits]
    assert dt.datetime.fromisoformat(read[0]["study_datetime"]) == hits[0]["study_datetime"]
    assert "NaN" not in to_json(search(made.index, "nodule", k=60))


def test_json_has_no_infinite_numbers():
    hits = [{"dose": float("inf"), "doses": [float("nan"), 1.5], "sections": [{"at": float("-inf")}], "id": "a"}]
    assert json.loads(to_json(hits)) == [{"dose": None, "doses": [None, 1.5], "sections": [{"at": None}], "id": "a"}]

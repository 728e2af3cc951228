"""What stores and checkpoints share, against loops over all pairs; every way of leaking planted and found."""

import hashlib
import itertools
import json
import shutil

import imagehash
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl import cli, console
from mmssl.data import alike, likeness, merges
from mmssl.errors import CannotDo, WrongUse
from mmssl.overlap import facts as light
from mmssl.overlap import guard, job, seen, witnesses
from mmssl.overlap.compare import candidates, compare
from mmssl.overlap.confirm import confirmed
from mmssl.overlap.facts import Facts, Ids, Side, side_of_store
from tests.overlapping import KEY, checkpoint, facts, in_file, make, rows

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store that is trained on, and one with a leak of each kind beside patients of its own."""
    folder = tmp_path_factory.mktemp("overlap")
    console.quiet = True
    ours = rows(0)  # p0, p3, p6 and p9 are in train
    leaks = rows(100, patients=6)
    leaks[0] |= {"patient_id": "p0", "study_id": "9.9.9.1"}  # a patient, of whom another study was trained on
    leaks[1] |= {"patient_id": "p0", "study_id": "9.9.9.1"}
    leaks[2] |= {"study_id": "1.2.840.3"}  # a study, under another patient id
    leaks[3] |= {"study_id": "1.2.840.3"}
    leaks[4] |= {"image": "12.png"}  # an exact copy of a picture of p6
    for leak in leaks:
        leak["split"] = "test"
    leaks[0]["split"] = leaks[1]["split"] = "validation"
    near = {6: 18}  # nearly a picture of p9
    return make(folder / "a", ours, key=KEY), make(folder / "b", leaks, key=KEY, near=near)


def cells(result):
    [pair] = result["pairs"]
    return {(cell["a"], cell["b"]): cell for cell in pair["cells"]}


def counts(result):
    return {
        place: tuple(cell[what] and cell[what]["count"] for what in ("patient", "study", "image", "near"))
        for place, cell in cells(result).items()
    }


# ---- the oracle ----------------------------------------------------------------------------------------------------


def slow(a, b):
    """The same counts by loops over all pairs of rows: ids, pixel hashes, pHashes and pictures as they stand."""
    found = {}
    small = {(store.path, row["row"]): pixels(store.image(row["row"])) for store in (a, b) for row in facts(store)}
    for split_a, split_b in itertools.product(SPLITS, SPLITS):
        ours, theirs = facts(a, split_a), facts(b, split_b)
        pairs = [(one, other) for one in ours for other in theirs]
        equal = [(one, other) for one, other in pairs if one["pixel_hash"] == other["pixel_hash"]]
        copies = {other["row"] for _, other in equal}
        near = {
            other["row"]
            for one, other in pairs
            if other["row"] not in copies
            and imagehash.hex_to_hash(one["phash"]) - imagehash.hex_to_hash(other["phash"]) <= 4
            and np.corrcoef(small[a.path, one["row"]], small[b.path, other["row"]])[0, 1] >= 0.99
        }
        found[split_a, split_b] = (
            len({one["patient_id"] for one in ours} & {other["patient_id"] for other in theirs}),
            len({one["study_id"] for one in ours} & {other["study_id"] for other in theirs}),
            len(copies),
            len(near),
        )
    return found


def pixels(image):
    return np.asarray(image.convert("L").resize((128, 128), resample=2), float).ravel()


def test_two_stores_share_what_a_loop_over_all_pairs_finds(stores):
    result = job.overlap([store.path for store in stores])
    assert counts(result) == slow(*stores)
    assert counts(result)["train", "validation"] == (1, 0, 0, 0)
    assert counts(result)["train", "test"] == (0, 1, 1, 1)
    assert sum(sum(cell) for place, cell in counts(result).items() if place[0] != "train") == 0
    turned = counts(job.overlap([store.path for store in reversed(stores)]))
    assert {place[::-1]: cell for place, cell in turned.items()} == counts(result)


def test_what_is_shared_is_named_by_the_stores_own_ids(stores):
    a, b = stores
    cell = cells(job.overlap([a.path, b.path]))["train", "test"]
    by_id = {row["id"]: row for store in stores for row in facts(store)}
    [copy], [original] = cell["image"]["rows_of_b"], cell["image"]["rows_of_a"]
    assert by_id[copy]["pixel_hash"] == by_id[original]["pixel_hash"]
    assert len(cell["study"]["rows_of_b"]) == 2
    assert {by_id[one]["study_id"] for one in cell["study"]["rows_of_b"] + cell["study"]["rows_of_a"]} == {
        by_id[cell["study"]["rows_of_a"][0]]["study_id"]
    }


@pytest.mark.parametrize("seed", range(8))
def test_sides_at_random_against_a_loop(seed):
    """Few different numbers, so that all things coincide; sites on some; unknown ones among them."""
    chance = np.random.default_rng(seed)

    def side(n):
        look = chance.integers(0, 2**64, 12, dtype=np.uint64)[chance.integers(0, 12, n)]
        look ^= np.uint64(1) << chance.integers(0, 64, n, dtype=np.uint64)
        columns = [chance.integers(0, most, n, dtype=np.uint64) for most in (20, 25, 3, 30)]
        return Side(
            None, "store", Facts(*columns, look), chance.integers(0, 3, n).astype(np.uint8), SPLITS, (Ids("k"),)
        )

    a, b = side(70), side(53)
    near = candidates(a, b, bits=20)
    found = compare(a, b, near=near)
    for cell in found.cells:
        i, j = SPLITS.index(cell.a), SPLITS.index(cell.b)
        pairs = [(m, n) for m in np.flatnonzero(a.group == i) for n in np.flatnonzero(b.group == j)]

        def same(column, pairs=pairs):
            x, y, sites = getattr(a.facts, column), getattr(b.facts, column), (a.facts.site, b.facts.site)
            fits = [(m, n) for m, n in pairs if x[m] == y[n] != 0]
            if column != "pixels":
                fits = [(m, n) for m, n in fits if sites[0][m] == sites[1][n] or 0 in (sites[0][m], sites[1][n])]
            return fits

        for what, column in (("patient", "patient"), ("study", "study"), ("image", "pixels")):
            fits = same(column)
            assert set(cell.found[what].a) == {m for m, _ in fits}
            assert set(cell.found[what].b) == {n for _, n in fits}
        assert cell.found["patient"].count == len({int(a.facts.patient[m]) for m, _ in same("patient")})
        copies = {m for m, _ in same("pixels")}, {n for _, n in same("pixels")}
        close = [
            (m, n)
            for m, n in pairs
            if a.facts.pixels[m] and b.facts.pixels[n]
            and int(a.facts.look[m] ^ b.facts.look[n]).bit_count() <= 20
        ]  # fmt: skip
        assert set(cell.found["near"].a) == {m for m, _ in close} - copies[0]
        assert set(cell.found["near"].b) == {n for _, n in close} - copies[1]


@pytest.mark.parametrize("bits", [0, 1, 4, 9])
def test_close_hashes_are_those_that_comparing_all_with_all_finds(bits):
    chance = np.random.default_rng(bits)
    a = chance.integers(0, 2**64, 300, dtype=np.uint64)
    b = a[chance.integers(0, 300, 500)]
    for _ in range(bits + 1):
        flips = np.uint64(1) << chance.integers(0, 64, 500, dtype=np.uint64)
        b ^= flips * chance.integers(0, 2, 500, dtype=np.uint64)
    fast = [pair for i, j in alike.close_pairs(a, b, bits=bits) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(fast) == len(set(fast)) > 50
    assert set(fast) == {(i, j) for i in range(300) for j in range(500) if int(a[i] ^ b[j]).bit_count() <= bits}


def test_close_hashes_come_in_parts_that_fit_into_memory(monkeypatch):
    monkeypatch.setattr(alike, "CHUNK", 10)
    a, b = np.array([7, 7, 8], np.uint64), np.full(33, 7, np.uint64)
    chunks = list(alike.close_pairs(a, b, bits=0))
    assert max(len(i) for i, _ in chunks) <= 10
    found = {(int(m), int(n)) for i, j in chunks for m, n in zip(i, j, strict=True)}
    assert found == {(m, n) for m in (0, 1) for n in range(33)}


def test_correlation_is_pearsons():
    chance = np.random.default_rng(0)
    a = chance.integers(0, 256, 400, dtype=np.uint8)
    b = (a * 0.5 + chance.integers(0, 90, 400)).astype(np.uint8)
    assert likeness.correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-5)
    assert likeness.correlation(a, np.full(400, 9, np.uint8)) == 0


# ---- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_what_it_was_trained_on_and_no_id(stores, tmp_path):
    a, _ = stores
    folder = checkpoint(tmp_path / "one", a)
    kept, train = in_file(folder), facts(a, "train")
    assert [f"{one['pixel_hash']:016x}" for one in kept] == [row["pixel_hash"][:16] for row in train]
    assert [f"{one['phash']:016x}" for one in kept] == [row["phash"] for row in train]
    for name, column in (("patient", "patient_id"), ("study", "study_id")):
        pairs = {(one[name], row[column]) for one, row in zip(kept, train, strict=True)}
        assert len(pairs) == len({number for number, _ in pairs}) == len({name for _, name in pairs})
    content = (folder / seen.FILE).read_bytes()
    assert not [row for row in train if row["patient_id"].encode() in content or row["study_id"].encode() in content]
    [origin] = json.loads(pq.read_schema(folder / seen.FILE).metadata[b"mmssl"])["origins"]
    assert origin["store"] == {"content_hash": a.content_hash, "version": 1, "key_id": a.manifest["key_id"]}


def test_a_checkpoint_against_a_store_finds_what_its_store_does(stores, tmp_path):
    a, b = stores
    found = counts(job.overlap([checkpoint(tmp_path / "one", a), b.path]))
    both = counts(job.overlap([a.path, b.path]))
    assert {split: found["trained on", split] for split in SPLITS} == {split: both["train", split] for split in SPLITS}


def test_ids_that_were_given_are_hashed_with_a_salt_that_is_said_or_left_out(tmp_path):
    store = make(tmp_path, rows(0))
    folder = checkpoint(tmp_path / "one", store)
    assert len({one["patient"] for one in in_file(folder)}) == 4
    assert b"p0" not in (folder / seen.FILE).read_bytes()
    assert json.loads(pq.read_schema(folder / seen.FILE).metadata[b"mmssl"])["origins"][0]["key"] == light.GIVEN
    without = checkpoint(tmp_path / "two", store, given=False)
    assert {(one["patient"], one["study"], one["site"]) for one in in_file(without)} == {(0, 0, 0)}
    result = job.overlap([without, store.path])
    assert counts(result)["trained on", "train"] == (None, None, 8, 0)
    assert "the patients of" in result["pairs"][0]["not_compared"]["patient"]


def test_a_million_rows_are_some_tens_of_megabytes():
    chance = np.random.default_rng(0)
    n = 100_000
    patients, studies = (chance.integers(0, 2**64, m, dtype=np.uint64) for m in (n // 4, n // 2))
    columns = patients[np.arange(n) // 4], studies[np.arange(n) // 2], np.zeros(n, np.uint64)
    one = Facts(*columns, *(chance.integers(0, 2**64, n, dtype=np.uint64) for _ in range(2)))
    told = seen.Origin(Ids("k"), {"content_hash": "c", "version": 1, "key_id": "k"})
    assert len(seen.written(seen.Seen((told,), one, np.zeros(n, np.uint16)))) * 10 < 30e6


def test_what_a_parent_saw_is_inherited_and_kept_once(stores, tmp_path):
    a, _ = stores
    grown = make(tmp_path / "grown", [*rows(0), *rows(30, patients=3)], key=KEY)
    other = make(tmp_path / "other", rows(50), key=KEY[::-1])
    parent = checkpoint(tmp_path / "parent", other)
    middle = checkpoint(tmp_path / "middle", other, parents=[checkpoint(tmp_path / "grandparent", a)])
    child = checkpoint(tmp_path / "run" / "checkpoint", grown, parents=[middle, parent / "model.safetensors"])
    told = seen.read(child)
    assert told.not_known == told.others == ()
    sizes = {store.path: len(facts(store, "train")) for store in (a, other, grown)}
    assert min(sizes.values()) > 6
    assert len(told.facts) == sizes[grown.path] + sizes[other.path]  # all of a is in grown, and other came twice
    found = job.overlap([tmp_path / "run", a.path])
    assert found["sides"][0]["groups"] == {"trained on": sizes[grown.path], "trained on before": sizes[other.path]}
    assert counts(found)["trained on", "train"][0] == 4
    assert counts(job.overlap([child, other.path]))["trained on before", "train"][0] == 4


def test_an_interrupted_run_keeps_what_its_parents_saw_where_they_are_gone(stores, tmp_path):
    a, _ = stores
    other = make(tmp_path / "other", rows(50), key=KEY)
    parent = checkpoint(tmp_path / "parent", other)
    run = checkpoint(tmp_path / "run", a, parents=[parent])
    shutil.rmtree(parent)
    again = checkpoint(tmp_path / "again", a, parents=[parent], before=run)
    assert (again / seen.FILE).read_bytes() == (run / seen.FILE).read_bytes()


def test_weights_that_say_nothing_of_themselves_are_named(stores, tmp_path):
    a, _ = stores
    parent = checkpoint(tmp_path / "parent", a)
    (parent / seen.FILE).unlink()
    child = checkpoint(tmp_path / "child", a, parents=[parent, "timm:resnet18"])
    side = seen.side_of_checkpoint(child)
    assert side.not_known == (f"{parent} does not say what it was trained on",)
    assert side.told["others"] == ["timm:resnet18"]


def test_a_checkpoint_of_the_first_format_is_read_and_one_without_the_file_says_so(stores, tmp_path):
    a, b = stores
    folder = checkpoint(tmp_path / "old", a)
    train = facts(a, "train")
    key = a.manifest["key_id"].encode()
    columns = {
        "patient": [hashlib.blake2b(row["patient_id"].encode(), key=key, digest_size=16).hexdigest() for row in train],
        "pixel_hash": [row["pixel_hash"] for row in train],
        "phash": [row["phash"] for row in train],
    }
    pq.write_table(pa.table(columns), folder / seen.FILE)
    found = counts(job.overlap([folder, b.path]))
    assert found["trained on", "validation"] == (1, None, 0, 0)
    assert found["trained on", "test"] == (0, None, 1, 1)
    (folder / seen.FILE).write_bytes(b"PAR1 and nothing else")
    with pytest.raises(CannotDo, match=r"training_images.parquet cannot be read .*damaged; without it the checkpoint"):
        job.overlap([folder, b.path])
    (folder / seen.FILE).unlink()
    with pytest.raises(CannotDo, match=r"does not say what it was trained on .*overlap with it cannot be known"):
        job.overlap([folder, b.path])


# ---- keys and ids --------------------------------------------------------------------------------------------------


def test_two_keys_are_refused_and_images_alone_can_be_compared(stores, tmp_path):
    a, _ = stores
    other = make(tmp_path, rows(0), key=KEY[::-1])
    with pytest.raises(
        WrongUse, match=r"no id of one can be found in the other\n.*\n--images-only compares the images"
    ):
        job.overlap([a.path, other.path])
    found = counts(job.overlap([a.path, other.path], images_only=True))
    assert found["train", "train"] == (None, None, 8, 0)
    assert found["train", "test"] == (None, None, 0, 0)
    assert not set(side_of_store(a).facts.patient) & set(side_of_store(other).facts.patient)


def test_ids_as_given_and_keyed_ids_are_refused_together(stores, tmp_path):
    with pytest.raises(WrongUse, match=r"has ids as given, .* has ids keyed with"):
        job.overlap([make(tmp_path, rows(0)).path, stores[0].path])


def test_all_mistakes_are_told_at_once(stores, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CannotDo) as error:
        job.overlap([stores[0].path, tmp_path / "nowhere", tmp_path / "empty"])
    assert "nowhere: there is no such folder" in str(error.value)
    assert "empty is neither a store (it has no manifest.json) nor a checkpoint" in str(error.value)
    with pytest.raises(WrongUse, match="name two or more"):
        job.overlap([stores[0].path])


def test_disjoint_stores_share_nothing(tmp_path):
    a, b = make(tmp_path / "a", rows(0), key=KEY), make(tmp_path / "b", rows(40), key=KEY)
    assert set(counts(job.overlap([a.path, b.path])).values()) == {(0, 0, 0, 0)}


def test_one_number_at_two_sites_is_two_patients_and_at_an_unknown_one_may_be_the_same(tmp_path):
    def unlike(first, **more):  # other pictures and studies
        found = rows(0, **more)
        return [row | {"image": f"{first + i}.png", "study_id": f"{first + i // 2}"} for i, row in enumerate(found)]

    east = make(tmp_path / "east", unlike(0, site="East"))
    west = make(tmp_path / "west", unlike(100, site="West"))
    nowhere = make(tmp_path / "nowhere", unlike(200))
    both = make(tmp_path / "both", [*unlike(300, site="East"), *unlike(400, site="West")])
    assert sum(cell[0] for cell in counts(job.overlap([east.path, west.path])).values()) == 0
    assert counts(job.overlap([east.path, nowhere.path]))["train", "train"][0] == 4
    assert {row["patient_id"] for row in facts(both)} >= {"East:p0", "West:p0"}
    assert counts(job.overlap([both.path, west.path]))["train", "train"][0] == 4
    assert counts(job.overlap([checkpoint(tmp_path / "one", both), west.path]))["trained on", "train"][0] == 4


def test_a_study_that_is_called_1_is_a_study_beside_its_patient_only(tmp_path):
    def numbered(first, prefix):
        found = rows(first, prefix=prefix)
        return [row | {"study_id": str(1 + place // 2)} for place, row in enumerate(found)]

    a, b = make(tmp_path / "a", numbered(0, "a")), make(tmp_path / "b", numbered(40, "b"))
    assert {cell[:2] for cell in counts(job.overlap([a.path, b.path])).values()} == {(0, 0)}
    again = make(tmp_path / "again", [row | {"image": f"{500 + i}.png"} for i, row in enumerate(numbered(0, "a"))])
    assert counts(job.overlap([a.path, again.path]))["train", "train"] == (4, 4, 0, 0)


def test_without_patients_studies_and_images_are_compared_and_file_names_are_no_studies(tmp_path):
    def nameless(first):
        return [{key: row[key] for key in ("image", "text", "split")} for row in rows(first)]

    a = make(tmp_path / "a", nameless(0))
    renamed = [row | {"image": f"{i + 600}.png"} for i, row in enumerate(nameless(0))]
    b = make(tmp_path / "b", renamed)
    result = job.overlap([a.path, make(tmp_path / "same", nameless(0)).path])
    assert counts(result)["train", "train"] == (None, None, 8, 0)
    assert "are not known" in result["pairs"][0]["not_compared"]["patient"]
    assert {cell[2] for cell in counts(job.overlap([a.path, b.path])).values()} == {0}


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_table_the_json_and_the_file(stores, tmp_path, capsys):
    a, b = stores
    paths = [str(a.path), str(b.path)]
    assert cli.run(["overlap", *paths, "-q", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "equal images" in shown
    assert "near images" in shown
    assert cli.run(["overlap", *paths, "--json", "-q", "--no-near"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs"][0]["near"] is None
    written = json.loads((tmp_path / "out" / "overlap.json").read_text())
    assert counts(written)["train", "test"] == (0, 1, 1, 1)
    assert cli.run(["overlap", paths[0], "-q"]) == 2
    assert cli.run(["overlap", paths[0], str(tmp_path / "none"), "-q"]) == 1
    ids = {row[name] for row in rows(0) + rows(100) for name in ("patient_id", "study_id")}
    assert not [one for one in ids if f'"{one}"' in json.dumps(written) or f" {one} " in shown]


# ---- before evaluation ---------------------------------------------------------------------------------------------


def looked(checkpoint, store, split="test", **options):
    return guard.look([checkpoint], store, split=split, **options)


def test_the_test_split_of_the_very_store_is_quiet(stores, tmp_path):
    one = checkpoint(tmp_path / "one", stores[0])
    for split in ("test", "validation"):
        found = looked(one, stores[0], split)
        assert found.warnings == []
        assert (found.told["images"], found.told["of"], found.told["patients"]) == (0, 8, 0)


@pytest.mark.parametrize(
    ("split", "where", "said"),
    [
        ("validation", None, r"2 of 2 images were trained on: 2 by 1 patient\. Name"),
        ("test", None, r"3 of 10 images were trained on: 2 by 1 study, 1 by equal pixels\. Name"),
        ("all", None, r"5 of 12 images were trained on"),
    ],
)
def test_what_was_trained_on_is_not_judged_by_unless_that_is_allowed(stores, tmp_path, split, where, said):
    a, b = stores
    one = checkpoint(tmp_path / "one", a)
    with pytest.raises(WrongUse, match=said):
        looked(one, b, split, where=where)
    found = looked(one, b, split, where=where, overlap="allow")
    assert found.told["allowed"]
    assert "this was allowed" in found.warnings[-1]
    result = {"warnings": ["other"]}
    guard.add(result, found)
    assert result["overlap"]["images"] == found.told["images"]
    assert result["warnings"][0] == "other"


def test_what_a_parent_was_trained_on_counts_too(stores, tmp_path):
    a, b = stores
    innocent = make(tmp_path / "innocent", rows(60), key=KEY)
    child = checkpoint(tmp_path / "child", innocent, parents=[checkpoint(tmp_path / "parent", a)])
    with pytest.raises(WrongUse, match="3 of 10 images were trained on"):
        looked(child, b)
    assert looked(child, make(tmp_path / "other", rows(80), key=KEY)).warnings == []


def test_a_patient_who_was_merged_since_is_told_by_the_old_id(stores, tmp_path):
    """Somebody was trained on; here the same person has another id, and pictures that nobody has seen."""
    a, _ = stores
    one = checkpoint(tmp_path / "one", a)
    later = make(tmp_path / "later", [row | {"split": "test"} for row in rows(40)], key=KEY)
    assert looked(one, later).told["images"] == 0
    trained = facts(a, "train")[0]["patient_id"]
    stands = facts(later)[0]["patient_id"]
    merges.write(later.path, merges.merge_map([(trained, "between"), ("between", stands)]))
    with pytest.raises(WrongUse, match=r"2 of 24 images were trained on: 2 by 1 patient\. Name"):
        looked(one, later)
    assert counts(job.overlap([a.path, later.path]))["train", "test"] == (1, 0, 0, 0)
    # one that was trained on the merged store knows both ids, and so do those that are started from it
    merges.write(a.path, merges.merge_map([("x", trained)]))
    try:
        after = checkpoint(tmp_path / "child", later, parents=[checkpoint(tmp_path / "after", a)])
    finally:
        (a.path / merges.FILE).unlink()
    assert len(seen.read(after).merged) == 3


def test_of_several_checkpoints_all_are_asked(stores, tmp_path):
    a, b = stores
    innocent = checkpoint(tmp_path / "innocent", make(tmp_path / "store", rows(60), key=KEY))
    with pytest.raises(WrongUse, match="3 of 10 images"):
        guard.look([innocent, checkpoint(tmp_path / "one", a)], b, split="test")


def test_other_keys_are_said_and_images_are_compared(stores, tmp_path):
    other = make(tmp_path / "keyed", rows(40), key=KEY[::-1])
    one = checkpoint(tmp_path / "one", stores[0])
    found = looked(one, other)
    [said] = found.warnings
    assert said.startswith("patients could not be compared, images alone were: ")
    assert found.told["not_compared"][str(one)]["patients"]
    copied = rows(40)
    copied[0]["image"] = "0.png"  # in test here, in train there
    with pytest.raises(WrongUse, match=r"1 of 8 images were trained on: 1 by equal pixels"):
        looked(one, make(tmp_path / "copied", copied, key=KEY[::-1]))


def test_a_near_image_is_said_of_another_store_and_refuses_nothing(stores, tmp_path):
    near = make(tmp_path / "near", rows(40), key=KEY, near={0: 0})
    one = checkpoint(tmp_path / "one", stores[0])
    found = looked(one, near)
    assert (found.told["images"], found.told["near_candidates"]) == (0, 1)
    assert "images that look like ones that were trained on, by their perceptual hashes: 1" in found.warnings[0]


def test_an_old_checkpoint_says_that_nothing_is_known(stores, tmp_path):
    one = checkpoint(tmp_path / "one", stores[0])
    (one / seen.FILE).unlink()
    found = looked(one, stores[0], "train")
    assert "whether patients or images of" in found.warnings[0]
    assert found.told["not_known"] == [f"{one} does not say what it was trained on"]


# ---- who has seen a patient ----------------------------------------------------------------------------------------


def test_the_checkpoints_that_saw_a_patient_are_found(stores, tmp_path):
    a, _ = stores
    store = tmp_path / "my.store"
    shutil.copytree(a.path, store)
    run = tmp_path / "runs" / "one"
    checkpoint(run / "checkpoint", a)
    checkpoint(run / "best", a)
    witnesses.note(store, run)
    witnesses.note(store, run)
    witnesses.note(store, tmp_path / "runs" / "gone")
    assert (tmp_path / "my.store.runs").read_text().count("\n") == 2
    patients = sorted({row["patient_id"] for row in facts(a, "train")})[:2]
    absent = facts(a, "test")[0]["patient_id"]
    found = witnesses.witnesses(store, Ids.of_store(a), [*patients, absent])
    assert [(one.checkpoint.name, one.patients, one.images) for one in found.saw] == [
        ("best", patients, 4),
        ("checkpoint", patients, 4),
    ]
    assert found.not_known == [f"{tmp_path / 'runs' / 'gone'} was trained on {store} and is no longer there"]
    moved = witnesses.witnesses(tmp_path / "no.store", Ids.of_store(a), patients, named=[tmp_path / "runs"])
    assert len(moved.saw) == 2
    assert witnesses.witnesses(store, Ids.of_store(a), [absent]).saw == []


def test_a_patient_of_one_site_is_looked_for_at_that_site(tmp_path):
    ours = [*rows(0, patients=4, site="East"), *rows(0, patients=4, site="West")]
    both = make(tmp_path, [row | {"image": f"{700 + i}.png"} for i, row in enumerate(ours)])
    checkpoint(tmp_path / "run" / "checkpoint", both)
    witnesses.note(both.path, tmp_path / "run")
    found = witnesses.witnesses(both.path, Ids.of_store(both), ["East:p0", "p3", "p1"])
    assert [(one.patients, one.images) for one in found.saw] == [(["East:p0", "p3"], 6)]


def test_confirmation_looks_at_the_pictures(stores):
    a, b = (side_of_store(store) for store in stores)
    by_hash = compare(a, b, near=candidates(a, b, bits=40))
    by_picture = compare(a, b, near=confirmed(a, b, bits=40), confirmed=True)
    total = [sum(cell.found["near"].count for cell in found.cells) for found in (by_hash, by_picture)]
    assert total[0] > 5
    assert total[1] == 1

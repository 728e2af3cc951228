"""Patients who turned out to be one: in a new store, in one that is there, and in all that comes later."""

import json

import pyarrow.parquet as pq
import pytest

from mmssl import cli
from mmssl.data import merges
from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.overlap import job as overlaps
from mmssl.overlap import witnesses
from mmssl.prepare.job import prepare
from mmssl.prepare.names import Names
from mmssl.sources.table import Source
from tests.overlapping import checkpoint
from tests.preparing import made, picture, rows_of, write_csv
from tests.test_prepare import manifest
from tests.test_prepare_dicom import film

SPLITS = {"a": "train", "b": "test", "c": "validation", "d": "train", "e": "train"}


def patients(names, *, first=0, **columns):
    """Two studies of each patient; a column is a value, or a function of the patient's name."""
    rows = []
    for place, name in enumerate(name for name in names for _ in range(2)):
        told = {key: value(name) if callable(value) else value for key, value in columns.items()}
        number = first + place
        rows.append({"image": f"{number}.png", "text": "words", "patient_id": name, "study_id": f"s{number}"} | told)
    return rows


def source(folder, rows):
    """A table of pictures that differ by the numbers they are called by."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        picture(int(row["image"].removesuffix(".png"))).save(folder / row["image"])
    return write_csv(folder / "table.csv", rows)


def pairs(folder, *found):
    folder.mkdir(exist_ok=True)
    return write_csv(folder / "merges.csv", [{"old": old, "new": new} for old, new in found])


def of(store, column="patient_id"):
    """{study: (patient, split)}."""
    return {row["study_id"]: (row[column], row["split"]) for row in rows_of(store).values()}


@pytest.fixture
def table(tmp_path):
    return source(tmp_path / "in", patients("abcde", split=SPLITS.get))


@pytest.fixture
def store(table, tmp_path):
    made(table, tmp_path / "out")
    return tmp_path / "out"


# ---- a new store ---------------------------------------------------------------------------------------------------


def test_merged_ids_are_one_patient_in_the_most_protected_split(table, tmp_path, capsys):
    file = pairs(tmp_path / "m", ("a", "c"), ("c", "b"), ("d", "e"), ("x", "y"))
    words = ["prepare", str(table), str(tmp_path / "out"), "--merges", str(file), "workers=1"]
    assert cli.run(words) == 0
    assert of(tmp_path / "out") == {
        **{f"s{n}": ("b", "test") for n in range(6)}, **{f"s{n}": ("e", "train") for n in range(6, 10)},
    }  # fmt: skip
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 4 merges name nobody of the source or the store" in said
    assert "merges moved 1 patients from train and validation to test" in said
    assert merges.kept(tmp_path / "out") == [("a", "b"), ("c", "b"), ("d", "e"), ("x", "y")]
    assert manifest(tmp_path / "out")["counts"]["patients"] == 2
    assert cli.run(words) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_merged_patients_are_drawn_as_the_one_that_stands(tmp_path):
    names = [f"p{n}" for n in range(20)]
    rows, shares = patients(names), ["splits.test=0.5", "splits.validation=0.0"]
    before = made(source(tmp_path / "in", rows), tmp_path / "before", overrides=shares)
    drawn = {row["patient_id"]: row["split"] for row in before.values()}
    file = pairs(tmp_path / "m", *((old, new) for old, new in zip(names[::2], names[1::2], strict=True)))
    found = made(tmp_path / "in/table.csv", tmp_path / "out", overrides=shares, merges=file)
    assert len({row["patient_id"] for row in found.values()}) == 10
    assert all(row["split"] == drawn[row["patient_id"]] for row in found.values())
    assert len(set(drawn.values())) == 2


def test_equal_pictures_of_merged_patients_are_duplicates(tmp_path):
    rows = patients("ab")
    table = source(tmp_path / "in", rows)
    (tmp_path / "in/2.png").write_bytes((tmp_path / "in/0.png").read_bytes())
    assert len(made(table, tmp_path / "apart")) == 4
    assert len(made(table, tmp_path / "one", merges=pairs(tmp_path / "m", ("a", "b")))) == 3


# ---- a store that is there -----------------------------------------------------------------------------------------


def test_a_merge_moves_rows_that_are_there_and_nothing_else_is_touched(store, table, tmp_path, capsys, monkeypatch):
    def fails(self, picture):
        raise AssertionError("nothing is decoded again")

    monkeypatch.setattr(Source, "decode", fails)
    before, old = {shard.file: (store / shard.file).stat().st_ino for shard in Store(store).shards}, rows_of(store)
    checkpoint(tmp_path / "runs/one/best", Store(store))
    checkpoint(tmp_path / "runs/two/best", Store(store))  # which was trained elsewhere, and is not noted here
    witnesses.note(store, tmp_path / "runs/one")
    file = pairs(tmp_path / "m", ("a", "c"))
    assert cli.run(["prepare", str(table), str(store), "--merges", str(file), "workers=1"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "merges moved 1 patients from train to validation" in said
    assert f"{(tmp_path / 'runs/one/best').resolve()} was trained on 1 of them" in said
    now, told = rows_of(store), Store(store)
    assert told.version == 2
    for name, row in now.items():
        moved = row["study_id"] in ("s0", "s1")
        is_same = {key: value for key, value in row.items() if key != "row"} == {
            key: value for key, value in old[name].items() if key != "row"
        }
        assert is_same != moved
        assert row["version"] == (2 if moved else 1)
        assert told.image_bytes(row["row"]) == (tmp_path / "in" / name).read_bytes()
    assert (of(store)["s0"], of(store)["s1"]) == (("c", "validation"), ("c", "validation"))
    kept = [file for file, place in before.items() if (store / file).exists() and place == (store / file).stat().st_ino]
    assert {file for file in before if file not in kept} == {file for file in before if "/train-" in file}
    assert manifest(store)["history"][1].items() >= {"new": 0, "replaced": 2, "unchanged": 0}.items()
    by_shard = {shard.file: shard.split for shard in told.shards}
    for file, split in by_shard.items():  # where a row lies and what it says agree
        assert set(pq.read_table(store / file, columns=["split"])["split"].to_pylist()) == {split}


def test_a_merge_onto_a_store_comes_to_what_a_new_store_would_be(store, table, tmp_path):
    file = pairs(tmp_path / "m", ("a", "b"), ("d", "e"))
    prepare(table, store, workers=1, merges=file)
    prepare(table, tmp_path / "new", workers=1, merges=file)
    assert Store(store).content_hash == Store(tmp_path / "new").content_hash
    for name in ("counts", "splits", "flags"):
        assert manifest(store)[name] == manifest(tmp_path / "new")[name]
    assert prepare(table, store, workers=1, merges=file).skipped
    assert prepare(table, store, workers=1).skipped


@pytest.mark.parametrize("ids", ["given", "keyed"])
def test_an_old_id_that_comes_later_is_the_patient_it_was_merged_into(table, tmp_path, ids):
    store, options = tmp_path / "out", {"workers": 1, "ids": ids}
    prepare(table, store, **options)
    prepare(table, store, merges=pairs(tmp_path / "m", ("a", "b")), **options)
    made(source(tmp_path / "second", patients("ab", first=50)), store, ids=ids)
    key = (tmp_path / "out.key").read_bytes().strip() if ids == "keyed" else None
    new = [Names(key).of("study", f"s{n}") for n in range(50, 54)]
    one = {row["patient_id"] for row in rows_of(store).values() if row["study_id"] in new}
    assert len(one) == 1
    assert len({row["patient_id"] for row in rows_of(store).values()}) == 4
    amended = patients("abcde", split=SPLITS.get, ward="W")  # which gives a to train, as it always did
    prepare(source(tmp_path / "in", amended), store, **options)
    its = [row for row in rows_of(store).values() if row["patient_id"] in one]
    assert [row["split"] for row in its] == ["test"] * 8
    assert [row["ward"] for row in its].count("W") == 4
    assert "merges moved" not in " ".join(manifest(store)["remarks"])


def test_a_merge_with_a_new_source_moves_both_sides(store, tmp_path):
    rows = [{**row, "split": "test"} for row in patients("f", first=30)]
    rows.append({**patients("a", first=40)[0], "study_id": "s0", "split": ""})  # of a study that is there, s0
    second = source(tmp_path / "second", rows)
    made(second, store, merges=pairs(tmp_path / "m", ("a", "f")))
    told = of(store)
    assert {name for name, (patient, _) in told.items() if patient == "f"} == {"s0", "s1", "s30", "s31"}
    assert {split for patient, split in told.values() if patient == "f"} == {"test"}
    assert "a" not in {row["patient_id"] for row in rows_of(store).values()}
    assert len(rows_of(store)) == 13
    near = sorted(row["row"] for row in rows_of(store).values() if row["study_id"] == "s0")
    assert near[1] - near[0] == 1


def test_a_patient_who_moved_may_come_again_with_the_split_that_was_given_before(store, tmp_path):
    prepare(tmp_path / "in/table.csv", store, workers=1, merges=pairs(tmp_path / "m", ("b", "a")))
    amended = patients("abcde", split=SPLITS.get, ward="W")
    prepare(source(tmp_path / "in", amended), store, workers=1)
    assert {told for name, told in of(store).items() if name in ("s0", "s1", "s2", "s3")} == {("a", "test")}


def test_a_new_picture_is_a_duplicate_of_one_that_its_patient_has_under_an_old_id(tmp_path):
    store = tmp_path / "out"
    made(source(tmp_path / "in", patients("ab")), store)
    row = {**patients("b", first=9)[0], "study_id": "s9"}
    table = source(tmp_path / "second", [row])
    (tmp_path / "second/9.png").write_bytes((tmp_path / "in/0.png").read_bytes())
    found = made(table, store, merges=pairs(tmp_path / "m", ("a", "b")))
    assert "9.png" not in found
    assert manifest(store)["counts"]["reasons"] == {"duplicate": 1}


def test_columns_that_came_later_stay_with_the_rows_that_move(store, table, tmp_path):
    labels = write_csv(tmp_path / "labels.csv", [{"study_id": f"s{n}", "nodule": n % 2} for n in range(10)])
    prepare(table, store, workers=1, labels=labels)
    before = {name: row["label_nodule"] for name, row in rows_of(store).items()}
    prepare(table, store, workers=1, labels=labels, merges=pairs(tmp_path / "m", ("a", "b")))
    assert {name: row["label_nodule"] for name, row in rows_of(store).items()} == before
    assert of(store)["s0"] == ("b", "test")


def test_who_was_trained_on_under_the_old_id_is_found_by_the_new_one(store, table, tmp_path):
    trained = checkpoint(tmp_path / "run", Store(store))
    prepare(table, store, workers=1, merges=pairs(tmp_path / "m", ("a", "b")))
    found = overlaps.overlap([trained, store])
    shared = {cell["b"]: cell["patient"]["count"] for cell in found["pairs"][0]["cells"]}
    assert shared["test"] == 1


def test_patients_of_dicom_files_are_merged_by_their_own_ids_and_none_of_these_is_kept(tmp_path):
    for number in range(6):
        patient = {"PatientID": f"PAT-{number // 2}", "IssuerOfPatientID": "NGH"}
        film(tmp_path / f"in/{number}.dcm", number, patient=None, accession=f"A{number}", **patient)
    store, options = tmp_path / "out", {"workers": 1, "overrides": ["clean=off", "splits.test=0.5"]}
    prepare(tmp_path / "in", store, **options)
    before = {row["source_id"]: row["patient_id"] for row in rows_of(store).values()}
    prepare(tmp_path / "in", store, merges=pairs(tmp_path / "m", ("PAT-0", "NGH\\PAT-2")), **options)
    after = {row["source_id"]: row["patient_id"] for row in rows_of(store).values()}
    changed = {(before[name], after[name]) for name in before if before[name] != after[name]}
    assert changed == set(merges.kept(store))
    assert len(set(after.values())) == 2
    paths = {}
    for line in (tmp_path / "out.sources.private").read_text().splitlines():
        paths[json.loads(line)["source_id"]] = json.loads(line)["path"]
    assert {paths[name] for name in before if before[name] != after[name]} == {"0.dcm", "1.dcm"}
    assert not any(b"PAT-" in path.read_bytes() for path in store.rglob("*") if path.is_file())


# ---- what cannot be meant ------------------------------------------------------------------------------------------


def test_a_number_that_two_sites_gave_out_needs_its_site(tmp_path):
    rows = (
        patients("77", site="North")[:2] + patients("7", first=4, site="South") + patients("8", first=6, site="North")
    )
    table = source(tmp_path / "in", rows)
    with pytest.raises(WrongUse, match=r"pair 1: an id that 2 issuers or sites gave out; write ISSUER\\ID"):
        prepare(table, tmp_path / "out", workers=1, merges=pairs(tmp_path / "m", ("7", "8")))
    found = made(table, tmp_path / "out", merges=pairs(tmp_path / "m", ("South\\7", "8")))
    assert {row["patient_id"] for row in found.values()} == {"North:7", "8"}
    assert found["4.png"]["patient_id"] == "8"


def test_without_patients_nobody_can_be_merged(tmp_path):
    table = source(tmp_path / "in", [{"image": f"{n}.png", "text": "words"} for n in range(3)])
    with pytest.raises(WrongUse, match="--merges: the source names no patients"):
        prepare(table, tmp_path / "out", workers=1, merges=pairs(tmp_path / "m", ("a", "b")))


def test_an_id_with_two_given_splits_is_still_refused(tmp_path):
    rows = patients("ab", split="train")
    rows[0]["split"] = "test"
    with pytest.raises(WrongUse, match="patient a: test and train"):
        prepare(source(tmp_path / "in", rows), tmp_path / "out", workers=1, merges=pairs(tmp_path / "m", ("a", "b")))


def test_a_table_of_merges_that_is_not_there_is_said(table, tmp_path, capsys):
    words = ["prepare", str(table), str(tmp_path / "out"), "--merges", str(tmp_path / "none.csv")]
    assert cli.run(words) == 1
    assert "--merges" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_without_a_patient_is_not_taken_for_an_id(tmp_path):
    rows = patients("ab")
    rows.append(
        {"image": "9.png", "text": "words", "patient_id": "", "study_id": "a"}
    )  # its study is called like a patient
    store = tmp_path / "out"
    made(source(tmp_path / "in", rows), store)
    found = made(tmp_path / "in/table.csv", store, merges=pairs(tmp_path / "m", ("a", "b")))
    assert found["9.png"]["patient_id"] == "a"
    assert {row["patient_id"] for name, row in found.items() if name != "9.png"} == {"b"}
    assert json.loads((store / "manifest.json").read_text())["counts"]["patient_missing"] == 1

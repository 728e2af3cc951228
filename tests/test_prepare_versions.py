"""Stores that grow: what is new is added, what came again takes the place of the old, and all else stays as it is."""

import json

import pyarrow.parquet as pq
import pytest

from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare import write
from mmssl.prepare.job import prepare
from mmssl.sources.table import Source
from tests.preparing import picture, rows_of, write_csv


def table(folder, numbers, name="table.csv", **columns):
    """A table with a row and a picture for each number; a column is a value, or a function of the number."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in numbers:
        picture(number).save(folder / f"{number}.png")
        row = {
            "image": f"{number}.png",
            "patient_id": f"p{number // 2}",
            "study_id": f"s{number}",
            "text": f"text {number}",
        }
        rows.append(row | {key: value(number) if callable(value) else value for key, value in columns.items()})
    return write_csv(folder / name, rows)


def lines(store):
    return pq.read_table(store / "sources.parquet").to_pylist()


def history(store):
    return [{k: line[k] for k in ("new", "replaced", "unchanged")} for line in Store(store).manifest["history"]]


def shards(store):
    """{file of a shard: what tells whether it was written anew}."""
    return {shard.file: (store / shard.file).stat().st_ino for shard in Store(store).shards}


def grow(source, store, **options):
    return prepare(source, store, workers=1, **options)


@pytest.fixture
def store(tmp_path):
    """Twenty rows, two for each of ten patients."""
    path = tmp_path / "out"
    grow(table(tmp_path / "first", range(20)), path)
    return path


def test_another_source_is_added_and_what_was_there_is_not_written_again(store, tmp_path):
    before, old = shards(store), rows_of(store)
    grow(table(tmp_path / "second", range(19, 30)), store)
    told = Store(store)
    assert told.version == 2
    assert history(store) == [{"new": 20, "replaced": 0, "unchanged": 0}, {"new": 10, "replaced": 0, "unchanged": 0}]
    assert shards(store).items() >= before.items()
    now = rows_of(store)
    assert {name: now[name] | {"row": 0} for name in old} == {name: row | {"row": 0} for name, row in old.items()}
    assert {row["version"] for name, row in now.items() if name not in old} == {2}
    assert now["19.png"]["version"] == 1  # the very file and study of the first source
    grow(table(tmp_path / "whole", range(30)), tmp_path / "at once")
    assert told.content_hash == Store(tmp_path / "at once").content_hash
    assert told.manifest["counts"] == Store(tmp_path / "at once").manifest["counts"]
    assert told.manifest["splits"] == Store(tmp_path / "at once").manifest["splits"]


def test_a_source_that_grew_is_decoded_only_where_it_is_new(store, tmp_path, monkeypatch):
    decoded = tmp_path / "decoded"
    quick = Source.decode

    def noting(self, picture):
        with open(decoded, "a") as file:  # in a worker
            file.write(f"{picture.source_id}\n")
        return quick(self, picture)

    monkeypatch.setattr(Source, "decode", noting)
    assert grow(table(tmp_path / "first", range(22)), store).rows == 22
    assert decoded.read_text().split() == ["20.png", "21.png"]
    assert sorted(line["source_id"] for line in lines(store)) == sorted(f"{n}.png" for n in range(22))
    assert grow(tmp_path / "first/table.csv", store).skipped


def test_a_report_that_was_amended_takes_the_place_of_the_old_one(store, tmp_path):
    before, old = shards(store), rows_of(store)
    grow(table(tmp_path / "first", range(20), text=lambda n: "amended" if n == 3 else f"text {n}"), store)
    assert history(store)[1] == {"new": 0, "replaced": 1, "unchanged": 0}
    now = rows_of(store)
    assert (now["3.png"]["text"], now["3.png"]["version"]) == ("amended", 2)
    assert {name for name in old if now[name]["row_hash"] != old[name]["row_hash"]} == {"3.png"}
    changed = {file for file, place in before.items() if shards(store).get(file) != place}
    assert changed == {file for file in before if old["3.png"]["split"] in file}
    told = [(line["version"], line["replaced"]) for line in lines(store) if line["source_id"] == "3.png"]
    assert told == [(1, 2), (2, None)]
    assert Store(store).manifest["counts"]["inputs"] == 20


def test_pictures_of_a_study_that_come_later_lie_beside_the_others_and_share_its_report(tmp_path):
    store, reports = tmp_path / "out", tmp_path / "reports.csv"
    same = {"study_id": lambda n: f"s{n // 2}", "text": "", "age": 45.3}
    grow(table(tmp_path / "first", range(0, 20, 2), **same), store)
    write_csv(reports, [{"study_id": f"s{n}", "report": f"FINDINGS: Nodule {n}."} for n in range(10)])
    grow(table(tmp_path / "second", [5], **same), store, reports=reports)
    assert history(store)[1] == {"new": 1, "replaced": 1, "unchanged": 0}
    now = rows_of(store)
    assert now["4.png"]["text"] == now["5.png"]["text"] == "Nodule 2."
    assert "text_missing" not in now["4.png"]["flags"]
    assert abs(now["4.png"]["row"] - now["5.png"]["row"]) == 1
    assert now["6.png"]["text"] is None
    image = {name: Store(store).image_bytes(row["row"]) for name, row in now.items()}
    assert image["4.png"] == (tmp_path / "first/4.png").read_bytes()


def test_the_same_file_names_in_another_folder_are_other_inputs(store, tmp_path):
    folder = tmp_path / "second"
    folder.mkdir()
    for number in range(3):
        picture(100 + number).save(folder / f"{number}.png")
    rows = [{"image": f"{n}.png", "patient_id": f"q{n}", "study_id": f"t{n}", "text": "other"} for n in range(3)]
    second = write_csv(folder / "table.csv", rows)
    assert grow(second, store).rows == 23
    now = rows_of(store)
    assert now["1.png"]["patient_id"] == "p0"
    assert now["1.png@2"]["patient_id"] == "q1"
    write_csv(second, [row | {"text": "mended"} for row in rows])
    assert grow(second, store).rows == 23
    assert {now["text"] for name, now in rows_of(store).items() if "@" in name} == {"mended"}


def test_what_is_there_already_is_a_duplicate(store, tmp_path):
    other = tmp_path / "second"
    table(other, [4])
    rows = [
        {"image": "4.png", "id": "copy", "patient_id": "p2", "study_id": "s4b", "text": "text 4"},
        {"image": "4.png", "id": "other", "patient_id": "p99", "study_id": "s99", "text": "text 4"},
    ]
    before = rows_of(store)["4.png"]
    grow(write_csv(other / "table.csv", rows), store)
    assert {line["source_id"]: line["reason"] for line in lines(store) if line["version"] == 2} == {
        "copy": "duplicate", "other": None,
    }  # fmt: skip
    rejected = pq.read_table(store / "rejected.parquet").to_pylist()
    assert [(line["source_id"], line["detail"]) for line in rejected] == [("copy", "4.png")]
    now = rows_of(store)
    assert now["other"]["flags"] == ["duplicate"]
    assert now["4.png"]["row_hash"] == before["row_hash"]


def test_patients_stay_in_their_split(store, tmp_path):
    old = rows_of(store)
    of = {row["patient_id"]: row["split"] for row in old.values()}
    moved = next(patient for patient, split in of.items() if split == "train")
    second = table(tmp_path / "second", [40], patient_id=moved, split="test")
    with pytest.raises(WrongUse) as said:
        grow(second, store)
    assert f"patient {moved}: train in the store, test now" in str(said.value)
    assert Store(store).version == 1
    grow(table(tmp_path / "third", [40], patient_id=moved), store)
    assert rows_of(store)["40.png"]["split"] == "train"


def test_a_number_that_another_site_gives_out_is_another_patient(tmp_path):
    store = tmp_path / "out"
    grow(table(tmp_path / "first", [0, 1], patient_id="7", site="North"), store)
    grow(table(tmp_path / "second", [2, 3], patient_id="7", site="South"), store)
    grow(table(tmp_path / "third", [4], patient_id="7", site="North"), store)
    assert {name: row["patient_id"] for name, row in rows_of(store).items()} == {
        "0.png": "7", "1.png": "7", "2.png": "South:7", "3.png": "South:7", "4.png": "7",
    }  # fmt: skip


def test_the_study_of_another_patient_that_has_the_same_number_stays_where_it_is(tmp_path):
    store = tmp_path / "out"
    grow(table(tmp_path / "first", [0, 1], study_id="1", patient_id="p", split="test"), store)
    grow(table(tmp_path / "second", [5], study_id="1", patient_id="q", split="train"), store)
    told = Store(store)
    assert {name: row["split"] for name, row in rows_of(store).items()} == {
        "0.png": "test", "1.png": "test", "5.png": "train",
    }  # fmt: skip
    assert told.select(split="train", columns=["patient_id"])["patient_id"].to_pylist() == ["q"]
    assert history(store)[1] == {"new": 1, "replaced": 0, "unchanged": 0}


def test_columns_that_come_later_are_columns_of_the_store(store, tmp_path):
    before = rows_of(store)
    labels = write_csv(tmp_path / "labels.csv", [{"study_id": f"s{n}", "nodule": n % 2} for n in range(5)])
    grow(tmp_path / "first/table.csv", store, labels=labels)
    told = Store(store)
    assert "label_nodule" in told.columns
    now = rows_of(store)
    assert {name: row["label_nodule"] for name, row in now.items() if row["label_nodule"] is not None} == {
        f"{n}.png": n % 2 for n in range(5)
    }
    assert sorted(told.select(where="label_nodule = 1")["source_id"].to_pylist()) == ["1.png", "3.png"]
    assert {name for name in now if now[name]["version"] == 1} == {f"{n}.png" for n in range(5, 20)}
    grow(table(tmp_path / "second", [21], ward="W"), store)  # what came later stays, through a version without it
    after = rows_of(store)
    assert all(after[name]["label_nodule"] == now[name]["label_nodule"] for name in before)
    assert after["21.png"]["ward"] == "W"


def test_a_store_that_grew_opens_with_datasets(store, tmp_path):
    import datasets

    grow(table(tmp_path / "second", range(20, 30), ward="W"), store)
    grow(table(tmp_path / "first", range(20), text="new"), store)
    found = datasets.load_dataset(str(store), cache_dir=str(tmp_path / "cache"))
    assert sum(len(part) for part in found.values()) == 30
    assert {name: len(part) for name, part in found.items()} == {
        name: told["rows"] for name, told in Store(store).manifest["splits"].items() if told["rows"]
    }


def test_an_input_that_cannot_be_read_any_more_loses_its_row(store, tmp_path):
    (tmp_path / "first/3.png").write_bytes(b"")
    assert grow(tmp_path / "first/table.csv", store).rows == 19
    told = {
        (line["version"], line["replaced"], line["reason"]) for line in lines(store) if line["source_id"] == "3.png"
    }
    assert told == {(1, 2, None), (2, None, "empty")}


def test_what_fails_leaves_the_older_version(store, tmp_path, monkeypatch):
    before = Store(store).content_hash, shards(store)

    def fails(*arguments):
        raise CannotDo("no space")

    monkeypatch.setattr(write, "_counts", fails)
    with pytest.raises(CannotDo):
        grow(table(tmp_path / "second", range(20, 30)), store)
    assert (Store(store).content_hash, shards(store)) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "out", "second"]


def test_files_that_are_not_ours_stay_in_a_store(store, tmp_path):
    (store / "notes").mkdir()
    (store / "notes/consent.txt").write_text("asked for on Monday")
    grow(table(tmp_path / "second", range(20, 22)), store)
    assert (store / "notes/consent.txt").read_text() == "asked for on Monday"


def test_pseudonyms_are_the_same_in_every_version(tmp_path):
    store = tmp_path / "out"
    grow(table(tmp_path / "first", range(4)), store, ids="keyed")
    before = rows_of(store)
    grow(table(tmp_path / "second", range(3, 8)), store, ids="keyed")
    now = rows_of(store)
    assert len(now) == 8
    assert now.keys() >= before.keys()
    told = [json.loads(line) for line in (tmp_path / "out.sources.private").read_text().splitlines()]
    assert {line["path"] for line in told} == {f"{n}.png" for n in range(8)}
    by_path = {line["path"]: now[line["source_id"]]["patient_id"] for line in told}
    assert by_path["2.png"] == by_path["3.png"]
    assert by_path["4.png"] == by_path["5.png"] != by_path["6.png"]


def test_a_file_that_was_sent_again_in_another_coding_is_a_duplicate(tmp_path):
    """Its pixels differ a little, its SOPInstanceUID does not."""
    from tests.test_prepare_dicom import film

    film(tmp_path / "first/a.dcm", 1, patient="P1", accession="A1", SOPInstanceUID="1.2.3.1")
    film(tmp_path / "first/b.dcm", 2, patient="P1", accession="A1", SOPInstanceUID="1.2.3.2")
    store = tmp_path / "out"
    grow(tmp_path / "first", store)
    assert len({row["instance_id"] for row in rows_of(store).values()}) == 2
    film(tmp_path / "second/c.dcm", 3, patient="P1", accession="A1", SOPInstanceUID="1.2.3.1")
    film(tmp_path / "second/d.dcm", 4, patient="P1", accession="A1", SOPInstanceUID="1.2.3.4")
    assert grow(tmp_path / "second", store).rows == 3
    assert [line["reason"] for line in lines(store) if line["version"] == 2] == ["duplicate", None]
    assert b"1.2.3.1" not in b"".join(file.read_bytes() for file in store.rglob("*") if file.is_file())


def test_a_report_reaches_a_study_whose_files_were_sent_again_under_other_names(tmp_path):
    """Every file is a duplicate, so no row is new."""
    same = {"text": "", "study_id": lambda n: f"s{n // 2}"}
    store, reports = tmp_path / "out", tmp_path / "reports.csv"
    grow(table(tmp_path / "first", range(4), **same), store)
    write_csv(reports, [{"study_id": "s0", "report": "FINDINGS: Nodule."}])
    second = table(tmp_path / "second", range(2), **same)
    second.write_text(second.read_text().replace("0.png", "x.png").replace("1.png", "y.png"))
    for old, new in (("0", "x"), ("1", "y")):
        (tmp_path / f"second/{old}.png").rename(tmp_path / f"second/{new}.png")
    assert grow(second, store, reports=reports).rows == 4
    assert {name: row["text"] for name, row in rows_of(store).items()} == {
        "0.png": "Nodule.", "1.png": "Nodule.", "2.png": None, "3.png": None,
    }  # fmt: skip
    assert [line["reason"] for line in lines(store) if line["version"] == 2] == ["duplicate", "duplicate"]

import io
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl import plugins
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, picture, pictures, reasons, rows_of, write_csv, write_jsonl
from tests.test_dicom import dataset, save

CAPTIONS = [f"caption {number}" for number in range(6)]


def encoded(seed):
    held = io.BytesIO()
    picture(seed).save(held, "PNG")
    return held.getvalue()


def recognised(path):
    return [name for name in plugins.names("sources") if plugins.find("sources", name).recognises(path)]


@pytest.fixture
def folder(tmp_path):
    pictures(tmp_path / "in", [f"{number}.png" for number in range(6)])
    return tmp_path / "in"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_of_any_kind_gives_the_same_rows(folder, tmp_path, kind):
    rows = [{"image": f"{n}.png", "text": CAPTIONS[n], "patient_id": f"00{n}", "age": str(n)} for n in range(6)]
    table = folder / f"t.{kind}"
    if kind == "jsonl":
        write_jsonl(table, rows)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), table)
    else:
        write_csv(table, rows, "\t" if kind == "tsv" else ",")
    assert recognised(table) == ["table"]
    found = made(table, tmp_path / "out")
    told = {row["source_id"]: (row["text"], row["patient_id"], row["age"]) for row in found.values()}
    assert told == {f"{n}.png": (CAPTIONS[n], f"00{n}", float(n)) for n in range(6)}


def test_columns_of_a_table_that_are_not_ours_keep_their_names_and_those_that_meet_ours_do_not(folder, tmp_path):
    rows = [
        {"image": f"{n}.png", "text": "words", "findings": "mass", "sections": "s", "flags": "f", "body_region": "Head",
         "severity": f"{n}.5", "score": n, "grade": n, "label_truth": "A|B" if n else "", "case_number": f"{n:03d}",
         "row": n}
        for n in range(6)
    ]  # fmt: skip
    row = made(write_csv(folder / "t.csv", rows), tmp_path / "out")["0.png"]
    assert row["findings"] is None  # the language of the text cannot be told
    assert (row["source_findings"], row["source_sections"], row["source_flags"]) == ("mass", "s", "f")
    assert (row["body_region"], row["severity"], row["grade"], row["case_number"]) == ("Head", 0.5, 0, "000")
    assert row["label_truth"] == []
    assert rows_of(tmp_path / "out")["1.png"]["label_truth"] == ["A", "B"]
    assert (row["source_row"], row["source_score"]) == (0, 0)  # what a selection and an answer of search add
    assert row["flags"] == []


def test_capitals_and_blanks_make_no_difference_to_what_a_column_is(folder, tmp_path):
    rows = [{"Image": f"{n}.png", "TEXT": CAPTIONS[n], "Body Part": "CHEST", "Sex": "female", "MRN": f"p{n}", "ID": "1"}
            for n in range(6)]  # fmt: skip
    found = made(write_csv(folder / "t.csv", rows), tmp_path / "out")
    row = found["3.png"]
    assert (row["text"], row["body_part"], row["sex"], row["patient_id"], row["ID"]) == (
        "caption 3", "CHEST", "F", "p3", "1",
    )  # fmt: skip
    assert {"Sex", "Body Part", "source_Sex"}.isdisjoint(row)


def test_an_age_or_a_date_that_is_not_understood_is_kept_and_counted(folder, tmp_path):
    said = [
        ("90+", "2020-12-31"),
        ("44", "31/12/2020"),
        ("", ""),
        ("unknown", "n/a"),
        ("061Y", "2020/12/31"),
        ("7", ""),
    ]
    rows = [{"image": f"{n}.png", "age": age, "study_datetime": date} for n, (age, date) in enumerate(said)]
    found = made(write_csv(folder / "t.csv", rows), tmp_path / "out")
    told = [(found[f"{n}.png"]["source_age"], found[f"{n}.png"]["source_study_datetime"]) for n in range(6)]
    assert told == [("90+", None), (None, "31/12/2020"), *[(None, None)] * 4]
    assert [name for name, row in sorted(found.items()) if "value_unreadable" in row["flags"]] == ["0.png", "1.png"]
    assert found["4.png"]["age"] == 61


def test_a_copied_or_touched_source_is_the_same_and_a_changed_one_is_not(folder, tmp_path):
    table = write_csv(folder / "t.csv", [{"image": f"{n}.png"} for n in range(6)])
    made(table, tmp_path / "out")
    shutil.copytree(folder, tmp_path / "copy")
    (folder / "1.png").touch()
    assert prepare(table, tmp_path / "out").skipped
    assert prepare(tmp_path / "copy" / "t.csv", tmp_path / "out").skipped
    picture(99).save(folder / "1.png")
    assert not prepare(table, tmp_path / "out").skipped


def test_columns_can_be_mapped_and_images_lie_elsewhere(folder, tmp_path):
    rows = [{"file": f"{n}.png", "caption": CAPTIONS[n], "text": "other", "who": f"p{n}"} for n in range(6)]
    table = write_csv(tmp_path / "tables/t.csv", rows)
    overrides = ["columns.image=file", "columns.text=caption", "columns.patient_id=who", f"source.root={folder}"]
    found = made(table, tmp_path / "out", overrides=overrides)
    assert found["3.png"]["text"] == "caption 3"
    assert found["3.png"]["patient_id"] == "p3"
    assert found["3.png"]["source_text"] == "other"


def test_all_tables_of_a_source_may_have_another_separator(folder, tmp_path):
    rows = [{"file_name": f"{n}.png", "patient_id": f"p{n}"} for n in range(6)]
    write_csv(folder / "metadata.csv", rows, ";")
    reports = write_csv(tmp_path / "r.csv", [{"patient_id": f"p{n}", "text": CAPTIONS[n]} for n in range(6)], ";")
    found = made(folder, tmp_path / "out", overrides=["separator=;"], reports=reports)
    assert found["2.png"]["text"] == CAPTIONS[2]
    with pytest.raises(WrongUse, match="separator=';;': it is one character"):
        prepare(folder, tmp_path / "other", overrides=["separator=;;"])


def test_a_parquet_table_may_hold_the_images(tmp_path):
    rows = [{"image": {"bytes": encoded(n), "path": f"{n}.png"}, "text": CAPTIONS[n]} for n in range(5)]
    rows.append({"image": None, "text": "gone"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet", row_group_size=2)
    found = made(tmp_path / "t.parquet", tmp_path / "out")
    assert {name: row["text"] for name, row in found.items()} == {f"{n}.png": CAPTIONS[n] for n in range(5)}
    assert reasons(tmp_path / "out")["row 6"] == "missing"


def test_a_parquet_table_of_any_case_keeps_what_is_no_image(tmp_path):
    rows = [{"image": {"bytes": encoded(n), "path": f"{n}.png"}, "info": {"kVp": n, "lamp": None}} for n in range(2)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "T.PARQUET")
    found = made(tmp_path / "T.PARQUET", tmp_path / "out")
    assert {name: row["info"] for name, row in found.items()} == {
        "0.png": '{"kVp": 0, "lamp": null}',
        "1.png": '{"kVp": 1, "lamp": null}',
    }


def test_whole_numbers_beyond_64_bits_are_text(folder, tmp_path):
    rows = [{"image": "0.png", "n": 2**63, "m": 2**63 - 1}, {"image": "1.png", "n": -1, "m": -(2**63)}]
    found = made(write_jsonl(folder / "t.jsonl", rows), tmp_path / "out")
    assert [(row["n"], row["m"]) for row in found.values()] == [(str(2**63), 2**63 - 1), ("-1", -(2**63))]


def test_a_study_is_in_one_split_where_a_row_of_it_names_no_patient(folder, tmp_path):
    rows = [{"image": f"{n}.png", "study_id": f"s{n // 2}", "patient_id": "" if n % 2 else f"p{n}"} for n in range(6)]
    reports = write_csv(tmp_path / "r.csv", [{"study_id": f"s{n}", "report": CAPTIONS[n]} for n in range(3)])
    table, drawn = write_csv(folder / "t.csv", rows), {"validation": 0.9, "test": 0}
    found = made(table, tmp_path / "out", reports=reports, splits=drawn)
    for number in range(3):
        one, other = found[f"{2 * number}.png"], found[f"{2 * number + 1}.png"]
        assert other["flags"] == ["patient_from_study"]
        assert all(one[name] == other[name] for name in ("patient_id", "study_id", "split", "report"))
        assert one["report"] == CAPTIONS[number]
    assert {row["split"] for row in found.values()} != {"train"}


@pytest.mark.parametrize("more", [{}, {"patient_id": "p"}], ids=["nobody known", "one patient"])
def test_several_captions_of_one_image_in_parquet_are_rows_of_one_study(tmp_path, more):
    rows = [{"image": {"bytes": encoded(n // 3), "path": "x.png"}, "text": CAPTIONS[n], **more} for n in range(6)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = made(tmp_path / "t.parquet", tmp_path / "out")
    studies = {}
    for row in found.values():
        studies.setdefault((row["study_id"], row["split"]), set()).add(row["text"])
    assert sorted(map(sorted, studies.values())) == [CAPTIONS[:3], CAPTIONS[3:]]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_image_folder_with_metadata(folder, tmp_path, kind):
    rows = [{"file_name": f"{n}.png", "text": CAPTIONS[n]} for n in range(5)] + [{"file_name": "x.png", "text": "gone"}]
    (write_csv if kind == "csv" else write_jsonl)(folder / f"metadata.{kind}", rows)
    (folder / "notes.txt").write_text("by hand")
    assert recognised(folder) == ["image_folder"]
    found = made(folder, tmp_path / "out")
    assert {name: row["text"] for name, row in found.items()} == {f"{n}.png": CAPTIONS[n] for n in range(5)} | {
        "5.png": None
    }
    assert found["5.png"]["flags"] == ["not_in_metadata", "text_missing"]
    assert reasons(tmp_path / "out") == {f"{n}.png": None for n in range(6)} | {
        "x.png": "missing",
        "notes.txt": "not_an_image",
    }


def dicom(path, seed, **header):
    values = np.asarray(picture(seed), dtype=np.uint16) * 16
    save(dataset(values, PatientID="SECRET", InstitutionName="SECRET", PatientAge="061Y", **header), path)


def test_a_table_may_name_dicom_files(folder, tmp_path):
    dicom(folder / "a.dcm", 10, Modality="CR", ViewPosition="PA")
    dicom(folder / "b", 11, Modality="CR", ViewPosition="LL")
    (folder / "cut.dcm").write_bytes((folder / "a.dcm").read_bytes()[:900])
    rows = [
        {"image": "a.dcm", "text": "a film", "patient_id": "p1", "view": ""},
        {"image": "b", "text": "another", "patient_id": "p2", "view": "LATERAL"},
        {"image": "cut.dcm", "text": "cut short", "patient_id": "p3", "view": ""},
        {"image": "0.png", "text": "no DICOM", "patient_id": "p4", "view": ""},
    ]
    found = made(write_csv(folder / "t.csv", rows), tmp_path / "out")
    assert {name: (row["patient_id"], row["modality"], row["view"]) for name, row in found.items()} == {
        "a.dcm": ("p1", "CR", "PA"), "b": ("p2", "CR", "LATERAL"), "0.png": ("p4", None, None),
    }  # fmt: skip
    assert reasons(tmp_path / "out")["cut.dcm"] == "truncated"
    assert "SECRET" not in repr(found)
    assert {row["age"] for row in found.values()} == {None}


def test_an_image_folder_may_hold_dicom_files(tmp_path):
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("a.dcm", "b.dcm")):
        dicom(tmp_path / "in" / name, number, Modality="CR")
    write_csv(tmp_path / "in" / "metadata.csv", [{"file_name": "a.dcm", "text": "a film"}])
    assert recognised(tmp_path / "in") == ["image_folder"]
    found = made(tmp_path / "in", tmp_path / "out")
    assert {name: (row["text"], row["modality"]) for name, row in found.items()} == {
        "a.dcm": ("a film", "CR"), "b.dcm": (None, "CR"),
    }  # fmt: skip


def test_a_folder_that_could_be_two_kinds_is_not_guessed(tmp_path):
    (tmp_path / "in").mkdir()
    dicom(tmp_path / "in" / "a.dcm", 0)
    (tmp_path / "in" / "metadata.csv").write_text("Series UID,File Location\n1.2,a\n")
    with pytest.raises(WrongUse, match="could be dicom_tree or image_folder; name its kind with --layout"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_an_image_folder_with_splits(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        pictures(tmp_path / "in" / split, ["a.png"])
        picture(number).save(tmp_path / "in" / split / "a.png")
        write_csv(tmp_path / "in" / split / "metadata.csv", [{"file_name": "a.png", "text": f"film of {split}"}])
    found = made(tmp_path / "in", tmp_path / "out")
    assert {name: (row["split"], row["text"]) for name, row in found.items()} == {
        "train/a.png": ("train", "film of train"), "val/a.png": ("validation", "film of val"),
        "test/a.png": ("test", "film of test"),
    }  # fmt: skip


def test_a_folder_of_classes_has_labels(tmp_path):
    for number, name in enumerate(("CXR", "Hand")):
        (tmp_path / "in" / name).mkdir(parents=True)
        picture(number).save(tmp_path / "in" / name / "1.png")
    assert recognised(tmp_path / "in") == ["image_folder"]
    found = made(tmp_path / "in", tmp_path / "out")
    assert {row["label"] for row in found.values()} == {"CXR", "Hand"}


def saved(tmp_path, **more):
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["CT", "MR"])}
    )
    rows = {"image": [picture(n) for n in range(6)], "text": CAPTIONS, "kind": [0, 1, 0, 1, 0, 1]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_data_set_saved_to_disk(tmp_path):
    saved(tmp_path).save_to_disk(tmp_path / "in")
    assert recognised(tmp_path / "in") == ["hf_dataset"]
    found = made(tmp_path / "in", tmp_path / "out", layout=None)
    assert {(row["text"], row["kind"]) for row in found.values()} == {
        (CAPTIONS[n], ["CT", "MR"][n % 2]) for n in range(6)
    }
    assert {row["width"] for row in found.values()} == {48}


def test_a_data_set_with_splits_saved_to_disk(tmp_path):
    whole = saved(tmp_path)
    parts = {"train": whole.select(range(3)), "validation": whole.select([3]), "test": whole.select([4, 5])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "in")
    found = made(tmp_path / "in", tmp_path / "out")
    assert sorted((row["text"], row["split"]) for row in found.values()) == list(
        zip(CAPTIONS, ["train"] * 3 + ["validation"] + ["test"] * 2, strict=True)
    )
    (tmp_path / "in/test/data-00000-of-00001.arrow").unlink()
    with pytest.raises(CannotDo, match=r"test is incomplete: data-00000-of-00001.arrow is missing"):
        prepare(tmp_path / "in", tmp_path / "other")
    shutil.rmtree(tmp_path / "in/test")
    with pytest.raises(CannotDo, match=r"in is incomplete: test/state.json is missing"):
        prepare(tmp_path / "in", tmp_path / "other")


def test_a_data_set_in_parquet_as_on_the_hub(tmp_path):
    (tmp_path / "in/data").mkdir(parents=True)
    whole = saved(tmp_path).rename_column("image", "scan")
    whole.select(range(4)).to_parquet(tmp_path / "in/data/train-00000-of-00001.parquet")
    whole.select(range(4, 6)).to_parquet(tmp_path / "in/data/test-00000-of-00001.parquet")
    assert recognised(tmp_path / "in") == ["hf_dataset"]
    found = made(tmp_path / "in", tmp_path / "out")  # the only column with images is `scan`
    assert [row["split"] for row in found.values()].count("test") == 2
    assert {row["kind"] for row in found.values()} == {"CT", "MR"}


def test_a_data_set_that_is_all_train_is_divided(tmp_path):
    (tmp_path / "in").mkdir()
    rows = [{"image": encoded(n), "text": "t"} for n in range(30)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in/train-00000-of-00001.parquet")
    found = made(tmp_path / "in", tmp_path / "out", splits={"validation": 0.3, "test": 0.3})
    assert {row["split"] for row in found.values()} == {"train", "validation", "test"}


def medpix(folder, cases):
    """A folder as MedPix lies there; cases: [(case, split, caption)]."""
    pictures(folder / "images", [f"{n}.jpg" for n in range(len(cases))])
    rows = [
        {"image": f"images/{n}.jpg", "split": split, "case_id": case, "caption": caption, "findings": "f",
         "modality": "CT", "plane": "Axial", "location": "Chest", "body_region": "Thorax", "age": "61", "sex": "female"}
        for n, (case, split, caption) in enumerate(cases)
    ]  # fmt: skip
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


def test_medpix_as_it_lies_there(tmp_path):
    cases = [(f"M{n // 2}", "train", f"caption {n}\nand more") for n in range(60)]
    cases += [("D1", "dev", "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS."), ("D1", "dev", "seen")]
    folder = medpix(tmp_path / "in", cases)
    assert recognised(folder) == ["medpix"]
    found = made(folder, tmp_path / "out")
    first = found["images/0.jpg"]
    assert first["text"] == "CT Axial Chest. caption 0\nand more"
    assert (first["sex"], first["age"], first["patient_id"], first["source_findings"]) == ("F", 61, "M0", "f")
    assert first["body_region"] == "Thorax"
    assert {row["split"] for row in found.values() if row["patient_id"].startswith("M")} == {"train", "validation"}
    assert [row["split"] for row in found.values() if row["patient_id"] == "D1"] == ["test", "test"]
    empty = found["images/60.jpg"]
    assert (empty["text"], empty["flags"]) == (None, ["text_placeholder"])
    assert empty["report"].startswith("Replace this")


def test_a_source_of_no_known_kind(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.docx").write_text("x")
    with pytest.raises(
        WrongUse, match=r"is of no kind that is recognised; name its kind with --layout, one of chexpert, dicom_tree"
    ):
        prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(WrongUse, match="no such part in sources: 'tabel', did you mean 'table'"):
        prepare(tmp_path / "in", tmp_path / "out", layout="tabel")
    with pytest.raises(CannotDo, match="cannot be read: there is no such file or folder"):
        prepare(tmp_path / "none.csv", tmp_path / "out")
    shutil.rmtree(tmp_path / "in")

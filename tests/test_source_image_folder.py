"""An image folder: whose tables name what, which names come out, and nothing passed over in silence."""

import os
from pathlib import Path

import pytest

from mmssl.errors import WrongUse
from mmssl.prepare.job import prepare
from tests.preparing import made, picture, pictures, reasons, write_csv, write_jsonl
from tests.test_sources import dicom, recognised


def folders_with_tables(folder, rows, **more):
    """{folder: captions} as folders of their own table; pictures differ."""
    seed = 0
    for place, texts in rows.items():
        (folder / place).mkdir(parents=True)
        for number in range(len(texts)):
            picture(seed := seed + 1).save(folder / place / f"{number}.png")
        told = [{"file_name": f"{n}.png", "text": text, **more, "id": n} for n, text in enumerate(texts)]
        write_csv(folder / place / "metadata.csv", told)
    return folder


def test_ids_that_restart_in_each_folder_stay_apart(tmp_path):
    folder = folders_with_tables(
        tmp_path / "in", {"train": ["word a", "word b", "word c"], "test": ["word d", "word e", "word f"]}
    )
    found = made(folder, tmp_path / "out", splits={"validation": 0})
    assert {name: (row["text"], row["split"]) for name, row in found.items()} == {
        "test/0": ("word d", "test"), "test/1": ("word e", "test"), "test/2": ("word f", "test"),
        "train/0": ("word a", "train"), "train/1": ("word b", "train"), "train/2": ("word c", "train"),
    }  # fmt: skip


def test_an_id_may_be_called_like_an_image_that_no_table_lists(tmp_path):
    pictures(tmp_path / "in", ["0.png", "1.png"])
    write_csv(tmp_path / "in/metadata.csv", [{"file_name": "0.png", "id": "1.png", "text": "words"}])
    assert {name: row["text"] for name, row in made(tmp_path / "in", tmp_path / "out").items()} == {
        "1.png": "words",
        "1.png#2": None,
    }


def test_two_tables_in_one_folder_are_not_guessed(tmp_path):
    pictures(tmp_path / "in/train", ["0.png"])
    write_csv(tmp_path / "in/train/metadata.csv", [{"file_name": "0.png", "text": "t"}])
    write_jsonl(tmp_path / "in/train/metadata.jsonl", [{"file_name": "0.png", "text": "t"}])
    with pytest.raises(WrongUse, match=r"train/metadata.csv and .*train/metadata.jsonl are both tables of one folder"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_tables_are_found_at_any_depth(tmp_path):
    folder = folders_with_tables(tmp_path / "in", {"a/b": ["deep"], "c": ["flat"]})
    assert recognised(folder) == ["image_folder"]
    assert {name: row["text"] for name, row in made(folder, tmp_path / "out").items()} == {
        "a/b/0": "deep",
        "c/0": "flat",
    }


def test_a_row_has_the_split_of_the_folder_that_its_file_lies_in(tmp_path):
    names = ["val/0.png", "testing/deep/1.png", "train/2.png", "3.png", "val/4.png"]
    for number, name in enumerate(names):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / "in" / name)
    rows = [{"file_name": name, "split": "test" if name == "val/4.png" else ""} for name in names]
    drawn = {"validation": 1, "test": 0}
    found = made(write_csv(tmp_path / "in/metadata.csv", rows).parent, tmp_path / "out", splits=drawn)
    assert {name: row["split"] for name, row in found.items()} == dict(
        zip(names, ["validation", "test", "train", "validation", "test"], strict=True)
    )


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    pictures(tmp_path / "in", ["0.png", "1.png"])
    (tmp_path / "in/1.png").rename(tmp_path / "in" / os.fsdecode(b"caf\xe9.png"))
    (tmp_path / "in" / os.fsdecode(b"no\xff.png")).write_bytes(b"no picture")
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {"0.png": None, "caf\\xe9.png": None, "no\\xff.png": "not_an_image"}


def test_cells_that_name_no_file_there_can_be_are_missing(tmp_path):
    pictures(tmp_path / "in", ["0.png"])
    cells = ["0.png", "The heart is normal in size. " * 20, "#" + "x" * 300 + "/#1", "a\0/b.png"]
    write_jsonl(tmp_path / "in/metadata.jsonl", [{"file_name": cell, "id": f"row {n}"} for n, cell in enumerate(cells)])
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {"row 0": None, "row 1": "missing", "row 2": "missing", "row 3": "missing"}


def test_a_folder_that_may_not_be_entered_costs_its_rows_alone(tmp_path, monkeypatch):
    pictures(tmp_path / "in", ["0.png"])
    write_csv(tmp_path / "in/metadata.csv", [{"file_name": "0.png"}, {"file_name": "shut/1.png"}])

    def stat(path, stat=Path.stat, **how):
        if "shut" in path.parts:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {"0.png": None, "shut/1.png": "no_permission"}


def test_no_folder_is_passed_over_in_silence(tmp_path, monkeypatch):
    pictures(tmp_path / "in", ["0.png"])
    for number, name in enumerate(("elsewhere", "in/shut", "in/real"), 1):
        (tmp_path / name).mkdir()
        picture(number).save(tmp_path / name / "1.png")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/again").symlink_to(tmp_path / "in/real")

    def scandir(path, scandir=os.scandir):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    write_csv(tmp_path / "in/metadata.csv", [{"file_name": "0.png", "text": "t"}, {"file_name": "real/1.png"}])
    prepare(tmp_path / "in", tmp_path / "out", workers=1)
    assert reasons(tmp_path / "out") == {
        "0.png": None, "real/1.png": None, "link/1.png": None, "shut": "no_permission",
    }  # fmt: skip


def test_a_file_is_named_by_the_folder_that_it_lies_in_not_by_a_link_to_it(tmp_path):
    pictures(tmp_path / "in/test", ["0.png"])
    (tmp_path / "in/all").mkdir()
    (tmp_path / "in/all/link").symlink_to(tmp_path / "in/test")
    (tmp_path / "in/a").symlink_to(tmp_path / "in/test")
    found = made(tmp_path / "in", tmp_path / "out")
    assert {name: row["split"] for name, row in found.items()} == {"test/0.png": "test"}


def test_what_lies_beside_images_does_not_hide_what_they_are(tmp_path):
    pictures(tmp_path / "in/a", ["0.png"])
    for name in ("README.txt", "LICENSE", "a/Thumbs.db", "a/desktop.ini", "index.html", "paper.pdf", "notes.md"):
        (tmp_path / "in" / name).write_bytes(b"x")
    assert recognised(tmp_path / "in") == ["image_folder"]
    found = made(tmp_path / "in", tmp_path / "out")
    assert [row["label"] for row in found.values()] == ["a"]
    assert reasons(tmp_path / "out")["LICENSE"] == "not_an_image"
    dicom(tmp_path / "in/film", 1)
    assert recognised(tmp_path / "in") == ["dicom_tree"]
    (tmp_path / "in/a/0.png").unlink()
    (tmp_path / "in/film").unlink()
    assert recognised(tmp_path / "in") == []

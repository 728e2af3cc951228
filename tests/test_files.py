"""Files and folders that are there whole or not at all, whatever happens in the middle."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from mmssl import checkpoint, files
from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse
from mmssl.prepare.job import prepare
from mmssl.search.index import open_index


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    with files.whole_file(tmp_path / "new" / "a.txt") as part:
        part.write_text("done")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "done"
    assert names(tmp_path / "new") == ["a.txt"]


@pytest.mark.parametrize(
    "failure", [ValueError("no"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failure_leaves_the_former_file_and_nothing_else(tmp_path, failure):
    (tmp_path / "a.txt").write_text("former")

    def write():
        with files.whole_file(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert (tmp_path / "a.txt").read_text() == "former"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_that_nobody_wrote_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), files.whole_file(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_full_disk_in_the_middle_of_json_leaves_the_former(tmp_path):
    """/dev/full takes the place of a full disk: every write to it fails as on one."""
    files.write_json(tmp_path / "a.json", {"n": 1})

    def write():
        with files.whole_file(tmp_path / "a.json") as part:
            part.symlink_to("/dev/full")
            part.write_text(json.dumps({"n": 2}))

    with pytest.raises(OSError, match="No space left on device"):
        write()
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 1}
    assert names(tmp_path) == ["a.json"]


def test_a_folder_appears_whole_and_takes_the_place_of_the_former(tmp_path):
    for text in ("first", "second"):
        with files.whole_folder(tmp_path / "run") as part:
            (part / "deep").mkdir()
            (part / "deep" / "a.txt").write_text(text)
        assert (tmp_path / "run" / "deep" / "a.txt").read_text() == text
        assert names(tmp_path) == ["run"]


def test_a_failure_leaves_the_former_folder_and_nothing_else(tmp_path):
    with files.whole_folder(tmp_path / "run") as part:
        (part / "a.txt").write_text("former")

    def write():
        with files.whole_folder(tmp_path / "run") as part:
            (part / "a.txt").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write()
    assert (tmp_path / "run" / "a.txt").read_text() == "former"
    assert names(tmp_path) == ["run"]


KILLED = """
import os, signal, sys
from pathlib import Path
from mmssl import files

run, calls, kill_at = Path(sys.argv[1]), 0, int(sys.argv[2])
rename = os.rename

def dies(source, target):
    global calls
    calls += 1
    if calls == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

os.rename = dies
with files.whole_folder(run) as part:
    (part / "a.txt").write_text("new")
    if kill_at == 0:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kill_at", [0, 1, 2])
def test_a_kill_at_any_point_leaves_one_whole_folder(tmp_path, kill_at):
    """0: while writing; 1: before the former is moved away; 2: between the two renames."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.txt").write_text("former")
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), run, str(kill_at)], check=False)
    assert ended.returncode == -signal.SIGKILL
    files.recover_folder(run)
    assert (run / "a.txt").read_text() == "former"
    files.remove_parts(tmp_path)
    assert names(tmp_path) == ["run"]


def test_the_next_write_recovers_by_itself(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "a.txt").write_text("former")
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), run, "2"], check=False)
    assert not run.exists()

    def fails():
        with files.whole_folder(run):
            raise ValueError("before it is complete")

    with pytest.raises(ValueError, match="before"):
        fails()
    with files.whole_folder(run) as part:
        (part / "a.txt").write_text("newer")
    assert (run / "a.txt").read_text() == "newer"


def test_what_a_killed_writer_left_is_removed_and_what_others_write_is_not(tmp_path):
    run = tmp_path / "run"
    subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), run, "0"], check=False)
    left = [name for name in names(tmp_path) if name.startswith(".run.")]
    assert len(left) == 1
    (tmp_path / ".run.v2.1234abcd.part").mkdir()  # of another folder, run.v2
    with files.whole_folder(run) as first, files.whole_folder(run) as second:
        assert left[0] not in names(tmp_path)
        assert first.is_dir()
        (second / "a.txt").write_text("whole")
    assert ".run.v2.1234abcd.part" in names(tmp_path)


def test_recovering_leaves_what_is_whole(tmp_path):
    (tmp_path / "run").mkdir()
    files.recover_folder(tmp_path / "run")
    files.recover_folder(tmp_path / "never")
    assert names(tmp_path) == ["run"]


def test_removing_parts_touches_nothing_else(tmp_path):
    (tmp_path / ".run.1234abcd.part").mkdir()
    (tmp_path / ".a.txt.1234abcd.part").touch()
    (tmp_path / "a.part").touch()
    (tmp_path / ".hidden").touch()
    files.remove_parts(tmp_path)
    assert names(tmp_path) == [".hidden", "a.part"]


def test_json_is_readable_and_ends_in_a_newline(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "Zürich", "n": [1, None]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Zürich" in text
    assert text.endswith("\n")
    assert json.loads(text) == {"name": "Zürich", "n": [1, None]}


def test_hashes_are_sha256_of_the_bytes_and_of_canonical_json(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.hash_json({"b": 1, "a": 2}) == files.hash_json({"a": 2, "b": 1})
    assert files.hash_json({"a": 1}) != files.hash_json({"a": 2})


def test_numbers_of_texts_fit_a_signed_64_bit_integer():
    numbers = [files.number_of(f"patient {i}") for i in range(1000)]
    assert len(set(numbers)) == 1000
    assert all(0 <= number < 2**63 for number in numbers)
    assert max(numbers) > 2**62


def test_a_written_file_can_be_read_by_others(tmp_path):
    """A temporary file that only its owner can read must not become the result."""
    with files.whole_file(tmp_path / "a") as part:
        part.write_text("x")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_folder_of_ours_in_the_place_of_another_is_named(tmp_path):
    for name, file in (("store", "manifest.json"), ("best", "checkpoint.json"), ("run", "checkpoint/checkpoint.json")):
        (tmp_path / name / file).parent.mkdir(parents=True)
        (tmp_path / name / file).write_text("{}")
    with pytest.raises(CannotDo, match="best is a checkpoint, and a store is needed in its place; are two arguments"):
        Store(tmp_path / "best")
    with pytest.raises(CannotDo, match="run is a run, and an index is needed"):
        open_index(tmp_path / "run")
    with pytest.raises(CannotDo, match="store is a store, and a checkpoint is needed"):
        checkpoint.find(tmp_path / "store")
    with pytest.raises(WrongUse, match="store is a store, and a source is needed"):
        prepare(tmp_path / "store", tmp_path / "out")

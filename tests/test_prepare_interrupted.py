import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from mmssl.data.store import Store
from mmssl.errors import CannotDo
from mmssl.prepare import decode
from mmssl.prepare.job import prepare
from mmssl.sources.table import Source
from tests.preparing import reasons, source

SLOW = """
import sys, time
from mmssl.prepare import decode
from mmssl.sources.table import Source
from mmssl.cli import main
quick = Source.decode
def slow(self, picture):
    time.sleep(float(sys.argv[1]))
    open(sys.argv[2], "a").write(picture.source_id + "\\n")
    return quick(self, picture)
Source.decode, decode.CHUNK = slow, 4
main(sys.argv[3:])
"""
"""`mmssl` with a slow decoder that writes down what it does, in chunks of four."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    rows = [{"text": f"caption {n}", "patient_id": f"p{n}"} for n in range(40)]
    return source(tmp_path_factory.mktemp("source"), rows)


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """The content hash of an uninterrupted run."""
    store = tmp_path_factory.mktemp("whole") / "out"
    prepare(table, store, workers=1)
    return Store(store).content_hash


def start(table, store, log, seconds=0.04):
    command = [sys.executable, "-c", SLOW, str(seconds), str(log), "prepare", str(table), str(store), "workers=2"]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def names(log):
    return log.read_text().split() if log.exists() else []


def listing(folder):
    """All that lies in a folder, hidden files too."""
    return sorted(file.name for file in folder.iterdir())


def chunks(store):
    return list(store.with_name(f".{store.name}.prepare").glob("*/*.arrow"))


def test_after_a_kill_the_same_command_goes_on_and_ends_with_the_same_content(table, whole, tmp_path):
    store, log = tmp_path / "out", tmp_path / "log"
    process = start(table, store, log)
    wait_for(lambda: len(chunks(store)) >= 3)
    process.kill()
    process.communicate()
    assert not store.exists()
    wait_for(lambda: not workers_of(process.pid))
    done = len(chunks(store))
    assert 3 <= done < 10
    log.unlink()
    again = start(table, store, log, seconds=0)
    message = again.communicate()[1]
    assert again.returncode == 0, message
    assert f"{done} of 10 parts were decoded before; going on with the rest" in message
    assert len(names(log)) == 40 - 4 * done
    assert Store(store).content_hash == whole
    assert listing(tmp_path) == ["log", "out"]


def workers_of(group):
    """Processes of a group that are still there; workers end by themselves when their parent is gone."""
    told = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True).stdout.split("\n")[1:]
    return [line for line in told if line.split()[:1] == [str(group)] and "Z" not in line.split()[1]]


def test_ctrl_c_keeps_what_is_decoded_and_says_so(table, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decode, "CHUNK", 4)
    store, log = tmp_path / "out", tmp_path / "log"
    process = start(table, store, log)
    wait_for(lambda: len(chunks(store)) >= 2)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all of the group
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "stopped; the same command goes on from here" in message
    assert "Traceback" not in message
    assert not store.exists()
    assert not workers_of(process.pid)
    started = {name for name in names(log)}
    assert len(started) == 4 * len(chunks(store))  # no chunk was begun in vain
    done = len(chunks(store))
    prepare(table, store, workers=1)
    assert f"{done} of 10 parts were decoded before" in capsys.readouterr().err
    assert Store(store).content_hash == whole


def test_what_was_decoded_from_other_files_is_not_used(table, tmp_path):
    store, log = tmp_path / "out", tmp_path / "log"
    process = start(table, store, log)
    wait_for(lambda: len(chunks(store)) >= 2)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    other = source(tmp_path / "other", [{"text": "x", "image": f"{n}.png"} for n in range(8)])
    assert prepare(other, store, workers=1).rows == 8


def test_two_at_once_are_refused(table, tmp_path):
    store, log = tmp_path / "out", tmp_path / "log"
    process = start(table, store, log, seconds=0.5)
    wait_for(lambda: names(log))
    with pytest.raises(CannotDo, match="is being prepared by another process"):
        prepare(table, store)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)


def test_who_waited_for_another_finds_the_store_there(table, whole, tmp_path):
    """The lock is got when the first is done, on a file that it has removed."""
    store, log = tmp_path / "out", tmp_path / "log"
    first = start(table, store, log, seconds=0.02)
    wait_for(lambda: names(log))
    second = None
    while second is None:  # until the first no longer holds its lock
        with contextlib.suppress(CannotDo):
            second = prepare(table, store)
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert second.skipped
    assert Store(store).content_hash == whole


def test_of_a_store_that_did_not_come_about_nothing_is_left(tmp_path, monkeypatch):
    table = source(tmp_path / "in", [{"text": "a", "patient_id": "p"}])

    def fails(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(CannotDo, match=r"nothing of it is left: .*No space left on device"):
        prepare(table, tmp_path / "out", ids="keyed")
    assert listing(tmp_path) == ["in"]


def test_a_store_that_is_in_place_keeps_its_key_whatever_comes_then(tmp_path, monkeypatch):
    table = source(tmp_path / "in", [{"text": "a", "patient_id": "p"}])
    rename = os.rename

    def renames_and_stops(old, new):
        rename(old, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", renames_and_stops)
    with pytest.raises(KeyboardInterrupt):
        prepare(table, tmp_path / "out", ids="keyed")
    monkeypatch.undo()
    assert prepare(table, tmp_path / "out", ids="keyed").skipped
    assert (tmp_path / "out.key").exists()


@pytest.mark.parametrize("limit", [3_000, 20_000], ids=["while decoding", "while writing"])
def test_a_full_disk_is_said_and_nothing_is_left(table, tmp_path, limit):
    program = (
        "import resource, sys; from mmssl.cli import main; from mmssl.prepare import decode; decode.CHUNK = 4; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); main(sys.argv[1:])"
    )
    store = tmp_path / "out"
    result = subprocess.run(
        [sys.executable, "-c", program, "prepare", str(table), str(store), "workers=1"], capture_output=True, text=True
    )
    assert result.returncode == 1
    assert f"{store} cannot be made, and nothing of it is left: {tmp_path}: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert listing(tmp_path) == []


def crash(monkeypatch, how):
    quick = Source.decode

    def decode_one(self, picture):
        if picture.source_id in ("7.png", "30.png"):
            how()
        return quick(self, picture)

    monkeypatch.setattr(Source, "decode", decode_one)


def test_a_decoder_that_crashes_takes_nothing_else_with_it(table, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK", 8)
    crash(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert prepare(table, tmp_path / "out", workers=2).rows == 38
    assert {name for name, reason in reasons(tmp_path / "out").items() if reason == "decoder_crashed"} == {
        "7.png",
        "30.png",
    }
    assert listing(tmp_path) == ["out"]


def test_a_decoder_that_hangs_is_ended(table, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK", 8)
    crash(monkeypatch, lambda: time.sleep(300))
    assert prepare(table, tmp_path / "out", workers=2, overrides=["limits.seconds=2"]).rows == 38
    assert reasons(tmp_path / "out")["7.png"] == reasons(tmp_path / "out")["30.png"] == "decoder_timeout"


def test_a_decoder_that_loops_in_native_code_is_ended(table, tmp_path, monkeypatch):
    """Such code does not return to Python, so no exception ends it."""
    crash(monkeypatch, lambda: re.match(r"(a+)+$", "a" * 60 + "b"))
    prepare(table, tmp_path / "out", workers=1, overrides=["limits.seconds=2"])
    assert reasons(tmp_path / "out")["7.png"] == "decoder_timeout"


def test_a_decoder_that_ends_its_process_costs_its_input_alone(table, tmp_path, monkeypatch):
    crash(monkeypatch, lambda: os._exit(3))
    assert prepare(table, tmp_path / "out", workers=2).rows == 38
    assert reasons(tmp_path / "out")["7.png"] == "decoder_crashed"


def test_a_decoder_that_allocates_is_stopped_by_its_limit(table, tmp_path, monkeypatch):
    def allocate():
        taken = []
        while True:
            taken.append(bytearray(2**24))

    crash(monkeypatch, allocate)
    assert prepare(table, tmp_path / "out", workers=2, overrides=["limits.memory_gib=0.5"]).rows == 38
    assert reasons(tmp_path / "out")["7.png"] == "too_large"


def test_a_decoder_that_raises_rejects_its_input_alone(table, tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("secret")

    crash(monkeypatch, fail)
    prepare(table, tmp_path / "out", workers=1)
    assert [reasons(tmp_path / "out")[name] for name in ("6.png", "7.png", "30.png")] == [
        None,
        "decode_failed",
        "decode_failed",
    ]

"""The commands as a user meets them: help, settings in any place, exit statuses, one line for each failure."""

import errno
import importlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

import mmssl
from mmssl import cli, console
from mmssl.errors import CannotDo, WrongUse

COMMANDS = {
    "demo", "phantom", "prepare", "reports", "pretrain", "zeroshot", "calibrate", "evaluate", "retrieve", "overlap",
    "index", "search", "drift",
    "export", "config",
}  # fmt: skip
PACKAGE = Path(mmssl.__file__).parent


@pytest.fixture(autouse=True)
def not_quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", False)


def told(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err


def plain(capsys):
    """What was printed, without the frames and the folding of lines."""
    out, err = capsys.readouterr()
    return " ".join((out + err).replace("│", " ").split())


# ---- help ----------------------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys):
    assert cli.run(["--help"]) == 0
    shown = plain(capsys)
    assert all(f" {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example(capsys, command):
    assert cli.run([command, "--help"]) == 0
    shown = plain(capsys)
    assert "Usage: mmssl" in shown
    example = shown.partition("Example: ")[2]
    assert example.startswith(f"mmssl {command} ")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_example_can_be_typed(capsys, calls, command, tmp_path, monkeypatch):
    """Every example is understood, up to the function that does the work."""
    import shlex

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(PACKAGE / "configs")
    cli.run([command, "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.partition("Example:")[2].splitlines()]
    examples = " ".join(lines).split("mmssl ")[1:]
    assert examples
    for example in examples:
        words = shlex.split(example)
        assert cli.run(words) == 0, example
        assert all(Path(word).is_file() for word in words if word.startswith("configs/") and "cxr" not in word), example
    assert len(calls) == (0 if command == "config" else len(examples))


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"mmssl {mmssl.__version__}\n"


def test_help_comes_quickly():
    """No library that takes long to import is loaded; seconds are left to the benchmarks."""
    loaded = "import sys, mmssl.cli; mmssl.cli.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "transformers", "datasets", "pyarrow", "PIL", "pydantic", "yaml", "scipy", "matplotlib"}
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["serch", "my.index", "x"], "Did you mean 'search'?"),
        (["search", "my.index", "--htm", "x"], "--html"),
        (["index", "run", "store"], "Missing argument 'INDEX'"),
        (["index", "run", "store", "index", "--split", "tets"], "'train', 'validation', 'test', 'all'"),
        (["zeroshot", "run", "store", "--prompts", "p", "--split", "tset"], "did you mean 'test'?"),
        (
            ["zeroshot", "run", "store", "--prompts", "p", "--unit", "patient"],
            "'--unit': 'patient' is not one of 'image'",
        ),
        (["search", "my.index", "x", "-k", "0"], "'-k'"),
        (["zeroshot", "run", "store"], "Missing option '--prompts'"),
        (["zeroshot", "store", "--prompts", "p.yaml"], "a checkpoint and a store are needed"),
        (["demo", "out", "seed"], "'seed' is no setting; write key=value, say seed=1"),
        (["prepare", "a", "b", "c"], "'c' is no setting"),
        (
            ["prepare", "a", "b", "--reports", "c", "--reports=d"],
            "give --reports once: only the last value would count",
        ),
        (["search", "my.index", "x", "--where", "a > 1", "--where", "b > 1"], "give --where once"),
        (["search", "my.index", "x", "-k", "1", "-k2"], "give -k once"),
        (["index", "a", "b", "c", "--split", "test", "--where", "a > 1", "--split", "test"], "give --split once"),
        (["evaluate", "chexpert", "store"], "a protocol, a checkpoint and a store are needed, one after the other"),
        (["evaluate", "chexpert", "a", "b", "--out", "c", "out=d"], "give out once: only the last value would count"),
        ([], "Usage: mmssl"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_was_meant(capsys, words, meant):
    assert cli.run(words) == 2
    assert meant in plain(capsys)


# ---- settings and options in any order -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["prepare", "in", "out", "columns.text=caption", "--layout", "table", "split=test"],
        ["prepare", "columns.text=caption", "in", "--layout", "table", "split=test", "out"],
        ["prepare", "--layout=table", "columns.text=caption", "split=test", "in", "out"],
    ],
)
def test_settings_stand_anywhere(calls, words):
    assert cli.run(words) == 0
    [(name, args, named)] = calls
    assert (name, [str(arg) for arg in args]) == ("prepare", ["in", "out"])
    assert named["overrides"] == ["columns.text=caption", "split=test"]
    assert named["layout"] == "table"


def test_what_an_option_takes_is_no_setting(calls):
    assert cli.run(["prepare", "in", "out", "--reports", "a=b", "seed=1"]) == 0
    [(_, _, named)] = calls
    assert str(named["reports"]) == "a=b"
    assert named["overrides"] == ["seed=1"]


def test_a_path_with_an_equals_sign_is_a_path_when_written_as_one(calls):
    assert cli.run(["prepare", "./a=b", "out"]) == 0
    assert [str(arg) for arg in calls[0][1]] == ["a=b", "out"]


def test_a_missing_path_is_not_filled_by_a_setting(capsys, calls):
    assert cli.run(["prepare", "in", "seed=1"]) == 2
    assert "Missing argument 'STORE'" in plain(capsys)
    assert not calls


@pytest.mark.parametrize("words", [["a=b.csv", "store"], ["store", "a=b.csv"]])
def test_a_path_that_was_read_as_a_setting_is_named(capsys, calls, words):
    assert cli.run(["prepare", *words]) == 2
    assert "Missing argument 'STORE'. a=b.csv was read as a setting, ./a=b.csv is a path" in plain(capsys)
    assert not calls


def test_the_last_of_several_paths_is_the_store(calls):
    assert cli.run(["zeroshot", "a", "b", "--prompts", "p.yaml", "store", "--unit", "study"]) == 0
    [(_, (checkpoints, store), named)] = calls
    assert [str(path) for path in checkpoints] == ["a", "b"]
    assert str(store) == "store"
    assert (named["split"], named["unit"], named["where"]) == ("test", "study", None)


def test_pretrain_passes_its_settings_on(calls):
    assert cli.run(["pretrain", "a.yaml", "--resume", "optim.lr=1e-3", "data.where=age > 60"]) == 0
    [(_, args, named)] = calls
    assert [str(arg) for arg in args] == ["a.yaml", "optim.lr=1e-3", "data.where=age > 60"]
    assert named == {"resume": True}


def test_all_mistakes_in_settings_are_told_at_once(capsys, calls):
    assert cli.run(["phantom", "out", "seed=x", "n=0", "patients=3"]) == 2
    assert told(capsys).splitlines() == [
        "mmssl: 3 problems in the config",
        "  command line: seed: input should be a valid integer, unable to parse string as an integer, got 'x'",
        "  command line: n: input should be greater than or equal to 1, got 0",
        "  command line: patients: unknown key; known keys are seed, n",
    ]
    assert not calls


@pytest.mark.parametrize("words", [["-q", "demo", "out"], ["demo", "-q", "out"], ["demo", "out", "seed=1", "--quiet"]])
def test_quiet_before_and_after_the_command(calls, words):
    assert cli.run(words) == 0
    assert console.quiet


def test_one_quiet_command_does_not_quieten_the_next(calls):
    cli.run(["-q", "demo", "out"])
    cli.run(["demo", "out"])
    assert not console.quiet


def test_flags_and_what_may_be_repeated_are_given_more_than_once(calls):
    assert (
        cli.run(["search", "i", "x", "-q", "--quiet", "--json", "--json", "--not-patient", "a", "--not-patient=b"]) == 0
    )
    assert calls[0][2]["not_patient"] == ["a", "b"]


def test_search_prints_json_alone(capsys, calls):
    assert cli.run(["search", "my.index", "x", "--json", "-q"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_config_prints_what_can_be_read_again(capsys, tmp_path):
    shipped = str(PACKAGE / "configs" / "pretrain" / "tiny.yaml")
    assert cli.run(["config", shipped, "optim.lr=0.25"]) == 0
    first = capsys.readouterr().out
    assert yaml.safe_load(first)["optim"]["lr"] == 0.25
    (tmp_path / "again.yaml").write_text(first)
    assert cli.run(["config", str(tmp_path / "again.yaml")]) == 0
    assert capsys.readouterr().out == first


# ---- how a command ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status", "line"),
    [
        (WrongUse("no such column: txet"), 2, "mmssl: no such column: txet"),
        (CannotDo("no row is kept"), 1, "mmssl: no row is kept"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"),
            1,
            "mmssl: a.csv: No such file or directory",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "my.store/data"),
            1,
            "mmssl: the disk is full at my.store/data; what was there before is untouched: free some space and run "
            "this again",
        ),
        (
            RuntimeError("[enforce fail] . PytorchStreamWriter failed: No space left on device"),
            1,
            "mmssl: the disk is full; what was there before is untouched: free some space and run this again",
        ),
        (
            KeyError("surprise"),
            1,
            "mmssl: unexpected KeyError: 'surprise' (this is a mistake in mmssl; MMSSL_TRACEBACK=1 shows where)",
        ),
        (KeyboardInterrupt(), 130, "mmssl: stopped by Ctrl-C; what was written before is whole"),
    ],
)
def test_each_failure_is_one_line_and_a_status(capsys, monkeypatch, failure, status, line):

    def fails(*args, **named):
        raise failure

    monkeypatch.setattr(importlib.import_module("mmssl.prepare.job"), "prepare", fails)
    assert cli.run(["prepare", "in", "out"]) == status
    assert told(capsys).strip() == line


def test_a_run_that_is_stopped_says_how_to_go_on(capsys, monkeypatch):

    def stopped(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("mmssl.train"), "pretrain", stopped)
    assert cli.run(["pretrain", "tiny"]) == 130
    assert "the run is not finished; go on with the same command and --resume" in told(capsys)


def test_the_settings_of_prepare_are_shown_with_their_defaults(capsys):
    assert cli.run(["config", "prepare", "splits.test=0.3"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["splits"]["test"], shown["intensity"]["short_side"]) == (0.3, 512)


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_wrong_use_is_said_by_one_process_of_a_launch(capsys, monkeypatch, rank, lines):
    monkeypatch.setenv("RANK", rank)
    assert cli.run(["config", "nope.yaml"]) == 2
    assert len(told(capsys).splitlines()) == lines


def test_exceptions_come_through_when_asked_for(monkeypatch):

    def fails(*args, **named):
        raise KeyError("surprise")

    monkeypatch.setattr(importlib.import_module("mmssl.prepare.job"), "prepare", fails)
    monkeypatch.setenv("MMSSL_TRACEBACK", "1")
    with pytest.raises(KeyError, match="surprise"):
        cli.run(["prepare", "in", "out"])


def test_as_a_module_and_as_a_program(tmp_path):
    program = Path(sys.executable).with_name("mmssl")
    for start in ([program], [sys.executable, "-m", "mmssl"]):
        done = subprocess.run([*start, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout == f"mmssl {mmssl.__version__}\n"
        done = subprocess.run(
            [*start, "config", "nope.yaml"], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith("mmssl: no such config: nope.yaml")
        assert "Traceback" not in done.stderr


def test_ctrl_c_stops_a_real_command_with_one_line(tmp_path):
    start = [sys.executable, "-m", "mmssl", "phantom", str(tmp_path / "hospital"), "n=5000"]
    running = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "hospital").glob("dicom/**/*.dcm")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGINT)  # a terminal sends it to the whole group
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert err.strip().splitlines()[-1] == "mmssl: stopped by Ctrl-C; what was written before is whole"
    assert "Traceback" not in err


EARLY = """
import importlib, os, runpy, signal, sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stop())
sys.argv = ["mmssl", "--version"]
"""
SCRIPT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["scripts"]["mmssl"]


@pytest.mark.parametrize(
    "start",
    [
        "runpy.run_module('mmssl', run_name='__main__', alter_sys=True)",
        f"module, _, name = {SCRIPT!r}.partition(':'); getattr(importlib.import_module(module), name)()",
    ],
    ids=["module", "program"],
)
def test_ctrl_c_while_a_command_is_imported_is_one_line_too(start):
    done = subprocess.run([sys.executable, "-c", EARLY + start], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout == ""
    assert done.stderr == "\nmmssl: stopped by Ctrl-C; what was written before is whole\n"


# ---- the public API ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", mmssl.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mmssl, name)
    assert name in dir(mmssl)


@pytest.mark.parametrize("name", sorted(COMMANDS - {"config"}))
def test_every_command_is_a_function_too(name):
    import inspect

    assert callable(getattr(mmssl, name))
    assert inspect.signature(getattr(mmssl, name)).parameters


@pytest.mark.parametrize("name", sorted(name for name in mmssl.__all__ if name in COMMANDS))
def test_help_shows_what_the_function_says_and_takes(name):
    import inspect
    import pydoc

    module, attribute = mmssl.HOMES[name]
    function = getattr(importlib.import_module(module), attribute)
    shown = " ".join(pydoc.plain(pydoc.render_doc(getattr(mmssl, name))).split())
    assert function.__doc__.splitlines()[0] in shown
    assert inspect.signature(getattr(mmssl, name)) == inspect.signature(function)
    assert all(str(one) in shown for one in inspect.signature(function).parameters.values())


@pytest.mark.parametrize("before", ["mmssl", "mmssl, mmssl.zeroshot"])
def test_a_function_is_not_hidden_by_the_module_of_its_name(before):
    """Whichever is imported first, `mmssl.zeroshot` is called as a function and has the module's names."""
    source = f"import {before}; print(callable(mmssl.zeroshot), callable(mmssl.zeroshot.calibrate))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mmssl' has no attribute 'zerosot'"):
        _ = mmssl.zerosot

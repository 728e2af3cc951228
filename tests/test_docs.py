"""Whatever the documents tell people to run, runs; whatever they name, exists."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mmssl
from mmssl import cli, console, settings

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]

RUN_ELSEWHERE = ("make ", "git ", "cd ")
"""`make test-all`, which runs these tests, runs the other targets; the rest needs the network."""
SHORTER = {"minutes=30": "optim.steps=3"}
"""A reader's half an hour, cut to what shows that it works."""


@pytest.fixture(autouse=True)
def not_quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", False)


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(document):
    """The commands of a document as words, without comments; lines that end in a backslash go on."""
    for block in blocks(document, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


EVERY = [(document, words) for document in DOCUMENTS for words in commands(document)]


def test_the_two_commands_are_there():
    assert [words for words in commands("README.md") if words[0] == "make"] == [["make", "demo"], ["make", "test"]]


@pytest.mark.parametrize(("document", "words"), EVERY, ids=[" ".join(words)[:60] for _, words in EVERY])
def test_a_command_is_understood(document, words, calls, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if words[0] == "make":
        targets = subprocess.run(["make", "help"], capture_output=True, text=True, check=True).stdout
        assert f"make {words[1]} " in targets
    elif words[0] == "mmssl":
        assert cli.run(words[1:]) == 0, capsys.readouterr().err
        for name, args, _ in calls:
            if name == "pretrain":
                assert settings.read(args[0], list(args[1:]))
    else:
        assert words[0] in ("source", "python")


def test_the_python_of_the_documents_uses_public_names():
    for document in DOCUMENTS:
        for block in blocks(document, "python"):
            compile(block, document, "exec")
            assert set(re.findall(r"\bmmssl\.(\w+)", block)) <= set(mmssl.__all__)


@pytest.mark.parametrize("document", [*DOCUMENTS, "CHANGELOG.md"])
def test_what_a_document_names_is_there(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    in_code = re.findall(r"`((?:mmssl|tests|configs|data_prep|eval|benchmarks|docs)/[\w./*-]+)`", text)
    named = [path for path in links + in_code if "NAME" not in path]
    missing = [path for path in named if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing


# ---- the long ones -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory, demo_folder):
    """A folder as a reader has it: the repository's files, the demo's, and data of their own."""
    from mmssl.data.store import Store

    desk = tmp_path_factory.mktemp("desk")
    for name in ("configs", ".venv"):
        (desk / name).symlink_to(ROOT / name)
    (desk / "demo").symlink_to(demo_folder.resolve())
    mmssl.phantom(desk / "hospital", seed=7, n=300)
    (desk / "dicom").symlink_to(desk / "hospital" / "dicom")
    (desk / "reports.csv").symlink_to(desk / "hospital" / "reports.csv")
    mmssl.prepare(desk / "dicom", desk / "made", reports=desk / "reports.csv")
    made = Store(desk / "made")
    (desk / "images").mkdir()
    with open(desk / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "text"])
        for row in made.select(columns=["text"]).to_pylist():
            made.image(row["row"]).save(desk / "images" / f"{row['id']}.png")
            table.writerow([f"images/{row['id']}.png", row["text"]])
    made.image(0).save(desk / "film.png")
    return desk


def shorter(text):
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_commands_run_in_order(document, desk):
    lines = [line for block in blocks(document, "bash") for line in block.replace("\\\n", " ").splitlines()]
    script = "\n".join(line for line in lines if not line.startswith(RUN_ELSEWHERE))
    program = f'export PATH="$PWD/.venv/bin:$PATH"\nset -euxo pipefail\n{shorter(script)}'
    done = subprocess.run(["bash", "-c", program], cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_python_runs(desk):
    for document in DOCUMENTS:
        for block in blocks(document, "python"):
            start = [sys.executable, "-c", shorter(block)]
            done = subprocess.run(start, cwd=desk, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

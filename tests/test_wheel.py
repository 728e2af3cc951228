"""What is built and installed elsewhere is complete: commands, shipped configs, templates, licence."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

import mmssl

ROOT = Path(__file__).parent.parent


def run(*words, **named):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **named)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source archive, so that both are complete."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, since building writes beside what it builds
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "mmssl", "configs"):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source / name)
    # An environment of its own for the build would be fetched from the network.
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, source)
    [archive] = folder.glob("*.tar.gz")
    no_network = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q")
    run(sys.executable, "-m", "pip", "wheel", *no_network, "-w", folder, archive)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    """An environment with the wheel in it, and what the wheel needs lent from this one; not mmssl itself."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    options = ("--no-index", "--no-deps", "--disable-pip-version-check", "-q")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel)
    return python, site, folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"mmssl", f"mmssl-{mmssl.__version__}.dist-info"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    ours = {
        path.relative_to(ROOT).as_posix()
        for folder in (ROOT / "mmssl", ROOT / "mmssl" / "configs")
        for path in folder.rglob("*")
        if path.suffix in {".py", ".yaml", ".html", ".css", ".js"} and path.is_file()
    }
    assert "mmssl/configs/pretrain/tiny.yaml" in ours
    assert ours == {name for name in names if name.startswith("mmssl/")}


def test_the_versions_agree(wheel):
    assert wheel.name.startswith(f"mmssl-{mmssl.__version__}-py3-none-any")


def test_the_commands_run_from_another_folder(elsewhere):
    python, site, folder = elsewhere
    where = run(python, "-c", "import mmssl; print(mmssl.__file__)", cwd=folder).strip()
    assert Path(where) == site / "mmssl" / "__init__.py"
    assert "Usage: mmssl" in run(python.with_name("mmssl"), "--help", cwd=folder)
    assert run(python, "-m", "mmssl", "--version", cwd=folder) == f"mmssl {mmssl.__version__}\n"
    shipped = site / "mmssl" / "configs" / "pretrain" / "tiny.yaml"
    for given in (shipped, "tiny", "configs/pretrain/tiny.yaml"):
        shown = yaml.safe_load(run(python.with_name("mmssl"), "config", given, "seed=3", cwd=folder))
        assert shown["seed"] == 3
        assert shown["encoders"]["image"]["kind"] == "tiny_image"
    read = "import mmssl.prompts; print(*mmssl.prompts.read('chexpert5').names)"
    assert "Edema" in run(python, "-c", read, cwd=folder)
    parse = "from mmssl.data import reports; print(reports.parse('No edema.').findings)"
    assert run(python, "-c", parse, cwd=folder) == "{'Edema': 'absent'}\n"


def test_the_commands_do_something_from_another_folder(elsewhere):
    python, _, folder = elsewhere
    run(python.with_name("mmssl"), "phantom", "hospital", "n=3", cwd=folder)
    assert list((folder / "hospital" / "dicom").rglob("*.dcm"))

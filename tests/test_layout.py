"""The house keeps its plan: layers, one home for each heavy library, one file for each part, light imports."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mmssl import plugins

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for path in (ROOT / "mmssl").rglob("*.py") if "configs" not in path.parts)

HOMES = {
    "accelerate": ["train.py", "embed.py", "runlog.py"],
    "datasets": ["sources/hf_dataset.py"],
    "gdcm": ["data/dicom*.py"],
    "huggingface_hub": ["weights.py"],
    "imagehash": ["data/images.py"],
    "jinja2": ["page.py"],
    "lancedb": ["search/*.py"],
    "matplotlib": ["figures.py"],
    "monai": ["data/transforms.py"],
    "nibabel": ["data/nifti.py"],
    "open_clip": ["encoders/open_clip_*.py", "exports/open_clip.py", "weights.py"],
    "pandas": [],
    "pydicom": ["data/dicom*.py"],
    "rich": ["console.py"],
    "sklearn": ["jobs/demo_checks.py"],
    "spacy": ["data/tokens.py"],
    "timm": ["encoders/timm_image.py", "exports/timm.py"],
    "tokenizers": ["encoders/hf_text.py"],
    "torch.distributed": ["distributed.py"],
    "transformers": ["encoders/hf_text.py"],
    "typer": ["cli.py"],
}
"""The only files that may import a library: so each can be replaced, and is loaded only by who needs it."""

HEAVY = {
    "torch",
    "transformers",
    "open_clip",
    "monai",
    "spacy",
    "datasets",
    "lancedb",
    "nibabel",
    "pandas",
    "pydicom",
    "accelerate",
}


def imported(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path):
    return path.relative_to(ROOT / "mmssl").as_posix()


def test_imports_point_down():
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_its_home(library):
    strangers = [
        name_of(path)
        for path in MODULES
        if any(module == library or module.startswith(f"{library}.") for module in imported(path))
        and not any(fnmatch(name_of(path), home) for home in HOMES[library])
    ]
    assert not strangers, f"{library} lives in {HOMES[library]}, and is imported by {strangers}"


def loaded(tmp_path, program):
    """The modules that are loaded after a program, run where nothing of the repository lies about."""
    source = f"{program}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "program", ["import mmssl, mmssl.cli, mmssl.types, mmssl.settings", "from mmssl import WrongUse"]
)
def test_importing_the_package_loads_nothing_heavy(tmp_path, program):
    assert not loaded(tmp_path, program) & HEAVY


def test_training_loads_only_what_it_needs(tmp_path):
    """What reads DICOM, reports and indexes stays out of the processes that train."""
    assert not loaded(tmp_path, "import mmssl.train") & {
        "monai",
        "spacy",
        "pydicom",
        "nibabel",
        "lancedb",
        "pandas",
        "sklearn",
    }


def test_only_mmssl_can_be_imported_from_elsewhere(tmp_path):
    names = ("data_prep", "eval", "configs", "tests", "benchmarks")
    source = f"import importlib.util; print([name for name in {names} if importlib.util.find_spec(name)])"
    done = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PARTS = [(kind, name) for kind in plugins.CLASS for name in plugins.names(kind)]


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_part_says_what_it_is_and_has_a_test(kind, name):
    path = ROOT / "mmssl" / kind / f"{name}.py"
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} begins with no docstring"
    tests = [test for test in (ROOT / "tests").glob("test_*.py") if test.name != "test_layout.py"]
    assert any(re.search(rf"\b{name}\b", test.read_text(encoding="utf-8")) for test in tests), f"no test names {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_asks_no_object_what_it_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, "begins with no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asks = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
            assert not asks, f"line {node.lineno}: declare it instead of asking with {node.func.id}"


@pytest.mark.parametrize("folder", ["data_prep", "eval", "benchmarks"])
def test_programs_shadow_no_module(folder):
    """`python data_prep/table.py` puts its folder first on the path, so a name there hides a module of that name."""
    programs = {path.stem for path in (ROOT / folder).glob("*.py")}
    assert programs
    assert not programs & set(sys.stdlib_module_names)
    assert not programs & set(importlib.metadata.packages_distributions())
    assert not (ROOT / folder / "__init__.py").exists()


def texts():
    folders = ("mmssl", "configs", "data_prep", "eval", "benchmarks", "tests", "docs", ".ci")
    kinds = {".py", ".yaml", ".md", ".html", ".toml", ".txt", ".sh", ""}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    return [path for path in files if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts]


def test_no_file_names_a_machine():
    """Paths of somebody's machine and addresses of registries mean nothing to anybody else."""
    machine = re.compile(
        r"(?<![\w.])/(home|root|Users|work|opt)/|(pypi|pythonhosted|debian|npmjs)\.(org|com|net)|/\.cache/"
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if machine.search(line) and path != Path(__file__)
    ]
    assert not found

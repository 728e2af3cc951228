"""The page for a hospital's data team says what the code does: its columns are those of every store.

`python -m tests.test_hospital` writes the table of columns anew.
"""

import re
import shlex
import subprocess
import sys

import pytest

from mmssl.data.columns import MEANING, table
from mmssl.data.store import SCHEMA, Store
from mmssl.phantoms.hospital import write as phantom
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "hospital.md"
MARKED = re.compile(r"(?<=<!-- columns -->\n).*(?=<!-- end -->)", re.DOTALL)


def test_every_column_has_a_meaning_and_stands_on_the_page():
    assert [name for name in SCHEMA.names if name not in MEANING] == []
    [written] = MARKED.findall(PAGE.read_text(encoding="utf-8"))
    assert written.strip() == table(SCHEMA.names), "python -m tests.test_hospital writes it anew"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder in which the page's names are there: DICOM files, their reports, the store of the first command."""
    folder = tmp_path_factory.mktemp("desk")
    phantom(folder / "hospital", seed=3, n=12)
    (folder / "dicom").symlink_to(folder / "hospital" / "dicom")
    (folder / "reports.csv").symlink_to(folder / "hospital" / "reports.csv")
    [command] = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    name, *words = shlex.split(command)
    assert name == "mmssl"
    subprocess.run([sys.executable, "-m", "mmssl", *words], cwd=folder, check=True, capture_output=True)
    return folder


def test_every_file_of_a_store_is_on_the_page_and_the_secrets_are_the_owners(desk):
    text = PAGE.read_text(encoding="utf-8")
    for path in [*(desk / "hospital.store").iterdir(), *desk.glob("hospital.store.*")]:
        assert path.relative_to(desk).as_posix() in text
    for name in ("key", "sources.private"):
        assert (desk / f"hospital.store.{name}").stat().st_mode & 0o077 == 0
    assert Store(desk / "hospital.store").manifest["deidentified"] == "none"


def test_the_code_of_the_page_runs_and_its_sum_closes(desk):
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=desk, capture_output=True, text=True, check=True)
    store = Store(desk / "hospital.store")
    assert (
        f"{store.manifest['counts']['inputs']} inputs: Counter({{'kept': {store.manifest['counts']['kept']}"
        in done.stdout
    )


def test_a_pseudonym_is_in_the_private_file_alone(desk):
    store = Store(desk / "hospital.store")
    one = store.select(columns=["source_id"])["source_id"].to_pylist()[0]
    private = (desk / "hospital.store.sources.private").read_text(encoding="utf-8")
    assert one in private
    patients = {path.name for path in (desk / "dicom").iterdir()}
    held = b"".join(path.read_bytes() for path in (desk / "hospital.store").rglob("*") if path.is_file())
    assert not [name for name in patients if name.encode() in held]


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda _: f"\n{table(SCHEMA.names)}\n\n", page), encoding="utf-8")

"""The page of each public data set: its commands do on a replica what they are said to do, and data_prep's page too."""

import re
import runpy
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl import cli, plugins, settings
from mmssl.data.store import Store
from tests import replicas
from tests.test_sources import encoded

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs" / "data").glob("*.md"))


def mimic_cxr(desk):
    jpg = replicas.mimic_jpg(desk / "physionet.org/files/mimic-cxr-jpg/2.1.0")
    other = desk / "physionet.org/files/mimic-cxr/2.1.0"
    other.mkdir(parents=True)
    (jpg / "mimic-cxr-reports.zip").rename(other / "mimic-cxr-reports.zip")


def openi(desk):
    replicas.openi(desk / "openi", reports="NLMCXR_reports.tgz")


def chexpert(desk):
    replicas.chexpert_plus(replicas.chexpert(desk / "chexpert", name="CheXpert-v1.0"))


def padchest(desk):
    replicas.padchest(desk / "padchest")


def roco(desk):
    replicas.roco2(desk / "rocov2", images="{split}_images/{split}")
    (desk / "rocov2-parquet").mkdir()
    rows = [{"image": {"bytes": encoded(1), "path": None}, "image_id": "a", "caption": "A film.", "cui": ["C0"]}]
    pq.write_table(pa.Table.from_pylist(rows), desk / "rocov2-parquet/train-00000-of-00001.parquet")


DESKS = {"mimic_cxr": mimic_cxr, "openi": openi, "chexpert": chexpert, "padchest": padchest, "roco": roco}
ELSEWHERE = {"keywords", "cuis", "article"}
"""Columns of ROCO, not of ROCOv2, which the page's command prepares."""

LAYOUTS = [page.stem for page in PAGES]


def commands(page):
    """The commands of a page's blocks, block by block."""
    text = page.read_text(encoding="utf-8")
    return [block.strip().splitlines() for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


def columns_told(layout):
    """The columns that a page says are in the store, but for those that stand for many."""
    page = (ROOT / "docs/data" / f"{layout}.md").read_text(encoding="utf-8")
    table = page.partition("## What is in the store")[2].partition("##")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    assert len(cells) > 3
    return {name for cell in cells for name in re.findall(r"`([\w ]+)`", cell)} - {"label_NAME"}


def test_each_public_layout_has_its_pages():
    assert set(DESKS) == set(LAYOUTS) <= set(plugins.names("sources"))
    assert all((ROOT / "data_prep" / f"{name}.py").is_file() for name in LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_way_is_three_commands(layout):
    first, prepare, pretrain = commands(ROOT / "docs/data" / f"{layout}.md")[0]
    assert not first.startswith("mmssl")
    assert (shlex.split(prepare)[:2], shlex.split(pretrain)[:2]) == (["mmssl", "prepare"], ["mmssl", "pretrain"])
    assert f"data.path={shlex.split(prepare)[3]}" in shlex.split(pretrain)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prepare_does_on_a_replica_what_the_page_says(layout, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    DESKS[layout](tmp_path)
    for words in (shlex.split(line) for block in commands(ROOT / "docs/data" / f"{layout}.md") for line in block):
        if words[:2] == ["mmssl", "prepare"]:
            assert cli.run([*words[1:], "workers=1"]) == 0, capsys.readouterr().err
            store = Store(tmp_path / words[3])
            assert store.manifest["source"]["layout"] == (layout if "parquet" not in words[2] else "hf_dataset")
            assert store.manifest["text"]["rows_with_text"] > 0
            if store.manifest["source"]["layout"] == layout:
                assert columns_told(layout) <= set(store.columns) | ELSEWHERE


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pretrain_is_understood(layout, calls, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = shlex.split(commands(ROOT / "docs/data" / f"{layout}.md")[0][2])
    assert cli.run(words[1:]) == 0, capsys.readouterr().err
    ((_, args, _),) = calls
    assert settings.read(args[0], list(args[1:]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_page_in_data_prep_runs(layout, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    DESKS[layout](tmp_path)
    words = next(shlex.split(line) for line in commands(ROOT / "docs/data" / f"{layout}.md")[0] if "prepare" in line)
    page = runpy.run_path(str(ROOT / "data_prep" / f"{layout}.py"))
    page["main"](*words[2:], "workers=1")
    assert capsys.readouterr().out.count("\n") >= 1
    assert len(Store(tmp_path / words[3])) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    options = set(re.findall(r"`source\.(\w+)=", text)) | set(re.findall(r"(?<= )source\.(\w+)=", text))
    assert options <= set(plugins.options(plugins.find("sources", page.stem)))
    in_code = re.findall(r"(?:`|\s)((?:configs|data_prep|docs)/[\w./-]+)", text)
    assert all((ROOT / path).exists() for path in in_code)

"""The demo as a whole: its floors, its page, and that what it learned is learned from reports and nothing else.

`make test-all` runs the demo once and hands its folder to these tests.
"""

import csv
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmssl import prompts, settings, zeroshot
from mmssl.data.store import Store
from mmssl.embed import Embedder
from mmssl.errors import WrongUse
from mmssl.jobs import demo, demo_checks
from mmssl.model import build_network
from mmssl.phantoms import hospital, wording
from mmssl.prepare.job import prepare
from mmssl.train import pretrain

CHECKS = {"macro_auroc", "laterality", "laterality_found", "text_to_image_R@10", "pixel_regression"}


def test_sides_are_read_from_the_names_of_what_is_there():
    truth = ["Left Upper Lobe Consolidation", "Left Consolidation", "Right Pleural Effusion", "Cardiomegaly"]
    assert demo_checks.sides_of("Consolidation", truth) == {"left"}
    assert demo_checks.sides_of("Pleural Effusion", truth) == {"right"}
    assert demo_checks.sides_of("Nodule", truth) == set()
    assert demo_checks.sides_of("Nodule", None) == set()


def test_laterality_counts_only_hits_that_have_the_finding_on_one_side():
    def hits(*truths):
        return [{"label_truth": truth} for truth in truths]

    asked = [
        demo_checks.SidedHits("Nodule", "left", "", hits(["Left Nodule"], ["Left Nodule", "Right Nodule"], ["Edema"])),
        demo_checks.SidedHits("Nodule", "right", "", hits(["Left Nodule"], ["Right Nodule"], None)),
    ]
    assert demo_checks.laterality(asked) == pytest.approx(2 / 3)
    assert demo_checks.found(asked) == pytest.approx(4 / 6)
    assert demo_checks.laterality([]) == 0


def test_a_check_holds_at_its_floor_and_not_below():
    assert demo_checks.check("x", 0.9, 0.9).held
    assert not demo_checks.check("x", 0.8999, 0.9).held
    assert not demo_checks.check("x", float("nan"), 0.9).held


def test_the_same_seed_makes_the_same_store(tmp_path, monkeypatch):
    """Pseudonyms are keys of all randomness that follows, so they must not come from a key drawn anew."""
    monkeypatch.setattr(demo, "PATIENTS", 8)
    hashes = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        demo.make_store(tmp_path / name, seed)
        hashes.append(Store(tmp_path / name / "store").content_hash)
        assert (tmp_path / name / "store.key").stat().st_mode & 0o777 == 0o600
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_folder_that_holds_something_else_is_not_written_into(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(WrongUse, match="is not empty and holds no demo"):
        demo.begin(tmp_path, 0)
    demo.begin(tmp_path / "demo", 0)
    demo.begin(tmp_path / "demo", 0)
    with pytest.raises(WrongUse, match="holds the demo with"):
        demo.begin(tmp_path / "demo", 1)


def test_the_demos_prompts_are_a_prompt_file_without_traps(tmp_path):
    file = tmp_path / "prompts.yaml"
    file.write_text(yaml.safe_dump(wording.PROMPTS, sort_keys=False), encoding="utf-8")
    found = prompts.read(file)
    assert len(found.classes) >= 10
    assert not [warning for warning in prompts.lint(found) if "no No" in warning]
    assert len(wording.SIDED) >= 5


@pytest.mark.slow
def test_every_floor_held_and_nobody_crosses_a_split(demo_folder):
    checks = json.loads((demo_folder / "checks.json").read_text())
    assert {check["name"] for check in checks} == CHECKS
    assert all(check["held"] and check["value"] >= check["floor"] for check in checks)
    store = Store(demo_folder / "store")
    patients = {
        s: set(store.select(split=s, columns=["patient_id"])["patient_id"].to_pylist()) for s in ("train", "test")
    }
    assert not patients["train"] & patients["test"]
    assert len(patients["test"]) >= 300


@pytest.mark.slow
def test_the_page_is_one_file_that_loads_nothing(demo_folder):
    page = (demo_folder / "report.html").read_text()
    assert not re.findall(r"src=[\"']?http|<link[^>]*http|@import|<script", page)
    for heading in ("What was asked of this run", "Training", "What it learned from", "Asked in words"):
        assert heading in page
    assert page.count("data:image/jpeg") >= 40


@pytest.mark.slow
def test_models_that_were_not_trained_tell_nothing(demo_folder):
    """The mean of ten seeds is chance: prompts, scorer and truth do not help a model that knows nothing."""
    config = settings.read(Path(demo.CONFIG), [f"data.path={demo_folder / 'store'}"])
    asked, store = prompts.read(demo_folder / "prompts.yaml"), Store(demo_folder / "store")
    found = []
    for seed in range(10):
        torch.manual_seed(seed)
        network = build_network(config).requires_grad_(False).eval()
        untrained = Embedder(network, info={}, path=demo_folder, hash=f"untrained {seed}")
        found.append(zeroshot.run([untrained], store, asked, split="test").result["macro"]["auroc"])
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


@pytest.mark.slow
def test_reports_that_were_shuffled_among_patients_teach_nothing(demo_folder, tmp_path):
    """A third of the demo's steps on the same images, each with the report of somebody else."""
    with open(demo_folder / "hospital" / "reports.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    reports = [row["report"] for row in rows]
    random.Random(0).shuffle(reports)
    with open(tmp_path / "reports.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({**row, "report": report} for row, report in zip(rows, reports, strict=True))
    prepare(
        demo_folder / "hospital" / "dicom",
        tmp_path / "store",
        reports=tmp_path / "reports.csv",
        labels=demo_folder / "hospital" / "truth.csv",
        overrides=list(demo.PREPARE),
    )
    steps = settings.read(Path(demo.CONFIG), ["data.path=x"]).optim.steps
    run = pretrain(
        demo.CONFIG, f"data.path={tmp_path / 'store'}", f"run={tmp_path / 'run'}", f"optim.steps={steps // 3}"
    )
    found = zeroshot.zeroshot(run, tmp_path / "store", prompts=demo_folder / "prompts.yaml", split="test")
    assert found["macro"]["auroc"] <= 0.60


@pytest.mark.slow
def test_the_model_reads_phantoms_of_another_hospital(demo_folder, tmp_path):
    hospital.write(tmp_path / "other", seed=12345, n=400)
    prepare(
        tmp_path / "other" / "dicom",
        tmp_path / "store",
        reports=tmp_path / "other" / "reports.csv",
        labels=tmp_path / "other" / "truth.csv",
        overrides=["split=test"],
    )
    found = zeroshot.zeroshot(
        demo_folder / "run", tmp_path / "store", prompts=demo_folder / "prompts.yaml", split="test"
    )
    assert found["macro"]["auroc"] >= 0.85

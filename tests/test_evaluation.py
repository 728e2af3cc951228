"""The commands over evaluation, and the pages in eval/, from end to end on a model whose answers are known."""

import json
import runpy
import sys

import numpy as np
import pytest
import yaml

import mmssl
import mmssl.data.store
import mmssl.embed
from mmssl import console
from mmssl.errors import WrongUse
from mmssl.overlap import guard
from tests.evaluation_oracle import MemoryStore, Oracle

ASKED = {"column": "truth", "task": "multi_label", "classes": {"Edema": ["edema"], "Mass": ["mass"]}}
COUNT = 120


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A checkpoint and a store by name, and prompts."""
    generator = np.random.default_rng(0)
    truth = (generator.random((COUNT, 2)) < 0.4).astype(int)
    vectors = np.concatenate([2.0 * truth - 1, np.ones((COUNT, 1))], 1) + 0.8 * generator.normal(size=(COUNT, 3))
    texts = {"edema": [1, 0, 0], "no edema": [-1, 0, 0], "mass": [0, 1, 0], "no mass": [0, -1, 0]}
    texts |= {f"text {i}": vector for i, vector in enumerate(vectors)}
    store = MemoryStore(
        {
            "label_truth": [[name for name, yes in zip(ASKED["classes"], row, strict=True) if yes] for row in truth],
            "text": [f"text {i}" for i in range(COUNT)],
            "split": ["validation" if i % 2 else "test" for i in range(COUNT)],
        }
    )
    oracle = Oracle(vectors, texts, path=tmp_path / "checkpoint")
    oracle.path.mkdir()
    monkeypatch.setattr(mmssl.embed, "load", lambda path: {"checkpoint": oracle}[path.name])
    monkeypatch.setattr(mmssl.data.store, "Store", lambda path: {"store": store}[path.name])
    monkeypatch.setattr(guard, "look", lambda paths, store, **rows: guard.Look({"images": 0}, []))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(ASKED))
    return tmp_path


def test_zeroshot_calibrate_zeroshot(folder, capsys):
    first = mmssl.zeroshot("checkpoint", "store", prompts="prompts.yaml", out="results")
    shown = capsys.readouterr()
    assert "zero-shot, test: 60 images of 60 patients" in shown.out
    assert "│ Edema │ 60 │" in shown.out
    assert "calibration: none for these prompts" in shown.err
    assert json.loads((folder / "results" / "zeroshot.json").read_text()) == first
    assert first["truth"] == {"truth": "label_truth"}
    assert first["macro"]["auroc"] > 0.8

    fitted = mmssl.calibrate("checkpoint", "store", prompts="prompts.yaml")
    assert "calibration on 60 images of validation, scale" in capsys.readouterr().out
    assert fitted["path"] == str(folder / "checkpoint" / "calibration" / f"{first['hashes']['prompts']}.json")
    assert fitted["results"]["nll_after"] < fitted["results"]["nll_before"]

    second = mmssl.zeroshot(["checkpoint"], "store", prompts=mmssl.zeroshot.prompt_sets.read("prompts.yaml"))
    assert second["calibrated"]
    assert "after calibration" in capsys.readouterr().err
    with pytest.raises(WrongUse, match="no checkpoint given"):
        mmssl.zeroshot([], "store", prompts="prompts.yaml")


def test_retrieve(folder, capsys):
    found = mmssl.retrieve("checkpoint", "store", out="results")
    shown = capsys.readouterr()
    assert "image for a text" in shown.out
    assert "of the first k images for a text with the label" in shown.out
    assert json.loads((folder / "results" / "retrieval.json").read_text()) == found
    assert found["text_to_image"]["R@1"] == 1
    assert {"Edema", "Mass"} == set(found["text_to_image"]["precision_at_k"])


@pytest.mark.parametrize("page", ["zeroshot", "retrieval"])
def test_the_pages_run(folder, page, monkeypatch, capsys):
    arguments = ["checkpoint", "store", *(["prompts.yaml"] if page == "zeroshot" else []), "out"]
    monkeypatch.setattr(sys, "argv", [page, *arguments])
    runpy.run_module(f"eval.{page}", run_name="__main__")
    assert "written to out" in capsys.readouterr().err
    name = "study/zeroshot.json" if page == "zeroshot" else "retrieval.json"
    assert json.loads((folder / "out" / name).read_text())
    monkeypatch.setattr(sys, "argv", [page])
    with pytest.raises(SystemExit, match=f"usage: python -m eval.{page} CHECKPOINT STORE"):
        runpy.run_module(f"eval.{page}", run_name="__main__")


@pytest.mark.parametrize("name", ["results", "results/deeper"])
def test_results_that_could_not_be_written_are_not_computed(folder, name, monkeypatch):
    (folder / "results").touch()
    monkeypatch.setattr(mmssl.embed, "load", None)
    said = f"--out {name}: results is a file; name a folder"
    with pytest.raises(WrongUse, match=said):
        mmssl.zeroshot("checkpoint", "store", prompts="prompts.yaml", out=name)
    with pytest.raises(WrongUse, match=said):
        mmssl.retrieve("checkpoint", "store", out=name)


def test_without_truth_the_predictions_are_named_and_no_empty_table_is_shown(folder, capsys):
    (folder / "new.yaml").write_text(yaml.safe_dump(ASKED | {"column": "nothing"}))
    mmssl.zeroshot("checkpoint", "store", prompts="new.yaml")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("no truth: predictions only, of 60 images; --out DIR saves them\n")
    assert len(shown.err.splitlines()) == 3  # progress, the column that is not there, and this
    mmssl.zeroshot("checkpoint", "store", prompts="new.yaml", out="results")
    assert "no truth: predictions only, of 60 images\nwritten to results: zero" in capsys.readouterr().err


def test_quiet_shows_the_results_and_nothing_else(folder, capsys, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    mmssl.retrieve("checkpoint", "store")
    mmssl.zeroshot("checkpoint", "store", prompts="prompts.yaml")
    mmssl.calibrate("checkpoint", "store", prompts="prompts.yaml")
    shown = capsys.readouterr()
    assert all(title in shown.out for title in ("retrieval, test", "zero-shot, test", "calibration on 60 images"))
    assert shown.err == ""

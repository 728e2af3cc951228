"""The page of a run."""

import json

import pytest

from mmssl import runpage


@pytest.fixture
def run(tmp_path):
    steps = [{"step": n, "loss": 4.0 / n, "a": 3.0 / n, "b": 1.0 / n, "lr": 1e-3, "norm": 1.0, "samples_per_s": 9.0}
             for n in range(1, 9)]  # fmt: skip
    validated = [{"kind": "validation", "step": n, "R@10": n / 10, "rank_image": 3.0} for n in (4, 8)]
    lines = sorted([*steps, *validated], key=lambda line: line["step"])
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return tmp_path


def test_a_page_holds_all_and_loads_nothing(run):
    path = runpage.write(run, facts=[("step", 8)], config="seed: <0>\n", metric="R@10")
    html = path.read_text(encoding="utf-8")
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html
    assert "seed: &lt;0&gt;" in html
    assert html.count("data:image/svg+xml;base64,") == 6  # loss, terms, rank, norm, lr, rate; no scale was logged
    assert html.index("0.800") < html.index("0.400"), "the latest validation comes first"


def test_a_run_without_validation_has_a_page_too(run):
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines(keepends=True) if "kind" not in line]
    (run / "metrics.jsonl").write_text("".join(lines))
    html = runpage.write(run, facts=[], config="", metric="R@10").read_text(encoding="utf-8")
    assert "On the validation split" not in html


def test_lines_of_steps_and_of_validations_are_told_apart(run):
    steps, validated = runpage.read(run / "metrics.jsonl")
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert [line["step"] for line in validated] == [4, 8]

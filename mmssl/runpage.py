"""RUN/report.html: a run at one glance, made from its metrics.jsonl at every validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmssl import figures, page
from mmssl.files import whole_file

TERMS = {"step", "lr", "norm", "samples_per_s", "scale"}
"""What a line of a training step holds besides its losses."""
Lines = list[dict[str, Any]]


def write(
    run: Path, *, facts: Sequence[tuple[str, Any]], config: str, metric: str, initialised: Sequence[dict[str, Any]] = ()
) -> Path:
    """Writes the page and returns its path; the page holds numbers alone, no image and no text of anyone.

    Args:
        run: A run's folder, with metrics.jsonl.
        facts: (name, value) to be shown on top.
        config: The resolved config as YAML.
        metric: The validation metric by which RUN/best is chosen.
        initialised: What was filled from where, as the checkpoint has it.
    """
    steps, validated = read(run / "metrics.jsonl")
    names = list(dict.fromkeys(name for line in validated for name in line if name not in ("kind", "step")))
    html = page.render(
        "run.html",
        title=f"run {run.name}",
        facts=facts,
        figures=pictures(steps, validated, metric=metric),
        columns=["step", *names],
        validations=[[line["step"], *(line.get(name) for name in names)] for line in reversed(validated)],
        initialised=[[one["part"], one.get("source"), one.get("filled")] for one in initialised],
        config=config,
    )
    path = run / "report.html"
    with whole_file(path) as part:
        part.write_text(html, encoding="utf-8")
    return path


def read(metrics: Path) -> tuple[Lines, Lines]:
    """The lines of training steps, and those of validations."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if "loss" in line], [line for line in lines if line.get("kind") == "validation"]


def loss_curve(steps: Lines, validated: Lines, *, metric: str) -> bytes:
    """Loss by step as SVG; beside it a validation metric, where there is one."""
    known = [line for line in validated if metric in line]
    beside = ([line["step"] for line in known], [line[metric] for line in known], metric)
    return figures.loss_curve(
        [line["step"] for line in steps], [line["loss"] for line in steps], validation=beside if known else None
    )


def pictures(steps: Lines, validated: Lines, *, metric: str) -> list[tuple[bytes, str]]:
    """What there is to be seen of a run: (SVG, caption)."""
    shown = [(loss_curve(steps, validated, metric=metric), f"Loss by step; beside it {metric} on the validation split")]
    terms = sorted({name for line in steps for name in line} - TERMS - {"loss"})
    for names, lines, caption in (
        (terms if len(terms) > 1 else [], steps, "The losses that the sum is made of"),
        (["rank_image", "rank_text"], validated, "Effective rank of the embeddings; near 1 they have collapsed"),
        (["norm"], steps, "Norm of the gradient before clipping"),
        (["lr"], steps, "Learning rate"),
        (["scale"], steps, "Scale of the similarities (1 / temperature)"),
        (["samples_per_s"], steps, "Images a second, over all processes"),
    ):
        if series := {name: xy for name in names if (xy := _series(lines, name))[0]}:
            shown.append((figures.lines(series), caption))
    return shown


def _series(lines: Lines, name: str) -> tuple[list[float], list[float]]:
    known = [line for line in lines if line.get(name) is not None]
    return [line["step"] for line in known], [line[name] for line in known]

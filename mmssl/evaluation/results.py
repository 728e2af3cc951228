"""Results of zero-shot classification as a table on the screen, as pictures and as files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmssl import console, figures, files, metrics
from mmssl.calibration import Calibration
from mmssl.evaluation import truth
from mmssl.evaluation.answers import Answers
from mmssl.prompts import PromptSet

Floats = NDArray[np.float64]
PICTURES = ("roc.svg", "reliability.png")


class Outcome(NamedTuple):
    """The results, and what is needed to draw and to write them."""

    result: dict[str, Any]
    answers: Answers
    asked: PromptSet


def show(result: dict[str, Any], *, saved: bool = False) -> None:
    """The results as a table, and what could not be judged; `saved`: the predictions are written to files."""
    if not result["truth"]:
        told = "" if saved else "; --out DIR saves them"
        console.say(f"no truth: predictions only, of {result['units']} {_plural(result['unit'])}{told}")
        return
    shown = ("auprc", "recall" if result["task"] == "multi_class" else "balanced_accuracy", "f1")
    lines = [
        [name, entry["n"], entry["positives"], entry["auroc"], _span(entry["auroc_ci"]), *(entry[key] for key in shown)]
        for name, entry in result["labels"].items()
    ]
    macro = result["macro"]
    middle = macro["balanced_accuracy"]
    lines.append(["mean", None, None, macro["auroc"], _span(macro["auroc_ci"]), macro["auprc"], middle, macro["f1"]])
    title = (
        f"zero-shot, {result['split']}: {result['units']} {_plural(result['unit'])} of {result['patients']} patients"
    )
    names = ("AUPRC", "recall" if result["task"] == "multi_class" else "balanced acc.", "F1")
    console.table(title, ["label", "n", "positives", "AUROC", "95 %", *names], lines, is_result=True)
    reasons: dict[str, list[str]] = {}
    for name in result["left_out"]:
        reasons.setdefault(result["labels"][name]["reason"], []).append(name)
    for reason, names_left in reasons.items():
        console.say(f"{', '.join(names_left)} {'is' if len(names_left) == 1 else 'are'} left out: {reason}")
    without = {
        name: entry["threshold_reason"]
        for name, entry in result["labels"].items()
        if entry["reason"] is None and entry.get("threshold_reason")
    }
    if len(set(without.values())) == 1:
        console.say(f"balanced accuracy and F1 have {next(iter(without.values()))}")
    elif without:
        first, reason = next(iter(without.items()))
        console.say(f"balanced accuracy and F1 are missing for {len(without)} labels: {first} has {reason} ...")
    if sum(result.get("left_out_units", {}).values()):
        told = ", ".join(f"{name} {count}" for name, count in list(result["left_out_units"].items())[:8])
        console.say(f"{sum(result['left_out_units'].values())} left out whose truth is none of the classes: {told}")
    if macro["ece_after"] is not None:
        console.say(f"calibration error: {macro['ece_before']:.3f} before, {macro['ece_after']:.3f} after calibration")
    elif macro["ece_before"] is not None:
        console.say(f"calibration error: {macro['ece_before']:.3f}; calibration: {result['calibration']}")


def show_calibration(fitted: Calibration) -> None:
    """The fit as a table."""
    before, after = fitted.results["ece_before"], fitted.results["ece_after"]
    lines = [[name, fitted.prevalence.get(name), fitted.biases.get(name), before[name], after[name]] for name in before]
    title = (
        f"calibration on {fitted.fitted_on['images']} images of {fitted.fitted_on['split']}, scale {fitted.scale:.2f}"
    )
    console.table(title, ["label", "prevalence", "bias", "ECE before", "ECE after"], lines, is_result=True)
    for name, why in fitted.uncalibrated.items():
        console.say(f"{name} stays uncalibrated: {why}")
    if fitted.results["note"]:
        console.say(f"note: {fitted.results['note']}")


def save(outcome: Outcome, out: Path) -> None:
    """Writes zeroshot.json, predictions.parquet, and where there is truth roc.svg and reliability.png."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    said, names = outcome.answers, outcome.asked.names
    repeated = {"row": said.rows, "study": said.studies}
    columns = {
        key: pa.array([value for value in values for _ in names], pa.string()) for key, values in repeated.items()
    }
    columns["label"] = pa.array(list(names) * len(said.rows), pa.string())
    columns["probability"] = pa.array(said.probability.ravel())
    if said.calibrated is not None:
        columns["calibrated_probability"] = pa.array(said.calibrated.ravel(), from_pandas=True)  # NaN is null
    out.mkdir(parents=True, exist_ok=True)
    with files.whole_file(out / "predictions.parquet") as part:
        pq.write_table(pa.table(columns), part)
    for name in PICTURES:
        (out / name).unlink(missing_ok=True)  # of an earlier call
    for name, content in pictures(outcome).items():
        with files.whole_file(out / name) as part:
            part.write_bytes(content)
    files.write_json(out / "zeroshot.json", outcome.result)


def pictures(outcome: Outcome) -> dict[str, bytes]:
    """ROC curves of the labels that were judged, and the reliability of what is said of them.

    For multi_class that of the decision; for multi_label that of all labels together, with the mean of their errors.
    """
    result, said, names = outcome.result, outcome.answers, outcome.asked.names
    judged = [i for i, name in enumerate(names) if result["labels"][name]["auroc"] is not None]
    if not judged:
        return {}
    both = [said.probability, *([] if said.calibrated is None else [said.calibrated])]
    if outcome.asked.task == "multi_class":
        there = said.truth >= 0
        target = np.where(there[:, None], np.equal(said.truth[:, None], np.arange(len(names))), np.nan)
        right = (said.probability.argmax(axis=1) == said.truth).astype(np.float64)
        seen = [(right[there], one[there].max(axis=1)) for one in both]
    else:
        target = truth.decided(said.truth, outcome.asked.uncertain)
        fitted = [i for i in judged if result["labels"][names[i]]["ece_after"] is not None]
        shown = [one[:, fitted] for one in both] if fitted else [said.probability[:, judged]]
        seen = [(target[:, fitted or judged].ravel(), one.ravel()) for one in shown]
    curves = [
        figures.Curve(names[i], *metrics.roc(target[:, i], said.probability[:, i]), result["labels"][names[i]]["auroc"])
        for i in judged
    ]
    titles = ("before calibration", "after calibration") if len(seen) == 2 else ("not calibrated",)
    errors = (result["macro"]["ece_before"], result["macro"]["ece_after"])
    bins = [
        figures.Bins(title, *metrics.reliability(*one), error)
        for title, one, error in zip(titles, seen, errors, strict=False)
    ]
    drawn = figures.roc_curves(curves, format="svg"), figures.reliability_diagram(bins, format="png")
    return dict(zip(PICTURES, drawn, strict=True))


def pictures_said(outcome: Outcome) -> str:
    """The names of the pictures that `save` writes."""
    return "".join(f", {name}" for name in PICTURES) if outcome.result["macro"]["labels"] else ""


def _span(interval: list[float] | None) -> str | None:
    return None if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _plural(unit: str) -> str:
    return {"image": "images", "study": "studies"}[unit]

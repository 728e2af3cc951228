"""Classification in words: prompts become class vectors, cosines become probabilities, and these are judged.

`evaluation.answers` has the first two steps, `evaluation.judge` the last. Shape letters: N images, L labels or classes.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mmssl
from mmssl import calibration, console, files, metrics
from mmssl import prompts as prompt_sets
from mmssl.calibration import Calibration
from mmssl.errors import CannotDo, WrongUse
from mmssl.evaluation import answers, judge, results, rows, truth
from mmssl.evaluation.answers import Answers, Unit
from mmssl.evaluation.judge import Threshold, Verdict
from mmssl.evaluation.results import Outcome
from mmssl.overlap import guard
from mmssl.prompts import PromptSet

Floats = NDArray[np.float64]


def zeroshot(
    checkpoints: Sequence[Path | str] | Path | str,
    store: Path | str,
    *,
    prompts: Path | str | PromptSet,
    split: str = "test",
    unit: Unit = "image",
    labels: Path | str | None = None,
    where: str | None = None,
    overlap: guard.Asked = "refuse",
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Classifies the images of a split by prompts, and judges the answers where the truth is known.

    The probability of a label is sigmoid(s · (cos⁺ - cos⁻)), with the learned scale s, or 1 as in the code of CheXzero
    (Tiu et al. 2022, https://doi.org/10.1038/s41551-022-00936-9); that of a class softmax(s · cos). Several
    checkpoints are averaged as probabilities. Intervals are of 1,000 bootstrap draws over patients.

    Args:
        checkpoints: one or more.
        store: as `mmssl prepare` makes it.
        prompts: a YAML file, or a set already read.
        split: train, validation, test or all.
        unit: `study` averages the probabilities of a study's images.
        labels: a table with the truth, keyed by id, study or accession; its columns become label_NAME, and its cells
            mean what they mean to `prepare`.
        where: of the split, only such rows.
        overlap: what to do where the checkpoint was trained on patients or images of these rows; `allow` goes on, and
            says in the result how many.
        out: folder for zeroshot.json, predictions.parquet (row, study, label, probability), roc.svg, reliability.png.

    Returns:
        What zeroshot.json holds: `macro`, `left_out`, `labels`, `hashes`, `overlap`, `warnings` ...

    Raises:
        WrongUse: for prompts that cannot be used, a split without rows, a checkpoint without a text tower or
            trained on these rows, an `out` that is a file.
        CannotDo: for a checkpoint or store that cannot be read.
    """
    from mmssl import embed
    from mmssl.data.store import Store

    asked = _read(prompts)
    paths = [checkpoints] if isinstance(checkpoints, str | Path) else list(checkpoints)
    if not paths:
        raise WrongUse("no checkpoint given")
    if out is not None:
        files.check_folder_to_write(Path(out), option="--out")
    opened = Store(Path(store))
    seen = guard.look([Path(path) for path in paths], opened, split=split, where=where, overlap=overlap)
    outcome = run(
        [embed.load(Path(path)) for path in paths], opened, asked, split=split, unit=unit, where=where,
        labels=Path(labels) if labels is not None else None,
    )  # fmt: skip
    guard.add(outcome.result, seen)
    for warning in outcome.result["warnings"]:
        console.warn(warning)
    results.show(outcome.result, saved=out is not None)
    if out is not None:
        results.save(outcome, Path(out))
        console.say(f"written to {out}: zeroshot.json, predictions.parquet{results.pictures_said(outcome)}")
    return outcome.result


def calibrate(
    checkpoint: Path | str,
    store: Path | str,
    *,
    prompts: Path | str | PromptSet,
    split: str = "validation",
    where: str | None = None,
    overlap: guard.Asked = "refuse",
) -> dict[str, Any]:
    """Fits probabilities to the truth of a split and keeps them beside the checkpoint, for these prompts.

    For multi_label one scale for all labels and one bias each, for multi_class one temperature; by least negative log
    likelihood over images. Labels with fewer than 10 positives or negatives stay uncalibrated.

    Returns:
        The calibration as CHECKPOINT/calibration/<prompts hash>.json holds it, and its `path`.

    Raises:
        WrongUse: where the split has no rows or no truth, or was trained on and `overlap` is not `allow`.
        CannotDo: where no label has enough positives and negatives.
    """
    from mmssl import embed
    from mmssl.data.store import Store

    asked = _read(prompts)
    opened = Store(Path(store))
    seen = guard.look([Path(checkpoint)], opened, split=split, where=where, overlap=overlap)
    embedder = embed.load(Path(checkpoint))
    fitted = fit(embedder, opened, asked, split=split, where=where)
    fitted = replace(fitted, fitted_on=fitted.fitted_on | {"overlap": seen.told})
    for warning in seen.warnings:
        console.warn(warning)
    path = calibration.write(embedder.path, fitted)
    results.show_calibration(fitted)
    console.say(f"written to {path}; the ECE above is on the rows of the fit, `mmssl zeroshot` has it on others")
    return {**asdict(fitted), "path": str(path)}


# ---- on models in memory -------------------------------------------------------------------------------------------


def run(
    embedders: Sequence[rows.Embedder],
    store: rows.Store,
    asked: PromptSet,
    *,
    split: str = "test",
    unit: Unit = "image",
    labels: Path | None = None,
    where: str | None = None,
) -> Outcome:
    """`zeroshot` on models in memory; writes and shows nothing."""
    for embedder in embedders:
        rows.need_text(embedder, "classify by prompts")
    warnings = [*prompt_sets.lint(asked), *answers.too_long(embedders, asked.texts)]
    fitted, note = _calibrations(embedders, asked)
    said = answers.answer(embedders, store, asked, split=split, unit=unit, labels=labels, where=where, fitted=fitted)
    warnings += said.remarks
    if asked.task == "multi_class":
        verdict = judge.judge_classes(
            asked.names, said.truth, said.probability, said.patients, calibrated=said.calibrated
        )
        verdict.more["left_out_units"] = said.left_out
    else:
        held = None
        if said.columns:
            held = _validation(embedders, store, asked, split=split, unit=unit, labels=labels, where=where)
        verdict = _judge_labels(said, asked, held or "no truth to judge by")
    warnings += _turned_around(verdict, asked)
    here = rows.fingerprint(said.table)
    if any(one.fitted_on.get("rows") == here for one in fitted):
        warnings.append("the calibration was fitted on these very rows: ece_after says nothing about others")
    hashes = [embedder.hash for embedder in embedders]
    result = {
        "mmssl": mmssl.__version__,
        "task": asked.task,
        "scoring": asked.scoring,
        "uncertain": asked.uncertain,
        "unit": unit,
        "split": split,
        "where": where,
        "checkpoints": [str(embedder.path) for embedder in embedders],
        "prompts": str(asked.path) if asked.path else None,
        "store": str(store.path),
        "hashes": {
            "checkpoint": hashes[0] if len(hashes) == 1 else files.hash_json(hashes),
            "checkpoints": hashes,
            "prompts": asked.hash,
            "split": here,
            "store": store.content_hash,
        },
        "truth": said.columns,
        "images": len(said.table),
        "units": len(said.patients),
        "patients": len(set(said.patients)),
        "bootstrap": {"draws": metrics.DRAWS, "over": "patients", "level": 0.95, "seed": metrics.SEED},
        "calibrated": bool(fitted),
        "calibration": note,
        "macro": verdict.macro,
        "left_out": verdict.left_out,
        "labels": verdict.labels,
        **verdict.more,
        "warnings": warnings,
    }
    return Outcome(result, said, asked)


def fit(
    embedder: rows.Embedder, store: rows.Store, asked: PromptSet, *, split: str = "validation", where: str | None = None
) -> Calibration:
    """`calibrate` on a model in memory; writes and shows nothing."""
    rows.need_text(embedder, "classify by prompts")
    known = answers.Truth(store, asked, split=split, where=where, labels=None)
    if not known.columns:
        raise WrongUse(f"nothing to calibrate by: {'; '.join(known.remarks)}")
    of_labels = asked.task == "multi_label"
    target = truth.decided(known.of_images(), asked.uncertain) if of_labels else known.of_images()
    few = _too_few_to_fit(target, asked)
    similarity = answers.similarities(embedder, store, known.table["row"].to_pylist(), asked)
    blank = Calibration(
        checkpoint=embedder.hash, prompts=asked.hash, task=asked.task, scale=1.0, uncalibrated=few,
        fitted_on={
            "store": store.content_hash, "split": split, "where": where, "rows": rows.fingerprint(known.table),
            "images": len(known.table),
        },
    )  # fmt: skip
    if of_labels:
        fitted = _fit_labels(blank, similarity, target, asked, start=embedder.scale)
        after = fitted.of_labels(similarity, asked.names)
    else:
        there = target >= 0
        share = np.bincount(target[there], minlength=len(asked.names)) / there.sum()
        fitted = replace(
            blank,
            scale=calibration.fit_classes(similarity[there], target[there].astype(np.int64)),
            prevalence=dict(zip(asked.names, share.tolist(), strict=True)),
        )
        after = fitted.of_classes(similarity)
    before = answers.probabilities(similarity, asked, embedder.scale)
    judged = np.where(np.isnan(after), np.nan, before)  # what stays uncalibrated counts on neither side
    results = judge.errors_of_fit(asked.names, target, before, after) | {
        "nll_before": calibration.log_loss(judged, target),
        "nll_after": (loss := calibration.log_loss(after, target)),
        "note": calibration.remark(fitted.scale, loss),
    }
    return replace(fitted, results=results)


def _judge_labels(said: Answers, asked: PromptSet, held: Answers | str) -> Verdict:
    """The verdict on labels, decided at thresholds from the validation rows `held`, or without for the reason given."""
    target = truth.decided(said.truth, asked.uncertain)
    if isinstance(held, str):
        thresholds = {name: Threshold(None, held) for name in asked.names}
    else:
        held_target = truth.decided(held.truth, asked.uncertain)
        thresholds = judge.best_thresholds(asked.names, held_target, held.probability, split="validation")
    verdict = judge.judge_labels(
        asked.names, target, said.probability, said.patients, thresholds=thresholds, calibrated=said.calibrated
    )
    for i, name in enumerate(asked.names):
        verdict.labels[name]["uncertain"] = int((said.truth[:, i] == truth.UNCERTAIN).sum())
        verdict.labels[name]["not_known"] = int(np.isnan(said.truth[:, i]).sum())
    return verdict


def _validation(
    embedders: Sequence[rows.Embedder],
    store: rows.Store,
    asked: PromptSet,
    *,
    split: str,
    unit: Unit,
    labels: Path | None,
    where: str | None,
) -> Answers | str:
    """The answers on the validation split, from which thresholds come, or why there are none."""
    if split not in ("train", "test"):
        return f"no threshold: it would come from the validation split, which is part of the split {split!r}"
    if not rows.split_sizes(store, where=where).get("validation"):
        return f"no threshold: the store has no validation split{f' where {where}' if where else ''}"
    try:
        return answers.answer(embedders, store, asked, split="validation", unit=unit, labels=labels, where=where)
    except truth.NoMatch:
        return "no threshold: the labels match no validation row"


def _fit_labels(
    blank: Calibration, similarity: Floats, target: Floats, asked: PromptSet, *, start: float
) -> Calibration:
    enough = [i for i, name in enumerate(asked.names) if name not in blank.uncalibrated]
    names = [asked.names[i] for i in enough]
    scale, biases = calibration.fit_labels(similarity[:, enough], target[:, enough], start=start)
    return replace(
        blank,
        scale=scale,
        biases=dict(zip(names, biases.tolist(), strict=True)),
        prevalence={name: float(np.nanmean(target[:, i])) for name, i in zip(names, enough, strict=True)},
    )


def _too_few_to_fit(target: NDArray[Any], asked: PromptSet) -> dict[str, str]:
    """Labels that have too few positives or negatives, with the reason; raises where that is all of them."""
    need = calibration.FEWEST
    if asked.task == "multi_class":
        there = int((target >= 0).sum())
        if there < need:
            raise CannotDo(f"cannot calibrate: {there} rows have one of the classes as truth, {need} are needed")
        return {}
    few = {}
    for i, name in enumerate(asked.names):
        positives, negatives = int((target[:, i] == 1).sum()), int((target[:, i] == 0).sum())
        if min(positives, negatives) < need:
            few[name] = f"{positives} positives and {negatives} negatives, {need} of each are needed"
    if len(few) == len(asked.names):
        raise CannotDo("cannot calibrate any label:\n  " + "\n  ".join(f"{name}: {why}" for name, why in few.items()))
    return few


def _calibrations(embedders: Sequence[rows.Embedder], asked: PromptSet) -> tuple[list[Calibration], str | None]:
    """The fit of each model for these prompts, or none at all and the reason."""
    found = [calibration.read(one.path, checkpoint=one.hash, prompts=asked.hash) for one in embedders]
    have = [one for one in found if one is not None]
    if len(have) == len(found):
        return have, None
    if have:
        return [], f"{len(found) - len(have)} of {len(found)} checkpoints have none for these prompts"
    return [], "none for these prompts; `mmssl calibrate` makes one"


def _read(prompts: Path | str | PromptSet) -> PromptSet:
    return prompts if isinstance(prompts, PromptSet) else prompt_sets.read(prompts)


def _turned_around(verdict: Verdict, asked: PromptSet) -> list[str]:
    """Warnings of labels below chance: one for each that surely is, one for all that may be by chance."""
    below = {
        name: entry for name, entry in verdict.labels.items() if entry["auroc"] is not None and entry["auroc"] < 0.5
    }
    surely = [name for name, entry in below.items() if entry["auroc_ci"] and entry["auroc_ci"][1] < 0.5]
    maybe = [name for name in below if name not in surely]

    def advice(*names: str) -> str:
        return (
            prompt_sets.advice(*names) if asked.task == "multi_label" else f"look at the phrases of {', '.join(names)}"
        )

    found = [
        f"{name}: AUROC {below[name]['auroc']:.2f} is clearly below 0.5: its prompts say the opposite of what they "
        f"should; {advice(name)}"
        for name in surely
    ]
    if maybe:
        told = ", ".join(f"{name} {below[name]['auroc']:.2f}" for name in maybe)
        found.append(f"AUROC below 0.5, if only by chance: {told}; where prompts are to blame, {advice(*maybe)}")
    return found

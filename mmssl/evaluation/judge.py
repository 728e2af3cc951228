"""From answers and truth to a table of results: metrics of each label, their mean, and intervals over patients.

Shape letters: N units (images or studies), L labels or classes, K bootstrap draws. Pure; every value is ready for JSON,
with None where there is nothing to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmssl import metrics

Floats = NDArray[np.float64]

FEWEST = 5
"""A label is judged where it has so many positives and so many negatives."""


class Threshold(NamedTuple):
    """From which probability on a label is called positive; where there is none, why."""

    value: float | None
    reason: str | None = None


class Verdict(NamedTuple):
    """The results of all labels."""

    macro: dict[str, Any]
    """Means over the labels that are not left out."""
    left_out: list[str]
    labels: dict[str, dict[str, Any]]
    more: dict[str, Any]
    """What only one task has: the confusion matrix of multi_class."""


def judge_labels(
    names: Sequence[str],
    truth: Floats,
    probability: Floats,
    patients: Sequence[str],
    *,
    thresholds: Mapping[str, Threshold],
    calibrated: Floats | None = None,
) -> Verdict:
    """Each label by itself.

    Args:
        names: of the labels.
        truth: 1, 0 or NaN (left out), [N, L].
        probability: [N, L].
        patients: of each unit, for the intervals, [N].
        thresholds: of each label.
        calibrated: calibrated probabilities, [N, L]; NaN columns for labels that stayed uncalibrated.
    """
    left_out = {name: said for i, name in enumerate(names) if (said := too_few(truth[:, i]))}
    judged = [i for i, name in enumerate(names) if name not in left_out]
    limits = [thresholds[name].value for name in names]
    columns = ("auroc", "auprc", "balanced_accuracy", "f1")
    statistics = {
        i: (
            metrics.ranked(truth[:, i], probability[:, i]),
            None if (limit := limits[i]) is None else metrics.decided_at(truth[:, i], probability[:, i], limit),
        )
        for i in judged
    }

    def of_all(weights: Floats) -> Floats:  # [K, N] -> [K, L, 4]
        found = np.full((len(weights), len(names), len(columns)), np.nan)
        for i, (ranked, decided) in statistics.items():
            found[:, i, :2] = ranked(weights)
            if decided is not None:
                found[:, i, 2:] = decided(weights)
        return found

    values, drawn = _with_draws(of_all, patients, bool(judged))
    labels = {}
    for i, name in enumerate(names):
        entry = _with_intervals(columns, values[i], drawn[:, i])
        entry |= {"threshold": limits[i], "threshold_reason": thresholds[name].reason}
        entry |= _counts(truth[:, i]) | {"reason": left_out.get(name)}
        labels[name] = entry | _errors(truth[:, i], probability, calibrated, i, judged=i in judged)
    macro = _with_intervals(columns, metrics.mean_of_known(values.T), metrics.mean_of_known(drawn.transpose(0, 2, 1)))
    macro |= {"labels": len(judged)} | _mean_errors([labels[names[i]] for i in judged])
    return Verdict(macro, list(left_out), labels, {})


def judge_classes(
    names: Sequence[str],
    truth: NDArray[np.int64],
    probability: Floats,
    patients: Sequence[str],
    *,
    calibrated: Floats | None = None,
) -> Verdict:
    """One of several classes, decided by the highest probability.

    AUROC and AUPRC are of each class against the rest; the macro `balanced_accuracy` is the mean recall.

    Args:
        names: of the classes.
        truth: number of the class, -1 where it is none of them (left out), [N].
        probability: [N, L].
        patients: of each unit, [N].
        calibrated: calibrated probabilities, [N, L].
    """
    there = truth >= 0
    truth, probability = truth[there], probability[there]
    who = [patient for patient, known in zip(patients, there, strict=True) if known]
    decided = probability.argmax(axis=1) if len(truth) else np.empty(0, np.int64)
    one_of = np.equal(truth[:, None], np.arange(len(names))).astype(np.float64)  # [N, L]
    left_out = {name: said for i, name in enumerate(names) if (said := too_few(one_of[:, i]))}
    judged = [i for i, name in enumerate(names) if name not in left_out]
    columns = ("auroc", "auprc", "recall", "f1")
    ranked = {i: metrics.ranked(one_of[:, i], probability[:, i]) for i in judged}
    called = {i: metrics.decided_at(one_of[:, i], decided == i, 0.5) for i in judged}
    recalls = metrics.class_recalls(truth, decided, len(names))
    right = (truth == decided).astype(np.float64)

    def of_all(weights: Floats) -> Floats:  # [K, N] -> [K, L + 1, 4]; the last line holds the accuracy
        found = np.full((len(weights), len(names) + 1, len(columns)), np.nan)
        found[:, -1, 0] = weights @ right / np.maximum(weights.sum(axis=1), 1)
        recall = recalls(weights)
        for i in judged:
            found[:, i, :2] = ranked[i](weights)
            found[:, i, 2] = recall[:, i]
            found[:, i, 3] = called[i](weights)[:, 1]
        return found

    values, drawn = _with_draws(of_all, who, len(truth) > 0)
    if not len(truth):
        values[-1, 0] = np.nan  # no row is right, and none is wrong
    labels = {
        name: _with_intervals(columns, values[i], drawn[:, i])
        | _counts(one_of[:, i])
        | {"predicted": int((decided == i).sum()), "reason": left_out.get(name)}
        for i, name in enumerate(names)
    }
    means = metrics.mean_of_known(values[:-1].T), metrics.mean_of_known(drawn[:, :-1].transpose(0, 2, 1))
    macro = _with_intervals(("auroc", "auprc", "balanced_accuracy", "f1"), *means)
    macro |= _with_intervals(("accuracy",), values[-1, :1], drawn[:, -1, :1])
    macro |= {"labels": len(judged), "n": len(truth)}
    macro |= _top_errors(right, probability, None if calibrated is None else calibrated[there])
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (truth, decided), 1)
    return Verdict(macro, list(left_out), labels, {"confusion": {"classes": list(names), "rows": confusion.tolist()}})


def best_thresholds(names: Sequence[str], truth: Floats, probability: Floats, *, split: str) -> dict[str, Threshold]:
    """The threshold of the highest F1 of each label on the rows of another split, [N, L] each."""
    found = {}
    for i, name in enumerate(names):
        few = too_few(truth[:, i])
        value = None if few else metrics.best_threshold(truth[:, i], probability[:, i])
        found[name] = Threshold(value, f"no threshold: in the {split} split {few}" if few else None)
    return found


def errors_of_fit(names: Sequence[str], truth: NDArray[Any], before: Floats, after: Floats) -> dict[str, Any]:
    """Calibration error of each label on the rows of a fit, None where it stayed uncalibrated.

    For classes ([N] numbers as truth) that of the decision, under the name of all.
    """
    if truth.ndim == 1:
        there = truth >= 0
        right = (before[there].argmax(axis=1) == truth[there]).astype(np.float64)
        errors = _top_errors(right, before[there], after[there])
        return {key: {"all classes": value} for key, value in errors.items()}
    entries = [
        _errors(truth[:, i], before, after, i, judged=not np.isnan(truth[:, i]).all()) for i in range(len(names))
    ]
    return {
        key: {name: entry[key] for name, entry in zip(names, entries, strict=True)}
        for key in ("ece_before", "ece_after")
    }


def too_few(truth: Floats) -> str | None:
    """Why a label cannot be judged, None where it can."""
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if positives + negatives == 0:
        return "nothing is known of it"
    if min(positives, negatives) < FEWEST:
        return f"it has {positives} positives and {negatives} negatives, {FEWEST} of each are needed"
    return None


def known(value: float) -> float | None:
    """A number for JSON: None for NaN."""
    return None if np.isnan(value) else float(value)


def _with_draws(statistic: metrics.Statistic, patients: Sequence[str], any_judged: bool) -> tuple[Floats, Floats]:
    """The statistic itself and its bootstrap draws; one draw of NaN where there is nothing to draw from."""
    value = statistic(np.ones((1, len(patients))))
    if not any_judged or len(set(patients)) < 2:
        return value[0], np.full_like(value, np.nan)
    return value[0], metrics.bootstrap(statistic, patients)


def _with_intervals(columns: Sequence[str], values: Floats, drawn: Floats) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for j, column in enumerate(columns):
        found[column] = known(values[j])
        found[f"{column}_ci"] = None if found[column] is None else metrics.interval(drawn[:, j])
    return found


def _counts(truth: Floats) -> dict[str, int]:
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    return {"n": positives + negatives, "positives": positives, "negatives": negatives}


def _errors(truth: Floats, before: Floats, after: Floats | None, i: int, *, judged: bool) -> dict[str, Any]:
    """Calibration error of label i before and after calibration."""
    calibrated = after is not None and not np.isnan(after[:, i]).any()
    found: dict[str, Any] = {"ece_before": None, "ece_after": None, "calibrated": calibrated}
    if judged:
        found["ece_before"] = metrics.expected_calibration_error(truth, before[:, i])
        if after is not None and calibrated:
            found["ece_after"] = metrics.expected_calibration_error(truth, after[:, i])
    return found


def _mean_errors(entries: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the labels that have both; over all that have the first where none has the second."""
    both = [entry for entry in entries if entry["ece_after"] is not None]
    before = [entry["ece_before"] for entry in both or entries]
    return {
        "ece_before": float(np.mean(before)) if before else None,
        "ece_after": float(np.mean([entry["ece_after"] for entry in both])) if both else None,
    }


def _top_errors(right: Floats, before: Floats, after: Floats | None) -> dict[str, float | None]:
    """Calibration error of the probability of the decision."""
    if len(right) == 0:
        return {"ece_before": None, "ece_after": None}
    return {
        "ece_before": metrics.expected_calibration_error(right, before.max(axis=1)),
        "ece_after": None if after is None else metrics.expected_calibration_error(right, after.max(axis=1)),
    }

"""How CheXzero judges answers: its bootstrap, its intervals, its thresholds, its means over labels.

Tiu et al. 2022, https://doi.org/10.1038/s41551-022-00936-9, and its public code (rajpurkarlab/CheXzero, eval.py and
metrics.py). Shape letters: N studies, L labels, K draws. Pure; every value is ready for JSON, None where undefined.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmssl import metrics
from mmssl.evaluation.judge import Threshold, known

Floats = NDArray[np.float64]

COLUMNS = ("auroc", "auprc", "mcc", "f1")
LEVEL = 0.95
_CELLS = 4_000_000  # numbers in one block of draws, 32 MB


class Verdict(NamedTuple):
    """The results of all labels, and what their means are made of."""

    labels: dict[str, dict[str, Any]]
    values: Floats  # [L, 4]
    drawn: Floats  # [K, L, 4]


def judge(
    names: Sequence[str],
    truth: Floats,
    probability: Floats,
    patients: Sequence[str],
    *,
    thresholds: Mapping[str, Threshold],
    draws: int = 1000,
) -> Verdict:
    """AUROC, average precision, and at the thresholds MCC and F1 of each label, with intervals.

    A label with one class alone has no AUROC; a draw in which it has one counts for the others alone.

    Args:
        names: of the labels.
        truth: 1, 0 or NaN (left out), [N, L].
        probability: [N, L].
        patients: of each study, [N].
        thresholds: of each label, from other rows.
        draws: of the bootstrap.
    """
    limits = [thresholds[name].value for name in names]
    ranked = [metrics.ranked(truth[:, i], probability[:, i]) for i in range(len(names))]
    at = {i: limit for i, limit in enumerate(limits) if limit is not None}
    of_mcc = {i: metrics.mcc_at(truth[:, i], probability[:, i], limit) for i, limit in at.items()}
    of_f1 = {i: metrics.decided_at(truth[:, i], probability[:, i], limit) for i, limit in at.items()}

    def of_all(weights: Floats) -> Floats:  # [K, N] -> [K, L, 4]
        found = np.full((len(weights), len(names), len(COLUMNS)), np.nan)
        for i in range(len(names)):
            found[:, i, :2] = ranked[i](weights)
            if i in at:
                found[:, i, 2] = of_mcc[i](weights)
                found[:, i, 3] = of_f1[i](weights)[:, 1]
        found[np.isnan(found[:, :, 0])] = np.nan  # one class alone: nothing is said of the label
        return found

    values = of_all(np.ones((1, len(truth))))[0]
    enough = len(set(patients)) > 1
    blocks = [of_all(weights) for weights in draw(patients, draws)] if enough else [np.full_like(values, np.nan)[None]]
    drawn = np.concatenate(blocks)
    labels = {}
    for i, name in enumerate(names):
        positives, negatives = int((truth[:, i] == 1).sum()), int((truth[:, i] == 0).sum())
        labels[name] = {"n": positives + negatives, "positives": positives, "negatives": negatives}
        labels[name] |= _with_intervals(values[i], drawn[:, i])
        labels[name] |= {"threshold": limits[i], "threshold_reason": thresholds[name].reason}
        labels[name]["reason"] = one_class(truth[:, i])
    return Verdict(labels, values, drawn)


def mean(verdict: Verdict, names: Sequence[str]) -> dict[str, Any]:
    """The mean of some labels, with intervals of the mean in each draw.

    Labels without an AUROC are left out and named in `missing`; MCC and F1 have a mean where each other label has them.
    """
    place = {name: i for i, name in enumerate(verdict.labels)}
    missing = [name for name in names if verdict.labels[name]["auroc"] is None]
    without = [name for name in names if name not in missing and verdict.labels[name]["threshold"] is None]
    places = [place[name] for name in names]
    values, drawn = verdict.values[places].copy(), verdict.drawn[:, places].copy()
    if without:
        values[:, 2:] = drawn[:, :, 2:] = np.nan
    found = _with_intervals(metrics.mean_of_known(values.T), metrics.mean_of_known(drawn.transpose(0, 2, 1)))
    counts = {"labels": len(names) - len(missing), "of": len(names)}
    return found | counts | {"missing": missing, "without_threshold": without}


def best_thresholds(names: Sequence[str], truth: Floats, probability: Floats, *, split: str) -> dict[str, Threshold]:
    """The threshold with the highest MCC of each label on the rows of another split, [N, L] each; F1 is read at it."""
    found = {}
    for i, name in enumerate(names):
        why = one_class(truth[:, i])
        value = None if why else metrics.best_mcc_threshold(truth[:, i], probability[:, i])
        found[name] = Threshold(value, f"no threshold: in the {split} split {why}" if why else None)
    return found


def one_class(truth: Floats) -> str | None:
    """Why a label has no AUROC, None where it has one."""
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if positives and negatives:
        return None
    if positives + negatives == 0:
        return "nothing is known of it"
    return f"positives {positives}, negatives {negatives}: with one class alone there is nothing to rank"


def draw(patients: Sequence[str], draws: int) -> Iterator[Floats]:
    """How often each study counts in each draw, [K, N], in blocks of draws.

    Draw number i takes as many patients as there are, with replacement, from numpy's Mersenne Twister with the seed i;
    a patient brings all studies. CheXzero draws images: in CheXpert's test set a patient has one study and a study one
    image here, so these are its very draws. Where patients have several studies, images are not independent, and
    intervals over images would be too narrow.
    """
    names: dict[str, int] = {}
    patient = np.array([names.setdefault(name, len(names)) for name in patients], np.int64)
    count = len(names)
    block = max(1, min(draws, _CELLS // max(len(patient), 1)))
    for start in range(0, draws, block):
        seeds = range(start, min(start + block, draws))
        times = [np.bincount(np.random.RandomState(i).randint(0, count, count), minlength=count) for i in seeds]
        yield np.stack(times).astype(np.float64)[:, patient]


def interval(values: Floats) -> list[float] | None:
    """Of 1,000 sorted values the 25th and the 975th, as CheXzero takes them; None where half of the draws had none."""
    found = np.sort(values[~np.isnan(values)])
    if len(found) == 0 or 2 * len(found) < len(values):
        return None
    shares = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    places = [math.floor(round(share * len(found), 6)) - 1 for share in shares]  # rounded: 0.975 is no binary fraction
    return [float(found[max(place, 0)]) for place in places]


def _with_intervals(values: Floats, drawn: Floats) -> dict[str, Any]:
    """Values [4] and draws [K, 4] by name; `auroc_mean` is that of the draws, which CheXzero's tables show."""
    found: dict[str, Any] = {}
    for j, column in enumerate(COLUMNS):
        found[column] = known(values[j])
        found[f"{column}_ci"] = None if found[column] is None else interval(drawn[:, j])
    found["auroc_mean"] = known(float(metrics.mean_of_known(drawn[:, 0])))
    found["draws_without"] = int(np.isnan(drawn[:, 0]).sum())
    return found

"""Numbers that say how good a model is: pure functions of arrays.

Shape letters: N rows (images or studies), K bootstrap draws, Q queries, G gallery, C classes, L labels. Truth is 1,
0 or NaN (not known, left out); a score or probability must be finite.

Most statistics take a matrix of weights [K, N], how often each row counts in each draw, and return [K] values, so the
bootstrap runs over all draws at once; the plain functions are the case of one draw in which every row counts once.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]  # weights [K, N] -> [K, ...]

DRAWS = 1000
SEED = 0
BINS = 15
_CELLS = 4_000_000  # numbers in one block of draws or of similarities, 32 MB as float64

# ---- one label, ranked by its score --------------------------------------------------------------------------------


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: P(score of a positive > that of a negative), a tie counting one half.

    The Mann-Whitney U statistic over P·N (Hanley & McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747).
    NaN where there is no positive or no negative.
    """
    return float(ranked(truth, score)(_ones(truth))[0, 0])


def auprc(truth: ArrayLike, score: ArrayLike) -> float:
    """Average precision Σ (R_n - R_{n-1}) P_n over distinct scores, without interpolation (as scikit-learn has it).

    Davis & Goadrich 2006, https://doi.org/10.1145/1143844.1143874. NaN where there is no positive or no negative.
    """
    return float(ranked(truth, score)(_ones(truth))[0, 1])


def ranked(truth: ArrayLike, score: ArrayLike) -> Statistic:
    """A function of weights [K, N] that returns AUROC and average precision, [K, 2], having sorted only once."""
    y, s = _known(truth, score)
    falling = np.argsort(-s, kind="stable")
    order, positive = y.index[falling], y.positive[falling]
    starts, with_positives = _runs(s[falling], positive)
    first_positive = np.searchsorted(np.flatnonzero(positive), starts[with_positives])

    def statistic(weights: Floats) -> Floats:
        if len(order) == 0:
            return np.full((len(weights), 2), np.nan)
        everyone = np.add.reduceat(weights[:, order], starts, axis=1)  # [K, R] for R runs of rows
        positives = np.zeros_like(everyone)
        if len(first_positive):
            positives[:, with_positives] = np.add.reduceat(weights[:, order[positive]], first_positive, axis=1)
        true_positives, negatives = np.cumsum(positives, axis=1), everyone - positives
        taken = np.cumsum(everyone, axis=1)
        p = true_positives[:, -1]
        n = taken[:, -1] - p
        above = np.einsum("kr,kr->k", negatives, true_positives - positives / 2)
        precision = np.divide(true_positives, taken, out=np.zeros_like(taken), where=taken > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = above / (p * n)
            average = np.where(n > 0, np.einsum("kr,kr->k", positives, precision) / p, np.nan)
        return np.stack([area, average], axis=1)

    return statistic


def _runs(falling: Floats, positive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of rows begin that rank alike, and which of them hold a positive.

    A run is a group of equal scores; groups without a positive that follow one another are one run, since what lies
    between two positives counts only as a whole.
    """
    starts = np.flatnonzero(np.diff(falling, prepend=np.inf) != 0)
    if len(starts) == 0:
        return starts, starts
    holds = np.logical_or.reduceat(positive, starts)
    goes_on = ~holds & ~np.concatenate([[True], holds[:-1]])
    return starts[~goes_on], np.flatnonzero(holds[~goes_on])


def roc(truth: ArrayLike, score: ArrayLike, *, points: int = 200) -> tuple[Floats, Floats]:
    """False and true positive rates from (0, 0) to (1, 1), thinned to about `points`; empty for a single class."""
    y, s = _known(truth, score)
    order = np.argsort(-s, kind="stable")
    positive, s = y.positive[order], s[order]
    ends = np.flatnonzero(np.diff(s, append=-np.inf) != 0)
    true, false = np.cumsum(positive)[ends], np.cumsum(~positive)[ends]
    if len(ends) == 0 or true[-1] == 0 or false[-1] == 0:
        return np.empty(0), np.empty(0)
    keep = np.unique(np.linspace(0, len(ends) - 1, min(points, len(ends))).round().astype(int))
    return np.append(0.0, false[keep] / false[-1]), np.append(0.0, true[keep] / true[-1])


# ---- one label, decided at a threshold -----------------------------------------------------------------------------


def balanced_accuracy(truth: ArrayLike, decided: ArrayLike) -> float:
    """Mean of sensitivity and specificity; NaN where there is no positive or no negative.

    Brodersen et al. 2010, https://doi.org/10.1109/ICPR.2010.764. `decided` is 1 or 0.
    """
    return float(decided_at(truth, decided, 0.5)(_ones(truth))[0, 0])


def f1(truth: ArrayLike, decided: ArrayLike) -> float:
    """2 TP / (2 TP + FP + FN); NaN where there is no positive, 0 where there is none among the decided ones."""
    return float(decided_at(truth, decided, 0.5)(_ones(truth))[0, 1])


def f1_at(truth: ArrayLike, score: ArrayLike, threshold: float) -> float:
    """F1 when every score at or above the threshold is called positive."""
    return float(decided_at(truth, score, threshold)(_ones(truth))[0, 1])


def decided_at(truth: ArrayLike, score: ArrayLike, threshold: float) -> Statistic:
    """A function of weights [K, N] that returns balanced accuracy and F1, [K, 2], of `score >= threshold`."""
    count = _counted(truth, score, threshold)

    def statistic(weights: Floats) -> Floats:
        tp, fn, fp, tn = count(weights).T
        with np.errstate(invalid="ignore", divide="ignore"):
            balanced = (tp / (tp + fn) + tn / (tn + fp)) / 2
            f = np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)
        return np.stack([balanced, f], axis=1)

    return statistic


def mcc(truth: ArrayLike, decided: ArrayLike) -> float:
    """Matthews' correlation of what is decided, 1 or 0, with the truth: (TP TN - FP FN) / √(P N P̂ N̂).

    Matthews 1975, https://doi.org/10.1016/0005-2795(75)90109-9. NaN where there is no positive or no negative, 0 where
    all are decided alike (as scikit-learn has it).
    """
    return float(mcc_at(truth, decided, 0.5)(_ones(truth))[0])


def mcc_at(truth: ArrayLike, score: ArrayLike, threshold: float) -> Statistic:
    """A function of weights [K, N] that returns Matthews' correlation, [K], of `score >= threshold`."""
    count = _counted(truth, score, threshold)

    def statistic(weights: Floats) -> Floats:
        tp, fn, fp, tn = count(weights).T
        there, called = (tp + fn) * (tn + fp), (tp + fp) * (tn + fn)
        root = np.sqrt(there) * np.sqrt(called)
        value = np.divide(tp * tn - fp * fn, root, out=np.zeros_like(root), where=root > 0)
        return np.where(there > 0, value, np.nan)

    return statistic


def _counted(truth: ArrayLike, score: ArrayLike, threshold: float) -> Statistic:
    """A function of weights [K, N] that returns true positives, misses, false alarms and true negatives, [K, 4]."""
    y, s = _known(truth, score)
    called = s >= threshold
    cells = np.stack([y.positive & called, y.positive & ~called, ~y.positive & called, ~y.positive & ~called], axis=1)
    return lambda weights: weights[:, y.index] @ cells.astype(np.float64)


def best_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """The threshold with the highest F1: half-way between the last score called positive and the next lower one.

    Of several with the same F1 the highest. Choose it on rows that the result is not judged by. NaN for a single class.
    """
    y, s = _known(truth, score)
    order = np.argsort(-s, kind="stable")
    positive, s = y.positive[order], s[order]
    if positive.all() or not positive.any():
        return math.nan
    ends = np.flatnonzero(np.diff(s, append=-np.inf) != 0)
    true = np.cumsum(positive)[ends]
    values = 2 * true / (ends + 1 + positive.sum())  # 2 TP + FP + FN = called + positives
    best = ends[np.argmax(values)]
    return float((s[best] + s[best + 1]) / 2) if best + 1 < len(s) else float(s[best])


def best_mcc_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """The score from which on calling positive has the highest Matthews' correlation; of several the lowest.

    The rule of CheXzero (`best_threshold` takes F1, and a point between two scores). Choose it on rows that the result
    is not judged by. NaN for a single class.
    """
    y, s = _known(truth, score)
    order = np.argsort(s, kind="stable")
    positive, s = y.positive[order], s[order]
    if positive.all() or not positive.any():
        return math.nan
    starts = np.flatnonzero(np.diff(s, prepend=-np.inf) != 0)
    missed = np.concatenate([[0], np.cumsum(positive)])[starts].astype(np.float64)
    p, n = float(positive.sum()), float((~positive).sum())
    rejected = starts - missed  # of the negatives
    called = (len(s) - starts) * starts.astype(np.float64)
    top = (p - missed) * rejected - (n - rejected) * missed
    values = np.divide(top, np.sqrt(p * n * called), out=np.zeros(len(starts)), where=called > 0)
    return float(s[starts[np.argmax(values)]])


# ---- one of several classes ----------------------------------------------------------------------------------------


def class_recalls(truth: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> Statistic:
    """A function of weights [K, N] that returns the recall of each class, [K, C]; NaN for a class that is not there."""
    right = np.zeros((len(truth), classes))
    there = np.zeros((len(truth), classes))
    there[np.arange(len(truth)), truth] = 1
    right[np.arange(len(truth)), truth] = truth == decided

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return (weights @ right) / (weights @ there)

    return statistic


def balanced_accuracy_of_classes(truth: ArrayLike, decided: ArrayLike) -> float:
    """Mean recall over the classes that occur in the truth (class numbers 0, 1, 2 ...).

    The multi-class balanced accuracy of Brodersen et al. 2010, as scikit-learn has it. NaN without rows.
    """
    t, d = np.asarray(truth, np.int64), np.asarray(decided, np.int64)
    if len(t) == 0:
        return math.nan
    return float(np.nanmean(class_recalls(t, d, int(max(t.max(), d.max())) + 1)(_ones(t))))


# ---- probabilities -------------------------------------------------------------------------------------------------


def reliability(truth: ArrayLike, probability: ArrayLike, *, bins: int = BINS) -> tuple[Floats, Floats, Floats]:
    """Mean probability, share of positives and number of rows in each bin that has any; bins of equal width.

    The first bin is closed on both sides, every other one open below: [0, 1/bins], (1/bins, 2/bins] ...
    """
    y, p = _known(truth, probability)
    bin_of = np.clip(np.ceil(p * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(bin_of, minlength=bins).astype(np.float64)
    filled = count > 0
    mean = np.bincount(bin_of, weights=p, minlength=bins)[filled] / count[filled]
    share = np.bincount(bin_of, weights=y.positive, minlength=bins)[filled] / count[filled]
    return mean, share, count[filled]


def expected_calibration_error(truth: ArrayLike, probability: ArrayLike, *, bins: int = BINS) -> float:
    """Σ over bins of (rows in the bin / rows) · |share of positives - mean probability|.

    Equation 3 of Guo et al. 2017, https://arxiv.org/abs/1706.04599, there for the top class: give as truth whether the
    decision was right, and as probability that of the decision. For one label of several this is the binary variant,
    on the probability of the positive. NaN without rows.
    """
    mean, share, count = reliability(truth, probability, bins=bins)
    return float((count * np.abs(share - mean)).sum() / count.sum()) if len(count) else math.nan


# ---- intervals -----------------------------------------------------------------------------------------------------


def bootstrap(statistic: Statistic, patients: Sequence[object], *, draws: int = DRAWS, seed: int = SEED) -> Floats:
    """The statistic in `draws` resamples of patients with replacement; [draws, ...].

    A drawn patient brings all its rows, since rows of one patient are not independent (the cluster bootstrap: Field &
    Welsh 2007, https://doi.org/10.1111/j.1467-9868.2007.00593.x). `patients` names the patient of each row, [N].
    """
    names: dict[object, int] = {}
    patient = np.array([names.setdefault(name, len(names)) for name in patients], np.int64)
    generator = np.random.default_rng(seed)
    block = max(1, min(draws, _CELLS // max(len(patient), 1)))
    found = []
    for start in range(0, draws, block):
        k = min(block, draws - start)
        drawn = generator.integers(0, max(len(names), 1), (k, len(names))) + np.arange(k)[:, None] * len(names)
        times = np.bincount(drawn.ravel(), minlength=k * len(names)).reshape(k, len(names))
        found.append(statistic(times.astype(np.float64)[:, patient]))
    return np.concatenate(found)


def interval(values: ArrayLike, *, level: float = 0.95) -> list[float] | None:
    """The percentile interval of bootstrap values; those that are NaN (a draw without positives, say) are left out.

    Efron 1979, https://doi.org/10.1214/aos/1176344552. None where fewer than half of the draws had a value.
    """
    v = np.asarray(values, np.float64)
    v = v[~np.isnan(v)]
    if len(v) == 0 or 2 * len(v) < np.size(values):
        return None
    low, high = np.quantile(v, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def mean_of_known(values: Floats) -> Floats:
    """The mean over the last axis, NaN left out; NaN where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


# ---- retrieval -----------------------------------------------------------------------------------------------------


def recall_at_k(similarity: ArrayLike, right: ArrayLike, k: int) -> Floats:
    """For each query the probability that one of the first k hits is right; its mean is R@k. [Q, G] each -> [Q].

    0 or 1 without ties. Equal similarities stand in random order, so a model that finds everything equally similar
    scores what chance scores (`chance_at_k`), not 0 and not 1. A query without a right answer scores 0.
    """
    return recalls_at(similarity, right, (k,))[:, 0]


def recalls_at(similarity: ArrayLike, right: ArrayLike, ks: Sequence[int]) -> Floats:
    """`recall_at_k` for several k at once, [Q, len(ks)]."""
    s, r = np.asarray(similarity), np.asarray(right, bool)
    best = np.max(s, axis=1, where=r, initial=-np.inf, keepdims=True)
    at_best = s == best
    above, tied, right_tied = (s > best).sum(axis=1), at_best.sum(axis=1), (at_best & r).sum(axis=1)
    found = [_drawn(right_tied, tied, np.clip(k - above, 0, None)) for k in ks]
    return np.where(np.isfinite(best), np.stack(found, axis=1), 0.0)


def chance_at_k(right: ArrayLike, gallery: int, k: int) -> Floats:
    """R@k of a random order, for queries with `right` [Q] right answers among `gallery`: 1 - C(G-r, k) / C(G, k)."""
    r = np.asarray(right)
    return _drawn(r, np.full_like(r, gallery), np.full_like(r, k))


def precision_at_k(similarity: ArrayLike, labels: ArrayLike, k: int) -> Floats:
    """The share of the first k hits that carry each label, [Q, G] and [G, L] -> [Q, L]; NaN labels are left out.

    Equal similarities stand in random order: those at the border count in part. NaN where no hit's label is known.
    """
    return precisions_at(similarity, labels, (k,))[:, 0]


def precisions_at(similarity: ArrayLike, labels: ArrayLike, ks: Sequence[int]) -> Floats:
    """`precision_at_k` for several k at once, [Q, len(ks), L]."""
    s, y = np.asarray(similarity), np.asarray(labels, np.float64)
    ks = [min(k, s.shape[1]) for k in ks]
    first = np.argpartition(-s, max(ks) - 1, axis=1)[:, : max(ks)]
    scores = np.take_along_axis(s, first, axis=1)
    falling = np.argsort(-scores, axis=1)
    first, scores = np.take_along_axis(first, falling, axis=1), np.take_along_axis(scores, falling, axis=1)
    found = np.empty((len(s), len(ks), y.shape[1]))
    for j, k in enumerate(ks):
        found[:, j] = mean_of_known(y[first[:, :k]].transpose(0, 2, 1))
        border = scores[:, k - 1 : k]
        shared = np.flatnonzero((s >= border).sum(axis=1) > k)  # more hits at the border than places
        above, tied = s[shared] > border[shared], s[shared] == border[shared]
        part = above + tied * ((k - above.sum(axis=1, keepdims=True)) / tied.sum(axis=1, keepdims=True))
        known = part @ ~np.isnan(y)
        found[shared, j] = np.divide(part @ np.nan_to_num(y), known, out=np.full(known.shape, np.nan), where=known > 0)
    return found


def _drawn(right: NDArray[np.int64], of: NDArray[np.int64], taken: NDArray[np.int64]) -> Floats:
    """P(at least one of `right` among `taken` drawn without replacement from `of`), hypergeometric."""
    missed = np.ones(np.shape(right))
    for i in range(int(np.max(taken, initial=0))):
        left = np.clip(of - i, 1, None)
        missed = np.where(i < taken, missed * np.clip(of - right - i, 0, None) / left, missed)
    return 1.0 - missed


# ---- embeddings ----------------------------------------------------------------------------------------------------


def effective_rank(embeddings: ArrayLike) -> float:
    """Exponential of the entropy of the singular values' shares: between 1 (collapsed) and min(N, D). [N, D].

    RankMe, equation 2 of Garrido et al. 2023, https://arxiv.org/abs/2210.02885; not centred.
    """
    values = np.linalg.svd(np.asarray(embeddings, np.float64), compute_uv=False)
    if values.sum() == 0:
        return 1.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


class _Known(NamedTuple):
    """The rows whose truth is known, and which of them are positive."""

    index: NDArray[np.int64]
    positive: NDArray[np.bool_]


def _known(truth: ArrayLike, score: ArrayLike) -> tuple[_Known, Floats]:
    y, s = np.asarray(truth, np.float64), np.asarray(score, np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise ValueError(f"truth and score must be one-dimensional and equally long, got {y.shape} and {s.shape}")
    index = np.flatnonzero(~np.isnan(y))
    y, s = y[index], s[index]
    if not np.isin(y, (0, 1)).all():
        odd = sorted({float(v) for v in y if v not in (0, 1)})[:5]
        raise ValueError(f"truth must be 1, 0 or NaN, got {odd}")
    if not np.isfinite(s).all():
        raise ValueError(f"scores must be finite, {int((~np.isfinite(s)).sum())} of {len(s)} are not")
    return _Known(index, y == 1), s


def _ones(truth: ArrayLike) -> Floats:
    return np.ones((1, np.size(np.asarray(truth))))

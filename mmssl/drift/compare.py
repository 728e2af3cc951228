"""Whether values of two groups have one distribution: a test, and an effect that does not grow with their number."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

FEWEST = 20
"""Known values of a group below which nothing is tested."""
ALPHA = 0.05
"""The false discovery rate over all that is tested."""
SMALL = 0.1
"""The effect below which a difference is called small."""
EXPECTED = 5
"""Cells of a table of counts that expect fewer are pooled (Cochran 1954, Biometrics 10, p. 420)."""
BINS = 10
UNKNOWN = "not known"


class Measure(NamedTuple):
    """One thing that is known of the rows of both groups; None where it is not known."""

    name: str
    kind: Literal["number", "category"]
    before: Sequence[Any]
    now: Sequence[Any]


def compared(measures: Sequence[Measure], unit: str = "patients") -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Each measure's test, effect and what is seen, the greatest effect first; and why others have none.

    The p values are those of all tests together: Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, p. 293.
    """
    from scipy import stats

    found, skipped = [], {}
    for measure in measures:
        told = numbers(measure) if measure.kind == "number" else categories(measure, unit)
        if isinstance(told, str):
            skipped[measure.name] = told
        else:
            found.append({"name": measure.name, "kind": measure.kind, **told})
    if found:
        corrected = stats.false_discovery_control([one["p"] for one in found])
        for one, q in zip(found, corrected, strict=True):
            one["q"] = float(q)
            one["moved"] = verdict(one["effect"], float(q))
    order = {"moved": 0, "moved a little": 1, "no difference shown": 2}
    return sorted(found, key=lambda one: (order[one["moved"]], -one["effect"], one["name"])), skipped


def verdict(effect: float, q: float) -> str:
    """What is said of a difference.

    >>> verdict(0.3, 0.001), verdict(0.02, 0.001), verdict(0.3, 0.2)
    ('moved', 'moved a little', 'no difference shown')
    """
    if q > ALPHA:
        return "no difference shown"
    return "moved" if effect >= SMALL else "moved a little"


def numbers(measure: Measure) -> dict[str, Any] | str:
    """Two-sample Kolmogorov-Smirnov test; its distance is the effect. Or why there is none."""
    from scipy import stats

    before, now = (np.array([v for v in side if v is not None and v == v], float) for side in measure[2:])
    if min(len(before), len(now)) < FEWEST:
        return _too_few(len(before), len(now))
    both = np.concatenate([before, now])
    if both.min() == both.max():
        return f"the same value throughout: {both[0]:g}"
    told: Any = stats.ks_2samp(before, now)
    low, high = np.quantile(both, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1, 25)
    inner = np.unique(np.quantile(before, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(inner, side, "left"), minlength=len(inner) + 1) for side in (before, now)]
    return {
        "test": "Kolmogorov-Smirnov",
        "n": [len(before), len(now)],
        "p": float(told.pvalue),
        "effect": float(told.statistic),
        "psi": stability_index(*counts),
        "said": f"median {np.median(now):.4g}, before {np.median(before):.4g}",
        "edges": edges.tolist(),
        "counts": [np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0].tolist() for side in (before, now)],
    }


def categories(measure: Measure, unit: str = "patients") -> dict[str, Any] | str:
    """Pearson's chi-squared test, small cells pooled; or why there is none.

    The effect is Cramer's V (1946, Mathematical Methods of Statistics, p. 282) as it would be if both groups were of
    one size: else it is small wherever a day is compared with years.
    """
    from scipy import stats

    before, now = (Counter(UNKNOWN if v is None else str(v) for v in side) for side in measure[2:])
    total = [before.total(), now.total()]
    if min(total) < FEWEST:
        return _too_few(*total)
    names = sorted(before.keys() | now.keys(), key=lambda name: (-before[name] / total[0] - now[name] / total[1], name))
    if len(names) == 1:
        return f"the same value throughout: {names[0]}"
    counts = np.array([[before[name] for name in names], [now[name] for name in names]])
    pooled = pool(counts)
    if pooled.shape[1] < 2:
        return f"all but one value are too rare to be tested: {', '.join(names[1:6])}"
    told: Any = stats.chi2_contingency(pooled, correction=False)
    return {
        "test": "chi-squared",
        "n": total,
        "p": float(told.pvalue),
        "effect": balanced_v(pooled),
        "psi": stability_index(*counts),
        "said": _said(names, counts, unit),
        "values": names,
        "counts": counts.tolist(),
    }


def pool(counts: np.ndarray) -> np.ndarray:
    """[2, K] counts with the rarest categories put together until each cell expects enough.

    >>> pool(np.array([[50, 45, 2, 3], [50, 48, 1, 1]])).tolist()
    [[50, 50], [50, 50]]
    """
    share = counts.sum(axis=1).min() / counts.sum()
    ordered = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    while ordered.shape[1] > 1 and ordered[:, 0].sum() * share < EXPECTED:
        ordered = np.concatenate([ordered[:, :2].sum(axis=1, keepdims=True), ordered[:, 2:]], axis=1)
        ordered = ordered[:, np.argsort(ordered.sum(axis=0), kind="stable")]
    return ordered[:, ::-1]


def balanced_v(counts: np.ndarray) -> float:
    """Cramer's V of two groups [2, K], each counted as half of all.

    >>> balanced_v(np.array([[10, 0], [0, 1000]])), balanced_v(np.array([[3, 3], [50, 50]]))
    (1.0, 0.0)
    """
    before, now = counts / counts.sum(axis=1, keepdims=True)
    return float(np.sqrt(((before - now) ** 2 / (before + now)).sum() / 2))


def stability_index(before: np.ndarray, now: np.ndarray) -> float:
    """Population stability index: sum of (q - p) ln(q / p); half a row is added to each count, so that none is 0.

    >>> round(stability_index(np.array([50, 50]), np.array([50, 50])), 6)
    0.0
    """
    p, q = ((side + 0.5) / (side.sum() + 0.5 * len(side)) for side in (np.asarray(before), np.asarray(now)))
    return float(((q - p) * np.log(q / p)).sum())


def _said(names: Sequence[str], counts: np.ndarray, unit: str) -> str:
    """The values that came, went and moved most, in words."""
    before, now = counts / counts.sum(axis=1, keepdims=True)
    came = [i for i in range(len(names)) if counts[0, i] == 0 and now[i] >= 0.01]
    went = [i for i in range(len(names)) if counts[1, i] == 0 and before[i] >= 0.01]
    said = [f"{names[i]} is new, {now[i]:.0%} of {unit}" for i in came[:3]]
    said += [f"{names[i]} is gone, it was {before[i]:.0%}" for i in went[:3]]
    most = [i for i in np.argsort(-np.abs(now - before), kind="stable") if i not in (*came, *went)][: 1 if said else 2]
    said += [f"{names[i]} {now[i]:.0%}, before {before[i]:.0%}" for i in most]
    return "; ".join(said)


def _too_few(before: int, now: int) -> str:
    return f"too few values are known: {before} before, {now} now; {FEWEST} of each are needed"

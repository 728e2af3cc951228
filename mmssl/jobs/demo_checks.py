"""What the demo is measured by, beside what its commands report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDE_FLOOR = 0.85
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""L2 strengths (scikit-learn's C) that validation chooses among."""


@dataclass(frozen=True)
class Check:
    """A floor, and whether it held."""

    name: str
    value: float
    floor: float
    held: bool


MEANING = {
    "macro_auroc": "area under the ROC curve, the mean over all findings",
    "laterality": 'of the hits for "left X" and "right X" that have X on one side, those with it on the side asked for',
    "laterality_found": "of these hits, those that have X at all",
    "text_to_image_R@10": "reports whose own image is among the first ten; the floor is five times chance",
    "pixel_regression": "macro_auroc above that of a regression on small pixels, which was taught the labels",
}
"""What each check measures, in words."""


def check(name: str, value: float, floor: float) -> Check:
    return Check(name, float(value), float(floor), bool(value >= floor))


class SidedHits(NamedTuple):
    """A query for a finding on one side, and the first ten hits."""

    finding: str
    side: str
    query: str
    hits: list[dict[str, Any]]


def sided_hits(index: Path, sided: Mapping[str, Sequence[str]]) -> list[SidedHits]:
    """Searches for each finding on each side; `sided` is {finding: phrases with {side}}."""
    from mmssl.search.query import search

    found = []
    for finding, phrases in sided.items():
        for side in ("left", "right"):
            query = phrases[0].format(side=side)
            found.append(SidedHits(finding, side, query, search(index, query, k=10)))
    return found


def sides_of(finding: str, truth: Sequence[str] | None) -> set[str]:
    """The sides on which a study truly has a finding: "Left Upper Lobe Consolidation" is a left Consolidation."""
    named = [label for label in truth or [] if label.endswith(finding)]
    return {side for side in ("left", "right") for label in named if label.lower().startswith(side)}


def laterality(found: Sequence[SidedHits]) -> float:
    """Of the hits that truly have the finding on one side only, the share that has it on the side asked for."""
    right = [
        sides == {asked.side}
        for asked in found
        for hit in asked.hits
        if len(sides := sides_of(asked.finding, hit["label_truth"])) == 1
    ]
    return float(np.mean(right)) if right else 0.0


def found(found: Sequence[SidedHits]) -> float:
    """The share of all hits that truly have the finding asked for, on any side."""
    return float(np.mean([bool(sides_of(a.finding, hit["label_truth"])) for a in found for hit in a.hits] or [0.0]))


def pixel_auroc(store_path: Path, labels: Sequence[str]) -> float:
    """Macro AUROC on test of logistic regression on standardised 32 x 32 pixels, with the labels of train.

    What a model that learns from labels and sees only where it is bright would reach; the L2 strength is chosen on
    validation, for all labels together.
    """
    from sklearn.preprocessing import StandardScaler

    from mmssl.data.store import Store
    from mmssl.metrics import auroc

    store = Store(store_path)
    pixels: dict[str, np.ndarray] = {}
    truth: dict[str, np.ndarray] = {}
    for split in ("train", "validation", "test"):
        table = store.select(split=split, columns=["label_truth"])
        known = [(row, names) for row, names in zip(*(table.column(c).to_pylist() for c in ("row", "label_truth")),
                 strict=True) if names is not None]  # fmt: skip
        pixels[split] = np.stack([small(store, row) for row, _ in known])
        truth[split] = np.array([[label in names for label in labels] for _, names in known])
    scaler = StandardScaler().fit(pixels["train"])
    standard = {split: np.asarray(scaler.transform(x)) for split, x in pixels.items()}

    def macro(scores: np.ndarray, split: str) -> float:
        areas = [auroc(truth[split][:, i], scores[:, i]) for i in range(len(labels))]
        return float(np.nanmean(areas))

    scored = [regression(standard, truth["train"], strength) for strength in STRENGTHS]
    best = max(scored, key=lambda scores: macro(scores["validation"], "validation"))
    return macro(best["test"], "test")


def regression(pixels: Mapping[str, np.ndarray], truth: np.ndarray, strength: float) -> dict[str, np.ndarray]:
    """Scores of one logistic regression per label, for the splits that are not trained on."""
    from sklearn.linear_model import LogisticRegression

    found: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
    for label in truth.T:
        model = LogisticRegression(C=strength, max_iter=2000, tol=1e-3).fit(pixels["train"], label)
        for split, scores in found.items():
            scores.append(model.decision_function(pixels[split]))
    return {split: np.stack(scores, axis=1) for split, scores in found.items()}


def small(store: Any, row: int) -> np.ndarray:
    """[1024] grey values of a row's whole view."""
    from mmssl.data.transforms import whole_view

    return np.asarray(whole_view(store.image(row).convert("L"), 32), np.float32).ravel()

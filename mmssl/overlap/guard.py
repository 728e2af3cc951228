"""Nobody is judged by what they were taught: evaluation asks here first whether its rows were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmssl import checkpoint as checkpoints
from mmssl.data.store import Store
from mmssl.errors import WrongUse
from mmssl.overlap.compare import PLURAL, What, candidates, compare
from mmssl.overlap.facts import Side, side_of_store
from mmssl.overlap.seen import read, side_of_checkpoint

Asked = Literal["refuse", "allow"]
COUNTED: tuple[What, ...] = ("patient", "study", "image")
"""What counts as having been trained on; a near image does not: its hash alone proves nothing."""


@dataclass(frozen=True)
class Look:
    """What was found, for a result to hold, and what a user must know of it."""

    told: dict[str, Any]
    warnings: list[str]


@dataclass
class _Sum:
    """What all checkpoints together have seen of the rows that are to judge them."""

    rows: dict[What, list[NDArray[np.int64]]] = field(default_factory=lambda: {what: [] for what in PLURAL})
    warnings: list[str] = field(default_factory=list)
    not_compared: dict[str, dict[str, str]] = field(default_factory=dict)
    not_known: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def of(self, what: What) -> NDArray[np.int64]:
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.rows[what]]))


def look(
    paths: Sequence[Path], store: Store, *, split: str, where: str | None = None, overlap: Asked = "refuse"
) -> Look:
    """Whether checkpoints, or those they were started from, were trained on rows that are to judge them.

    Patients, studies and equal images count. Where ids are keyed otherwise, patients cannot be compared: images alone
    are, and the warnings say so. An old checkpoint says nothing; then overlap is not known, and they say that.

    Args:
        paths: of checkpoints.
        store: that they are judged by.
        split: of it.
        where: of the split, only such rows.
        overlap: `allow`: go on, and say in the result how many.

    Raises:
        WrongUse: where there is overlap that was not allowed.
        CannotDo: where there is no checkpoint, or what it has seen cannot be read.
    """
    judge, found = side_of_store(store, split=split, where=where), _Sum()
    for path in paths:
        folder = checkpoints.find(path)
        if read(folder) is None:
            found.not_known.append(f"{folder} does not say what it was trained on")
            found.warnings.append(
                f"{folder} does not say what it was trained on, being of an old version: whether patients or images of "
                f"{store.path} are among it is not known"
            )
            continue
        _add(found, side_of_checkpoint(folder), judge)
    told = _told(found, judge, allowed=overlap == "allow")
    if told["images"] and overlap == "refuse":
        raise WrongUse(_refusal(paths, told))
    if told["images"]:
        found.warnings.append(f"{_said(told)}; this was allowed, and the measures count them in")
    return Look(told, found.warnings)


def add(result: dict[str, Any], seen: Look) -> None:
    """Puts what was found into an evaluation's result, under `overlap` and `warnings`."""
    result["overlap"] = seen.told
    result["warnings"] = [*result["warnings"], *seen.warnings]


def _add(found: _Sum, taught: Side, judge: Side) -> None:
    """What one checkpoint has seen."""
    is_own = taught.told["content_hash"] == judge.told["content_hash"]
    result = compare(taught, judge, near=candidates(taught, judge))
    for cell in result.cells:
        for what, common in cell.found.items():
            found.rows[what].append(common.b)
    found.others += taught.told["others"]
    if result.why_not:
        found.not_compared[str(taught.path)] = {PLURAL[what]: why for what, why in result.why_not.items()}
    if "patient" in result.why_not and not is_own:
        found.warnings.append(f"patients could not be compared, images alone were: {result.why_not['patient']}")
    for gap in taught.not_known:
        found.not_known.append(gap)
        found.warnings.append(f"{gap}, and {taught.path} was started from it: overlap with that is not known")
    near = np.setdiff1d(found.of("near"), np.concatenate([found.of(what) for what in COUNTED]))
    if len(near) and not is_own:  # among the rows of one store, `prepare` has looked for them
        found.warnings.append(
            f"other images that look like ones that were trained on, by their perceptual hashes: {len(near)}; whether "
            "they are nearly equal tells mmssl overlap, given the store of the training"
        )


def _told(found: _Sum, judge: Side, *, allowed: bool) -> dict[str, Any]:
    places = {what: found.of(what) for what in PLURAL}
    counted = np.unique(np.concatenate([places[what] for what in COUNTED]))
    facts = judge.facts
    return {
        "images": len(counted),
        "of": len(judge),
        "patients": len(np.unique(facts.patient[places["patient"]])),
        "images_by_patient": len(places["patient"]),
        "studies": len(np.unique(facts.study[places["study"]])),
        "images_by_study": len(places["study"]),
        "equal_images": len(places["image"]),
        "near_candidates": len(np.setdiff1d(places["near"], counted)),
        "allowed": allowed,
        "not_compared": found.not_compared,
        "not_known": found.not_known,
        "others": list(dict.fromkeys(found.others)),
    }


def _said(told: dict[str, Any]) -> str:
    """In one sentence, as "3 of 10 images were trained on: 2 by 1 study, 1 by equal pixels".

    >>> _said({"images": 2, "of": 9, "patients": 1, "images_by_patient": 2, "studies": 0, "equal_images": 0})
    '2 of 9 images were trained on: 2 by 1 patient'
    """
    ways = [
        f"{told[f'images_by_{one}']} by {told[many]} {one if told[many] == 1 else many}"
        for one, many in (("patient", "patients"), ("study", "studies"))
        if told[many]
    ]
    ways += [f"{told['equal_images']} by equal pixels"] if told["equal_images"] else []
    return f"{told['images']} of {told['of']} images were trained on: {', '.join(ways)}"


def _refusal(paths: Sequence[Path], told: dict[str, Any]) -> str:
    return (
        f"{' and '.join(map(str, paths))} cannot be judged by what it was taught: {_said(told)}. Name other rows "
        "(another store, --split, --where), or --overlap allow, and the result counts them in and says so "
        '(in Python, overlap="allow"); mmssl overlap names them'
    )

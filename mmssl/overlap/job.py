"""`mmssl overlap A B ...`: whose and which images stores and checkpoints have in common, as a table and as JSON."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmssl
from mmssl import console, files
from mmssl.data.store import Store
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.overlap.compare import PLURAL, Common, Found, candidates, compare, keys_of, said
from mmssl.overlap.confirm import confirmed
from mmssl.overlap.facts import Side, side_of_store
from mmssl.overlap.seen import side_of_checkpoint

NAMED = 20
"""Rows of a store that are named for each thing that is shared."""


def overlap(
    paths: Sequence[Path | str], *, images_only: bool = False, near: bool = True, out: Path | str | None = None
) -> dict[str, Any]:
    """Compares stores and checkpoints, each with each: patients, studies, equal and nearly equal images, by split.

    Near images are proposed by their perceptual hashes (at most 4 of 64 bits differ). Of two stores the pictures are
    compared then, as in `prepare`; a checkpoint has no pictures, and they stay candidates.

    Example:
        overlap(["runs/first/best", "other.store"])["pairs"][0]["cells"]

    Args:
        paths: two or more stores, checkpoints or runs.
        images_only: compare images alone, as where ids were keyed with different secrets.
        near: look for nearly equal images too, which takes longest.
        out: folder for overlap.json.

    Returns:
        What overlap.json holds: `sides`, and `pairs` with their `cells`, one for each pair of splits.

    Raises:
        WrongUse: for fewer than two, and for two whose patients cannot be told to be the same.
        CannotDo: for what can be read as neither, and a checkpoint that does not say what it was trained on.
    """
    if len(paths) < 2:
        raise WrongUse("name two or more stores or checkpoints, to be compared with each other")
    if out is not None:
        files.check_folder_to_write(Path(out), option="--out")
    sides = _all_opened([Path(path).expanduser() for path in paths])
    if not images_only:
        _check_keys(sides)
    pairs = []
    for a, b in itertools.combinations(sides, 2):
        both = a.kind == "store" and b.kind == "store"
        close = (confirmed(a, b) if both else candidates(a, b)) if near else None
        pairs.append(_told_pair(a, b, compare(a, b, near=close, confirmed=both, by_ids=not images_only)))
    result = {"mmssl": mmssl.__version__, "sides": [_told_side(side) for side in sides], "pairs": pairs}
    if out is not None:
        files.write_json(Path(out) / "overlap.json", result)
        console.say(f"written to {out}: overlap.json")
    return result


def to_json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2, ensure_ascii=False)


# ---- before --------------------------------------------------------------------------------------------------------


def _all_opened(paths: Sequence[Path]) -> list[Side]:
    """Each path as what it is; what is wrong with any is told together."""
    sides, problems = [], []
    for path in paths:
        try:
            sides.append(opened(path))
        except (WrongUse, CannotDo) as error:
            problems.append(error)
    if problems:
        kind = CannotDo if any(isinstance(error, CannotDo) for error in problems) else WrongUse
        raise kind("\n".join(dict.fromkeys(map(str, problems))))
    return sides


def opened(path: Path) -> Side:
    """A store or a checkpoint, whichever is there.

    Raises:
        CannotDo: where it is neither, or cannot be read.
    """
    if (path / "manifest.json").is_file():
        return side_of_store(Store(path))
    if (path / "checkpoint.json").is_file() or (path / "checkpoint" / "checkpoint.json").is_file():
        return side_of_checkpoint(path)
    if not path.exists():
        raise CannotDo(f"{path}: there is no such folder; name stores, checkpoints and runs")
    raise CannotDo(f"{path} is neither a store (it has no manifest.json) nor a checkpoint (no checkpoint.json)")


def _check_keys(sides: Sequence[Side]) -> None:
    """Raises WrongUse where two have patients under different keys, which say nothing about each other."""
    problems = [
        f"{a.path} has {said(a)}, {b.path} has {said(b)}"
        for a, b in itertools.combinations(sides, 2)
        if not keys_of(a) & keys_of(b) and all(one.patients_known for side in (a, b) for one in side.ids)
    ]
    if problems:
        raise WrongUse(
            f"{many('what is to be compared: no id of one can be found in the other', problems)}\n"
            "--images-only compares the images alone; to compare patients too, prepare both with the same key=FILE"
        )


# ---- after ---------------------------------------------------------------------------------------------------------


def show(result: dict[str, Any]) -> None:
    """A table for each pair, a line for each pair of their splits."""
    for pair in result["pairs"]:
        kinds = ["patient", "study", "image", *([] if pair["near"] is None else ["near"])]
        columns = ["A", "B", *(PLURAL[what] for what in kinds)]  # pyright: ignore[reportArgumentType]
        lines = [[cell["a"], cell["b"], *(_shown(cell[what]) for what in kinds)] for cell in pair["cells"]]
        console.table(f"A is {pair['a']}, B is {pair['b']}", columns, lines, is_result=True)
        for what, why in pair["not_compared"].items():
            console.say(f"{PLURAL[what]} were not compared: {why}")
        if pair["near"] == "candidates" and any(cell["near"]["count"] for cell in pair["cells"]):
            console.say(
                "near images are candidates, by their perceptual hashes alone: a checkpoint has no pictures; compare "
                "with the store it was trained on"
            )
        if pair["intensity_differs"]:
            console.say("their images were made by different rules: equal ones may be called near, or not be found")
    for side in result["sides"]:
        for gap in side["not_known"]:
            console.warn(f"{side['path']} has seen more than is known: {gap}, and it was started from it")
        if side["others"]:
            others = ", ".join(side["others"])
            console.say(f"{side['path']} was started from {others}: what these have seen is not known here")


def _shown(common: dict[str, Any] | None) -> int | str | None:
    """How many; of images the number on either side, where these differ."""
    if common is None:
        return None
    a, b = common["images_of_a"], common["images_of_b"]
    is_images = common["of"] == "images"
    return f"{a} of A, {b} of B" if is_images and a != b else common["count"]


def _told_side(side: Side) -> dict[str, Any]:
    return {
        "path": str(side.path),
        "kind": side.kind,
        "images": len(side),
        "groups": {name: int((side.group == number).sum()) for number, name in enumerate(side.groups)},
        "ids": [one.said for one in side.ids],
        "version": side.told["version"],
        "content_hash": side.told["content_hash"],
        "not_known": list(side.not_known),
        "others": side.told.get("others", []),
    }


def _told_pair(a: Side, b: Side, found: Found) -> dict[str, Any]:
    """A comparison as JSON; rows of stores are named by their own ids."""
    near = "near" in found.cells[0].found
    return {
        "a": str(a.path),
        "b": str(b.path),
        "not_compared": dict(found.why_not),
        "near": None if not near else "confirmed" if found.confirmed else "candidates",
        "intensity_differs": a.told["intensity"] != b.told["intensity"],
        "cells": [
            {
                "a": cell.a,
                "b": cell.b,
                **dict.fromkeys(found.why_not),
                **{what: _told_common(a, b, what, common) for what, common in cell.found.items()},
            }
            for cell in found.cells
        ],
    }


def _told_common(a: Side, b: Side, what: str, common: Common) -> dict[str, Any]:
    told: dict[str, Any] = {
        "of": "images" if what in ("image", "near") else PLURAL[what],  # pyright: ignore[reportArgumentType]
        "count": common.count,
        "images_of_a": len(common.a),
        "images_of_b": len(common.b),
    }
    for name, side, places in (("rows_of_a", a, common.a), ("rows_of_b", b, common.b)):
        if side.pictures is not None and len(places):
            told[name] = side.pictures.ids(places[:NAMED].tolist())
    return told

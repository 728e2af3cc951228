"""Which checkpoints have seen a patient: those noted beside a store when they were trained, and those that are named.

`pretrain` notes each run in STORE.runs, a file beside the store (its paths mean nothing to whoever gets a copy of the
store). A run that was moved or copied elsewhere is found by naming it, or a folder above it.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mmssl import console
from mmssl.errors import CannotDo
from mmssl.overlap.facts import GIVEN, Ids, hashed
from mmssl.overlap.seen import read

DEEPEST = 6
"""Folders below one that is named, in which runs are looked for."""


class Saw(NamedTuple):
    """A checkpoint that was trained on some of the patients asked for, itself or through its parents."""

    checkpoint: Path
    patients: list[str]
    images: int


class Witnesses(NamedTuple):
    """What could be found out."""

    saw: list[Saw]
    not_known: list[str]
    """Checkpoints that cannot say, and runs that are no longer where they were noted, in words."""


def note(store: Path, run: Path) -> None:
    """Notes a run beside the store that it is trained on; where that cannot be written, it says so and goes on."""
    file, line = noted_in(store), json.dumps({"run": str(run.resolve())}, ensure_ascii=False)
    try:
        if file.is_file() and line in file.read_text(encoding="utf-8").splitlines():
            return
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        with open(handle, "a", encoding="utf-8") as held:  # one short write: two runs that start together do not mix
            held.write(line + "\n")
    except OSError as error:
        console.say(
            f"{file}: this run cannot be noted there ({error.strerror}); name it where checkpoints are asked for"
        )


def noted_in(store: Path) -> Path:
    """The file beside a store that lists the runs which were trained on it."""
    whole = store.resolve()
    return whole.with_name(f"{whole.name}.runs")


def noted(store: Path) -> list[Path]:
    """The runs that were noted beside a store, whether they are still there or not."""
    file = noted_in(store)
    if not file.is_file():
        return []
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return [Path(line["run"]) for line in lines]
    except (ValueError, KeyError, TypeError):
        raise CannotDo(f"{file} is damaged: every line is a JSON object with `run`; mend it, or remove it") from None


def checkpoints_in(folders: Iterable[Path]) -> list[Path]:
    """Every checkpoint in or below folders: of a run both the last and the best."""
    found: dict[Path, None] = {}
    for folder in folders:
        for path, names, files in os.walk(folder):
            here = Path(path)
            names[:] = sorted(name for name in names if not name.startswith("."))
            if "checkpoint.json" in files:
                found[here] = None
                names.clear()
            if len(here.relative_to(folder).parts) >= DEEPEST:
                names.clear()
    return list(found)


def witnesses(store: Path, ids: Ids, patients: Sequence[str], *, named: Sequence[Path] = ()) -> Witnesses:
    """Which checkpoints were trained on patients of a store.

    Args:
        store: beside which runs are noted; it need not be opened.
        ids: of what kind its ids are.
        patients: by their ids in the store.
        named: checkpoints, runs or folders above them to look at beside those that are noted.

    Raises:
        CannotDo: where a file that is there cannot be read.
    """
    runs = noted(store)
    gone = [f"{run} was trained on {store} and is no longer there" for run in runs if not run.is_dir()]
    gone += [f"{path}: there is no such folder" for path in named if not path.is_dir()]
    marks = _marks(patients, ids)
    saw = []
    for folder in dict.fromkeys(
        path.resolve() for path in checkpoints_in(one for one in (*runs, *named) if one.is_dir())
    ):
        seen = read(folder)
        if seen is None:
            gone.append(f"{folder} does not say what it was trained on")
            continue
        its = np.flatnonzero(np.isin(seen.facts.patient, list(marks)))
        found = [_who(marks[int(seen.facts.patient[one])], int(seen.facts.site[one])) for one in its]
        if images := [names for names in found if names]:
            there = {name for names in images for name in names}
            saw.append(Saw(folder, [name for name in patients if name in there], len(images)))
    return Witnesses(saw, gone)


def _marks(patients: Sequence[str], ids: Ids) -> dict[int, list[tuple[int, str]]]:
    """{number of an id: (number of a site or 0 for any, patient)}; `SITE:7` may be the 7 of that site."""
    whole = [(name, "", name) for name in patients]
    apart = [(rest, site, name) for name in patients for site, colon, rest in [name.partition(":")] if colon]
    every = whole + (apart if ids.key == GIVEN else [])
    numbers = hashed(pa.array([one for one, _, _ in every], pa.string()), ids.key).tolist()
    sites = hashed(pa.array([site or None for _, site, _ in every], pa.string()), ids.key, of="site").tolist()
    found: dict[int, list[tuple[int, str]]] = {}
    for number, site, (_, _, name) in zip(numbers, sites, every, strict=True):
        found.setdefault(number, []).append((site, name))
    return found


def _who(marks: Sequence[tuple[int, str]], site: int) -> list[str]:
    """The patients among those marked who may have been seen at a site, or who may be meant where it is not known."""
    return [name for at, name in marks if at in (0, site) or site == 0]

"""What is compared of the rows of two groups: their columns, and the grey of some pictures."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mmssl import console
from mmssl.data.store import Store
from mmssl.drift.compare import Measure
from mmssl.drift.sample import Group

NUMBERS = ("width", "height", "age")
CATEGORIES = ("scanner", "site", "view", "modality", "body_part", "laterality", "sex", "ethnicity", "language")
LISTS = ("flags", "findings")
WINDOW = "shown"
"""The column that says, as JSON, by which rule and between which values a picture was made."""
PICTURES = 500
"""Pictures of a group that are opened."""
SIDE = 64
"""To which they are made smaller."""
FEW_VALUES = 10
"""Numbers of a label up to which they are its classes."""


def columns(store: Store) -> list[str]:
    """Those of a store that are read."""
    wanted = (*NUMBERS, *CATEGORIES, *LISTS, WINDOW, "text")
    return [name for name in store.columns if name in wanted or name.startswith("label_")]


def measures(store: Store, before: Group, now: Group) -> tuple[list[Measure], dict[str, str]]:
    """All that can be compared, and why something cannot."""
    found: list[Measure] = []
    skipped: dict[str, str] = {}
    for name in (*NUMBERS, *CATEGORIES, WINDOW, *LISTS, "text", *_labels(before.table)):
        if name not in before.table.column_names:
            skipped[name] = "the store has no such column"
            continue
        sides = _known(before.table[name]), _known(now.table[name])
        if name != "text" and all(value is None for side in sides for value in side):
            skipped[name] = "no row has a value"
            continue
        found += _of_column(name, *sides)
    return [*found, *_grey(store, before, now)], skipped


def _known(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; None for NaN, which tables write for nothing."""
    return [None if value != value else value for value in column.to_pylist()]


def _labels(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith("label_")]


def _of_column(name: str, before: list[Any], now: list[Any]) -> Iterator[Measure]:
    if name == "text":
        yield _made("length of text, in words", "number", before, now, lambda text: len(text.split()) if text else None)
        yield _made("text", "category", before, now, lambda text: "there" if text else "missing")
    elif name == WINDOW:
        yield from _window(before, now)
    elif any(isinstance(value, list) for value in (*before, *now)):
        yield from _of_lists(name, before, now)
    elif name in NUMBERS or _are_many_numbers((*before, *now)):
        yield Measure(name, "number", before, now)
        if None in before or None in now:
            yield _made(f"{name} known", "category", before, now, lambda value: None if value is None else "known")
    else:
        yield Measure(name, "category", before, now)


def _made(name: str, kind: Any, before: list[Any], now: list[Any], of: Callable[[Any], Any]) -> Measure:
    return Measure(name, kind, [of(value) for value in before], [of(value) for value in now])


def _are_many_numbers(values: Sequence[Any]) -> bool:
    known = {value for value in values if value is not None}
    return len(known) > FEW_VALUES and all(isinstance(value, int | float) for value in known)


def _of_lists(name: str, before: list[Any], now: list[Any]) -> Iterator[Measure]:
    """A measure for each name that a list holds: said or not, or what is said of a finding."""

    def told(value: list[Any] | None) -> dict[str, str]:
        return {
            one["name"] if isinstance(one, dict) else str(one): one["assertion"] if isinstance(one, dict) else "yes"
            for one in value or ()
        }

    sides = [told(value) for value in before], [told(value) for value in now]
    nothing = "not mentioned" if name == "findings" else "no"
    for item in sorted({key for side in sides for one in side for key in one}):
        values = [[one.get(item, nothing) for one in side] for side in sides]
        yield Measure(f"{name}: {item}", "category", *values)


def _window(before: list[Any], now: list[Any]) -> Iterator[Measure]:
    """The rule by which pictures were made, and the width and centre of the window."""
    sides = [[json.loads(value) if value else {} for value in side] for side in (before, now)]

    def of(one: dict[str, Any], how: Callable[[float, float], float]) -> float | None:
        low, high = one.get("low"), one.get("high")
        return None if low is None or high is None else how(low, high)

    yield Measure("window: rule", "category", *([one.get("rule") for one in side] for side in sides))
    yield Measure(
        "window: width", "number", *([of(one, lambda low, high: high - low) for one in side] for side in sides)
    )
    yield Measure(
        "window: centre", "number", *([of(one, lambda low, high: (low + high) / 2) for one in side] for side in sides)
    )


def _grey(store: Store, before: Group, now: Group) -> list[Measure]:
    """Mean and spread of the grey of some pictures, as towers see them, 0 to 255."""
    rows = [evenly(group.table["row"].to_pylist(), PICTURES) for group in (before, now)]
    with console.progress("drift", sum(map(len, rows)), "pictures") as advance:
        means, spreads = zip(*(_grey_of(store, some, advance) for some in rows), strict=True)
    return [
        Measure("grey level, mean", "number", *means),
        Measure("grey level, spread", "number", *spreads),
    ]


def _grey_of(store: Store, rows: Sequence[int], advance: Callable[..., None]) -> tuple[list[float], list[float]]:
    found = []
    for row in rows:
        small = store.image(row).convert("L")
        small.thumbnail((SIDE, SIDE))
        found.append(np.asarray(small, float))
        advance(1)
    return [float(one.mean()) for one in found], [float(one.std()) for one in found]


def evenly(rows: Sequence[int], most: int) -> list[int]:
    """At most so many of some rows, evenly through them.

    >>> evenly([0, 1, 2, 3, 4], 2)
    [0, 2]
    """
    count = min(most, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]

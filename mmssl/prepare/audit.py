"""`STORE/audit.html`: what became of a source, so that a person can judge it in five minutes, whatever its size.

The page beside it, `preview.html`, shows what training will see; this one shows what it will not see, and why. They
are two because they answer two questions at two times, and each stays light; they link to each other.

Everything is collected while rows stream by, in memory that does not grow with them: `Sample` keeps a few of each
code, `Distributions` counts.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

from mmssl import page

MOST = 24
"""Pictures shown of a code."""
SIDE = 112
"""Pixels of their longer side."""
BARS = 12
"""Bars of a distribution."""
DISTINCT = 5_000
"""Different values of a column that are counted; what comes after them is `other`."""

Item = TypeVar("Item")


class Shown(NamedTuple):
    """One picture of a contact sheet; nothing here may name a patient, a study or a file."""

    picture: bytes | None
    """JPEG or PNG, as `page.thumbnail` makes it; None where there is none."""
    line: int
    """Its line in rejected.parquet, or its row in the store: there its ids can be looked up by who may."""
    caption: str = ""
    like: bytes | None = None
    """The picture that it repeats."""


class Code(NamedTuple):
    """A reason or a flag, with some of its pictures."""

    name: str
    meaning: str
    count: int
    shown: Sequence[Shown] = ()


class Bars(NamedTuple):
    """A distribution: (name, number) from top to bottom, and how many rows have no value."""

    title: str
    bars: Sequence[tuple[str, int]]
    missing: int = 0


@dataclass(frozen=True)
class Audit:
    """All that the page shows."""

    title: str
    facts: Sequence[tuple[str, Any]]
    """(name, value): version, when it was made, what made it."""
    inputs: int
    kept: int
    """Inputs of which at least one row is in the store; the others have one of the reasons."""
    rows: int
    reasons: Sequence[Code]
    flags: Sequence[Code]
    pairs: Sequence[Shown] = ()
    """Near duplicates of different patients, for review: `picture` and `like`."""
    num_pairs: int = 0
    joins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of reports and labels, as the manifest has them: {"reports": {"key", "lines", "studies", "images"}}."""
    distributions: Sequence[Bars] = ()
    remarks: Sequence[str] = ()
    more_rejected: int = 0
    """Frames that were set aside of inputs that are kept for other frames; they count among the reasons' pictures."""


def render(audit: Audit) -> str:
    """The page, one file with nothing loaded from anywhere.

    Raises:
        ValueError: where inputs, kept and reasons do not close the sum.
    """
    rejected = sum(code.count for code in audit.reasons)
    if audit.kept + rejected != audit.inputs:
        raise ValueError(f"{audit.inputs} inputs are not {audit.kept} kept and {rejected} with a reason")
    return page.render(
        "audit.html",
        title=f"{audit.title}: audit",
        audit=audit,
        rejected=rejected,
        joins=[_join(what, told) for what, told in audit.joins.items()],
        charts=[_chart(bars) for bars in audit.distributions if bars.bars],
    )


def _join(what: str, told: Mapping[str, Any]) -> tuple[str, list[str], list[list[Any]]]:
    """(caption, columns, rows) of the table that says how many of both sides found each other."""
    sides = [side for side in ("lines", "studies", "images") if side in told]
    states = dict.fromkeys(state for side in sides for state in told[side])
    columns = ["", *(f"lines of the {what}" if side == "lines" else side for side in sides)]
    return f"{what} joined by {told['key']}", columns, [[s, *(told[side].get(s, 0) for side in sides)] for s in states]


def _chart(bars: Bars) -> dict[str, Any]:
    most = max(number for _, number in bars.bars)
    total = sum(number for _, number in bars.bars) + bars.missing
    return {
        "title": bars.title,
        "missing": bars.missing,
        "bars": [(name, number, 100 * number / max(most, 1), 100 * number / total) for name, number in bars.bars],
    }


class Sample(Generic[Item]):
    """A few items of each code, chosen by hash of their keys: the same whatever the order, spread over all of them.

    >>> sample = Sample[str](most=2)
    >>> for name in "abcd":
    ...     sample.offer("blank", name, name)
    >>> len(sample.chosen("blank")), sample.count("blank"), sample.chosen("saturated")
    (2, 4, [])
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._heaps: dict[str, list[tuple[int, str, Item]]] = {}
        self._counts: Counter[str] = Counter()

    def offer(self, code: str, key: str, item: Item) -> None:
        """Takes an item into account; `key` names it, `item` is what `chosen` gives back (a place, not a picture)."""
        self._counts[code] += 1
        heap = self._heaps.setdefault(code, [])
        one = (-int(hashlib.sha256(key.encode()).hexdigest()[:15], 16), key, item)
        if len(heap) < self.most:
            heapq.heappush(heap, one)
        elif one[:2] > heap[0][:2]:
            heapq.heapreplace(heap, one)

    def count(self, code: str) -> int:
        return self._counts[code]

    def codes(self) -> list[str]:
        """Those that have items, the commonest first."""
        return sorted(self._counts, key=lambda code: (-self._counts[code], code))

    def chosen(self, code: str) -> list[Item]:
        return [item for _, _, item in sorted(self._heaps.get(code, []), key=lambda one: (-one[0], one[1]))]


# ---- distributions -------------------------------------------------------------------------------------------------

NUMBERS = {
    "short side": "pixels",
    "window width": "",
    "age": "years",
    "words of text": "",
}
NAMES = ("split", "modality", "body_part", "view", "laterality", "sex", "site", "scanner", "language")


class Distributions:
    """Counts what rows hold; numbers are rounded to two digits that count, so there are few of them."""

    def __init__(self) -> None:
        self._numbers: dict[str, Counter[float]] = {name: Counter() for name in NUMBERS}
        self._names: dict[str, Counter[str]] = {name: Counter() for name in NAMES}
        self._labels: Counter[str] = Counter()
        self.rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of the store; columns that are missing count as such."""
        self.rows += 1
        width, height, text = row.get("width"), row.get("height"), row.get("text")
        values = {
            "short side": min(width, height) if width and height else None,
            "window width": row.get("window_width"),
            "age": row.get("age"),
            "words of text": len(text.split()) if text else None,
        }
        for name, value in values.items():
            if isinstance(value, int | float) and value == value:
                self._count(self._numbers[name], _rounded(float(value)))
        for name in NAMES:
            if (value := row.get(name)) not in (None, ""):
                self._count(self._names[name], str(value))
        for name, value in _labels(row):
            if value:
                self._count(self._labels, name)

    @staticmethod
    def _count(counter: Counter[Any], value: Any) -> None:
        other = None if isinstance(value, float) else "other"
        known = value in counter or len(counter) < DISTINCT
        if known or other:
            counter[value if known else other] += 1

    def bars(self) -> list[Bars]:
        """Of every column that has values, the commonest names and the numbers in order."""
        found = []
        for name, counts in self._names.items():
            if counts:
                found.append(Bars(name.replace("_", " "), _commonest(counts), self.rows - counts.total()))
        if self._labels:
            found.append(Bars("labels and findings, present", _commonest(self._labels)))
        for name, counts in self._numbers.items():
            if counts:
                unit = f", {NUMBERS[name]}" if NUMBERS[name] else ""
                found.append(Bars(f"{name}{unit}", _binned(counts), self.rows - counts.total()))
        return found


def _labels(row: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """(name, whether it is there) of labels, and of findings as {name: present | absent | uncertain}."""
    for name, value in row.items():
        if name.startswith("label_") and value is not None:
            yield name.removeprefix("label_"), value not in (0, 0.0, False, "", "0", "absent", "negative")
    findings = row.get("findings")
    if isinstance(findings, Mapping):
        yield from ((str(name), value == "present") for name, value in findings.items())


def _rounded(value: float) -> float:
    """To two digits that count.

    >>> [_rounded(v) for v in (1234.0, 0.0123, 64.48, 0.0)]
    [1200.0, 0.012, 64.0, 0.0]
    """
    return float(f"{value:.2g}")


def _commonest(counts: Counter[str]) -> list[tuple[str, int]]:
    first = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rest = sum(number for _, number in first[BARS:])
    return [*first[:BARS], *([(f"{len(first) - BARS} others", rest)] if rest else [])]


def _binned(counts: Counter[float]) -> list[tuple[str, int]]:
    """Numbers in at most BARS bins of equal width, or each by itself where they are few.

    >>> _binned(Counter({64.0: 9, 512.0: 3}))
    [('64', 9), ('512', 3)]
    """
    values = sorted(counts)
    if len(values) <= BARS:
        return [(f"{value:g}", counts[value]) for value in values]
    low, high = values[0], values[-1]
    step = _step((high - low) / BARS)
    start = step * (low // step)
    bins: Counter[int] = Counter()
    for value, number in counts.items():
        bins[int((value - start) // step)] += number
    places = range(max(bins) + 1)
    return [(f"{start + place * step:g} to {start + (place + 1) * step:g}", bins[place]) for place in places]


def _step(width: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... that is as wide.

    >>> _step(7.3), _step(0.3), _step(11)
    (10.0, 0.5, 20.0)
    """
    power = 10.0 ** (len(f"{int(width)}") - 1) if width >= 1 else 0.1
    while power > width:
        power /= 10
    return next(power * part for part in (1, 2, 5, 10) if power * part >= width)


def made(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def codes(counts: Mapping[str, int], meanings: Mapping[str, str], shown: Mapping[str, Iterable[Shown]]) -> list[Code]:
    """Reasons or flags with their pictures, the commonest first."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return [Code(name, meanings.get(name, ""), counts[name], list(shown.get(name, ()))) for name in order]

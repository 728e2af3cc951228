"""On which side a finding is: from its own phrase and clause, never guessed."""

from __future__ import annotations

from typing import Literal

from mmssl.data.clauses import Clauses
from mmssl.data.tokens import Mark, Tokens

Side = Literal["left", "right", "bilateral"]
_SIDES = ("left", "right", "bilateral")
_LISTED = ("and", "or", "comma", "slash")


def side(start: int, end: int, tokens: Tokens, clauses: Clauses) -> Side | None:
    """The side of what is named in some tokens; None where none is said, or both are and it is not clear which.

    What is said in its own segment counts, with neighbours in a list that name a side and nothing else ("right upper
    and left lower lobe nodules"); else what stands after a list ("atelectasis and effusion on the left") or before the
    clause ("On the left, there is an effusion").
    """
    marks = [mark for kind in _SIDES for mark in tokens.of(kind)]
    if not marks:
        return None
    first, last = clauses.place(start), clauses.place(max(end - 1, start))
    named = sorted(mark.start for mark in tokens.of("finding", "opposite") if not start <= mark.start < end)
    own = [mark for mark in marks if first <= clauses.place(mark.start) <= last]
    if own:
        return _of(_nearest(own, start, end, named) + _beside(marks, first, last, tokens, clauses))
    beside = _beside(marks, first, last, tokens, clauses)
    return _of(beside or _after(marks, last, clauses, tokens) or _ahead(marks, first, clauses))


def _of(marks: list[Mark]) -> Side | None:
    kinds = {mark.kind for mark in marks}
    if "bilateral" in kinds or kinds == {"left", "right"}:
        return "bilateral"
    return next(iter(kinds)) if kinds else None  # type: ignore[return-value]  # kinds are sides here


def _nearest(own: list[Mark], start: int, end: int, named: list[int]) -> list[Mark]:
    """Those with no other finding between; if there are none, those whose nearest finding this is by being the last."""
    found = []
    for mark in own:
        low, high = (mark.end, start) if mark.end <= start else (end, mark.start)
        if not any(low <= place < high for place in named):
            found.append(mark)
    before = [mark for mark in found if mark.start < end]
    return before or found


def _beside(marks: list[Mark], first: int, last: int, tokens: Tokens, clauses: Clauses) -> list[Mark]:
    """Sides in neighbours that belong to the same list and name nothing."""
    segments = clauses.segments
    found = []
    number = first
    while number and segments[number].join in _LISTED and not segments[number - 1].full and not segments[number].clause:
        number -= 1
        if segments[number].verb:
            break
        found += _in(marks, number, clauses)
    number = last + 1
    while number < len(segments) and segments[number].join in _LISTED and not segments[number].full:
        if segments[number].verb:
            break
        found += _in(marks, number, clauses)
        number += 1
    return found


def _after(marks: list[Mark], last: int, clauses: Clauses, tokens: Tokens) -> list[Mark]:
    """After the last of a list: "atelectasis and effusion on the left"."""
    segments = clauses.segments
    number = last + 1
    while number < len(segments) and segments[number].join in _LISTED and not segments[number].clause:
        found = _in(marks, number, clauses)
        names = [mark.start for mark in tokens.of("finding") if clauses.place(mark.start) == number]
        if found and names:
            return found if min(mark.start for mark in found) > max(names) else []
        number += 1
    return []


def _ahead(marks: list[Mark], first: int, clauses: Clauses) -> list[Mark]:
    """Before the clause: "In the left lower lobe, there is a nodule"."""
    segments = clauses.segments
    if first and segments[first].join in ("comma", "there", "colon") and not segments[first - 1].full:
        return [] if segments[first - 1].verb else _in(marks, first - 1, clauses)
    return []


def _in(marks: list[Mark], number: int, clauses: Clauses) -> list[Mark]:
    return [mark for mark in marks if clauses.place(mark.start) == number]

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
    full = {clauses.place(place) for place in named}
    bare = {number for number in range(len(clauses.segments)) if _is_bare(number, marks, tokens, clauses)}
    own = [mark for mark in marks if first <= clauses.place(mark.start) <= last]
    ahead = _ahead(marks, first, clauses, full)
    if ahead and not any(mark.start < end for mark in own):
        return _of(ahead)
    if own:
        if any(clauses.place(mark.start) == last for mark in tokens.of("comparing")):
            return _of(own)
        return _of(_nearest(own, start, end, named) + _beside(marks, first, last, clauses, bare))
    beside = _beside(marks, first, last, clauses, bare)
    return _of(beside or _after(marks, last, clauses, tokens))


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


def _is_bare(number: int, marks: list[Mark], tokens: Tokens, clauses: Clauses) -> bool:
    """Whether a segment names a side and its region and nothing else."""
    segment = clauses.segments[number]
    told = {token for mark in (*marks, *tokens.of("regions")) for token in range(mark.start, mark.end)}
    rest = [tokens.words[token] for token in range(segment.start, segment.end) if token not in told]
    return bool(_in(marks, number, clauses)) and not any(any(char.isalpha() for char in word) for word in rest)


def _beside(marks: list[Mark], first: int, last: int, clauses: Clauses, bare: set[int]) -> list[Mark]:
    """Sides in neighbours of the same list that name nothing else."""
    segments = clauses.segments
    found = []
    number = first
    while number and segments[number].join in _LISTED and number - 1 in bare:
        number -= 1
        found += _in(marks, number, clauses)
    number = last + 1
    while number in bare and segments[number].join in _LISTED:
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


def _ahead(marks: list[Mark], first: int, clauses: Clauses, full: set[int]) -> list[Mark]:
    """Before the clause: "In the left lower lobe, there is a nodule"."""
    segments = clauses.segments
    if first and segments[first].join in ("comma", "there", "colon") and first - 1 not in full:
        return [] if segments[first - 1].verb else _in(marks, first - 1, clauses)
    return []


def _in(marks: list[Mark], number: int, clauses: Clauses) -> list[Mark]:
    return [mark for mark in marks if clauses.place(mark.start) == number]

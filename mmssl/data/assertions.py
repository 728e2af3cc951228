"""What a sentence says of the findings that it names: the cues that reach each, and which of them wins."""

from __future__ import annotations

from mmssl.data.clauses import Clauses
from mmssl.data.mentions import Assertion, Mention
from mmssl.data.tokens import Mark, Tokens


def assert_all(every: list[Mention], found: Tokens, clauses: Clauses) -> list[tuple[Mention, Assertion]]:
    """Each mention with what is said of it.

    Another person's beats hypothetical, that absent, that historical, that uncertain, and that what its own words say.
    """
    cues = [(cue, clauses.reach(cue)) for cue in _cues(found, clauses)]
    return _alternatives([(one, _of(one, cues, found, clauses)) for one in every], found, clauses)


def _cues(found: Tokens, clauses: Clauses) -> list[Mark]:
    """The cues that count: a word that may stand before or after is taken as one of them."""
    marks = list(found.of("cue"))
    both = {(mark.start, mark.end): set() for mark in marks}
    for mark in marks:
        both[mark.start, mark.end].add(mark.value[1])
    prior = list(found.of("needs_prior"))
    kept = []
    for mark in marks:
        places = both[mark.start, mark.end]
        if {"before", "after"} <= places and mark.value[1] != _place(mark, found, clauses):
            continue
        if mark.value[1] == "old" and any(mark.within(one) and mark != one for one in prior if one.end > mark.end):
            continue
        kept.append(mark)
    return kept


def _place(cue: Mark, found: Tokens, clauses: Clauses) -> str | None:
    """On which side a cue stands that may stand on either: "opacity, likely atelectasis", "tube removed".

    On none where it is about something that is no finding: "mass, probably a goiter".
    """
    segment = clauses.segments[clauses.place(cue.start)]
    named = [one.start for one in found.of("finding", "opposite", "thing")]
    precedes = any(segment.start <= one < cue.start for one in named)
    _, end = clauses.reach(cue._replace(value=(cue.value[0], "before")))
    follows = any(cue.end <= one < (segment.end if precedes else end) for one in named)
    if follows and not (cue.value[0] == "absent" and precedes):
        return "before"
    return "after" if precedes or cue.end == segment.end else None


def _of(one: Mention, cues: list[tuple[Mark, tuple[int, int]]], found: Tokens, clauses: Clauses) -> Assertion:
    """What is said of a mention by its own words and by the cues that reach it."""
    kinds = set()
    for cue, (start, end) in cues:
        assertion, place = cue.value
        if not start <= one.start < end or (one.start <= cue.start and cue.end <= one.end):
            continue
        if place == "old" and (one.term.old or _still(cue, found, clauses)):
            continue
        if one.said and assertion in ("absent", "uncertain") and not _near(cue, one, clauses):
            continue
        kinds.add(assertion)
    for kind in ("other_person", "hypothetical"):
        if kind in kinds:
            return kind
    if "absent" in kinds:
        return "absent" if one.is_named else _turned(one)
    if "historical" in kinds:
        return "historical"
    if "uncertain" in kinds and one.assertion != "absent":
        return "uncertain"
    return "absent" if one.opposite else one.assertion


def _near(cue: Mark, one: Mention, clauses: Clauses) -> bool:
    """Whether a cue is about what is said of a thing, not about something before it in a list."""
    return clauses.place(cue.start) == clauses.place(one.start)


def _turned(one: Mention) -> Assertion:
    """What "not" makes of it: not enlarged, not normal, no acute disease."""
    return "present" if one.opposite or one.assertion == "absent" else "absent"


def _still(cue: Mark, found: Tokens, clauses: Clauses) -> bool:
    """Whether a previous finding is said to be there still: "the previous effusion is unchanged"."""
    here = clauses.place(cue.start)
    return any(clauses.place(mark.start) == here for mark in found.of("still"))


def _alternatives(
    asserted: list[tuple[Mention, Assertion]], found: Tokens, clauses: Clauses
) -> list[tuple[Mention, Assertion]]:
    """Where one of two things may be it, each that was present is uncertain: "atelectasis or scarring"."""
    named = sorted({one.start for one, _ in asserted} | {mark.start for mark in found.of("alternatives")})
    either: set[int] = set()
    for number, segment in enumerate(clauses.segments):
        before = [start for start in named if clauses.place(start) == number - 1][-1:]
        after = [start for start in named if clauses.place(start) == number][:1]
        if segment.join == "or" and not segment.clause and before and after:
            either.update(before + after)
    return [
        (one, "uncertain" if assertion == "present" and one.start in either and one.is_named else assertion)
        for one, assertion in asserted
    ]

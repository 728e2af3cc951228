"""What one sentence says: its findings, each asserted as present or not, and on which side; rules only, no model."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from mmssl.data import tokens
from mmssl.data.clauses import Clauses
from mmssl.data.languages import Language, Term
from mmssl.data.sides import Side, side
from mmssl.data.tokens import Mark, Tokens

Assertion = Literal["present", "absent", "uncertain", "historical", "hypothetical", "other_person"]

LONGEST = 2000
"""Characters of a sentence that are read together; nobody writes longer ones, and the time grows with their square."""

_NEAR = 4
"""Tokens between what is said of a thing and the thing, where it stands before it: "enlarged cardiac silhouette"."""


class Finding(NamedTuple):
    """A finding that a sentence names, and what it says of it."""

    name: str
    code: str | None
    """SCT:... or RADLEX:..."""
    assertion: Assertion
    laterality: Side | None


class Read(NamedTuple):
    """What a sentence says by itself, whatever section it is in."""

    findings: tuple[Finding, ...]
    needs_prior: bool
    """Whether it speaks of a former picture."""
    boilerplate: bool
    """Whether it names no finding, and is one of those that say nothing of the picture."""


class _Mention(NamedTuple):
    term: Term
    start: int
    end: int
    assertion: Assertion
    """By its own words; what stands around it may change it."""
    said: bool = False
    """Whether it is something said of a thing: "heart" and "enlarged"."""
    opposite: bool = False
    """Whether its absence is the finding."""

    @property
    def is_named(self) -> bool:
        return not (self.said or self.opposite)


@functools.lru_cache(maxsize=20_000)  # the same sentences stand in report after report
def read(sentence: str, language: Language) -> Read:
    """A sentence in a language, by its tables; one of more than `LONGEST` characters piece by piece."""
    if len(sentence) > LONGEST:
        pieces = [read(piece, language) for piece in _pieces(sentence)]
        findings = dict.fromkeys(one for piece in pieces for one in piece.findings)
        return Read(
            tuple(findings),
            needs_prior=any(piece.needs_prior for piece in pieces),
            boilerplate=all(piece.boilerplate for piece in pieces),
        )
    found = tokens.read(sentence.replace("(s)", "s"), language)
    clauses = Clauses(found)
    void = {language.terms[mark.value].name for mark in found.of("unless")}
    mentions = [*_named(found, language, void), *_said(found, clauses, language)]
    mentions.sort(key=lambda one: (one.start, one.end, one.term.name))
    cues = [(cue, clauses.reach(cue)) for cue in _cues(found, clauses)]
    asserted = _alternatives([(one, _assertion(one, cues, found, clauses)) for one in mentions], found, clauses)
    findings = [
        Finding(name, code, assertion, side(one.start, one.end, found, clauses) if sides else None)
        for one, assertion in asserted
        for name, code, sides in _names(one.term, assertion, language, void)
        if not one.opposite or assertion == "present"
    ]
    return Read(
        tuple(_once(findings)),
        needs_prior=any(True for _ in found.of("needs_prior")),
        boilerplate=not findings and _says_nothing(found),
    )


def _pieces(sentence: str) -> list[str]:
    """A sentence cut between words, or where there is none after so many letters."""
    return textwrap.wrap(sentence, LONGEST, break_on_hyphens=False)


def _once(findings: list[Finding]) -> Iterator[Finding]:
    """Each once; one without a side not beside the same with one."""
    sided = {(one.name, one.assertion) for one in findings if one.laterality}
    for one in dict.fromkeys(findings):
        if one.laterality or (one.name, one.assertion) not in sided:
            yield one


def _says_nothing(found: Tokens) -> bool:
    letters = [word for word in found.words if any(char.isalpha() for char in word) and word.strip("x")]
    return not letters or any(True for _ in found.of("boilerplate"))


def _names(
    term: Term, assertion: Assertion, language: Language, void: set[str]
) -> Iterator[tuple[str, str | None, bool]]:
    """(name, code, whether it has sides) of a finding, and of those that are there where it is."""
    yield term.name, term.code, term.sides
    if assertion in ("present", "uncertain") and term.name not in void:
        for name in term.implies:
            implied = next(one for one in language.terms if one.name == name)
            yield implied.name, implied.code, implied.sides


# ---- mentions ------------------------------------------------------------------------------------------------------


def _named(found: Tokens, language: Language, void: set[str]) -> Iterator[_Mention]:
    for mark in found.of("finding"):
        yield _Mention(language.terms[mark.value], mark.start, mark.end, "present")
    for mark in found.of("opposite"):
        if language.terms[mark.value].name not in void:
            yield _Mention(language.terms[mark.value], mark.start, mark.end, "present", opposite=True)


def _said(found: Tokens, clauses: Clauses, language: Language) -> Iterator[_Mention]:
    """What is said of things: of each thing what is nearest, in its clause."""
    phrases = [mark for mark in found.of("finding", "except", "ignored", "cue") if mark.end - mark.start > 1]
    for thing in found.of("thing"):
        if any(thing.within(mark) and thing.value == mark.value for mark in phrases if mark.kind == "finding"):
            continue
        if any(thing.within(mark) for mark in phrases if mark.kind == "except"):
            continue
        states = [mark for mark in found.of("state") if mark.value[0] == thing.value and not _hidden(mark, phrases)]
        state = _state(thing, states, found, clauses)
        if state is not None:
            term = language.terms[thing.value]
            yield _Mention(term, state.start, state.end, state.value[1], said=True)


def _hidden(state: Mark, phrases: Iterable[Mark]) -> bool:
    """Whether a state is part of a phrase that has a meaning of its own."""
    return any(state.within(mark) and (mark.kind != "finding" or mark.value == state.value[0]) for mark in phrases)


def _state(thing: Mark, states: list[Mark], found: Tokens, clauses: Clauses) -> Mark | None:
    """What is said of a thing: just before it, else after it, else before a list that it is in."""
    here = clauses.place(thing.start)
    before = [one for one in states if one.end <= thing.start and clauses.place(one.start) == here]
    verbs = [mark.start for mark in found.of("verbs")]
    for one in reversed(before):
        if thing.start - one.end <= _NEAR and not any(one.end <= verb < thing.start for verb in verbs):
            return one
    after = [one for one in states if one.start >= thing.end and not _of_another(one, thing, found, clauses)]
    for one in after:
        there = clauses.place(one.start)
        if there == here or _shared(here, one, found, clauses) or _goes_on(here, one, found, clauses):
            return one
    for one in reversed([one for one in states if one.end <= thing.start]):
        there = clauses.place(one.start)
        between = clauses.segments[there : here + 1]
        joined = all(segment.join in ("and", "or", "comma") for segment in between[1:])
        if joined and not any(one.start <= verb < thing.start for verb in verbs) and there < here:
            return one
    return None


def _of_another(state: Mark, thing: Mark, found: Tokens, clauses: Clauses) -> bool:
    """Whether what is said stands just before another thing: "views of the chest show normal size of the heart"."""
    here = clauses.place(state.start)
    if any(mark.start == state.end for mark in found.of("articles")):  # "the heart is normal the lungs are clear"
        return False
    others = [one.start for one in found.of("thing") if clauses.place(one.start) == here and one.start >= state.end]
    return any(start - state.end <= _NEAR for start in others)


def _goes_on(here: int, state: Mark, found: Tokens, clauses: Clauses) -> bool:
    """Whether a later segment goes on with what is said: "the heart is stable and within normal limits"."""
    segments, there = clauses.segments, clauses.place(state.start)
    last, lists = segments[there], ("and", "comma", "or")
    named = any(last.start <= one.start < last.end for one in found.of("finding", "thing", "verbs"))
    if named or state.start - last.start > 1 or there == here:
        return False
    together = all(segments[number].join in lists for number in range(here + 1, there + 1))
    return together and not any(segments[number].verb for number in range(here, there - 1))


def _shared(here: int, state: Mark, found: Tokens, clauses: Clauses) -> bool:
    """Whether what a later segment says is said of this one too: "heart, lungs and mediastinum are normal"."""
    segments, there = clauses.segments, clauses.place(state.start)
    if any(segments[number].verb for number in range(here, there)):
        return False
    if segments[there].join == "colon" and any(
        segments[there].start <= one.start < state.start for one in found.of("thing")
    ):
        return False  # "Chest: The heart is normal."
    return all(
        segments[number].join in ("and", "or", "comma", "slash", "colon") for number in range(here + 1, there + 1)
    )


# ---- assertion -----------------------------------------------------------------------------------------------------


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


def _assertion(one: _Mention, cues: list[tuple[Mark, tuple[int, int]]], found: Tokens, clauses: Clauses) -> Assertion:
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


def _near(cue: Mark, one: _Mention, clauses: Clauses) -> bool:
    """Whether a cue is about what is said of a thing, not about something before it in a list."""
    return clauses.place(cue.start) == clauses.place(one.start)


def _turned(one: _Mention) -> Assertion:
    """What "not" makes of it: not enlarged, not normal, no acute disease."""
    return "present" if one.opposite or one.assertion == "absent" else "absent"


def _still(cue: Mark, found: Tokens, clauses: Clauses) -> bool:
    """Whether a previous finding is said to be there still: "the previous effusion is unchanged"."""
    here = clauses.place(cue.start)
    return any(clauses.place(mark.start) == here for mark in found.of("still"))


def _alternatives(
    asserted: list[tuple[_Mention, Assertion]], found: Tokens, clauses: Clauses
) -> list[tuple[_Mention, Assertion]]:
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

"""Where a sentence names a finding: by a phrase, or by what it says of a thing ("heart" and "enlarged")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from mmssl.data.clauses import Clauses
from mmssl.data.languages import Language, Term
from mmssl.data.tokens import Mark, Tokens

Assertion = Literal["present", "absent", "uncertain", "historical", "hypothetical", "other_person"]

_NEAR = 4
"""Tokens between what is said of a thing and the thing, where it stands before it: "enlarged cardiac silhouette"."""


class Mention(NamedTuple):
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


def find(found: Tokens, clauses: Clauses, language: Language, void: set[str]) -> list[Mention]:
    """The mentions of a sentence in order; `void` are the terms of which the absence of their opposite says nothing."""
    every = [*_named(found, language, void), *_said(found, clauses, language)]
    return sorted(every, key=lambda one: (one.start, one.end, one.term.name))


def _named(found: Tokens, language: Language, void: set[str]) -> Iterator[Mention]:
    for mark in found.of("finding"):
        yield Mention(language.terms[mark.value], mark.start, mark.end, "present")
    for mark in found.of("opposite"):
        if language.terms[mark.value].name not in void:
            yield Mention(language.terms[mark.value], mark.start, mark.end, "present", opposite=True)


def _said(found: Tokens, clauses: Clauses, language: Language) -> Iterator[Mention]:
    """What is said of things: of each thing what is nearest, in its clause."""
    phrases = [mark for mark in found.of("finding", "except", "ignored", "cue") if mark.end - mark.start > 1]
    for thing in found.of("thing"):
        own = [mark for mark in phrases if mark.kind in ("finding", "except") and mark.value == thing.value]
        if any(thing.within(mark) for mark in own):
            continue
        states = [mark for mark in found.of("state") if mark.value[0] == thing.value and not _hidden(mark, phrases)]
        state = _state(thing, states, found, clauses)
        if state is not None:
            term = language.terms[thing.value]
            yield Mention(term, state.start, state.end, state.value[1], said=True)


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

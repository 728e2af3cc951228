"""The part of spaCy in reading reports: a sentence as tokens, and the phrases of a language found in it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmssl.data.languages import ASSERTIONS, LISTS, PLACES, Language
from mmssl.errors import CannotDo


class Mark(NamedTuple):
    """A phrase of a language that was found in a sentence: its first token, the one after its last, what it is."""

    start: int
    end: int
    kind: str
    """finding, opposite, except, thing, state, cue, or the name of one of the language's lists."""
    value: Any = None
    """The term's number; for a state (number, assertion), for a cue (assertion, place)."""

    def within(self, other: Mark) -> bool:
        return other.start <= self.start and self.end <= other.end


class Tokens(NamedTuple):
    """A sentence in lower case, token by token, with the marks in it."""

    words: tuple[str, ...]
    spaced: tuple[bool, ...]
    """Whether a space stands before the token."""
    marks: dict[str, list[Mark]]
    """By kind, in order; of those that overlap only the longest, apart from kinds that do not compete."""

    def of(self, *kinds: str) -> Iterator[Mark]:
        for kind in kinds:
            yield from self.marks.get(kind, ())


COMPETING = (
    ("finding", "opposite", "except"),
    ("thing",),
    ("state",),
    ("cue", "ignored"),
    ("left", "right", "bilateral", "no_side"),
    ("needs_prior", "not_prior"),
    ("stop", "with", "and", "or"),
)
"""Kinds of which, where they overlap, only the longest counts; those as long as it too."""


def read(text: str, language: Language) -> Tokens:
    """A sentence as tokens and marks."""
    spacy, matcher, meanings = _matcher(language)
    doc = spacy(text)
    found: dict[str, list[Mark]] = {}
    for key, start, end in matcher(doc):
        for kind, value in meanings[key]:
            found.setdefault(kind, []).append(Mark(start, end, kind, value))
    for kinds in COMPETING:
        found |= _longest([mark for kind in kinds for mark in found.get(kind, ())])
    table = doc.to_array(["LOWER", "SPACY"]).tolist()  # some times faster than token by token
    words = tuple(doc.vocab.strings[lower] for lower, _ in table)
    return Tokens(words, (True, *(bool(space) for _, space in table))[: len(words)], found)


def _longest(marks: list[Mark]) -> dict[str, list[Mark]]:
    """{kind: marks in order} without those that overlap a longer one of another or the same meaning.

    Things and states of different findings do not compete: one heart is that of two findings. What is excepted is so
    for its own finding.
    """
    kept: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.start - mark.end, mark.start)):
        for other in kept:
            same = (mark.start, mark.end) == (other.start, other.end)
            alone = mark.kind in ("thing", "state") or "except" in (mark.kind, other.kind)
            apart = alone and _term(mark) != _term(other)
            if mark.start < other.end and other.start < mark.end and not same and not apart:
                break
        else:
            kept.append(mark)
    found: dict[str, list[Mark]] = {mark.kind: [] for mark in marks}
    for mark in sorted(kept):
        found[mark.kind].append(mark)
    return found


def _term(mark: Mark) -> Any:
    return mark.value[0] if mark.kind == "state" else mark.value


@functools.lru_cache(maxsize=8)
def _matcher(language: Language) -> tuple[Any, Any, dict[int, tuple[tuple[str, Any], ...]]]:
    """The tokenizer of spaCy, its matcher of phrases, and what the keys of the matcher mean."""
    import spacy
    from spacy.matcher import PhraseMatcher

    phrases: dict[str, dict[tuple[str, Any], None]] = {}
    for kind, value, some in _vocabulary(language):
        for phrase in some:
            phrases.setdefault(phrase.casefold(), {})[kind, value] = None
    together: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for phrase, said in phrases.items():
        together.setdefault(tuple(said), []).append(phrase)
    try:
        tokenizer = spacy.blank(language.spacy).tokenizer
    except ImportError as error:  # some languages want a package of their own
        raise CannotDo(f"spaCy cannot part words of {language.code}: {error}; say `spacy: xx` in its table") from None
    matcher = PhraseMatcher(tokenizer.vocab, attr="LOWER")
    meanings = {}
    for number, (said, some) in enumerate(together.items()):
        matcher.add(str(number), list(tokenizer.pipe(some)))
        meanings[tokenizer.vocab.strings[str(number)]] = said
    return tokenizer, matcher, meanings


def _vocabulary(language: Language) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """(kind, value, phrases) of all that a language knows."""
    for number, term in enumerate(language.terms):
        yield "finding", number, term.phrases
        yield "opposite", number, term.opposite
        yield "unless", number, term.unless
        yield "except", number, term.excepted
        yield "thing", number, term.things
        for assertion, states in (("present", term.present), ("uncertain", term.uncertain), ("absent", term.absent)):
            yield "state", (number, assertion), states
    for assertion in ASSERTIONS:
        for place in PLACES:
            yield "cue", (assertion, place), language.cues[assertion, place]
    for name in LISTS:
        yield name, None, language.lists[name]


@functools.lru_cache(maxsize=1)
def sentencizer() -> Any:
    """The rules of spaCy for where an English sentence ends."""
    import spacy

    language = spacy.blank("en")
    language.add_pipe("sentencizer")
    return language

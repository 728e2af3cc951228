"""What one sentence says: its findings, each asserted as present or not, and on which side; rules only, no model."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from mmssl.data import assertions, mentions, tokens
from mmssl.data.clauses import Clauses
from mmssl.data.languages import Language, Term
from mmssl.data.mentions import Assertion
from mmssl.data.sides import Side, side
from mmssl.data.tokens import Tokens

LONGEST = 2000
"""Characters of a sentence that are read together; nobody writes longer ones, and the time grows with their square."""


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
    asserted = assertions.assert_all(mentions.find(found, clauses, language, void), found, clauses)
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

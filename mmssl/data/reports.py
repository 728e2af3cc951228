"""Radiology reports read: sections, sentences, findings with what is said of them, by rules that a table holds.

`parse` is a pure function of a report and the tables of `mmssl.data.languages`; what it stands on is told in
`sections`, `sentences`, `findings`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from mmssl.data.findings import Assertion, Finding, read
from mmssl.data.languages import NORMAL, Language, Languages, load, shipped
from mmssl.data.sections import FINDINGS, SECTIONS, WHY, Headings, How, caption, sections, training_text
from mmssl.data.sentences import is_placeholder, normalise, sentences

__all__ = [
    "FINDINGS", "SECTIONS", "WHY", "Assertion", "Finding", "Headings", "How", "Languages", "Parsed", "Sentence",
    "caption", "is_placeholder", "load", "normalise", "parse", "sections", "sentences", "training_text",
]  # fmt: skip

Status = Literal["present", "absent", "uncertain"]
_RANK: tuple[Status, ...] = ("present", "uncertain", "absent")

DEVICES = "Support Devices"
"""What may be there in a study without a finding."""

SEEN = ("findings", "impression", "addendum", "preamble", "notification")
"""Sections that say what is seen; what others name was asked for, advised, or seen another time."""
_ELSEWHERE: dict[str, Assertion] = {
    **dict.fromkeys(("indication", "recommendation", "exam"), "hypothetical"),
    **dict.fromkeys(("history", "comparison"), "historical"),
}
_UNREAD = ("signature", "administrative")
UNKNOWN = "unknown"


class Sentence(NamedTuple):
    """A sentence of a report, with what it says."""

    text: str
    section: str
    findings: tuple[Finding, ...]
    needs_prior: bool
    """Whether it speaks of a former picture, which one picture cannot show."""
    boilerplate: bool
    """Whether it says nothing of the picture."""


class Parsed(NamedTuple):
    """A report as it was understood."""

    sections: dict[str, str]
    sentences: tuple[Sentence, ...]
    findings: dict[str, Status]
    """Of the whole report; a finding that is not mentioned has no key."""
    language: str
    """`unknown` where it is given and not supported, or cannot be told: then nothing is said of findings."""


def parse(report: str, language: str | None = "en", tables: Languages | None = None) -> Parsed:
    """A report as sections, sentences and findings.

    Args:
        report: its text.
        language: it is in, by any of its names; None: told from its words, and `unknown` where that cannot be.
        tables: of `load`; the shipped ones if left out.

    >>> parse("FINDINGS: No effusion. Small right pneumothorax.").findings
    {'Pleural Effusion': 'absent', 'Pneumothorax': 'present'}
    """
    tables = tables or shipped()
    known = tables.of(report) if language is None else tables.find(language)
    parts = sections(report, known.headings if known else ())
    found = [_sentence(text, name, known) for name, part in parts for text in sentences(part)]
    joined: dict[str, str] = {}
    for name, text in parts:
        joined[name] = f"{joined[name]}\n{text}" if name in joined else text
    return Parsed(joined, tuple(found), _together(found), known.code if known else UNKNOWN)


def _sentence(text: str, section: str, language: Language | None) -> Sentence:
    if language is None or section in _UNREAD:
        return Sentence(text, section, (), False, section in _UNREAD or not text.strip("xX_. "))
    said = read(text, language)
    other = _ELSEWHERE.get(section)
    found = said.findings
    if other is not None:
        kept = ("historical", "hypothetical", "other_person")
        found = tuple(dict.fromkeys(one if one.assertion in kept else one._replace(assertion=other) for one in found))
        found = tuple(one for one in found if one.name != NORMAL)
    return Sentence(text, section, found, said.needs_prior, said.boilerplate)


def _together(found: Iterable[Sentence]) -> dict[str, Status]:
    """Of all sentences that say what is seen: present beats uncertain, and uncertain absent."""
    said: dict[str, set[str]] = {}
    for sentence in found:
        for one in sentence.findings if sentence.section in SEEN else ():
            said.setdefault(one.name, set()).add(one.assertion)
    findings: dict[str, Status] = {
        name: next(status for status in _RANK if status in some)
        for name, some in said.items()
        if not some.isdisjoint(_RANK)
    }
    normal = findings.pop(NORMAL, None)
    others = [name for name, status in findings.items() if status != "absent" and name != DEVICES]
    return {NORMAL: "present", **findings} if normal == "present" and not others else findings

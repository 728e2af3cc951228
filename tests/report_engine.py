"""A stand-in for the text engine: a finding is a word, `no` before it denies it; every other language is unknown."""

import re
from typing import NamedTuple


class Finding(NamedTuple):
    name: str
    code: str | None
    assertion: str
    laterality: str | None


class Sentence(NamedTuple):
    text: str
    section: str
    findings: tuple
    needs_prior: bool
    boilerplate: bool


class Parsed(NamedTuple):
    sections: dict
    sentences: tuple
    findings: dict
    language: str


WORDS = {"effusion": ("Pleural Effusion", "60046008"), "edema": ("Edema", None)}


def parse(report, language="en"):
    assert report, "a report without a word is not parsed"
    sections = dict(re.findall(r"^([A-Z]+): (.*)$", report, re.MULTILINE)) or {"preamble": report}
    sections = {name.lower(): text for name, text in sections.items()}
    sentences = []
    for name, text in sections.items():
        for sentence in re.findall(r"[^.]+\.?", text):
            found = tuple(
                Finding(*of, "absent" if re.search(rf"\bno\b.*{word}", sentence, re.I) else "present", None)
                for word, of in WORDS.items()
                if word in sentence.lower() and language == "en"
            )
            sentences.append(Sentence(sentence.strip(), name, found, False, False))
    findings = {one.name: one.assertion for sentence in sentences for one in sentence.findings}
    return Parsed(sections, tuple(sentences), findings, "en" if language == "en" else "unknown")

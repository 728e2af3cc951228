"""What was written of a picture, as the columns of its row: the text to train on, and what a report says."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmssl.data import contradictions, english, reports
from mmssl.data.dicom_pictures import XRAY
from mmssl.prepare.entries import Entry
from mmssl.prepare.settings import Cleaning, Text

CHEST = ("CHEST", "THORAX", "LUNG", "HEART", "RIB")
"""What names of the parts of the body have in them that are of the chest."""

FLAGS: dict[str, str] = {
    **contradictions.FLAGS,
    "text_only_other_sections": "a report without findings and impression; what it has is in `report`",
}
"""What is wrong with a text, or not known of it."""


@dataclass(frozen=True)
class Reader:
    """How texts are read."""

    text: Text
    clean: Cleaning

    @functools.cached_property
    def languages(self) -> reports.Languages:
        """Read when there is a text to read."""
        return reports.load(findings=self.text.findings, folder=self.text.languages)

    @property
    def judges(self) -> bool:
        """Whether texts with a defect are emptied."""
        return self.clean.enabled and self.clean.text is not False


def reader(text: Text, clean: Cleaning) -> Reader:
    """How texts are read, with tables of the user's own checked.

    Raises:
        WrongUse: for mistakes in these.
    """
    found = Reader(text, clean)
    if text.findings or text.languages:
        _ = found.languages
    return found


def training_text(entry: Entry, columns: Mapping[str, Any], reader: Reader) -> tuple[str, str | None, tuple[str, ...]]:
    """How the text to train on was found, the text, and what is wrong with it; a text with a defect is emptied."""
    language = _language(entry, reader)
    headings = language.headings if language else ()
    if entry.text is not None:
        text, how = entry.text, "given"
    else:
        text, how = reports.training_text(
            entry.report or "", tuple(reader.text.sections), tuple(reader.text.otherwise), headings
        )
    if not reader.judges:
        return how, text or None, ()
    flags = contradictions.text_flags(text, columns, reader.clean.texts)
    if text and "text_placeholder" in entry.flags:
        flags = ("text_placeholder",)
    if flags == ("text_missing",):
        only_others = how == "no_section" and bool(reports.sections(entry.report or "", headings))
        return how, None, ("text_only_other_sections",) if only_others else flags
    return ("placeholder" if "text_placeholder" in flags else "defect", None, flags) if flags else (how, text, ())


def columns_of(entry: Entry, columns: Mapping[str, Any], flags: tuple[str, ...], reader: Reader) -> dict[str, Any]:
    """The columns of a row that are made of what was written, and its flags.

    Args:
        entry: the input.
        columns: what is known of the picture.
        flags: of the row, whatever else they say.
        reader: how texts are read.
    """
    how, text, wrong = training_text(entry, columns, reader)
    report = entry.report if entry.report is not None else entry.text
    language = _language(entry, reader)
    parsed = reports.parse(report, language.code if language else reports.UNKNOWN, reader.languages) if report else None
    others = tuple(flag for flag in flags if flag != "text_placeholder" or not reader.judges)
    sentences = reports.sentences(text) if text else None
    return {
        "text": text,
        "text_from": how,
        "report": report,
        "sections": _sections(entry.report, language.headings if language else ()),
        "sentences": sentences,
        "needs_prior": _need_prior(sentences, parsed),
        "findings": _findings(parsed) if parsed and _is_read(parsed, report or "", columns) else None,
        "language": columns.get("language") or (parsed.language if parsed else None),
        "flags": list(dict.fromkeys((*others, *wrong))),
    }


def _language(entry: Entry, reader: Reader) -> Any:
    """The language of what was written: as it is said, else as its words tell; None where neither is known here."""
    said = entry.columns.get("language")
    report = entry.report if entry.report is not None else entry.text
    if not report:
        return None
    return reader.languages.find(str(said)) if said else reader.languages.of(report)


def _sections(report: str | None, headings: reports.Headings) -> list[dict[str, str]] | None:
    found = [{"name": name, "text": text} for name, text in reports.sections(report, headings)] if report else []
    return found or None


def _need_prior(sentences: list[str] | None, parsed: reports.Parsed | None) -> list[bool] | None:
    """Of each sentence to train on, whether it speaks of a former picture."""
    if sentences is None or parsed is None:
        return None
    known = {sentence.text: sentence.needs_prior for sentence in parsed.sentences}
    return [known.get(sentence, False) for sentence in sentences]


def _is_read(parsed: reports.Parsed, report: str, columns: Mapping[str, Any]) -> bool:
    """Whether findings are read: the names and codes are those of the chest, and edema of a brain is another thing.

    Films of a part that is not named count as of the chest; slices, and other parts, where the report speaks of it.
    """
    if parsed.language == reports.UNKNOWN:
        return False
    part, modality = (str(columns.get(name) or "").upper() for name in ("body_part", "modality"))
    if parsed.language == "en" and english.CHEST.search(report):
        return True
    return any(word in part for word in CHEST) if part else modality in ("", "XR", *XRAY)


def _findings(parsed: reports.Parsed) -> list[dict[str, Any]]:
    """What a report says of findings: one for each that it mentions, with the side where all of its mentions agree."""
    found = []
    for name, status in parsed.findings.items():
        said = [
            one
            for sentence in parsed.sentences
            if sentence.section in reports.SEEN
            for one in sentence.findings
            if one.name == name and one.assertion == status
        ]
        sides = {one.laterality for one in said}
        code = next((one.code for one in said if one.code), None)
        side = next(iter(sides)) if len(sides) == 1 else "bilateral" if {"left", "right"} <= sides else None
        found.append({"name": name, "code": code, "assertion": status, "laterality": side})
    return found

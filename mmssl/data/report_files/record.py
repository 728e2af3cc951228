"""One report as a source gives it, and why an item of a source is none."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Status = Literal["preliminary", "final", "addendum", "amended", "unknown"]

REASONS: dict[str, str] = {
    "unreadable": "the file cannot be opened or read",
    "too_large": "larger than any report, or than any message with one",
    "bad_encoding": "not in the character set that it names, or that was said",
    "empty": "no words in it",
    "no_plain_text": "the report is attached in a form that is not text (PDF, picture), or lies elsewhere",
    "other_file": "a file of another kind than the source's",
    "bad_row": "a line that is no row of the table",
    "bad_xml": "not well-formed XML",
    "xml_entities": "XML that declares entities, which can be made to fill the memory or to read other files",
    "other_xml": "XML of another kind than Open-i's",
    "bad_hl7": "no HL7 v2 message: it does not begin with MSH, or its delimiters are missing",
    "other_message": "an HL7 message of another type than ORU^R01",
    "bad_json": "a line that is no JSON object: each resource has to be on a line of its own",
    "bundle": "a FHIR Bundle: write its entries as NDJSON, one resource a line",
    "other_resource": "a FHIR resource that is no DiagnosticReport",
    "not_issued": "ordered or registered, and not yet read",
    "cancelled": "the examination or its report was cancelled",
    "entered_in_error": "withdrawn as entered in error, or as of another patient",
}
"""Why an item of a source is no report."""


class Place(NamedTuple):
    """Where an item stands, for messages to those who have the source."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}, line {self.line}"


class Record(NamedTuple):
    """A report."""

    id: str
    text: str
    """Empty where a file or a row is there, and has no words."""
    place: Place
    keys: Mapping[str, str] = MappingProxyType({})
    """AccessionNumber, StudyInstanceUID, PatientID, as trimmed text; several of one are separated by `~`."""
    status: Status = "unknown"
    issued: datetime | None = None
    """When it was signed or last changed, in UTC where the source names a time zone."""
    study_date: date | None = None
    """The day of the examination, as the clock on the wall had it."""
    language: str | None = None
    issuer: str | None = None
    """Who gave out the PatientID."""
    columns: Mapping[str, Any] = MappingProxyType({})
    """What it says beside, as columns of a store (sex, age, site ...)."""


class Rejected(NamedTuple):
    """An item that is no report."""

    reason: str
    place: Place


class Options(NamedTuple):
    """How a source is read."""

    columns: Mapping[str, str] = MappingProxyType({})
    """What a column of a table means: {meaning: column}, meanings as in `table.MEANINGS`."""
    keys: Mapping[str, str] = MappingProxyType({})
    """Columns that hold keys, {name of the key: column}; those that a table lacks are passed over."""
    encoding: str | None = None
    """Of text that does not name its own; UTF-8 if left out."""
    separator: str | None = None
    """Between the cells of a table."""


DEFAULT = Options()

# ---- status --------------------------------------------------------------------------------------------------------

_STATUS: dict[str, Status | Literal["not_issued", "cancelled", "entered_in_error"]] = {
    **dict.fromkeys(
        ("f", "final", "final report", "finalized", "finalised", "signed", "verified", "approved", "complete",
         "completed", "authenticated", "authorised", "authorized"), "final"
    ),
    **dict.fromkeys(
        ("p", "r", "prelim", "preliminary", "preliminary report", "partial", "draft", "dictated", "transcribed",
         "unsigned", "unverified", "provisional"), "preliminary"
    ),
    **dict.fromkeys(("addendum", "addended", "appended"), "addendum"),
    **dict.fromkeys(("c", "corrected", "correction", "amended", "modified", "revised"), "amended"),
    **dict.fromkeys(("registered", "ordered", "scheduled", "pending", "in progress", "o", "i", "s"), "not_issued"),
    **dict.fromkeys(("x", "cancelled", "canceled", "deleted", "void", "voided"), "cancelled"),
    **dict.fromkeys(("w", "entered in error", "wrong", "withdrawn"), "entered_in_error"),
}  # fmt: skip
_ADDENDUM = re.compile(r"\W*addend(?:um|a)\b", re.IGNORECASE)


def status(said: Any, text: str) -> str:
    """What a source says of a report's state: a `Status`, or a reason not to use it.

    A bare A is left unknown: it stands for amended, appended and incomplete in different tables of HL7. A text that
    begins with the word addendum is one where the source does not say what it is.

    >>> status("F", ""), status("entered-in-error", ""), status(None, "ADDENDUM: left, not right."), status(7, "Clear.")
    ('final', 'entered_in_error', 'addendum', 'unknown')
    """
    found = _STATUS.get(" ".join(re.sub(r"[-_]", " ", str(said or "")).lower().split()))
    return found or ("addendum" if _ADDENDUM.match(text) else "unknown")


def is_addendum(text: str) -> bool:
    """Whether a text calls itself an addendum by its first word."""
    return _ADDENDUM.match(text) is not None


# ---- time ----------------------------------------------------------------------------------------------------------

_STAMP = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]?(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,6})\d*)?)?)?\s*(Z|[+-]\d\d:?\d\d)?"
)


def moment(value: Any) -> tuple[datetime | None, date | None]:
    """A time in UTC, and its day as written; from ISO 8601, HL7's digits (20240131093000+0100), or a date.

    A time without a zone is taken as it is.

    >>> moment("20240131003000+0100")
    (datetime.datetime(2024, 1, 30, 23, 30), datetime.date(2024, 1, 31))
    >>> moment("2024/01/31"), moment("2024"), moment("31.12.2024")
    ((datetime.datetime(2024, 1, 31, 0, 0), datetime.date(2024, 1, 31)), (None, None), (None, None))
    """
    if isinstance(value, datetime):
        return _in_utc(value), value.date()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day), value
    match = _STAMP.fullmatch(str(value or "").strip().replace("/", "-"))
    if not match:
        return None, None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    micro = int((match[7] or "").ljust(6, "0") or 0)
    try:
        local = datetime(year, month, day, hour, minute, second, micro, tzinfo=_zone(match[8]))
        return _in_utc(local), local.date()
    except (ValueError, OverflowError):
        return None, None


def _zone(text: str | None) -> timezone | None:
    if text is None or text == "Z":
        return UTC if text else None
    digits = text[1:].replace(":", "")
    return timezone((1 if text[0] == "+" else -1) * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


# ---- language ------------------------------------------------------------------------------------------------------

_LANGUAGES = {
    "en": ("eng", "english"), "de": ("deu", "ger", "german", "deutsch"), "fr": ("fra", "fre", "french"),
    "es": ("spa", "spanish"), "pt": ("por", "portuguese"), "it": ("ita", "italian"), "nl": ("nld", "dut", "dutch"),
}  # fmt: skip
_CODES = {name: code for code, names in _LANGUAGES.items() for name in names}


def language(said: Any) -> str | None:
    """A language as its two letters (ISO 639-1) where it is known by another name, else as it was said.

    >>> language("en-US"), language("ENG"), language("German"), language(""), language("xx")
    ('en', 'en', 'de', None, 'xx')
    """
    main = re.split(r"[-_^]", str(said or "").strip().lower())[0]
    return _CODES.get(main, main) or None

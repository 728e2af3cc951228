r"""Reports as HL7 v2 messages (ORU^R01), one or many a file, with or without MLLP's framing.

The parser is our own, of some sixty lines: the library `hl7` reads a whole file of text in memory, leaves the character
set of MSH-18 to its caller, and makes bytes of `\X..\` into one character each. The tests compare the two.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from mmssl.data.report_files.members import DAMAGED, MOST_BYTES, Member
from mmssl.data.report_files.record import Options, Place, Record, Rejected, is_addendum, moment
from mmssl.errors import Unreadable

ENDINGS = (".hl7", ".oru", ".msg")

_ENDS = re.compile(rb"[\r\n\x0b\x1c]+")
_STEP = 1 << 20

CHARACTER_SETS = {
    "": None, "ASCII": "ascii", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8", "UTF-8": "utf-8", "UTF8": "utf-8",
    **{f"8859/{n}": f"iso8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR14": "shift_jis", "ISO IR87": "iso2022_jp", "ISO IR159": "iso2022_jp_1", "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr", "CNS 11643-1992": "big5", "BIG-5": "big5",
}  # fmt: skip
"""HL7's names of character sets (table 0211) and Python's."""

TEXT_TYPES = ("TX", "FT", "ST", "CE", "CWE", "CNE")

SECTIONS = {
    "GDT": "FINDINGS", "IMP": "IMPRESSION", "REC": "RECOMMENDATION", "ADT": "ADDENDUM",
    "59776-5": "FINDINGS", "19005-8": "IMPRESSION", "18783-1": "RECOMMENDATION", "18834-2": "COMPARISON",
    "FINDINGS": "FINDINGS", "IMPRESSION": "IMPRESSION", "INDICATION": "INDICATION", "HISTORY": "HISTORY",
    "TECHNIQUE": "TECHNIQUE", "COMPARISON": "COMPARISON", "ADDENDUM": "ADDENDUM", "CONCLUSION": "IMPRESSION",
}  # fmt: skip
"""What OBX-3 calls a part of a report (the standard's suffixes, LOINC, plain words), as a heading."""

STUDY_UID = "113014"
"""DICOM's code for a study, under which IHE sends its UID in an OBX."""

_REPORT_STATUS = {
    "F": "final", "C": "amended", "P": "preliminary", "R": "preliminary", "A": "preliminary", "M": "preliminary",
    "X": "cancelled", "O": "not_issued", "I": "not_issued", "S": "not_issued",
}  # fmt: skip
"""OBR-25 (table 0123); A says that only some results are there, C that they were corrected."""

_PART_STATUS = {
    "C": "amended", "A": "amended", "B": "addendum", "F": "final", "V": "final", "U": "final",
    "P": "preliminary", "R": "preliminary", "S": "preliminary", "I": "preliminary",
}  # fmt: skip
"""OBX-11 (table 0085)."""

_WITHDRAWN = {"D": "cancelled", "X": "cancelled", "W": "entered_in_error"}
"""OBX-11 of text that no longer holds."""


class Delimiters(NamedTuple):
    field: str = "|"
    component: str = "^"
    repeat: str = "~"
    escape: str = "\\"
    part: str = "&"


def records(member: Member, options: Options) -> Iterator[Record | Rejected]:
    """The reports of a file: each OBR with its OBX of each message is one.

    A report is called as its file, `#2`, `#3` ... behind those that follow.
    """
    number = 0
    try:
        with member.open() as file:
            for line, raw in messages(file):
                place = Place(member.name, line)
                try:
                    found = list(_of_message(raw, options, place))
                except Unreadable as error:
                    found = [Rejected(error.reason, place)]
                for one in found:
                    if isinstance(one, Record):
                        number += 1
                        one = one._replace(id=member.stem if number == 1 else f"{member.stem}#{number}")
                    yield one
    except DAMAGED:
        yield Rejected("unreadable", Place(member.name))


# ---- messages and segments -----------------------------------------------------------------------------------------


def messages(file: IO[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """The messages of a file as (number of the first segment, segments); the envelope of a batch is left out.

    What stands before the first MSH is a message of its own, so that it is told and not passed over.
    """
    start, segments, size = 1, [], 0
    for number, segment in enumerate(_segments(file), 1):
        if segment[:3] in (b"FHS", b"BHS", b"BTS", b"FTS"):
            continue
        if segment[:3] == b"MSH" and segments:
            yield start, segments
            start, segments, size = number, [], 0
        size += len(segment)
        if size <= MOST_BYTES:
            segments.append(segment)
        else:
            segments = [*segments[:1], b""]  # told as too large
    if segments:
        yield start, segments


def _segments(file: IO[bytes]) -> Iterator[bytes]:
    """Lines, however they end, without the frames of MLLP; what is longer than any report is cut."""
    left = b""
    while block := file.read(_STEP):
        *whole, left = _ENDS.split(left + block)
        yield from (segment for segment in whole if segment.strip())
        left = left[: MOST_BYTES + 1]
    if left.strip():
        yield left


def _of_message(raw: list[bytes], options: Options, place: Place) -> Iterator[Record | Rejected]:
    if b"" in raw:
        raise Unreadable("too_large")
    marks, segments = _decoded(raw, options.encoding)
    header = segments[0]
    kind = header[8].split(marks.component) if len(header) > 8 else [""]
    if kind[0] != "ORU" or (kind[1:] or ["R01"])[0] not in ("R01", ""):
        raise Unreadable("other_message")
    patient, issuer = None, None
    common = _Group([])  # what stands before the first OBR holds for all
    groups: list[_Group] = []
    for segment in segments[1:]:
        match segment[0]:
            case "PID":
                patient, issuer = _patient(segment, marks)
            case "ORC":
                common = _Group([segment])  # comes before the OBR that it orders
            case "OBR":
                groups.append(_Group([*common.segments, segment]))
                common = _Group([])
            case _ if groups:
                groups[-1].segments.append(segment)
            case _:
                common.segments.append(segment)
    if not groups:
        raise Unreadable("empty")
    for group in groups:
        yield group.record(marks, place, patient, issuer)


def _decoded(raw: list[bytes], encoding: str | None) -> tuple[Delimiters, list[list[str]]]:
    """The delimiters of a message, and its segments as lists of fields, MSH-1 at place 0 beside the name."""
    first = raw[0].removeprefix(b"\xef\xbb\xbf")
    if first[:3] != b"MSH" or len(first) < 8:
        raise Unreadable("bad_hl7")
    head = first.decode("latin-1")
    marks = Delimiters(head[3], *head[4:8])
    if len({*marks}) < 4 or any(mark.isalnum() for mark in marks[:4]):
        raise Unreadable("bad_hl7")
    fields = head.split(marks.field)
    named = (fields[17] if len(fields) > 17 else "").split(marks.repeat)[0].strip().upper()
    if named not in CHARACTER_SETS:
        raise Unreadable("bad_encoding")
    try:
        text = b"\r".join([first, *raw[1:]]).decode(CHARACTER_SETS[named] or encoding or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise Unreadable("bad_encoding") from None
    return marks, [segment.strip().split(marks.field) for segment in text.split("\r")]


def _patient(segment: list[str], marks: Delimiters) -> tuple[str | None, str | None]:
    """PID-3: of several identifiers the medical record number, else the first; with who gave it out."""
    told = [one.split(marks.component) for one in _at(segment, 3).split(marks.repeat)]
    told.sort(key=lambda one: (one[4] if len(one) > 4 else "") not in ("MR", "PI"))
    first = told[0]
    authority = first[3].split(marks.part)[0] if len(first) > 3 else ""
    return unescaped(first[0], marks).strip() or None, unescaped(authority, marks).strip() or None


def _at(segment: list[str], number: int) -> str:
    """A field by HL7's number."""
    return segment[number] if len(segment) > number else ""


# ---- one report ----------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """An OBR with what belongs to it."""

    segments: list[list[str]] = field(default_factory=list)

    def all(self, name: str) -> list[list[str]]:
        return [segment for segment in self.segments if segment[0] == name]

    def record(self, marks: Delimiters, place: Place, patient: str | None, issuer: str | None) -> Record | Rejected:
        order = self.all("OBR")[0]
        lines, states = self._text(marks)
        text = "\n".join(lines).strip()
        state = _status(_at(order, 25), states, text)
        if state in ("cancelled", "entered_in_error", "not_issued"):
            return Rejected(state, place)
        if not text:
            return Rejected("empty", place)
        keys = {"AccessionNumber": self._accession(marks), "StudyInstanceUID": self._study(marks), "PatientID": patient}
        return Record(
            "", text, place, keys={name: key for name, key in keys.items() if key}, status=state,  # type: ignore[arg-type]
            issued=moment(_first(_at(order, 22), marks))[0], study_date=moment(_first(_at(order, 7), marks))[1],
            issuer=issuer,
        )  # fmt: skip

    def _text(self, marks: Delimiters) -> tuple[list[str], list[str]]:
        """The lines of a report, and OBX-11 of all its parts."""
        lines: list[str] = []
        states: list[str] = []
        former = None
        for segment in self.all("OBX"):
            state = _at(segment, 11).strip()
            if _at(segment, 2) not in TEXT_TYPES or STUDY_UID in _at(segment, 3).split(marks.component):
                continue
            states.append(state)
            if state in _WITHDRAWN:
                continue
            words = [line for one in _at(segment, 5).split(marks.repeat) for line in _lines(segment, one, marks)]
            heading = _heading(_at(segment, 3), marks)
            if heading and heading != former and not " ".join(words).strip().upper().startswith(heading):
                lines.append(f"{heading}:")
            former = heading
            lines += words
        return lines, states

    def _accession(self, marks: Delimiters) -> str | None:
        """IPC-1, else OBR-18, else the filler's order number; each of them is what some departments use."""
        told = [(segment, 1) for segment in self.all("IPC")]
        told += [(segment, number) for number in (18, 3) for segment in self.all("OBR")]
        told += [(segment, 3) for segment in self.all("ORC")]
        return next((key for segment, number in told if (key := _first(_at(segment, number), marks))), None)

    def _study(self, marks: Delimiters) -> str | None:
        """The StudyInstanceUID, as ZDS-1, or as an observation with DICOM's code for it."""
        told = [_at(segment, 1) for segment in self.all("ZDS")] + [_at(segment, 3) for segment in self.all("IPC")]
        told += [_at(segment, 5) for segment in self.all("OBX") if STUDY_UID in _at(segment, 3).split(marks.component)]
        return next((key for one in told if (key := _first(one, marks))), None)


def _lines(segment: list[str], value: str, marks: Delimiters) -> list[str]:
    """One repetition of OBX-5 as lines; of something coded its words."""
    if _at(segment, 2) in ("CE", "CWE", "CNE"):
        parts = value.split(marks.component)
        value = next((part for part in (*parts[1:2], *parts[8:9], *parts[:1]) if part), "")
    return unescaped(value, marks).split("\n") if value != '""' else []


def _heading(identifier: str, marks: Delimiters) -> str | None:
    """The section that OBX-3 names, by its suffix (71020&IMP), its code or its words."""
    parts = identifier.split(marks.component)
    told = [parts[0].rpartition(marks.part)[2] if marks.part in parts[0] else parts[0], *parts[1:2]]
    return next((SECTIONS[one.strip().upper()] for one in told if one.strip().upper() in SECTIONS), None)


def _first(value: str, marks: Delimiters) -> str | None:
    """The first component of the first repetition."""
    return unescaped(value.split(marks.repeat)[0].split(marks.component)[0], marks).strip() or None


def _status(of_report: str, of_parts: list[str], text: str) -> str:
    """By OBR-25, else by OBX-11; an addendum that says so itself is one whatever its letter."""
    if of_parts and all(state in _WITHDRAWN for state in of_parts):
        return _WITHDRAWN[of_parts[0]]
    told = _REPORT_STATUS.get(of_report.strip())
    parts = [_PART_STATUS[state] for state in of_parts if state in _PART_STATUS]
    if told is None:
        told = next((one for one in ("amended", "addendum", "preliminary", "final") if one in parts), "unknown")
    if told in ("not_issued", "cancelled"):
        return told
    if told == "final":
        told = next((one for one in ("amended", "addendum") if one in parts), told)
    return "addendum" if is_addendum(text) else told


# ---- escapes -------------------------------------------------------------------------------------------------------

_ESCAPED = r"([FSTREHNPL]|X(?:[0-9A-Fa-f]{2})+|[CM][0-9A-Fa-f]{4,6}|Z[^\W_]{0,20}|\.[A-Za-z]{2}\s*[+-]?\d*)"


def unescaped(text: str, marks: Delimiters) -> str:
    r"""Text without HL7's escapes: delimiters, line breaks, bytes. Highlighting and other character sets are left out.

    What only looks like an escape stays as it is.

    >>> unescaped(r"R\T\D 5\S\ \H\clear\N\.\.br\Next\X0D0A\\E\end, T1\T2 and T2\FLAIR", Delimiters())
    'R&D 5^ clear.\nNext\n\\end, T1\\T2 and T2\\FLAIR'
    """
    if marks.escape not in text:
        return text
    mark = re.escape(marks.escape)
    return re.sub(f"{mark}{_ESCAPED}{mark}", lambda match: _meaning(match[1], marks), text)


def _meaning(escape: str, marks: Delimiters) -> str:
    signs = {"F": marks.field, "S": marks.component, "T": marks.part, "R": marks.repeat, "E": marks.escape}
    if escape[0] == "X":
        content = bytes.fromhex(escape[1:])
        try:
            return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            return content.decode("latin-1")
    match escape[:3].lower():
        case ".br" | ".sp" | ".ce":
            return "\n"
        case ".sk" | ".in" | ".ti":
            return " "
    return signs.get(escape, "")

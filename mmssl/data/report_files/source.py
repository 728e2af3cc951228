"""Any source of reports: which kind it is, and its reports one after the other."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from mmssl import files
from mmssl.data import folders, tables
from mmssl.data.report_files import fhir, hl7, openi, plain, table
from mmssl.data.report_files.members import Member, is_archive, members
from mmssl.data.report_files.record import DEFAULT, Options, Place, Record, Rejected
from mmssl.errors import CannotDo, WrongUse

Kind = Literal["table", "text", "openi", "hl7", "fhir"]

FORMATS = {"text": plain, "openi": openi, "hl7": hl7, "fhir": fhir}
"""Those that are read file by file; a table is read by its path."""

_KINDS = (
    "a table (.csv, .tsv, .jsonl, .parquet), a folder or an archive (.tgz, .zip) of .txt, of Open-i's .xml or of HL7 "
    "messages (.hl7), or FHIR DiagnosticReports (.ndjson); a table in a folder is given by its own path"
)


class Source(NamedTuple):
    """A source and its kind."""

    path: Path
    kind: Kind
    options: Options = DEFAULT
    said: str = "columns."
    """What a user writes before a meaning to name the column of a table, for messages."""

    def records(self) -> Iterator[Record | Rejected]:
        """Its reports, and why others of its items are none, in a fixed order; anew at each call."""
        if self.kind == "table":
            found = table.records(self.path, self.options, said=self.said)
        else:
            found = _of_files(self.path, self.kind, self.options)
        for one in found:
            yield _writable(one) if isinstance(one, Record) else one

    def columns(self) -> list[str]:
        """Those of a table, none of another kind."""
        if self.kind != "table":
            return []
        encoding = self.options.encoding or "utf-8"
        return tables.scan(self.path, encoding=encoding, separator=self.options.separator).columns

    def fingerprint(self) -> str:
        """Tells a source from another, or from itself in another state; of a folder by the ends of its files."""
        if not self.path.is_dir():
            return files.hash_file(self.path)
        told = hashlib.sha256()
        for file in folders.walk(self.path, hidden=False):
            start, end, size = folders.ends(file)
            told.update(f"{folders.below(self.path, file)}\0{size}\0".encode() + start + end)
        return told.hexdigest()


def open_source(path: Path, *, kind: str | None = None, options: Options = DEFAULT, said: str = "columns.") -> Source:
    """A source of reports.

    Args:
        path: a file, a folder or an archive.
        kind: one of `Kind`; recognised if left out.
        options: how it is read.
        said: as for `Source`.

    Raises:
        CannotDo: where it is not there, or an archive is damaged.
        WrongUse: where it is of no kind, or could be of several; where columns that are named are not there.
    """
    if not path.exists():
        raise CannotDo(f"{path} cannot be read: there is no such file or folder")
    if kind is not None and kind not in get_args(Kind):
        raise WrongUse(f"a source of reports is one of {', '.join(get_args(Kind))}, not {kind!r}")
    found: Kind = kind or _kind_of(path, "--layout KIND" if said == "columns." else f"{said}layout=KIND")  # type: ignore[assignment]
    if found == "table" and not path.is_file():
        raise WrongUse(f"{path} is a folder; a table is one file")
    if options.columns and found != "table":
        raise WrongUse(
            f"{path} is read as {found}, which has no columns: leave out {said}{next(iter(options.columns))}=..."
        )
    if found == "table":  # what is wrong with its columns is said before anything is made of it
        there = Source(path, found, options).columns()
        table.parts(path, there, table.mapping(path, there, options.columns, said), said)
    return Source(path, found, options, said)


def _kind_of(path: Path, remedy: str) -> Kind:
    ending = path.suffix.lower()
    if path.is_file() and not is_archive(path):
        if ending == ".jsonl":
            return "fhir" if b'"resourceType"' in next(members(path)).start() else "table"
        if ending in tables.SUFFIXES:
            return "table"
        if ending == ".json":
            return "fhir"
    counts: Counter[Kind] = Counter()
    for member in members(path):
        if found := _kind_of_file(member):
            counts[found] += 1
    if len(counts) == 1:
        return next(iter(counts))
    if counts:
        told = ", ".join(f"{number} of {kind}" for kind, number in sorted(counts.items()))
        raise WrongUse(f"{path} has files of several kinds ({told}): say which with {remedy}")
    if other := files.swapped(path, needed="a source of reports"):
        raise WrongUse(other)
    raise WrongUse(f"{path} is no source of reports; a source is {_KINDS}")


def _kind_of_file(member: Member) -> Kind | None:
    """By a file's ending; text that begins as HL7 does is HL7."""
    kinds: dict[str, Kind] = {ending: kind for kind, part in FORMATS.items() for ending in part.ENDINGS}  # type: ignore[misc]
    found = kinds.get(member.ending)
    if member.ending == ".jsonl" and b'"resourceType"' not in member.start():
        return None  # a table, which is given by itself
    return "hl7" if found == "text" and _is_hl7(member.start()) else found


def _is_hl7(start: bytes) -> bool:
    return start.lstrip(b"\x0b\r\n\xef\xbb\xbf")[:3] in (b"MSH", b"FHS", b"BHS")


def _of_files(path: Path, kind: Kind, options: Options) -> Iterator[Record | Rejected]:
    part = FORMATS[kind]
    taken: set[str] = set()
    for member in members(path):
        named = member.path == path or member.ending in part.ENDINGS or (kind, member.ending) == ("hl7", ".txt")
        if not named and _kind_of_file(member) != kind:
            yield Rejected("other_file", Place(member.name))
            continue
        for one in part.records(member, options):
            if isinstance(one, Record) and one.id in taken:  # the same name in two folders
                one = one._replace(id=_unlike(one.id, member, taken))
            if isinstance(one, Record):
                taken.add(one.id)
            yield one


def _unlike(name: str, member: Member, taken: set[str]) -> str:
    """A name that is none of those taken: with the folders that the file lies in, else with a number."""
    folder, _, _ = member.name.rpartition("/")
    longer = f"{folder}/{name}" if folder else name
    number = 2
    found = longer
    while found in taken:
        found, number = f"{longer}#{number}", number + 1
    return found


def _writable(record: Record) -> Record:
    """With U+FFFD for halves of characters, which no file takes."""
    try:
        record.text.encode()
    except UnicodeEncodeError:
        return record._replace(text=record.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return record

"""Tables as people hand them over (.csv, .tsv, .jsonl, .parquet), and their rows as studies.

Cells of text files stay text: a key is never parsed as a number, so leading zeros stay.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from mmssl.data import embedded, reports, splits
from mmssl.data.store import SCHEMA
from mmssl.errors import CannotDo, WrongUse, meant
from mmssl.types import Picture, Study

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

PER_IMAGE = (
    "text", "report", "language", "study_datetime", "prior_study_id", "modality", "body_part", "view", "laterality",
    "sex", "age", "ethnicity", "site", "scanner", "split",
)  # fmt: skip
"""Columns of a store that a table may fill for a row."""

MEANINGS = ("image", "id", "patient_id", "study_id", *PER_IMAGE)
"""What a column of a table can be: these names are understood, and `columns.MEANING=NAME` maps others to them."""

KEYS = {
    "AccessionNumber": ("accessionnumber", "accession"),
    "StudyInstanceUID": ("studyinstanceuid", "studyuid", "studyid"),
    "PatientID": ("patientid", "subjectid", "participantid"),
}
"""What reports and labels are joined by, and how columns with it are called (case, `_` and spaces apart)."""

_NOTHING = frozenset(("", "nan", "<na>", "null", "n/a"))
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_AGE = re.compile(r"0*(\d+(?:\.\d+)?)\s*([ymwd])?(?:ears?|r|rs|onths?|eeks?|ays?)?(?:\s*old)?", re.IGNORECASE)
_SEX = {"m": "M", "male": "M", "man": "M", "boy": "M", "f": "F", "female": "F", "woman": "F", "girl": "F"}
_UNKNOWN = frozenset(("none", "unknown", "not known", "u", "?", "-"))
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
_ID = re.compile(r"(id|uid|key|number|code|mrn)$", re.IGNORECASE)
csv.field_size_limit(1 << 28)


@dataclass(frozen=True)
class Table:
    """Rows of a table as {column: value}; lines that are no rows are in `bad` as (line number, reason code)."""

    path: Path
    columns: list[str]
    rows: list[dict[str, Any]]
    lines: list[int]
    """The line (from 1, with the header) at which each row begins; for Parquet the number of the row."""
    bad: list[tuple[int, str]] = field(default_factory=list)


def read(path: Path, *, encoding: str = "utf-8", separator: str | None = None) -> Table:
    """A table whole, without the bytes of images in a Parquet file.

    Args:
        path: of the file; its ending says what it is.
        encoding: of a text file; one that begins with a mark of UTF-16 is read as such.
        separator: between the cells of a .csv or .tsv; a comma or a tab if left out.

    Raises:
        CannotDo: where the file cannot be read, or is not in the encoding.
        WrongUse: where it is no table, a column occurs twice, or cells are separated otherwise.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WrongUse(f"{path} is no table; a table ends in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return _read_parquet(path)
    text = _decode(path, encoding)
    if suffix == ".jsonl":
        return _read_jsonl(path, text)
    return _read_csv(path, text, separator or ("\t" if suffix == ".tsv" else ","))


def cell(value: Any) -> Any:
    """A cell without what stands for nothing: empty text, NaN, null, N/A are None; text is trimmed.

    >>> cell(" 007 "), cell("NaN"), cell(float("nan")), cell(0)
    ('007', None, None, 0)
    """
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in _NOTHING else text
    return None if isinstance(value, float) and math.isnan(value) else value


def key(value: Any) -> str | None:
    """A cell as a key: trimmed text, None where there is nothing.

    >>> key(" 0042 "), key(42), key("")
    ('0042', '42', None)
    """
    value = cell(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def stamp(path: Path | None) -> tuple[str, int, int]:
    """A file's name, size and time in nanoseconds: changes when the file does; zeros where there is none."""
    if path is None or not path.is_file():
        return str(path), 0, 0
    told = path.stat()
    return path.name, told.st_size, told.st_mtime_ns


def key_columns(columns: Iterable[str]) -> dict[str, str]:
    """The columns of a table that hold a key to join by, as {key: column}.

    >>> key_columns(["accession_number", "report"])
    {'AccessionNumber': 'accession_number'}
    """
    plain = {re.sub(r"[\s_-]", "", column).lower(): column for column in reversed(list(columns))}
    found = {}
    for name, spellings in KEYS.items():
        for spelling in spellings:
            if spelling in plain:
                found.setdefault(name, plain[spelling])
    return found


def is_key(column: str) -> bool:
    """Whether a column is called like a key to join by.

    >>> is_key("Accession Number"), is_key("patient_id"), is_key("patient")
    (True, True, False)
    """
    return bool(key_columns([column]))


def typed(values: Sequence[Any], *, lists: bool = False, numbers: bool = True) -> list[Any]:
    """A column's values in one type: numbers where all are, lists where any is, else text; None is not known.

    Args:
        values: cells; None stays None, and empty text is None too.
        lists: they are labels. Text with a `|` in it is a list, and then the whole column is; where any is text
            and no number, an empty cell says "none of the names" (an empty list, else empty text), not "not known".
        numbers: text may be read as numbers where all of it is (never with leading zeros).

    >>> typed(["1", "0", None]), typed(["01", "2"]), typed(["a|b", "c"], lists=True), typed(["a", ""], lists=True)
    ([1, 0, None], ['01', '2'], [['a', 'b'], ['c']], ['a', ''])
    """
    cells = [cell(value) for value in values]
    given = [value for value in cells if value is not None]
    if any(isinstance(value, list) for value in given) or (
        lists and any(isinstance(value, str) and "|" in value for value in given)
    ):
        return [_as_list(value, raw) for value, raw in zip(cells, values, strict=True)]
    if given and all(isinstance(value, bool | int | float) for value in given):
        return [_as_number(value) for value in cells]
    if numbers and given and all(isinstance(value, str) and _NUMBER.fullmatch(value) for value in given):
        return [None if value is None else _number(value) for value in cells]
    if all(isinstance(value, datetime) for value in given):
        return cells
    none = "" if lists and any(isinstance(value, str) for value in given) else None
    return [
        (none if is_empty(raw) else None) if value is None else _as_text(value)
        for value, raw in zip(cells, values, strict=True)
    ]


def is_empty(value: Any) -> bool:
    """Whether a cell is there and holds nothing; NaN, null and N/A say that a value is not known."""
    return isinstance(value, str) and not value.strip()


def _as_list(value: Any, raw: Any) -> list[str] | None:
    if value is None:
        return [] if is_empty(raw) else None
    parts = value if isinstance(value, list) else str(value).split("|")
    return [text for part in parts if (text := str(part).strip())]


def _as_number(value: Any) -> int | float | None:
    return int(value) if isinstance(value, bool) else value


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else float(text)


def _as_text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


# ---- cells of our own columns --------------------------------------------------------------------------------------


def own(name: str, value: Any) -> Any:
    """A cell as a column of the store wants it; None where it says nothing that can be read.

    >>> own("age", "060Y"), own("sex", "female"), own("split", "dev"), own("study_datetime", "2024-03-01")
    (60.0, 'F', 'validation', datetime.datetime(2024, 3, 1, 0, 0))
    """
    value = cell(value)
    if value is None or (name not in ("text", "report") and str(value).lower() in _UNKNOWN):
        return None
    reader: Callable[[Any], Any] = _READERS.get(name, _as_text)
    return reader(value)


def _age(value: Any) -> float | None:
    """Years from a number, or from text with a unit (060Y, 8 months)."""
    match = _AGE.fullmatch(str(value))
    if not match:
        return None
    per_year = {"y": 1, "m": 12, "w": 52.18, "d": 365.25}
    years = float(match[1]) / per_year[(match[2] or "y").lower()]
    return years if years < 150 else None


def _datetime(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None, microsecond=0)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    try:
        return datetime.fromisoformat(str(value).replace("/", "-")).replace(tzinfo=None, microsecond=0)
    except ValueError:
        return None


def _sex(value: Any) -> str:
    return _SEX.get(str(value).lower(), str(value))


def _split(value: Any) -> str:
    """One of our names for a split; an unknown one stays as it is, for the message."""
    return splits.NAMES.get(str(value).lower(), str(value))


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "age": _age,
    "sex": _sex,
    "split": _split,
    "study_datetime": _datetime,
}


# ---- rows as studies -----------------------------------------------------------------------------------------------


def mapping(
    columns: Sequence[str], given: Mapping[str, str], *, image: str = "image", name: str = "the table"
) -> dict[str, str]:
    """Which column has which meaning, {meaning: column}; `given` first, else the columns that are called so.

    Patients and studies are known by the keys of others too: PatientID, Subject ID, StudyInstanceUID, AccessionNumber.

    Raises:
        WrongUse: for meanings and columns that there are not, and for a table without images, all at once.
    """
    problems = [
        f"columns.{meaning}={column}: {meaning} is nothing that a column can be{meant(meaning, list(MEANINGS))}; "
        f"known are {', '.join(MEANINGS)}"
        for meaning, column in given.items()
        if meaning not in MEANINGS
    ]
    problems += [
        f"columns.{meaning}={column}: {name} has no column {column!r}{meant(column, list(columns))}; "
        f"there are {', '.join(columns)}"
        for meaning, column in given.items()
        if column not in columns
    ]
    taken = set(given.values())
    found = {meaning: meaning for meaning in MEANINGS if meaning in columns and meaning not in taken} | dict(given)
    if image != "image" and image in columns and "image" not in given:
        found["image"] = image
    spelt = key_columns(column for column in columns if column not in found.values())
    for meaning, names in (("patient_id", ("PatientID",)), ("study_id", ("StudyInstanceUID", "AccessionNumber"))):
        if named := [spelt[one] for one in names if one in spelt]:
            found.setdefault(meaning, named[0])
    if "image" not in found:
        problems.append(
            f"{name} has no column {image!r}, which names the picture of each row{meant(image, list(columns))}; "
            f"there are {', '.join(columns) or 'none'}; say which one it is: columns.image=NAME"
        )
    if problems:
        raise WrongUse("\n".join(problems))
    return found


def extra_columns(table: Table, used: Iterable[str]) -> dict[str, list[Any]]:
    """A table's other columns as the store takes them, {name in the store: values}.

    They keep their names; one that meets a column of ours, which has its own meaning, enters as source_NAME.
    """
    found: dict[str, list[Any]] = {}
    for column in table.columns:
        if column in used or not column or not any(column in row for row in table.rows):
            continue  # a column of files that are not the image
        name = f"source_{column}" if column in RESERVED else column
        values = [row.get(column) for row in table.rows]
        found[name] = typed(values, lists=column.startswith("label_"), numbers=not _ID.search(column))
    return found


RESERVED = frozenset((*SCHEMA.names, "row", "score"))
"""Names that mean something of ours in a store or an answer."""


def studies(
    table: Table,
    columns: Mapping[str, str],
    picture: Callable[[int, Any], tuple[Path | None, str | None]],
    *,
    split: str | None = None,
    prefix: str = "",
) -> list[Study]:
    """The rows of a table as studies, in the order in which these first occur.

    A row's name is its `id`, else what its image cell says, so that neither growth nor reordering changes it. Rows
    without a study that name one file are one study, as several captions of a picture are. Where
    a table has a `text` but no `report`, the text is taken as the report: by its headings, where it has findings or an
    impression, else whole. A row
    whose `id` was there before is flagged `duplicate_id`, for cleaning to judge.

    Args:
        table: as read.
        columns: {meaning: column}, from `mapping`.
        picture: (number of the row, image cell) -> (file, or None; reason code, or None).
        split: for all rows that name none.
        prefix: of the rows' names.
    """
    extra = extra_columns(table, set(columns.values()))
    names: dict[str, int] = {}
    found: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(table.rows):
        told = {meaning: row.get(column) for meaning, column in columns.items()}
        path, reason = picture(number, told["image"])
        name, doubled = _name_row(told, names, f"{prefix}row {table.lines[number]}", prefix)
        values = {meaning: own(meaning, told[meaning]) for meaning in PER_IMAGE if meaning in told}
        if "text" in columns and "report" not in columns:
            values["report"] = values.pop("text")
            values["text"] = reports.caption(values["report"] or "")
        values["split"] = values.get("split") or split
        flags = [*((told["flags"] if "flags" in columns else None) or ()), *(["duplicate_id"] if doubled else ())]
        values["flags"] = flags or None
        values |= {extra_name: column[number] for extra_name, column in extra.items()}
        patient, study = key(told.get("patient_id")), key(told.get("study_id"))
        if not study and isinstance(told["image"], str) and path and not embedded.is_row(path):
            study = prefix + told["image"].strip()
        place = (values.get("site"), patient, study) if study else name
        one = found.setdefault(
            place,
            {
                "patient": patient,
                "study": study or name,
                "site": values.get("site"),
                "keys": {},
                "pictures": [],
            },
        )
        one["keys"] = _keys(row, columns) | one["keys"]
        kept = {key: value for key, value in values.items() if value is not None}
        one["pictures"].append(Picture(name, path, columns=kept, reason=reason))
    bad = [Picture(f"{prefix}row {line}", None, reason=reason) for line, reason in table.bad]
    return [
        *(
            Study(
                study_id=one["study"],
                patient_id=one["patient"],
                pictures=tuple(one["pictures"]),
                columns={"site": one["site"]} if one["site"] else {},
                keys=one["keys"],
            )
            for one in found.values()
        ),
        *(Study(study_id=picture.source_id, patient_id=None, pictures=(picture,)) for picture in bad),
    ]


def _keys(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, str]:
    """What reports and labels find a row by: its key columns, and its study and patient, by their own names too."""
    found = {name: value for name, column in key_columns(row).items() if (value := key(row[column]))}
    for name, meaning in (("StudyInstanceUID", "study_id"), ("PatientID", "patient_id")):
        if meaning in columns and (value := key(row.get(columns[meaning]))):
            found.setdefault(name, value)
            if not is_key(columns[meaning]):
                found[columns[meaning]] = value
    return found


def _name_row(told: Mapping[str, Any], names: dict[str, int], fallback: str, prefix: str) -> tuple[str, bool]:
    """The name of a row, made unique, and whether its `id` was there before."""
    given = key(told.get("id"))
    image = told["image"]
    name = given or (prefix + image.strip() if isinstance(image, str) and image.strip() else fallback)
    names[name] = names.get(name, 0) + 1
    if names[name] == 1:
        return name, False
    while (unique := f"{name}#{names[name]}") in names:  # a row that is called so itself
        names[name] += 1
    names[unique] = 1
    return unique, bool(given)


# ---- reading -------------------------------------------------------------------------------------------------------


def _decode(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotDo(f"{path} cannot be read: {error.strerror or error}") from None
    if encoding.lower().replace("-", "") == "utf8":
        encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CannotDo(
            f"{path} is not {encoding.removesuffix('-sig')}: line {line} has the byte 0x{content[error.start]:02x}; "
            "save it as UTF-8, or name its encoding, say encoding=latin-1"
        ) from None
    except LookupError:
        raise WrongUse(f"encoding={encoding}: no such encoding; say utf-8, latin-1 or cp1252") from None


def _read_csv(path: Path, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, header)
    others = [mark for mark in _SEPARATORS if len(header) == 1 and mark in header[0]]
    if others:
        say = "call it .tsv" if others[0] == "\t" else f"say separator='{others[0]}', in quotes"
        raise WrongUse(
            f"{path} looks as if {others[0]!r} separates its columns, not {delimiter!r}: its first line is "
            f"{header[0]!r}; {say}, or save it with {delimiter!r}"
        )
    table = Table(path, header, [], [])
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return table
        except csv.Error:
            table.bad.append((line, "bad_row"))
            continue
        if len(cells) == len(header):
            table.rows.append(dict(zip(header, cells, strict=True)))
            table.lines.append(line)
        elif any(cell.strip() for cell in cells):
            table.bad.append((line, "bad_row"))


def _read_jsonl(path: Path, text: str) -> Table:
    table = Table(path, [], [], [])
    columns: dict[str, None] = {}
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError:
            row = None
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            table.rows.append(row)
            table.lines.append(line)
        else:
            table.bad.append((line, "bad_row"))
    table.columns.extend(columns)
    return table


def _read_parquet(path: Path) -> Table:
    try:
        columns = embedded.schema(path).names
        rows = embedded.rows(path, [name for name in columns if not embedded.holds_files(path, name)])
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise CannotDo(f"{path} cannot be read as Parquet: {error}") from None
    return Table(path, columns, rows, list(range(1, len(rows) + 1)))


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise WrongUse(f"{path} is empty: the first line of a table names its columns")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise WrongUse(f"{path} has columns of the same name: {', '.join(twice)}")

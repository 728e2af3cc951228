"""Tables as people hand them over (.csv, .tsv, .jsonl, .parquet), and what their cells say.

Cells of text files stay text: a key is never parsed as a number, so leading zeros stay.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from mmssl.data import embedded, folders
from mmssl.errors import CannotDo, WrongUse

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

KEYS = {
    "AccessionNumber": ("accessionnumber", "accession"),
    "StudyInstanceUID": ("studyinstanceuid", "studyuid", "studyid"),
    "PatientID": ("patientid", "subjectid", "participantid", "mrn", "medicalrecordnumber", "patientnumber"),
}
"""What reports and labels are joined by, and how columns with it are called (case, `_` and spaces apart)."""

_NOTHING = frozenset(("", "nan", "<na>", "null", "n/a"))
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_LONG = re.compile(r"-?\d{19,}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATORS = (",", ";", "\t", "|")
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


class Scan(NamedTuple):
    """A table of any size, of which a row at a time is in memory."""

    columns: list[str]
    rows: Callable[[], Iterator[tuple[int, dict[str, Any] | None]]]
    """Goes through (line, row), anew at each call; None for a line that is no row."""


def scan(path: Path, *, encoding: str = "utf-8", separator: str | None = None) -> Scan:
    """As `read`, row by row; what is wrong inside a file is raised where it is come to."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WrongUse(f"{path} is no table; a table ends in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return _scan_parquet(path)
    if suffix == ".jsonl":
        return _scan_jsonl(path, encoding)
    delimiter = separator or ("\t" if suffix == ".tsv" else ",")
    with _opened(path, encoding) as file:
        header = _header(path, csv.reader(file, delimiter=delimiter), delimiter)

    def rows() -> Iterator[tuple[int, dict[str, Any] | None]]:
        with _opened(path, encoding) as file:
            reader = csv.reader(file, delimiter=delimiter)
            next(reader)
            yield from _csv_rows(reader, header)

    return Scan(header, rows)


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


def stamp(path: Path | None) -> tuple[str, int, str]:
    """A file's name, its size and a hash of its ends: what tells another, wherever it lies and however old it is."""
    if path is None or not folders.is_file(path):
        return folders.written(str(path)), 0, ""
    start, end, size = folders.ends(path)
    return folders.written(path.name), size, hashlib.sha256(start + end).hexdigest()


def key_columns(columns: Iterable[str]) -> dict[str, str]:
    """The columns of a table that hold a key to join by, as {key: column}.

    >>> key_columns(["accession_number", "report"])
    {'AccessionNumber': 'accession_number'}
    """
    alike = {plain(column): column for column in reversed(list(columns))}
    found = {}
    for name, spellings in KEYS.items():
        for spelling in spellings:
            if spelling in alike:
                found.setdefault(name, alike[spelling])
    return found


def plain(column: str) -> str:
    """A column's name without what people write in one way or another.

    >>> plain("Body Part"), plain("body_part")
    ('bodypart', 'bodypart')
    """
    return re.sub(r"[\s_-]", "", column).lower()


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
        numbers: text may be read as numbers where all of it is (never with leading zeros, nor whole numbers of more
            digits than a number keeps).

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
    if numbers and given and all(isinstance(value, str) and _is_number(value) for value in given):
        return [None if value is None else _number(value) for value in cells]
    if all(isinstance(value, datetime) for value in given):
        return cells
    none = "" if lists and any(isinstance(value, str) for value in given) else None
    return [
        (none if is_empty(raw) else None) if value is None else as_text(value)
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


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and not _LONG.fullmatch(text)


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def as_text(value: Any) -> str:
    """A cell as text; what is nested as JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


# ---- reading -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path, encoding: str) -> Iterator[IO[str]]:
    """A file of text; where it cannot be read, the same is raised as by `_decode`."""
    try:
        with open(path, "rb") as content:
            named = _encoding(content.read(2), encoding)
        with open(path, encoding=named, newline="") as file:
            yield file
    except (OSError, UnicodeDecodeError, LookupError):
        _decode(path, encoding)
        raise


def _encoding(start: bytes, encoding: str) -> str:
    if encoding.lower().replace("-", "") != "utf8":
        return encoding
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def _decode(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotDo(f"{path} cannot be read: {error.strerror or error}") from None
    encoding = _encoding(content, encoding)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line, byte = content[: error.start].count(b"\n") + 1, content[error.start]
        likely = "cp1252" if 0x80 <= byte < 0xA0 else "latin-1"  # whose signs these are; latin-1 has none there
        raise CannotDo(
            f"{path} is not {encoding.removesuffix('-sig')}: line {line} has the byte 0x{byte:02x}; "
            f"save it as UTF-8, or name its encoding, say encoding={likely}"
        ) from None
    except LookupError:
        raise WrongUse(f"encoding={encoding}: no such encoding; say utf-8, latin-1 or cp1252") from None


def _read_csv(path: Path, text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    table = Table(path, _header(path, reader, delimiter), [], [])
    _fill(table, _csv_rows(reader, table.columns))
    return table


def _fill(table: Table, rows: Iterable[tuple[int, dict[str, Any] | None]]) -> None:
    for line, row in rows:
        if row is None:
            table.bad.append((line, "bad_row"))
        else:
            table.rows.append(row)
            table.lines.append(line)


def _header(path: Path, reader: Any, delimiter: str) -> list[str]:
    header = [name.strip() for name in next(reader, [])]
    _check_header(path, header)
    others = [mark for mark in _SEPARATORS if len(header) == 1 and mark in header[0]]
    if others:
        say = "call it .tsv" if others[0] == "\t" else f"say separator='{others[0]}', in quotes"
        raise WrongUse(
            f"{path} looks as if {others[0]!r} separates its columns, not {delimiter!r}: its first line is "
            f"{header[0]!r}; {say}, or save it with {delimiter!r}"
        )
    return header


def _csv_rows(reader: Any, header: list[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield line, None
            continue
        if len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif any(cell.strip() for cell in cells):
            yield line, None


def _read_jsonl(path: Path, text: str) -> Table:
    table = Table(path, [], [], [])
    _fill(table, _jsonl_rows(text.split("\n")))
    table.columns.extend(dict.fromkeys(column for row in table.rows for column in row))
    return table


def _jsonl_rows(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for line, content in enumerate(lines, 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError:
            row = None
        if _SURROGATE_ESCAPED.search(content):
            row = _writable(row)
        yield line, row if isinstance(row, dict) else None


def _scan_jsonl(path: Path, encoding: str) -> Scan:
    def rows() -> Iterator[tuple[int, dict[str, Any] | None]]:
        with _opened(path, encoding) as file:
            yield from _jsonl_rows(_lines(file))

    return Scan(list(dict.fromkeys(column for _, row in rows() if row for column in row)), rows)


def _lines(file: IO[str]) -> Iterator[str]:
    r"""Lines that end with \n, and with nothing else that may be in a line of JSON."""
    former = ""
    for part in file:  # which ends at \r too
        former += part
        if part.endswith("\n"):
            yield former
            former = ""
    yield former


def _writable(value: Any) -> Any:
    r"""What JSON says, with U+FFFD for half a character (\ud800), which no file takes."""
    return json.loads(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)))


def _read_parquet(path: Path) -> Table:
    try:
        columns = embedded.schema(path).names
        rows = embedded.rows(path, [name for name in columns if not embedded.holds_files(path, name)])
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise CannotDo(f"{path} cannot be read as Parquet: {error}") from None
    return Table(path, columns, rows, list(range(1, len(rows) + 1)))


def _scan_parquet(path: Path) -> Scan:
    try:
        columns = [name for name in embedded.schema(path).names if not embedded.holds_files(path, name)]
    except (OSError, ValueError) as error:
        raise CannotDo(f"{path} cannot be read as Parquet: {error}") from None

    def rows() -> Iterator[tuple[int, dict[str, Any] | None]]:
        try:
            yield from enumerate(embedded.each_row(path, columns), 1)
        except (OSError, ValueError) as error:
            raise CannotDo(f"{path} cannot be read as Parquet: {error}") from None

    return Scan(columns, rows)


def _check_header(path: Path, header: list[str]) -> None:
    if not any(header):
        raise WrongUse(f"{path} is empty: the first line of a table names its columns")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise WrongUse(f"{path} has columns of the same name: {', '.join(twice)}")

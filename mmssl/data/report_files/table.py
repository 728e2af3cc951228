"""Reports in a table: which column is what, and each row as a report."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmssl.data import folders, table_rows, tables
from mmssl.data.report_files.record import Options, Place, Record, Rejected, language, moment, status
from mmssl.errors import WrongUse, meant

REPORT = ("report", "text", "report_text", "full_report", "radiology_report", "report_body")
"""What the column with the report may be called, first choice first."""

PARTS = ("findings", "impression")

CALLED = {
    "id": ("id", "reportid"),
    "status": ("reportstatus", "resultstatus", "observationresultstatus", "status", "obx11", "obr25"),
    "time": (
        "issued", "issueddatetime", "reportdatetime", "reporttimestamp", "reporttime", "reportdate", "resultdatetime",
        "signed", "signeddatetime", "signedtime", "signedat", "finalized", "finalizeddatetime", "verified",
        "verifieddatetime", "obr22",
    ),
    "date": ("studydatetime", "studydate", "examdatetime", "examdate", "obr7", "date"),
    "language": ("language",),
}  # fmt: skip
"""What the other columns may be called (case, `_` and spaces apart), first choice first."""

MEANINGS = ("text", *CALLED, *tables.KEYS)
"""What a column can be said to mean."""

FILLED = {
    "sex": "sex", "patient_sex": "sex", "age": "age", "patient_age": "age", "site": "site", "date": "study_datetime",
    "study_date": "study_datetime", "study_datetime": "study_datetime", "ethnicity": "ethnicity",
    "language": "language",
}  # fmt: skip
"""Columns of a table of reports that fill what the images leave open: {column: column of the store}."""


def records(path: Path, options: Options, *, said: str = "columns.") -> Iterator[Record | Rejected]:
    """The reports of a table, row by row.

    A report is called by its id, else by the most particular key that it has, else by its line.

    Args:
        path: of the table.
        options: may name columns, encoding and separator.
        said: what a user writes before a meaning to name its column, for messages.

    Raises:
        WrongUse: where a column that is named is not there, or none has reports.
        CannotDo: where the table cannot be read.
    """
    table = tables.scan(path, encoding=options.encoding or "utf-8", separator=options.separator)
    columns = mapping(path, table.columns, options.columns, said)
    columns |= {name: column for name, column in options.keys.items() if column in table.columns}
    names = (*tables.KEYS, *(name for name in options.keys if name not in tables.KEYS))
    texts = parts(path, table.columns, columns, said)
    filled = {column: FILLED[column.lower()] for column in table.columns if column.lower() in FILLED}
    # What is only called status may be the state of something else, where x and s mean something else.
    is_loose = "status" not in options.columns and tables.plain(columns.get("status", "")) == "status"
    name = folders.written(path.name)
    for line, row in table.rows():
        place = Place(name, line)
        text = _text(row, texts) if row is not None else ""
        if row is None:
            yield Rejected("bad_row", place)
        else:
            yield _record(row, text, place, columns, filled, names, is_loose)


def _record(
    row: Mapping[str, Any],
    text: str,
    place: Place,
    columns: Mapping[str, str],
    filled: Mapping[str, str],
    names: Sequence[str],
    is_loose: bool,
) -> Record | Rejected:
    told = {meaning: tables.cell(row.get(column)) for meaning, column in columns.items()}
    keys = {key: found for key in names if (found := tables.key(told.get(key)))}
    said = told.get("status")
    if is_loose and len(str(said)) == 1 and str(said).lower() not in "pfc":
        said = None
    state = status(said, text)
    if state in ("cancelled", "entered_in_error", "not_issued"):
        return Rejected(state, place)
    given = {to: table_rows.own(to, row.get(column)) for column, to in filled.items()}
    return Record(
        tables.key(told.get("id")) or next(iter(keys.values()), f"row {place.line}"),
        text, place, keys=keys, status=state,  # type: ignore[arg-type]
        issued=moment(told.get("time"))[0], study_date=moment(told.get("date"))[1],
        language=language(told.get("language")),
        columns={to: value for to, value in given.items() if value is not None},
    )  # fmt: skip


def mapping(path: Path, there: Sequence[str], given: Mapping[str, str], said: str = "columns.") -> dict[str, str]:
    """Which column has which meaning, {meaning: column}: `given` first, else those that are called so.

    Raises:
        WrongUse: for meanings and columns that there are not, all at once.
    """
    problems = [
        f"{said}{meaning}={column}: {meaning} is nothing that a column of reports can be"
        f"{meant(meaning, list(MEANINGS))}; known are {', '.join(MEANINGS)}"
        for meaning, column in given.items()
        if meaning not in MEANINGS
    ]
    problems += [
        f"{said}{meaning}={column}: {path} has no such column{meant(column, list(there))}; there are {', '.join(there)}"
        for meaning, column in given.items()
        if meaning in MEANINGS and column not in there
    ]
    if problems:
        raise WrongUse("\n".join(problems))
    alike = {tables.plain(re.sub(r"[./]", "", column)): column for column in reversed(list(there)) if column}
    found = {
        meaning: next(alike[name] for name in names if name in alike)
        for meaning, names in CALLED.items()
        if any(name in alike for name in names)
    }
    return {**found, **tables.key_columns(there), **given}


def parts(path: Path, there: Sequence[str], columns: Mapping[str, str], said: str) -> list[tuple[str, str]]:
    """The columns whose texts are the report, each with its heading; without one where it is whole."""
    if "text" in columns:
        return [("", columns["text"])]
    alike = {column.lower(): column for column in there}
    if whole := [alike[name] for name in REPORT if name in alike]:
        return [("", whole[0])]
    if found := [(f"{name.upper()}: ", alike[name]) for name in PARTS if name in alike]:
        return found
    raise WrongUse(
        f"{path} has no column with reports, say report; there are {', '.join(there)}; name it with {said}text=NAME"
    )


def _text(row: Mapping[str, Any], parts: Sequence[tuple[str, str]]) -> str:
    told = [(heading, tables.cell(row.get(column))) for heading, column in parts]
    return "\n".join(f"{heading}{text}" for heading, text in told if text is not None)

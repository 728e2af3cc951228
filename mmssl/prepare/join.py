"""Reports and labels find their studies by keys that are text, and nothing is guessed."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mmssl.data import table_rows, tables
from mmssl.errors import WrongUse, meant
from mmssl.prepare import whose
from mmssl.prepare.settings import Join
from mmssl.types import Study

REPORT = ("report", "text", "report_text", "full_report", "radiology_report", "report_body")
"""What the column with the report may be called, first choice first."""
PARTS = ("findings", "impression")
MOST_PARTICULAR_FIRST = ("StudyInstanceUID", "AccessionNumber", "PatientID")
FILLED = {
    "sex": "sex", "patient_sex": "sex", "age": "age", "patient_age": "age", "site": "site", "date": "study_datetime",
    "study_date": "study_datetime", "study_datetime": "study_datetime", "ethnicity": "ethnicity",
    "language": "language",
}  # fmt: skip
"""Columns of a table of reports that fill what the images leave open: {column: column of the store}."""


class Origin(NamedTuple):
    """What is known of the source whose studies are joined."""

    ids_name_realm: bool = False
    """As for `whose.patient_of`."""
    columns: Mapping[str, str] = MappingProxyType({})
    """What its columns were said to mean, {meaning: column}; those of study_id and patient_id are keys too."""

    def keys(self) -> dict[str, str]:
        """{key: the source's own name for it}."""
        meant_by = {"StudyInstanceUID": "study_id", "PatientID": "patient_id"}
        return {key: self.columns[meaning] for key, meaning in meant_by.items() if meaning in self.columns}


ANY = Origin()


@dataclass(frozen=True)
class Joined:
    """What a table gave."""

    key: str
    rows: Counter[str]
    """Lines of the table: matched, unmatched, ambiguous, without_key, without_text."""
    studies: Counter[str]
    images: Counter[str]
    values: list[dict[str, Any] | None]
    """For each study what its line says, None where none matched."""
    ambiguous: list[bool] = field(default_factory=list)
    disagree: Counter[str] = field(default_factory=Counter)
    """For how many keys the lines agree on the report and not on this column, which is then left null."""

    def counts(self, file: Path) -> dict[str, Any]:
        """For the manifest."""
        sides = {"lines": self.rows, "studies": self.studies, "images": self.images}
        sides |= {"disagree": self.disagree} if self.disagree else {}
        return {"file": file.name, "key": self.key} | {name: dict(sorted(side.items())) for name, side in sides.items()}


def join(
    table: tables.Table,
    lines: Sequence[Mapping[str, Any]],
    studies: Sequence[Study],
    settings: Join,
    what: str,
    origin: Origin,
) -> Joined:
    """Gives each study the one line of its key.

    A key is ambiguous, and none is taken, where several different lines have it, where several patients have it
    (studies of one patient may share an accession), and where a report has a PatientID with several studies. Lines
    that say the same are one; reports are compared by their words alone, whatever else their lines say.

    Args:
        table: with a column for at least one key.
        lines: what each of its rows says, already read; {} where it says nothing.
        studies: in any order.
        settings: may name the key.
        what: `reports` or `labels`; labels may hold for all studies of a patient.
        origin: of the studies.

    Raises:
        WrongUse: where the table has no key, or none of its keys is found among the studies.
    """
    name, column = _choose_key(table, studies, settings, what, origin)
    by_key: dict[str, list[int]] = {}
    rows: Counter[str] = Counter()
    for number, row in enumerate(table.rows):
        value = tables.key(row.get(column))
        if value is None:
            rows["without_key"] += 1
        elif not lines[number]:
            rows["without_text"] += 1
        else:
            by_key.setdefault(value, []).append(number)
    holders: defaultdict[str, list[Study]] = defaultdict(list)
    for study in studies:
        if key := study.keys.get(name):
            holders[key].append(study)
    of_patients = name in ("PatientID", origin.keys().get("PatientID"))
    clear: dict[str, Mapping[str, Any]] = {}
    unclear: set[str] = set()
    disagree: Counter[str] = Counter()
    for value, numbers in by_key.items():
        line, torn = _agreed([lines[number] for number in numbers])
        one_patient = len({_person(study, origin) for study in holders[value]}) <= 1
        one_study = what == "labels" or not of_patients or len(holders[value]) <= 1
        if not holders[value]:
            rows["unmatched"] += len(numbers)
        elif line is not None and one_patient and one_study:
            clear[value] = line
            rows["matched"] += len(numbers)
            disagree.update(torn)
        else:
            unclear.add(value)
            rows["ambiguous"] += len(numbers)
    return replace(_sides(name, rows, studies, clear, unclear), disagree=disagree)


def _person(study: Study, origin: Origin) -> Any:
    """Who a study is of; without a patient it is its own."""
    patient = whose.patient_of(study, ids_name_realm=origin.ids_name_realm)
    return patient or study.keys.get("StudyInstanceUID", study.study_id)


def _agreed(lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any] | None, list[str]]:
    """The one line that several are, None where they differ; and the columns that reports disagree on, left null.

    >>> _agreed([{"report": "a  b", "sex": "F", "age": 1}, {"report": "a b", "sex": "M", "age": None}])
    ({'report': 'a  b', 'sex': None, 'age': 1}, ['sex'])
    """
    first = dict(lines[0])
    if "report" not in first:
        return (first if all(line == first for line in lines) else None), []
    if len({" ".join(line["report"].split()) for line in lines}) > 1:
        return None, []
    told = {name: [line[name] for line in lines if line[name] is not None] for name in first if name != "report"}
    torn = [name for name, values in told.items() if any(value != values[0] for value in values)]
    return first | {name: values[0] if values and name not in torn else None for name, values in told.items()}, torn


def _sides(
    name: str, rows: Counter[str], studies: Sequence[Study], clear: Mapping[str, Mapping[str, Any]], unclear: set[str]
) -> Joined:
    told = Joined(name, rows, Counter(), Counter(), [])
    for study in studies:
        key = study.keys.get(name, "")
        state = "matched" if key in clear else "ambiguous" if key in unclear else "unmatched"
        told.studies[state] += 1
        told.images[state] += len(study.pictures)
        told.values.append(dict(clear[key]) if key in clear else None)
        told.ambiguous.append(key in unclear)
    return told


def with_reports(
    studies: list[Study],
    file: Path,
    settings: Join,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    origin: Origin = ANY,
) -> tuple[list[Study], Joined]:
    """Studies with their reports, and with what the table says of them where the images say nothing.

    Raises:
        WrongUse: where the table has no reports, or its keys match nothing.
    """
    table = tables.read(file, encoding=encoding, separator=separator)
    texts = _report_texts(table, settings)
    filling = {column: FILLED[column.lower()] for column in table.columns if column.lower() in FILLED}
    lines = [
        {"report": text, **{to: table_rows.own(to, row.get(column)) for column, to in filling.items()}} if text else {}
        for row, text in zip(table.rows, texts, strict=True)
    ]
    told = join(table, lines, studies, settings, "reports", origin)
    found = []
    for study, line, ambiguous in zip(studies, told.values, told.ambiguous, strict=True):
        if ambiguous:
            flags = [*study.columns.get("flags", ()), "report_ambiguous"]
            study = replace(study, columns={**study.columns, "flags": flags})
        if line:
            report = line.pop("report")
            known = {name: value for name, value in line.items() if value is not None}
            study = replace(study, report=report, text=None, columns={**known, **_given(study.columns)})
        found.append(study)
    return found, told


def with_labels(
    studies: list[Study],
    file: Path,
    settings: Join,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    origin: Origin = ANY,
) -> tuple[list[Study], Joined]:
    """Studies with the columns of a table as label_NAME; for evaluation, no gradient ever depends on them.

    What an empty cell means is `tables.typed`'s; studies that the table lacks have null. Labels of the same name that
    the source has are left out.

    Raises:
        WrongUse: where the table has no labels, or its keys match nothing.
    """
    table = tables.read(file, encoding=encoding, separator=separator)
    own_keys = {*origin.keys().values(), *settings.columns.values()}
    names = [column for column in table.columns if column and not tables.is_key(column) and column not in own_keys]
    if not names:
        raise WrongUse(f"{file} has no labels: its columns are {', '.join(table.columns)}")
    called = {column: column if column.startswith("label_") else f"label_{column}" for column in names}
    if twice := [column for column in names if f"label_{column}" in names]:
        said = ", ".join(f"{column} and label_{column}" for column in twice)
        raise WrongUse(f"{file}: {said} would both be the label's column; name one of them otherwise")
    columns = {called[column]: tables.typed([row.get(column) for row in table.rows], lists=True) for column in names}
    lines = [{name: values[number] for name, values in columns.items()} for number in range(len(table.rows))]
    told = join(table, lines, studies, settings, "labels", origin)
    empty = dict.fromkeys(columns)
    labelled = [_labelled(study, line or empty) for study, line in zip(studies, told.values, strict=True)]
    return labelled, told


def _labelled(study: Study, labels: Mapping[str, Any]) -> Study:
    """The study with labels, which take the place of those that the source gives its images under the same name."""
    pictures = tuple(
        replace(picture, columns={name: value for name, value in picture.columns.items() if name not in labels})
        for picture in study.pictures
    )
    return replace(study, pictures=pictures, columns={**study.columns, **labels})


def _given(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if value is not None}


def _report_texts(table: tables.Table, settings: Join) -> list[str | None]:
    """The report of each row; from columns findings and impression where there is none for the whole."""
    by_name = {column.lower(): column for column in table.columns}
    if settings.text:
        if settings.text not in table.columns:
            near = meant(settings.text, table.columns)
            raise WrongUse(f"join.text={settings.text}: {table.path} has no such column{near}; {_there(table)}")
        return [_text(row.get(settings.text)) for row in table.rows]
    for name in REPORT:
        if name in by_name:
            return [_text(row.get(by_name[name])) for row in table.rows]
    parts = [by_name[name] for name in PARTS if name in by_name]
    if not parts:
        raise WrongUse(
            f"{table.path} has no column with reports, say report; {_there(table)}; name it with join.text=NAME"
        )
    return [
        "\n".join(f"{part.upper()}: {text}" for part in parts if (text := _text(row.get(part)))) or None
        for row in table.rows
    ]


def _text(value: Any) -> str | None:
    found = tables.cell(value)
    return None if found is None else str(found)


def _there(table: tables.Table) -> str:
    return f"there are {', '.join(table.columns)}"


def _choose_key(
    table: tables.Table, studies: Sequence[Study], settings: Join, what: str, origin: Origin
) -> tuple[str, str]:
    """The key and its column: the one named, else the most particular one that matches anything."""
    own = settings.reports if what == "reports" else settings.labels
    named = own or settings.key
    tried = _keys_there(table, [named] if named else MOST_PARTICULAR_FIRST, settings, origin)
    if not tried:
        said = f"join.{what if own else 'key'}={named}: " if named else ""
        other = f"; join.{what}=KEY names one for {what} alone" if named and not own else ""
        in_table = "; columns label_NAME of the source's own table are labels too" if what == "labels" else ""
        raise WrongUse(
            f"{said}{table.path} has no column {named or ' or '.join([*tables.KEYS, *origin.keys().values()])} "
            f"to join {what} by; {_there(table)}; say which is one: join.columns.{named or 'PatientID'}=NAME"
            f"{other}{in_table}"
        )
    said = []
    for name, column in tried:
        there = {key for study in studies if (key := study.keys.get(name))}
        here = [key for row in table.rows if (key := tables.key(row.get(column)))]
        if any(key in there for key in here):
            return name, column
        said.append(
            f"{name}: {len(set(here))} in the table{_shapes(here)}, {len(there)} with the images{_shapes(there)}"
        )
    raise WrongUse(
        f"no {what[:-1]} of {table.path.name} belongs to any image: its keys match nothing\n"
        + "\n".join(f"  {line}" for line in said)
        + "\n(shapes of keys: A stands for a letter, 9 for a digit; keys are text, so 0042 is not 42)"
    )


def _keys_there(table: tables.Table, wanted: Sequence[str], settings: Join, origin: Origin) -> list[tuple[str, str]]:
    """The keys that a table has, with their columns: as the settings say, by our names, and by those of the source."""
    said = {key: column for key, column in settings.columns.items() if column in table.columns}
    spelt, own = tables.key_columns(table.columns) | said, origin.keys()
    found = []
    for name in wanted:
        if name in spelt:
            found.append((name, spelt[name]))
        if name in own and own[name] in table.columns and not tables.is_key(own[name]):
            found.append((own[name], own[name]))
    return found


def _shapes(keys: Any) -> str:
    """The commonest shapes of keys, without the keys: ABC0042 is AAA9999."""
    shapes = Counter(re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", key))[:40] for key in keys)
    return f" like {', '.join(shape for shape, _ in shapes.most_common(2))}" if shapes else ""

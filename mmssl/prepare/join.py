"""Reports and labels find their studies by keys that are text, and nothing is guessed."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mmssl.data import tables
from mmssl.data.report_files import record
from mmssl.data.report_files.record import Options
from mmssl.data.report_files.source import Source, open_source
from mmssl.errors import WrongUse
from mmssl.prepare import report_choice, whose
from mmssl.prepare.report_join import Counts, Reports, StudyFacts
from mmssl.prepare.settings import Join
from mmssl.types import Study

MOST_PARTICULAR_FIRST = ("StudyInstanceUID", "AccessionNumber", "PatientID")


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


class Why(NamedTuple):
    """Why lines or studies were not joined, or what took their place: a row of the audit page."""

    side: str
    """`studies`, or the state of the lines: ambiguous, superseded, rejected."""
    reason: str
    meaning: str
    number: int


def whys(told: Mapping[str, Any]) -> list[Why]:
    """The reasons in what a manifest has of a join (`Counts.counts`), most frequent first on each side.

    >>> whys({"reasons": {"ambiguous": {"same_time": 2}}})[0].meaning
    'several reports of the same time that differ'
    """
    meanings = {**record.REASONS, **report_choice.REASONS}
    return [
        Why(side, reason, meanings[reason], number)
        for side, reasons in told.get("reasons", {}).items()
        for reason, number in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


# ---- reports -------------------------------------------------------------------------------------------------------


def report_source(
    path: Path, settings: Join, *, encoding: str | None = None, separator: str | None = None, origin: Origin = ANY
) -> Source:
    """A source of reports as the settings have it; it has a `fingerprint`.

    Raises:
        WrongUse: where it is of no kind, or lacks a column that is named.
        CannotDo: where it cannot be read.
    """
    named = {"text": settings.text, "status": settings.status, "time": settings.time, "date": settings.date}
    options = Options(
        columns={meaning: column for meaning, column in named.items() if column is not None},
        keys={**settings.columns, **_own_columns(origin)},
        encoding=encoding,
        separator=separator,
    )
    return open_source(path, kind=settings.layout, options=options, said="join.")


def _own_columns(origin: Origin) -> dict[str, str]:
    """Keys under the source's own names, where these are none of ours."""
    return {column: column for column in origin.keys().values() if not tables.is_key(column)}


def facts_of(study: Study, name: str, origin: Origin) -> StudyFacts:
    """What joining needs of a study."""
    patient = whose.patient_of(study, ids_name_realm=origin.ids_name_realm)
    moments = (one.get("study_datetime") for one in (study.columns, *(picture.columns for picture in study.pictures)))
    day = next((moment for moment in moments if isinstance(moment, date)), None)
    return StudyFacts(
        name=name,
        keys=study.keys,
        person=_person(study, origin),
        realm=patient.realm if patient else "",
        day=day,
        images=len(study.pictures),
    )


def _person(study: Study, origin: Origin) -> str:
    """Who a study is of; without a patient it is its own."""
    patient = whose.patient_of(study, ids_name_realm=origin.ids_name_realm)
    return "\0".join(patient) if patient else study.keys.get("StudyInstanceUID", study.study_id)
    patient = whose.patient_of(study, ids_name_realm=origin.ids_name_realm)
    return patient or study.keys.get("StudyInstanceUID", study.study_id)


def join_reports(reports: Reports, source: Source, settings: Join, origin: Origin) -> Counts:
    """Joins by the key that is named, else by the most particular one that a report has and that matches anything.

    Raises:
        WrongUse: where the reports have no key, or none of theirs is found among the studies.
    """
    kinds = _choose(_keys_of_reports(reports, source), settings, "reports", origin)
    of_patients = ("PatientID", origin.keys().get("PatientID"))
    return reports.join({kind: kind in of_patients for kind in kinds}, days=settings.days)


def with_reports(
    studies: list[Study],
    file: Path,
    settings: Join,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    origin: Origin = ANY,
) -> tuple[list[Study], Counts]:
    """Studies with their reports, and with what the source says of them where the images say nothing.

    Raises:
        WrongUse: where the source has no reports, or their keys match nothing.
    """
    source = report_source(file, settings, encoding=encoding, separator=separator, origin=origin)
    facts = (facts_of(study, str(number), origin) for number, study in enumerate(studies))
    reports = Reports(facts, source.records())
    try:
        counts = join_reports(reports, source, settings, origin)
        return [with_report(study, reports, str(number)) for number, study in enumerate(studies)], counts
    finally:
        reports.close()


def with_report(study: Study, reports: Reports, name: str) -> Study:
    """The study with what the reports give it under its name; what it says itself stays."""
    found = reports.of(name)
    columns = dict(study.columns)
    if found.report is not None:
        columns = {**found.columns, **{column: value for column, value in columns.items() if value is not None}}
        study = replace(study, report=found.report, text=None)
    if found.flags:
        columns["flags"] = [*(columns.get("flags") or ()), *found.flags]
    return replace(study, columns=columns)


# ---- labels --------------------------------------------------------------------------------------------------------


def with_labels(
    studies: list[Study],
    file: Path,
    settings: Join,
    *,
    encoding: str = "utf-8",
    separator: str | None = None,
    origin: Origin = ANY,
) -> tuple[list[Study], Counts]:
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
    values, told = _join_labels(table, lines, studies, settings, origin)
    empty = dict.fromkeys(columns)
    return [_labelled(study, line or empty) for study, line in zip(studies, values, strict=True)], told


def _join_labels(
    table: tables.Table, lines: Sequence[Mapping[str, Any]], studies: Sequence[Study], settings: Join, origin: Origin
) -> tuple[list[Mapping[str, Any] | None], Counts]:
    """Gives each study the one line of its key; all studies of a patient may have the same.

    A key is ambiguous, and none is taken, where different lines have it, or several patients.
    """
    named = _key_columns(table.columns, {**settings.columns, **_own_columns(origin)})
    kind = _choose(_keys_of_labels(table, studies, named), settings, "labels", origin)[0]
    by_key: defaultdict[str, list[int]] = defaultdict(list)
    counts = Counts(kind)
    for number, row in enumerate(table.rows):
        if (value := tables.key(row.get(named[kind]))) is None:
            counts.rows["without_key"] += 1
        else:
            by_key[value].append(number)
    people: defaultdict[str, set[str]] = defaultdict(set)
    for study in studies:
        if key := study.keys.get(kind):
            people[key].add(_person(study, origin))
    states: dict[str, str] = {}
    for value, numbers in by_key.items():
        is_one = all(lines[number] == lines[numbers[0]] for number in numbers) and len(people[value]) == 1
        states[value] = "matched" if is_one else "ambiguous" if people[value] else "unmatched"
        counts.rows[states[value]] += len(numbers)
    values: list[Mapping[str, Any] | None] = []
    for study in studies:
        key = study.keys.get(kind, "")
        state = states.get(key, "unmatched")
        counts.studies[state] += 1
        counts.images[state] += len(study.pictures)
        values.append(lines[by_key[key][0]] if state == "matched" else None)
    return values, counts


def _labelled(study: Study, labels: Mapping[str, Any]) -> Study:
    """The study with labels, which take the place of those that the source gives its images under the same name."""
    pictures = tuple(
        replace(picture, columns={name: value for name, value in picture.columns.items() if name not in labels})
        for picture in study.pictures
    )
    return replace(study, pictures=pictures, columns={**study.columns, **labels})


# ---- the key -------------------------------------------------------------------------------------------------------


class _Keys(NamedTuple):
    """The keys of both sides."""

    path: Path
    is_table: bool
    columns: Sequence[str]
    """Of a table."""
    kinds: Collection[str]
    """Those that the reports or labels have."""
    both: Callable[[str], tuple[Iterable[str], Iterable[str]]]
    """Keys of a kind, without repetition: theirs, and those of the studies."""
    matches: Callable[[str], bool]


def _keys_of_reports(reports: Reports, source: Source) -> _Keys:
    columns = source.columns()
    return _Keys(
        source.path,
        source.kind == "table",
        columns,
        {*reports.kinds(), *_key_columns(columns, source.options.keys)},
        lambda kind: (reports.keys(kind, of_studies=False), reports.keys(kind, of_studies=True)),
        reports.matches,
    )


def _keys_of_labels(table: tables.Table, studies: Sequence[Study], named: Mapping[str, str]) -> _Keys:
    def both(kind: str) -> tuple[set[str], set[str]]:
        here = {key for row in table.rows if (key := tables.key(row.get(named[kind])))}
        return here, {key for study in studies if (key := study.keys.get(kind))}

    return _Keys(table.path, True, table.columns, named, both, lambda kind: not both(kind)[0].isdisjoint(both(kind)[1]))


def _key_columns(columns: Sequence[str], said: Mapping[str, str]) -> dict[str, str]:
    """The keys that a table has, with their columns: as they were said to be, else by our names."""
    return tables.key_columns(columns) | {key: column for key, column in said.items() if column in columns}


def _choose(there: _Keys, settings: Join, what: str, origin: Origin) -> list[str]:
    """The keys to join by that match anything, the most particular one first; where one is named, that alone."""
    own = settings.reports if what == "reports" else settings.labels
    named = own or settings.key
    wanted = [named] if named else MOST_PARTICULAR_FIRST
    tried = [one for name in wanted for one in (name, origin.keys().get(name)) if one in there.kinds]
    tried = list(dict.fromkeys(one for one in tried if one is not None))
    if not tried:
        raise WrongUse(_no_key(there, named, own, what, origin))
    if found := [kind for kind in tried if there.matches(kind)]:
        return found
    place = "in the table" if there.is_table else "in the reports"
    said = []
    for kind in tried:
        here, studies = (list(keys) for keys in there.both(kind))
        said.append(f"{kind}: {len(here)} {place}{_shapes(here)}, {len(studies)} with the images{_shapes(studies)}")
    raise WrongUse(
        f"no {what[:-1]} of {there.path.name} belongs to any image: its keys match nothing\n"
        + "\n".join(f"  {line}" for line in said)
        + "\n(shapes of keys: A stands for a letter, 9 for a digit; keys are text, so 0042 is not 42)"
    )


def _no_key(there: _Keys, named: str | None, own: str | None, what: str, origin: Origin) -> str:
    """What to say where there is nothing to join by."""
    said = f"join.{what if own else 'key'}={named}: " if named else ""
    keys = named or " or ".join([*tables.KEYS, *origin.keys().values()])
    if not there.is_table:
        return f"{said}{there.path} has no {keys} to join {what} by"
    other = f"; join.{what}=KEY names one for {what} alone" if named and not own else ""
    in_table = "; columns label_NAME of the source's own table are labels too" if what == "labels" else ""
    return (
        f"{said}{there.path} has no column {keys} to join {what} by; there are {', '.join(there.columns)}; say which "
        f"is one: join.columns.{named or 'PatientID'}=NAME{other}{in_table}"
    )


def _shapes(keys: Iterable[str]) -> str:
    """The commonest shapes of keys, without the keys: ABC0042 is AAA9999."""
    shapes = Counter(re.sub(r"[^\W\d_]", "A", re.sub(r"\d", "9", key))[:40] for key in keys)
    return f" like {', '.join(shape for shape, _ in shapes.most_common(2))}" if shapes else ""

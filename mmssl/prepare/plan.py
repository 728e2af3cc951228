"""What is known of every input before a pixel is decoded: who it belongs to, under which names, in which split."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmssl import files
from mmssl.data import reports, split_rules, splits, tables
from mmssl.data.store import SCHEMA
from mmssl.errors import WrongUse, many
from mmssl.prepare import merging, whose
from mmssl.prepare import settings as of_settings
from mmssl.prepare.entries import Entries, Entry, as_plain
from mmssl.prepare.merging import Merged
from mmssl.prepare.names import Names
from mmssl.prepare.settings import Prepare
from mmssl.prepare.whose import Fact
from mmssl.types import Picture, Study


class Hidden:
    """Takes the columns away in which a table's keys and paths could still be read.

    What reports and labels were joined by stays in `Study.keys`, which is never stored.
    """

    def __init__(self) -> None:
        self.dropped: set[str] = set()
        """The names of the columns that were taken away."""

    def __call__(self, study: Study) -> Study:
        pictures = tuple(replace(one, columns=self._without(one.columns)) for one in study.pictures)
        return replace(study, columns=self._without(study.columns), pictures=pictures)

    def _without(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        told = {name for name in columns if name not in SCHEMA.names and _tells_who(re.sub("^(source_)+", "", name))}
        self.dropped |= told
        return {name: value for name, value in columns.items() if name not in told}


def _tells_who(column: str) -> bool:
    return column in ("id", "image", "file_name", "prior_study_id") or tables.is_key(column)


class Before(Protocol):
    """What a store holds already, as far as planning has to know."""

    @property
    def settled(self) -> Mapping[str, splits.Split]:
        """{patient id: split}."""
        ...

    @property
    def sites(self) -> Mapping[str, set[str]]:
        """{patient id: sites} of those whose site is known."""
        ...

    @property
    def merges(self) -> Sequence[tuple[str, str]]:
        """(old id, new id) of patients who turned out to be one."""
        ...

    @property
    def stamps(self) -> Mapping[str, str]:
        """{study id: stamp}."""
        ...

    def studies_of_patients(self, wanted: set[str]) -> Mapping[tuple[str, str], set[str]]:
        """{(patient, study): sexes} of those patients who are there."""
        ...

    def name(self, named: Names, name: str, stamp: str, study_id: str) -> str:
        """The source id of an input: that which it has there, or a new one."""
        ...


class Nothing:
    """No store."""

    settled: Mapping[str, splits.Split] = MappingProxyType({})
    sites: Mapping[str, set[str]] = MappingProxyType({})
    merges: Sequence[tuple[str, str]] = ()
    stamps: Mapping[str, str] = MappingProxyType({})

    def studies_of_patients(self, wanted: set[str]) -> Mapping[tuple[str, str], set[str]]:
        return {}

    def name(self, named: Names, name: str, stamp: str, study_id: str) -> str:
        return named.of("source", name)


NOTHING = Nothing()


@dataclass
class Plan:
    """What is to be decoded."""

    entries: Entries
    stamps: dict[str, str]
    """{study id: a hash of all that its rows are made of}."""
    study_ids: list[str] = field(default_factory=list)
    """Of each study of the source, its id in the store."""
    unchanged: int = 0
    """Inputs of studies that the store holds just so."""
    from_train: int = 0
    """Patients that were given to train and drawn for validation."""
    remarks: tuple[str, ...] = ()
    """What is to be said of splits and merges."""
    merged: Merged = field(default_factory=Merged)
    """Whose ids are one patient's."""


def plan(
    studies: Sequence[Study],
    settings: Prepare,
    named: Names,
    *,
    reading: whose.Reading,
    complete_splits: Collection[splits.Split],
    merges: Sequence[tuple[str, str]] = (),
    before: Before = NOTHING,
    change: Callable[[Study], Study] = lambda study: study,
    folder: Path | None = None,
) -> Plan:
    """Every input with its ids and its split, in the order of the source.

    A share of patients is drawn by the PatientID alone, whoever gave it out: a patient whose site is missing on some
    rows is in one split, although these rows count as those of another patient. A split that is given for some rows of
    an id is that of the others too, and goes before the rule that is asked for. Where all have a split and none is
    validation, those given to train are divided.

    Args:
        studies: as the source has them; gone through more than once.
        settings: of the whole job.
        named: how ids become those of the store.
        reading: how the source says whose a study is.
        complete_splits: nobody is added to them beyond those who were given to them.
        merges: (old id, new id) of patients who turned out to be one, as the source has them.
        before: what the store holds already; its patients stay where they are, studies that came to the same are
            left out.
        change: what is done with a study before it becomes entries.
        folder: where the entries are kept.

    Raises:
        WrongUse: for a split that there is not, a patient who was given to two, or an id that is hardly one person's.
    """
    facts = [reading.fact(study) for study in studies]
    patient_ids, study_ids = _ids(facts, named, before.sites)
    doubtful = whose.doubtful(facts, patient_ids, study_ids, settings.patients, before)
    own_ids = patient_ids
    pairs = merging.in_store_ids(merges, facts, patient_ids, named, reading, before)
    given = _given_splits(facts, patient_ids, settings, _not_merged(before, pairs))
    given |= _shared_splits(facts, given)
    merged = merging.merged(pairs, facts, patient_ids, given, before)
    facts, patient_ids, given, settled = merging.applied(merged, facts, patient_ids, given, before.settled)
    divided = settings.split is None and "validation" not in complete_splits and _lacks_validation(facts, given)
    rule = _rule(settings.splits, complete_splits)
    open_facts = _open(facts, patient_ids, given, settled, rule, patients_known=reading.patients_known)
    assigned = split_rules.assign(
        (fact.for_splits(rule) for fact in open_facts), rule, grows=bool(given) or before is not NOTHING
    )
    draw = _Draw(assigned, divided)
    empties = settings.clean.enabled and settings.clean.text is not False
    found, moved = Plan(Entries(folder=folder), {}, merged=merged), set[str]()
    told = files.hash_json(of_settings.told(settings))
    for study, fact, own_id, patient_id, study_id in zip(studies, facts, own_ids, patient_ids, study_ids, strict=True):
        missing = reading.patients_known and fact.patient is None
        is_doubtful = fact.patient is not None and own_id in doubtful
        stamp, stamps = _stamp(study, [told, "doubtful"] if is_doubtful else told)
        if before.stamps.get(study_id) == stamp:
            found.unchanged += len(study.pictures)
            continue
        found.stamps[study_id] = stamp
        if patient_id in settled:
            split, from_train = settled[patient_id], False
        else:
            split, from_train = draw.split(fact, given.get(fact.person), missing=missing)
        if from_train:
            moved.add(patient_id)
        who = Entry(
            picture=Picture("", None),
            source_id="",
            study_id=study_id,
            patient_id=patient_id,
            person=fact.person,
            split=split,
            given=fact.person in given and not from_train,
            from_train=from_train,
            report=None,
            text=None,
            columns={},
            keys=dict(study.keys),
            flags=("patient_doubtful",) if is_doubtful else (),
        )
        for entry, stamp in zip(_entries(change(study), who, missing=missing, empties=empties), stamps, strict=True):
            source_id = before.name(named, entry.picture.source_id, stamp, study_id)
            prior = entry.columns.get("prior_study_id")
            columns = entry.columns | ({"prior_study_id": named.of("study", prior)} if prior else {})
            if instance := columns.get("instance_id"):
                columns["instance_id"] = named.of("instance", instance)
            found.entries.append(entry._replace(source_id=source_id, stamp=stamp, columns=columns))
    _check_names(found.entries)
    found.study_ids = study_ids
    found.from_train = len(moved)
    found.remarks = (*_ruled(rule, facts, given), *assigned.remarks, *merged.remarks)
    return found


def _stamp(study: Study, told: Any) -> tuple[str, list[str]]:
    """A hash of all that the rows of a study are made of, and of each of its files."""
    stamps = [tables.stamp(picture.path) for picture in study.pictures]
    each = [files.hash_json(stamp)[:16] for stamp in stamps]
    return files.hash_json([as_plain(study), each, told])[:32], each


def _rule(rule: split_rules.Splits, complete_splits: Collection[splits.Split]) -> split_rules.Splits:
    """The rule of the settings, by which nobody is drawn for a split that is complete."""
    if "validation" in complete_splits:
        rule = replace(rule, validation=0.0)
    return replace(rule, test=0.0) if "test" in complete_splits and rule.by == "patient" else rule


def _open(
    facts: Sequence[Fact],
    patient_ids: Sequence[str],
    given: Mapping[str, splits.Split],
    settled: Mapping[str, splits.Split],
    rule: split_rules.Splits,
    *,
    patients_known: bool,
) -> Iterator[Fact]:
    """The studies whose split the rule decides; those of nobody only where they say what it goes by."""
    for fact, patient_id in zip(facts, patient_ids, strict=True):
        missing = patients_known and fact.patient is None
        if fact.person not in given and patient_id not in settled and (not missing or fact.says(rule)):
            yield fact


class _Draw(NamedTuple):
    """How those get a split who were given none."""

    assigned: split_rules.Assigned
    divided: bool
    """Whether those given to train are divided into train and validation."""

    def split(self, fact: Fact, given: splits.Split | None, *, missing: bool) -> tuple[splits.Split, bool]:
        """The split of a study, and whether it was given to train and drawn for validation."""
        rule = self.assigned.rule
        if self.divided and given == "train" and not missing:
            split = splits.split_of(fact.drawn_by, validation=rule.validation, test=0.0)
            return split, split == "validation"
        if given is not None:
            return given, False
        if missing and not fact.says(rule):
            return "train", False
        return self.assigned.of(fact.for_splits(rule)), False


def _entries(study: Study, who: Entry, *, missing: bool, empties: bool) -> Iterator[Entry]:
    """The entries of a study, of which `who` says whose it is."""
    for picture in study.pictures:
        columns = {name: value for name, value in study.columns.items() if value is not None}
        columns |= {name: value for name, value in picture.columns.items() if value is not None}
        report, text = _texts(study, columns)
        if empties and report != text and report and text and reports.is_placeholder(text):
            columns.setdefault("source_text", text)
        flags = [*who.flags, *study.columns.get("flags", ()), *picture.columns.get("flags", ())]
        if missing and picture.reason is None:
            flags.append("patient_missing")
        yield who._replace(
            picture=picture,
            report=report,
            text=text,
            columns=columns,
            flags=tuple(dict.fromkeys(flags)),
            shares_report=study.report is not None,
        )


def _check_names(entries: Entries) -> None:
    numbers = np.sort(entries.name)
    assert (numbers[1:] != numbers[:-1]).all(), "a source names its inputs uniquely"


def _texts(study: Study, columns: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The report, and the text that the source names outright: those of the study before those of the image."""
    return study.report or columns.get("report"), study.text or (None if study.report else columns.get("text"))


def _ids(facts: Sequence[Fact], named: Names, sites: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """Patient and study ids as stored. Where ids stay as given and one stands for several, its realm goes before it.

    It stands for several also where the store has it from another site.
    """
    shared = _shared((fact.patient_id, fact.realm) for fact in facts if fact.patient_id is not None)
    patients: list[str] = []
    for fact in facts:
        if fact.patient_id is None:
            patients.append(named.of("study", fact.study_id))
        elif named.key is not None:
            patients.append(named.of("patient", f"{fact.realm}\0{fact.patient_id}"))
        else:
            other = fact.realm and fact.realm not in sites.get(fact.patient_id, {fact.realm})
            is_bare = fact.patient_id not in shared and not other
            patients.append(fact.patient_id if is_bare else f"{fact.realm}:{fact.patient_id}")
    torn = _shared((fact.study_id, patient) for fact, patient in zip(facts, patients, strict=True))
    study_ids = [
        named.of("study", f"{patient}:{fact.study_id}" if fact.study_id in torn else fact.study_id)
        for fact, patient in zip(facts, patients, strict=True)
    ]
    return patients, study_ids


def _shared(pairs: Iterable[tuple[str, str]]) -> set[str]:
    """The ids that belong to more than one holder.

    >>> _shared([("a", "x"), ("a", "x"), ("b", "x"), ("b", "y")])
    {'b'}
    """
    first: dict[str, str] = {}
    return {one for one, holder in pairs if first.setdefault(one, holder) != holder}


def _given_splits(
    facts: Sequence[Fact], patient_ids: Sequence[str], settings: Prepare, settled: Mapping[str, splits.Split]
) -> dict[str, splits.Split]:
    """{person: split} where the source or the settings say it."""
    told = [
        (fact.person, patient, str(split))
        for fact, patient in zip(facts, patient_ids, strict=True)
        for split in ((settings.split,) if settings.split else fact.splits)
    ]
    if unknown := sorted({split for _, _, split in told if split not in splits.NAMES}):
        raise WrongUse(
            f"splits that are not known here: {', '.join(map(repr, unknown[:10]))}; known are {', '.join(splits.NAMES)}"
        )
    found: list[tuple[str, splits.Split]] = [(person, splits.NAMES[split]) for person, _, split in told]
    _check_settled({patient: split for (_, patient, _), (_, split) in zip(told, found, strict=True)}, settled)
    if torn := splits.in_two(found):
        labels = {person: patient for person, patient, _ in told if person in torn}
        lines = [f"patient {labels[person]}: {' and '.join(sorted(told))}" for person, told in torn.items()]
        remedy = (
            "give all rows of a patient one split in the source, or leave the cells of some empty: they follow the "
            "others; split=NAME puts the whole source into one"
        )
        said = many("the splits that were given; a patient may be in one only", _first(lines))
        raise WrongUse(f"{said}\n{remedy}")
    return dict(found)


def _not_merged(before: Before, pairs: Sequence[tuple[str, str]]) -> dict[str, splits.Split]:
    """The splits of those who may not be given another: of merged ids the most protected one holds."""
    merged = {one for pair in (*before.merges, *pairs) for one in pair}
    return {one: split for one, split in before.settled.items() if one not in merged}


def _check_settled(given: Mapping[str, splits.Split], settled: Mapping[str, splits.Split]) -> None:
    """Refuses to move a patient of the store."""
    lines = [
        f"patient {patient}: {settled[patient]} in the store, {split} now"
        for patient, split in given.items()
        if settled.get(patient, split) != split
    ]
    if lines:
        said = many("the splits that were given; a patient stays in the split that the store has", _first(lines))
        raise WrongUse(f"{said}\nleave the splits of these patients out, or prepare all of it into a new folder")


def _first(lines: Sequence[str], most: int = 20) -> list[str]:
    """The first lines of many, and how many there are beyond them."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]


def _ruled(rule: split_rules.Splits, facts: Sequence[Fact], given: Mapping[str, splits.Split]) -> list[str]:
    """What is said where a rule was asked for and a split was given."""
    people = {fact.person for fact in facts if fact.person in given}
    if rule.by == "patient" or not people:
        return []
    return [f"splits.by={rule.by} decided nothing for {len(people)} patients or studies whose split was given"]


def _lacks_validation(facts: Sequence[Fact], given: Mapping[str, splits.Split]) -> bool:
    """Whether everybody with a picture was given to train or test, and nobody to validation."""
    seen = {given.get(fact.person) for fact in facts if fact.is_pictured}
    return "train" in seen and seen <= {"train", "test"}


def _shared_splits(facts: Sequence[Fact], given: Mapping[str, splits.Split]) -> dict[str, splits.Split]:
    """{person: split} of those who have no split, and whose PatientID was given to one split elsewhere."""
    of_id: dict[str, set[splits.Split]] = {}
    for fact in facts:
        if fact.patient and fact.person in given:
            of_id.setdefault(fact.patient.id, set()).add(given[fact.person])
    return {
        fact.person: next(iter(of_id[fact.patient.id]))
        for fact in facts
        if fact.patient and fact.person not in given and len(of_id.get(fact.patient.id, ())) == 1
    }

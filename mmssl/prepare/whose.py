"""Who studies are of, as far as that is compared with all others: who is known, and whose id is hardly one person's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, NamedTuple, Protocol

from mmssl.data import patients, split_rules, table_rows
from mmssl.data.patients import Patients, Person
from mmssl.types import Study


class Patient(NamedTuple):
    """Who a study is of."""

    realm: str
    """The issuer of the id, else the site; empty where neither is known."""
    id: str


def patient_of(study: Study, *, ids_name_realm: bool) -> Patient | None:
    r"""The patient of a study, None where the source does not say.

    Args:
        study: as the source has it.
        ids_name_realm: True: `patient_id` is "issuer or site\PatientID"; else a patient is (site, patient_id).
    """
    if study.patient_id is None:
        return None
    if ids_name_realm:
        realm, _, patient = study.patient_id.rpartition("\\")
        return Patient(realm, patient.strip())
    return Patient(str(study.columns.get("site") or ""), study.patient_id.strip())


class Fact(NamedTuple):
    """The little of a study that planning compares with all others."""

    study_id: str
    patient_id: str | None
    realm: str
    """Before the id of a patient, where ids do not name it themselves."""
    person: str
    patient: Patient | None
    splits: tuple[Any, ...]
    """Those that the source gives its pictures."""
    is_pictured: bool
    """Whether it has a picture that can become a row, as far as is known."""
    sexes: tuple[str, ...]
    births: tuple[str, ...]
    dates: tuple[date, ...]
    """When it was made; the pictures of one study may say more than one day."""
    site: str | None
    is_named: bool = True
    """Whether the source names the study."""

    @property
    def drawn_by(self) -> str:
        """What a share is drawn by: the PatientID alone, whoever gave it out."""
        return f"patient\0\0{self.patient.id}" if self.patient else self.person

    def says(self, rule: split_rules.Splits) -> bool:
        """Whether the study itself says what a rule goes by, whoever it is of."""
        return bool(self.dates) if rule.by == "time" else rule.by == "site" and bool((self.site or "").strip())

    def for_splits(self, rule: split_rules.Splits) -> split_rules.Fact:
        """What its split may depend on."""
        decides = max if rule.decided_by == "last" else min
        return split_rules.Fact(self.person, self.drawn_by, decides(self.dates, default=None), self.site)


@dataclass(frozen=True)
class Reading:
    """How a source says whose a study is."""

    patients_known: bool
    """False: a study is its own patient."""
    ids_name_realm: bool
    """As for `patient_of`."""
    settings: Patients

    def fact(self, study: Study) -> Fact:
        known = study if self.patients_known and not self._is_nobody(study) else replace(study, patient_id=None)
        realm = "" if self.ids_name_realm else str(study.columns.get("site") or "")
        moments = (table_rows.own("study_datetime", value) for value in _said(study, "study_datetime"))
        return Fact(
            study_id=study.study_id,
            patient_id=known.patient_id,
            realm=realm,
            person=_person(known, realm),
            patient=patient_of(known, ids_name_realm=self.ids_name_realm),
            splits=tuple(_said(study, "split")),
            is_pictured=any(picture.reason is None for picture in study.pictures),
            sexes=tuple(map(str, _said(study, "sex"))),
            births=study.births,
            dates=tuple(moment.date() for moment in moments if moment),
            site=next(map(str, _said(study, "site")), None),
            is_named="StudyInstanceUID" in study.keys or "AccessionNumber" in study.keys,
        )

    def half_known(self, studies: Iterable[Study]) -> int:
        """How many PatientIDs occur both with and without an issuer or site."""
        with_realm: dict[str, set[bool]] = {}
        for study in studies:
            patient = patient_of(study, ids_name_realm=self.ids_name_realm)
            if patient and not self._is_nobody(study):
                with_realm.setdefault(patient.id, set()).add(bool(patient.realm))
        return sum(len(found) == 2 for found in with_realm.values())

    def _is_nobody(self, study: Study) -> bool:
        return study.patient_id is not None and patients.is_nobody(study.patient_id, self.settings)


def _person(study: Study, realm: str) -> str:
    """A patient is (issuer or site, PatientID); without one, a study is its own patient."""
    return f"study\0{study.study_id}" if study.patient_id is None else f"patient\0{realm}\0{study.patient_id}"


def _said(study: Study, column: str) -> Iterator[Any]:
    """What a study and its pictures say in a column."""
    for columns in (study.columns, *(picture.columns for picture in study.pictures)):
        if columns.get(column) is not None:
            yield columns[column]


# ---- ids that are hardly one person's ------------------------------------------------------------------------------


class People(Protocol):
    """What a store knows of its patients."""

    def studies_of_patients(self, wanted: set[str]) -> Mapping[tuple[str, str], set[str]]:
        """{(patient, study): sexes} of those patients who are there."""
        ...


def doubtful(
    facts: Sequence[Fact], patient_ids: Sequence[str], study_ids: Sequence[str], settings: Patients, before: People
) -> set[str]:
    """The patients whose id is contradicted, and whose rows are flagged so; studies that are there already count.

    Args:
        facts: of each study.
        patient_ids: what the store calls the patient of each study.
        study_ids: and the study itself.
        settings: what is taken for one patient.
        before: the store that is there.

    Raises:
        WrongUse: with the list of those for whom the job does not go on.
    """
    named = [
        (fact, patient, study)
        for fact, patient, study in zip(facts, patient_ids, study_ids, strict=True)
        if fact.patient is not None
    ]
    there = dict(before.studies_of_patients({patient for _, patient, _ in named}))
    for _, patient, study in named:
        there.pop((patient, study), None)  # one that comes again counts as it says now

    def people() -> Iterator[Person]:
        for fact, patient, _ in named:
            yield Person(patient, fact.sexes, fact.births, fact.is_named)
        for (patient, _), sexes in there.items():
            yield Person(patient, tuple(sexes))

    found = patients.doubts(people(), settings)
    patients.check(found, settings, shown=str)
    return {one.person for one in found if one.is_contradicted}

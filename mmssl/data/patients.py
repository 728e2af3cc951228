"""Ids that cannot be one person's: placeholders such as "0" or "ANONYMOUS" that a hundred patients share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge

from mmssl.errors import WrongUse, many

SEXES = {"M": "M", "F": "F", "MALE": "M", "FEMALE": "F"}
"""What says a sex; O, U and the like contradict nothing."""
SHOWN = 20


@dataclass(frozen=True)
class Patients:
    """What is taken for one patient."""

    max_studies: Annotated[int, Ge(1)] = 500
    """An id with more studies stops the job: it stands for many."""
    contradictions: Literal["stop", "flag"] = "stop"
    """What happens where one id has two sexes or two birth dates; `flag`: its rows are flagged `patient_doubtful`."""
    placeholders: tuple[str, ...] = ()
    """PatientIDs that are nobody's: such a study is its own patient, in train unless its date or site
    is kept for evaluation."""


def is_nobody(patient_id: str, settings: Patients) -> bool:
    r"""Whether an id is one of the placeholders, whoever gave it out, in capitals or not.

    >>> is_nobody("HOSPITAL\\Anonymous ", Patients(placeholders=("ANONYMOUS", "0"))), is_nobody("00", Patients())
    (True, False)
    """
    plain = patient_id.rpartition("\\")[2].strip().casefold()
    return plain in {one.strip().casefold() for one in settings.placeholders}


class Person(NamedTuple):
    """What a study says of its patient."""

    person: str
    sexes: Sequence[str] = ()
    """As its header or its rows have them, usually one."""
    births: Sequence[str] = ()
    """Birth dates in its headers, usually one, or marks that are equal where these are; never stored, never shown."""
    is_named: bool = True
    """False: the source names no studies, and an image that stands for one counts for none."""


class Doubt(NamedTuple):
    """An id, and why it is hardly one person's."""

    person: str
    studies: int
    sexes: int
    births: int

    def is_many(self, settings: Patients) -> bool:
        return self.studies > settings.max_studies

    @property
    def is_contradicted(self) -> bool:
        return self.sexes > 1 or self.births > 1


@dataclass
class _Known:
    studies: int = 0
    sexes: set[str] = field(default_factory=set)
    births: set[str] = field(default_factory=set)


def doubts(facts: Iterable[Person], settings: Patients) -> list[Doubt]:
    """The ids that have too many studies, two sexes or two birth dates; the one with most studies first.

    Studies are seen once, one after the other; some 700 bytes are held for each patient.
    """
    people: dict[str, _Known] = {}
    for fact in facts:
        one = people.setdefault(fact.person, _Known())
        one.studies += fact.is_named
        one.sexes.update(SEXES[said] for sex in fact.sexes if (said := sex.strip().upper()) in SEXES)
        one.births.update(fact.births)
    found = [Doubt(name, one.studies, len(one.sexes), len(one.births)) for name, one in people.items()]
    kept = [one for one in found if one.is_many(settings) or one.is_contradicted]
    return sorted(kept, key=lambda one: (-one.studies, one.person))


def stopping(found: Sequence[Doubt], settings: Patients) -> list[Doubt]:
    """Those of them for which the job does not go on."""
    return [one for one in found if one.is_many(settings) or settings.contradictions == "stop"]


def check(found: Sequence[Doubt], settings: Patients, *, shown: Callable[[str], str]) -> None:
    """Raises WrongUse with the list of ids that stop the job, and what can be done about them.

    Args:
        found: as `doubts` finds them.
        settings: what is taken for one patient.
        shown: what a person is called in the store; the ids of a source under pseudonyms are not shown.
    """
    wrong = stopping(found, settings)
    if not wrong:
        return
    lines = [f"patient {shown(one.person)}: {_why(one, settings)}" for one in wrong[:SHOWN]]
    more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
    raise WrongUse(
        f"{many('the patients: such an id is hardly one person', [*lines, *more])}\n"
        "patients.placeholders=[ID, ...] takes ids for nobody's; patients.max_studies=N where somebody does have so "
        "many; patients.contradictions=flag where the records are wrong and the person is one"
    )


def _why(one: Doubt, settings: Patients) -> str:
    reasons = [
        f"{one.studies} studies, {settings.max_studies} are allowed" if one.is_many(settings) else "",
        "two sexes" if one.sexes > 1 else "",
        f"{one.births} birth dates" if one.births > 1 else "",
    ]
    return ", ".join(reason for reason in reasons if reason)

"""Inputs with all that is known before a pixel is decoded: on disk, and in memory the little that is compared."""

import functools
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from mmssl import files
from mmssl.data.spill import Spill
from mmssl.data.splits import Split
from mmssl.types import Picture, Study


class Entry(NamedTuple):
    """One input: a file or a row of a table."""

    picture: Picture
    source_id: str
    """As in the store."""
    study_id: str
    patient_id: str
    person: str
    """Who it is of, for cleaning; never stored."""
    split: Split
    given: bool
    """Whether the split was given, not drawn."""
    from_train: bool
    """Whether it was given to train, and drawn for validation, which the source does not give."""
    report: str | None
    text: str | None
    columns: dict[str, Any]
    """Columns of the store, those of the study and of this image."""
    keys: dict[str, str]
    """What reports and labels are joined by; never stored."""
    flags: tuple[str, ...]
    stamp: str | None = None
    """A hash by which the input is known again."""
    shares_report: bool = False
    """Whether the report is the study's, and so that of its other pictures too."""

    @property
    def is_protected(self) -> bool:
        """Whether its split was given as one for evaluation."""
        return self.given and self.split != "train"


def person_number(patient_id: str, *, is_study: bool) -> int:
    """A number for a person of a store; of whom only a study is known, is nobody else."""
    return files.number_of(f"{patient_id}\0study" if is_study else patient_id)


def study_number(study_id: str, patient_id: str) -> int:
    """A number for a study of a store."""
    return files.number_of(f"{study_id}\0{patient_id}")


class Entries(Sequence[Entry]):
    """Entries in the order of the source; those that were gathered into another's study come out as of that one."""

    def __init__(self, entries: Iterable[Entry] = (), *, folder: Path | None = None) -> None:
        self._spill = Spill(_plain, _whole, folder=folder)
        self._person, self._study, self._name, self._protected = array("q"), array("q"), array("q"), array("b")
        self._doubled, self._instance = array("b"), array("q")
        self._moved: dict[int, int] = {}
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        self._spill.append(entry)
        self._person.append(person_number(entry.patient_id, is_study=entry.person.startswith("study\0")))
        self._study.append(study_number(entry.study_id, entry.patient_id))
        self._name.append(files.number_of(entry.source_id))
        self._protected.append(entry.is_protected)
        self._doubled.append("duplicate_id" in entry.flags)
        instance = entry.columns.get("instance_id")
        self._instance.append(files.number_of(instance) if instance else 0)

    def gather(self, place: int, first: int) -> None:
        """Makes an entry one of the study, the split and the person of another."""
        self._moved[place] = first

    def __len__(self) -> int:
        return len(self._spill)

    @overload
    def __getitem__(self, place: int) -> Entry: ...

    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...

    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        entry = self._spill[place]
        if place not in self._moved:
            return entry
        first = self._spill[self._moved[place]]
        return entry._replace(
            study_id=first.study_id, patient_id=first.patient_id, person=first.person, split=first.split
        )

    @property
    def person(self) -> np.ndarray:
        """[entries] a number for each person."""
        return np.frombuffer(self._person, np.int64)

    @property
    def study(self) -> np.ndarray:
        """[entries] a number for each study of a person."""
        return np.frombuffer(self._study, np.int64)

    @property
    def name(self) -> np.ndarray:
        """[entries] a number for each name."""
        return np.frombuffer(self._name, np.int64)

    @property
    def protected(self) -> np.ndarray:
        """[entries] whether the split was given as one for evaluation."""
        return np.frombuffer(self._protected, np.int8).astype(bool)

    @property
    def doubled(self) -> np.ndarray:
        """[entries] whether the id was there before."""
        return np.frombuffer(self._doubled, np.int8).astype(bool)

    @property
    def instance(self) -> np.ndarray:
        """[entries] a number for each instance_id, 0 where there is none."""
        return np.frombuffer(self._instance, np.int64)

    @functools.cached_property
    def rank(self) -> np.ndarray:
        """[entries] places when sorted by the name in the source: one under a pseudonym would depend on the key."""
        names = [entry.picture.source_id for entry in self._spill]
        found = np.empty(len(names), np.int64)
        found[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return found


class Pictures(Sequence[Picture]):
    """The pictures of entries."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, place: int) -> Picture: ...

    @overload
    def __getitem__(self, place: slice) -> list[Picture]: ...

    def __getitem__(self, place: int | slice) -> Picture | list[Picture]:
        if isinstance(place, slice):
            return [entry.picture for entry in self._entries[place]]
        return self._entries[place].picture


# ---- on disk -------------------------------------------------------------------------------------------------------


def studies(found: Iterable[Study], folder: Path | None = None) -> Spill[Study]:
    """Studies on disk."""
    return Spill(_plain_study, _whole_study, found, folder)


def _plain_study(study: Study) -> list[Any]:
    paths = [None if one.path is None else str(one.path) for one in study.pictures]
    return [as_plain(study), paths, list(study.births)]


def _plain_picture(picture: Picture) -> list[Any]:
    path = None if picture.path is None else str(picture.path)
    return [picture.source_id, path, dict(picture.columns), picture.reason]


def _whole_picture(told: list[Any]) -> Picture:
    source_id, path, columns, reason = told
    return Picture(source_id, None if path is None else Path(path), columns, reason)


def as_plain(study: Study) -> list[Any]:
    """A study as lists and dicts, without where its files lie, and without marks that differ from call to call."""
    pictures = [[one.source_id, dict(one.columns), one.reason] for one in study.pictures]
    return [study.study_id, study.patient_id, pictures, study.report, study.text, dict(study.columns), dict(study.keys)]


def _whole_study(told: list[Any]) -> Study:
    (study_id, patient_id, pictures, report, text, columns, keys), paths, births = told
    whole = tuple(
        Picture(source_id, None if path is None else Path(path), own, reason)
        for (source_id, own, reason), path in zip(pictures, paths, strict=True)
    )
    return Study(study_id, patient_id, whole, report, text, columns, keys, births=tuple(births))


def _plain(entry: Entry) -> list[Any]:
    return [_plain_picture(entry.picture), *entry[1:]]


def _whole(told: list[Any]) -> Entry:
    entry = Entry(*told)
    return entry._replace(picture=_whole_picture(told[0]), flags=tuple(entry.flags))

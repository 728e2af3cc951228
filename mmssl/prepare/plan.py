"""What is known of every input before a pixel is decoded: who it belongs to, under which names, in which split."""

import hashlib
import hmac
import os
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from mmssl import console
from mmssl.data import reports, splits, tables
from mmssl.data.store import SCHEMA
from mmssl.errors import CannotDo, WrongUse, many
from mmssl.prepare.settings import Prepare
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
    split: splits.Split
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


@dataclass(frozen=True)
class Names:
    """How ids of the source become ids of the store."""

    key: bytes | None
    """The secret of the pseudonyms; None: ids stay as given."""
    new: Path | None = None
    """Where `keep` is to write the secret, which is in no file yet."""

    @property
    def key_id(self) -> str | None:
        """Names the key without telling it."""
        return None if self.key is None else hashlib.sha256(b"key id\0" + self.key).hexdigest()[:16]

    def of(self, kind: str, value: str) -> str:
        """The id of a patient, study or source.

        >>> Names(None).of("patient", "7"), len(Names(b"secret").of("patient", "7"))
        ('7', 32)
        """
        if self.key is None:
            return value
        return hmac.new(self.key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()[:32]

    def keep(self) -> None:
        """Writes a secret that was just made, once there is a store that needs it.

        Raises:
            CannotDo: where there is one by now, or it cannot be written.
        """
        if self.new is None or self.key is None:
            return
        if self.new.exists():
            raise CannotDo(f"{self.new} was made by another process meanwhile; run the same command again")
        try:
            write_private(self.new, self.key.decode() + "\n")
        except OSError as error:
            raise CannotDo(f"{self.new}: the key cannot be made: {error.strerror}") from None
        console.say(f"made {self.new}, the secret of this store's pseudonyms: keep it, and never beside a shared copy")


def names(settings: Prepare, store: Path, *, keyed: bool, may_make: bool = True) -> Names:
    """Pseudonyms with the key that is given, or with STORE.key; where that is missing, with one that `keep` writes.

    Args:
        settings: may name the key.
        store: need not be there.
        keyed: False: ids stay as given, and there is no key.
        may_make: False where the store is there already: a new key would not be its own.

    Raises:
        WrongUse: where the key that is named does not exist, or may not be made.
        CannotDo: where it cannot be read.
    """
    if not keyed:
        return Names(None)
    path = settings.key or beside(store, "key")
    try:
        if settings.key is not None and not path.is_file():
            raise WrongUse(f"key={path}: no such file; leave it out and {beside(store, 'key')} is made")
        if not path.exists() and not may_make:
            raise WrongUse(
                f"{store} was made with a key that is not at {path}: put it back, or name it with key=FILE; else "
                "prepare into a new folder"
            )
        if not path.exists():
            return Names(secrets.token_hex(32).encode(), new=path)
        secret = path.read_bytes().strip()
    except OSError as error:
        raise CannotDo(f"{path}: the key cannot be read: {error.strerror}") from None
    if len(secret) < 16:
        raise WrongUse(f"{path}: a key has at least 16 bytes, this one {len(secret)}")
    return Names(secret)


def beside(store: Path, ending: str) -> Path:
    """A file that belongs to a store and is not in it: STORE.key, STORE.sources.private."""
    return store.with_name(f"{store.name}.{ending}")


def write_private(path: Path, text: str) -> None:
    """A file that only its owner may read, from its first byte on."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


def half_known(studies: Sequence[Study], *, ids_name_realm: bool) -> int:
    """How many PatientIDs occur both with and without an issuer or site."""
    realms: defaultdict[str, set[str]] = defaultdict(set)
    for study in studies:
        if patient := patient_of(study, ids_name_realm=ids_name_realm):
            realms[patient.id].add(patient.realm)
    return sum("" in found and len(found) > 1 for found in realms.values())


def without_keys(studies: Sequence[Study]) -> tuple[list[Study], list[str]]:
    """Studies without the columns in which a table's keys and paths could still be read, and the names of these.

    What reports and labels were joined by stays in `Study.keys`, which is never stored.
    """
    dropped: set[str] = set()

    def hidden(columns: Mapping[str, Any]) -> dict[str, Any]:
        told = {name for name in columns if name not in SCHEMA.names and _tells_who(re.sub("^(source_)+", "", name))}
        dropped.update(told)
        return {name: value for name, value in columns.items() if name not in told}

    found = [
        replace(
            study,
            columns=hidden(study.columns),
            pictures=tuple(replace(picture, columns=hidden(picture.columns)) for picture in study.pictures),
        )
        for study in studies
    ]
    return found, sorted(dropped)


def _tells_who(column: str) -> bool:
    return column in ("id", "image", "file_name", "prior_study_id") or tables.is_key(column)


def plan(
    studies: Sequence[Study],
    settings: Prepare,
    named: Names,
    *,
    patients_known: bool,
    ids_name_realm: bool,
    complete_splits: Collection[splits.Split],
) -> list[Entry]:
    """Every input with its ids and its split, in the order of the source.

    A split is drawn by the PatientID alone, whoever gave it out: a patient whose site is missing on some rows is in
    one split, although these rows count as those of another patient. A split that is given for some rows of an id is
    that of the others too. Where all have a split and none is validation, those given to train are divided.

    Args:
        studies: as the source has them.
        settings: of the whole job.
        named: how ids become those of the store.
        patients_known: False: a study is its own patient.
        ids_name_realm: as for `patient_of`.
        complete_splits: nobody is added to them beyond those who were given to them.

    Raises:
        WrongUse: for a split that there is not, or a patient who was given to two.
    """
    if not patients_known:
        studies = [replace(study, patient_id=None) for study in studies]
    realms = ["" if ids_name_realm else str(study.columns.get("site") or "") for study in studies]
    people = [_person(study, realm) for study, realm in zip(studies, realms, strict=True)]
    patient_ids, study_ids = _ids(studies, realms, named)
    given = _given_splits(studies, people, patient_ids, settings)
    patients = [patient_of(study, ids_name_realm=ids_name_realm) for study in studies]
    given |= _shared_splits(people, patients, given)
    divided = (
        settings.split is None and "validation" not in complete_splits and _lacks_validation(studies, people, given)
    )
    test = 0.0 if "test" in complete_splits else settings.splits.test
    validation = 0.0 if "validation" in complete_splits else settings.splits.validation
    empties = settings.clean.enabled and settings.clean.text
    entries = []
    for number, (study, person, patient) in enumerate(zip(studies, people, patients, strict=True)):
        missing = patients_known and patient is None
        drawn_by = f"patient\0\0{patient.id}" if patient else person
        split = given.get(person)
        from_train = divided and split == "train" and not missing
        if from_train:
            split = splits.split_of(drawn_by, validation=validation, test=0.0)
            from_train = split == "validation"
        elif split is None:
            split = "train" if missing else splits.split_of(drawn_by, validation=validation, test=test)
        for picture in study.pictures:
            columns = {name: value for name, value in study.columns.items() if value is not None}
            columns |= {name: value for name, value in picture.columns.items() if value is not None}
            report, text = _texts(study, columns)
            if empties and report != text and report and text and reports.is_placeholder(text):
                columns.setdefault("source_text", text)
            if columns.get("prior_study_id"):
                columns["prior_study_id"] = named.of("study", columns["prior_study_id"])
            flags = [*study.columns.get("flags", ()), *picture.columns.get("flags", ())]
            if missing and picture.reason is None:
                flags.append("patient_missing")
            entries.append(
                Entry(
                    picture=picture,
                    source_id=named.of("source", picture.source_id),
                    study_id=study_ids[number],
                    patient_id=patient_ids[number],
                    person=person,
                    split=split,
                    given=person in given and not from_train,
                    from_train=from_train,
                    report=report,
                    text=text,
                    columns=columns,
                    keys=dict(study.keys),
                    flags=tuple(dict.fromkeys(flags)),
                )
            )
    twice = [name for name, count in Counter(entry.source_id for entry in entries).items() if count > 1]
    assert not twice, f"a source names its inputs uniquely, {twice[0]} came twice"
    return entries


def _texts(study: Study, columns: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The report, and the text that the source names outright: those of the study before those of the image."""
    return study.report or columns.get("report"), study.text or (None if study.report else columns.get("text"))


def _person(study: Study, realm: str) -> str:
    """A patient is (issuer or site, PatientID); without one, a study is its own patient."""
    return f"study\0{study.study_id}" if study.patient_id is None else f"patient\0{realm}\0{study.patient_id}"


def _ids(studies: Sequence[Study], realms: Sequence[str], named: Names) -> tuple[list[str], list[str]]:
    """Patient and study ids as stored. Where ids stay as given and one stands for several, its realm goes before it."""
    of_patient: defaultdict[str | None, set[str]] = defaultdict(set)
    for study, realm in zip(studies, realms, strict=True):
        of_patient[study.patient_id].add(realm)
    patients: list[str] = []
    for study, realm in zip(studies, realms, strict=True):
        if study.patient_id is None:
            patients.append(named.of("study", study.study_id))
        elif named.key is not None:
            patients.append(named.of("patient", f"{realm}\0{study.patient_id}"))
        else:
            shared = len(of_patient[study.patient_id]) > 1
            patients.append(f"{realm}:{study.patient_id}" if shared else study.patient_id)
    of_study: defaultdict[str, set[str]] = defaultdict(set)
    for study, patient in zip(studies, patients, strict=True):
        of_study[study.study_id].add(patient)
    study_ids = [
        named.of("study", study.study_id if len(of_study[study.study_id]) == 1 else f"{patient}:{study.study_id}")
        for study, patient in zip(studies, patients, strict=True)
    ]
    return patients, study_ids


def _given_splits(
    studies: Sequence[Study], people: Sequence[str], patient_ids: Sequence[str], settings: Prepare
) -> dict[str, splits.Split]:
    """{person: split} where the source or the settings say it."""
    if settings.split:
        return dict.fromkeys(people, settings.split)
    told = [
        (person, patient, str(split))
        for study, person, patient in zip(studies, people, patient_ids, strict=True)
        for split in _splits_of(study)
    ]
    if unknown := sorted({split for _, _, split in told if split not in splits.NAMES}):
        raise WrongUse(
            f"splits that are not known here: {', '.join(map(repr, unknown[:10]))}; known are {', '.join(splits.NAMES)}"
        )
    found: list[tuple[str, splits.Split]] = [(person, splits.NAMES[split]) for person, _, split in told]
    if torn := splits.in_two(found):
        labels = {person: patient for person, patient, _ in told if person in torn}
        lines = [f"patient {labels[person]}: {' and '.join(sorted(torn[person]))}" for person in list(torn)[:20]]
        more = [f"and {len(torn) - 20} more"] if len(torn) > 20 else []
        remedy = (
            "give all rows of a patient one split in the source, or leave the cells of some empty: they follow the "
            "others; split=NAME puts the whole source into one"
        )
        said = many("the splits that were given; a patient may be in one only", [*lines, *more])
        raise WrongUse(f"{said}\n{remedy}")
    return dict(found)


def _lacks_validation(studies: Sequence[Study], people: Sequence[str], given: Mapping[str, splits.Split]) -> bool:
    """Whether everybody with a picture was given to train or test, and nobody to validation."""
    seen = {
        given.get(person)
        for study, person in zip(studies, people, strict=True)
        if any(picture.reason is None for picture in study.pictures)
    }
    return "train" in seen and seen <= {"train", "test"}


def _shared_splits(
    people: Sequence[str], patients: Sequence[Patient | None], given: Mapping[str, splits.Split]
) -> dict[str, splits.Split]:
    """{person: split} of those who have no split, and whose PatientID was given to one split elsewhere."""
    of_id: defaultdict[str, set[splits.Split]] = defaultdict(set)
    for person, patient in zip(people, patients, strict=True):
        if patient and person in given:
            of_id[patient.id].add(given[person])
    return {
        person: next(iter(of_id[patient.id]))
        for person, patient in zip(people, patients, strict=True)
        if patient and person not in given and len(of_id[patient.id]) == 1
    }


def _splits_of(study: Study) -> Iterator[Any]:
    for columns in (study.columns, *(picture.columns for picture in study.pictures)):
        if columns.get("split") is not None:
            yield columns["split"]

"""A folder of DICOM files, of any name and depth: what lies in it is told by the headers alone."""

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mmssl import console
from mmssl.data import dicom, dicom_kinds, dicom_studies, folders, intensity, priors
from mmssl.data.spill import Spill
from mmssl.errors import Unreadable
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

OF_STUDY = ("sex", "age", "ethnicity", "site", "study_datetime")
"""Columns that hold for a whole study, taken from its first file that knows; the others belong to a file."""

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LOOKED_AT = 300  # files that `recognises` opens at most

Key = tuple[str | None, str]  # patient, study


class _File(NamedTuple):
    source_id: str  # path below the source
    path: Path
    header: dicom.Dicom | None  # None where it cannot be read
    reason: str | None
    flags: tuple[str, ...] = ()


class Source:
    """Studies of a folder, by (issuer or site, PatientID) and StudyInstanceUID.

    A file without PatientID is of the one patient who has its study; where there is none, or several, it belongs to no
    known patient, and its study is its own patient. Files without StudyInstanceUID are one study where they share
    patient and accession number, else each its own.
    """

    keyed_ids = True
    complete_splits = ()
    patients_known = True
    table_columns = ()

    def __init__(
        self,
        path: Path,
        *,
        frame: dicom.Which | None = None,
        max_frames: int | None = None,
        for_processing: Literal["twin", "keep", "drop"] = "twin",
        secondary_capture: Literal["beside", "keep", "drop"] = "beside",
        localizer: Literal["keep", "drop"] = "drop",
        test_image: Literal["keep", "drop"] = "drop",
        measured: tuple[str, ...] = tuple(intensity.INTENSITY["measured"]),
        percentiles: tuple[float, float] = tuple(intensity.INTENSITY["percentiles"]),
    ) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder.
            frame: the one frame of each file that becomes a row: first, middle, or its number from 0.
            max_frames: how many frames of a file become rows at most; all if left out.
            for_processing: what becomes of raw images: `twin` drops them where the picture made from them is there.
            secondary_capture: `beside` drops screenshots and scans where the study has other pictures.
            localizer: what becomes of survey scans.
            test_image: what becomes of phantoms and test patterns.
            measured: modalities whose grey pictures stay measurements of 16 bits.
            percentiles: between which grey is stretched where the header gives no window.
        """
        self.path, self.max_frames = Path(path), max_frames
        # Of the marks of birth dates; it goes to other processes with the source, never to disk.
        self.salt = os.urandom(16)
        self.frame: dicom.Which | None = frame
        self.wanted = dicom_studies.Wanted(for_processing, secondary_capture, localizer, test_image)
        self.measured, self.percentiles = measured, percentiles

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether one of the first few hundred files has DICOM's magic word, and no table beside lists images."""
        if not path.is_dir() or any(_lists_images(path / name) for name in TABLES):
            return False
        for number, file in enumerate(folders.walk(path)):
            if number == LOOKED_AT:
                break
            if folders.ends(file)[0][128:132] == b"DICM":
                return True
        return False

    def fingerprint(self) -> str:
        """Changes with a file's name or size, its first or its last 4,096 bytes; not when the folder is moved."""
        digest = hashlib.sha256()
        for file in map(Path, self.files):
            start, end, size = folders.ends(file)
            digest.update(repr((self._name(file), size)).encode() + hashlib.sha256(start + end).digest())
        return digest.hexdigest()

    @functools.cached_property
    def files(self) -> list[str]:
        """Every file below the folder, in a fixed order; as text, which takes a third of the memory of a path."""
        return [str(file) for file in folders.walk(self.path)]

    def studies(self) -> Iterator[Study]:
        """Every file in one of the studies; a file that cannot be read is a study by itself."""
        headers = Spill(_plain, _whole)
        groups: dict[Key, list[int]] = {}
        dates: dict[Key, datetime] = {}
        for number, file in enumerate(self._headers()):
            headers.append(file)
            key = _study_key(file)
            groups.setdefault(key, []).append(number)
            if file.header and (date := file.header.columns["study_datetime"]) is not None:
                dates.setdefault(key, date)
        lent = _find_patients(groups)
        before = _priors(dates)
        names = _study_ids(list(groups))
        for key, numbers in groups.items():
            group = [_of_patient(headers[number], number in lent) for number in numbers]
            prior = before.get(key)
            prior_id = names[prior] if prior else None
            yield _study(names[key], key[0], _screen(group, self.wanted), prior_study_id=prior_id, salt=self.salt)

    def decode(self, picture: Picture) -> "list[tuple[Image.Image, dict[str, Any]]]":
        """The frames of a file.

        Raises:
            Unreadable: with one of `mmssl.data.dicom.REASONS`.
        """
        if picture.path is None:
            raise Unreadable("missing")
        frames = dicom.pixels(
            picture.path,
            self.frame,
            max_frames=self.max_frames,
            measured=self.measured,
            percentiles=self.percentiles,
        )
        return [(frame.image, frame.columns) for frame in frames]

    def _headers(self) -> Iterator[_File]:
        """One after the other, some 1,300 a second: decoding takes 20 times as long, processes gain nothing."""
        with console.progress("headers", len(self.files), "files") as advance:
            for path in map(Path, self.files):
                yield _read(self._name(path), path)
                advance(1)

    def _name(self, path: Path) -> str:
        return folders.below(self.path, path)


def _lists_images(table: Path) -> bool:
    """Whether a file is a table of metadata as image folders have it, with a column `file_name`."""
    if not table.is_file() or table.suffix == ".parquet":
        return table.is_file()
    with open(table, "rb") as file:
        return b"file_name" in file.readline(1 << 16)


def _read(source_id: str, path: Path) -> _File:
    if folders.is_folder(path):
        return _File(source_id, path, None, "no_permission")
    try:
        header = dicom.read(path)
    except Unreadable as error:
        return _File(source_id, path, None, error.reason)
    return _File(source_id, path, header, header.reason)


def _study_key(file: _File) -> Key:
    """(patient, study): what files of one study have in common."""
    header = file.header
    if header is None:
        return None, f"file {file.source_id}"
    patient = None
    if header.patient_id:
        # a backslash separates values in DICOM, so none is in either part
        patient = f"{header.issuer or header.columns['site'] or ''}\\{header.patient_id}"
    if header.study_uid:
        return patient, header.study_uid
    accession = header.keys.get("AccessionNumber")
    return patient, f"accession {accession}" if patient and accession else f"file {file.source_id}"


def _plain(file: _File) -> list[Any]:
    header = None if file.header is None else {one.name: getattr(file.header, one.name) for one in fields(file.header)}
    return [file.source_id, str(file.path), header, file.reason]


def _whole(told: list[Any]) -> _File:
    source_id, path, header, reason = told
    if header is not None:
        doubts, conversion, sources, event, acquired = header["kind"]
        kind = dicom_kinds.Kind(tuple(doubts), conversion, tuple(sources), event, acquired)
        header = dicom.Dicom(**{**header, "kind": kind})
    return _File(source_id, Path(path), header, reason)


def _priors(dates: Mapping[Key, datetime]) -> dict[Key, Key]:
    """{study: the study of the same patient just before it}, by date alone."""
    of_patient: dict[str, dict[Key, datetime | None]] = {}
    for key, date in dates.items():
        if key[0] is not None:
            of_patient.setdefault(key[0], {})[key] = date
    return {one: prior for of in of_patient.values() for one, prior in priors.of_patient(of).items()}


def _of_patient(file: _File, is_lent: bool) -> _File:
    return file._replace(flags=("patient_from_study",)) if is_lent else file


def _find_patients(groups: dict[Key, list[int]]) -> set[int]:
    """Moves files without a patient to the one patient who has their study, if there is one; which files these are."""
    lent: set[int] = set()
    holders: dict[str, list[Key]] = {}
    for key in groups:
        if key[0] is not None:
            holders.setdefault(key[1], []).append(key)
    for key in [key for key in groups if key[0] is None and len(holders.get(key[1], ())) == 1]:
        (holder,) = holders[key[1]]
        moved = groups.pop(key)
        groups[holder] += moved
        lent.update(moved)
    return lent


def _screen(group: list[_File], wanted: dicom_studies.Wanted) -> list[_File]:
    """Files of a study with what can be said only where all its headers are known: who is wanted, and some views."""
    known = [file for file in group if file.header]
    headers = [file.header for file in known if file.header]
    reasons, views = dicom_studies.reasons(headers, wanted), dicom_studies.views(headers)
    screened = [
        file._replace(reason=reason, header=replace(header, columns={**header.columns, "view": view}))
        for file, header, reason, view in zip(known, headers, reasons, views, strict=True)
    ]
    return [file for file in group if not file.header] + screened


def _study_ids(keys: list[Key]) -> dict[Key, str]:
    """An id for each study: its UID, with the patient before it where two patients have the same."""
    seen: dict[str, int] = {}
    for _, study in keys:
        seen[study] = seen.get(study, 0) + 1
    shared = {study for study, count in seen.items() if count > 1 or study.startswith("accession ")}
    return {key: f"{key[0] or ''}\\{key[1]}" if key[1] in shared else key[1] for key in keys}


def _study(study_id: str, patient: str | None, group: list[_File], *, prior_study_id: str | None, salt: bytes) -> Study:
    group = sorted(group, key=_place)
    keys: dict[str, str] = {}
    for file in group:
        keys = {**(file.header.keys if file.header else {}), **keys}
    columns = {name: _known(group, name) for name in OF_STUDY} if group[0].header else {}
    return Study(
        study_id=study_id,
        patient_id=patient,
        pictures=tuple(_picture(file) for file in group),
        columns={**columns, "prior_study_id": prior_study_id} if columns else {},
        keys=keys,
        births=tuple(sorted({_mark(file.header.birth, salt) for file in group if file.header and file.header.birth})),
    )


def _mark(birth: str, salt: bytes) -> str:
    """A birth date that can be compared and not read: nobody has the salt when the source has been read."""
    return hashlib.blake2b(birth.encode(), key=salt, digest_size=8).hexdigest()


def _picture(file: _File) -> Picture:
    columns = file.header.columns if file.header else {}
    own = {name: value for name, value in columns.items() if name not in OF_STUDY}
    if file.header and file.header.instance_uid:
        own["instance_id"] = file.header.instance_uid
    if file.flags:
        own["flags"] = list(file.flags)
    return Picture(file.source_id, file.path, columns=own, reason=file.reason)


def _place(file: _File) -> tuple[str, int, str]:
    """Series by series, in the order in which they were taken."""
    header = file.header
    return (header.series_uid or "", header.instance_number or 0, file.source_id) if header else ("", 0, file.source_id)


def _known(group: list[_File], column: str) -> Any:
    """The first value that a file of a study has for a column."""
    values = (file.header.columns[column] for file in group if file.header)
    return next((value for value in values if value is not None), None)

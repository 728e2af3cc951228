"""A hospital that does not exist: patients, studies and reports, written as two sites would hand them over.

`write` makes OUT/dicom (a folder a patient, a folder a study), OUT/reports.csv and OUT/truth.csv.
"""

from __future__ import annotations

import csv
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from mmssl.errors import WrongUse
from mmssl.files import whole_folder

from . import findings as findings_of
from . import wording
from .findings import Finding

MOST_PATIENTS = 100_000  # more would repeat identities
FEW_PATIENTS = 100  # fewer are made sooner than a second process starts

_FAMILY = [
    "Almeida", "Berger", "Castillo", "Dubois", "Eriksen", "Fontaine", "Garcia", "Haddad", "Ivanova",
    "Jensen", "Kowalski", "Larsen", "Moreau", "Nguyen", "Okonkwo", "Petrov", "Quinn", "Rossi",
    "Schmidt", "Tanaka", "Ueda", "Vargas", "Weber", "Yilmaz", "Zhang",
]  # fmt: skip
_WOMEN = [
    "Ada", "Beatriz", "Clara", "Elena", "Fatima", "Grace", "Hana", "Ingrid", "Julia",
    "Leila", "Maria", "Nora", "Olga", "Priya",
]  # fmt: skip
_MEN = [
    "Adam", "Bruno", "Carlos", "David", "Emil", "Felix", "Georg", "Hassan", "Ivan",
    "Jonas", "Karim", "Luis", "Marco", "Nils", "Pavel",
]  # fmt: skip


class Site(NamedTuple):
    name: str
    issuer: str  # of patient ids; empty: the site's name has to do
    manufacturer: str
    model: str
    modality: Literal["DX", "CR"]
    scanner: Literal["crisp", "soft"]
    portable: float  # share of AP films


SITES = (
    Site("Northfield General Hospital", "NGH", "Aurora Imaging", "DR-900", "DX", "crisp", 0.25),
    Site("St. Brendan Clinic", "", "Helios Medical", "CR 35-X", "CR", "soft", 0.55),
)


class Summary(NamedTuple):
    patients: int
    studies: int
    files: int  # every file under dicom/
    reports: int
    corrupt: int
    blank: int
    duplicates: int


class _Written(NamedTuple):
    """What one patient adds to the tables and the counts."""

    reports: list[dict[str, str]]
    truth: list[dict[str, str]]
    studies: int
    files: int
    corrupt: int
    blank: int
    duplicates: int


def write(out: Path, *, seed: int = 0, n: int = 1200, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Writes a hospital to `out`, whole or not at all: the same seed writes the same bytes, two share no identity.

    Args:
        out: A folder that does not exist yet, or is empty.
        seed: From 0 up; below a million no two seeds share an id.
        n: How many patients, up to MOST_PATIENTS.
        progress: Called with how many patients are done, and how many there are.

    Raises:
        WrongUse: for numbers out of range, or a folder that holds something.
    """
    out = Path(out)
    wrong = []
    if not 1 <= n <= MOST_PATIENTS:
        wrong.append(f"{n} patients were asked for; from 1 to {MOST_PATIENTS} can be made")
    if seed < 0:
        wrong.append(f"the seed is {seed}; it must not be negative")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        wrong.append(f"{out} exists and is not an empty folder; name another, or remove it")
    if wrong:
        raise WrongUse("; ".join(wrong))
    with whole_folder(out) as part:
        return _write(part, seed, n, progress)


def _write(out: Path, seed: int, n: int, progress: Callable[[int, int], None] | None) -> Summary:
    (out / "dicom").mkdir()
    done: list[_Written] = []
    for written in _each(out / "dicom", seed, n):
        done.append(written)
        if progress:
            progress(len(done), n)
    reports = [row for written in done for row in written.reports]
    _write_table(out / "reports.csv", reports)
    _write_table(out / "truth.csv", [row for written in done for row in written.truth])
    return Summary(
        patients=n,
        studies=sum(written.studies for written in done),
        files=sum(written.files for written in done),
        reports=len(reports),
        corrupt=sum(written.corrupt for written in done),
        blank=sum(written.blank for written in done),
        duplicates=sum(written.duplicates for written in done),
    )


def _each(folder: Path, seed: int, patients: int) -> Iterator[_Written]:
    """Make every patient, in order; many of them on all cores (threads gained nothing: numpy's calls are short)."""
    workers = min(8, os.cpu_count() or 1)
    if patients < FEW_PATIENTS or workers == 1:
        for number in range(patients):
            yield _write_patient(folder, seed, number)
        return
    # Plain child programs: multiprocessing would run a caller's unguarded script again, and a fork copies its threads.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    program = f"import sys; from {__name__} import _serve; _serve(*sys.argv[1:])"
    commands = [
        [sys.executable, "-c", program, str(folder), str(seed), f"{first}:{patients}:{workers}"]
        for first in range(workers)
    ]
    # A session of their own: Ctrl-C reaches the parent alone, which ends them.
    children = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
        for command in commands
    ]
    try:
        for number in range(patients):
            child = children[number % workers]
            assert child.stdout is not None
            try:
                yield pickle.load(child.stdout)  # our own child's words
            except EOFError:
                raise RuntimeError(f"a process that draws phantoms ended early with status {child.wait()}") from None
    finally:
        for child in children:
            child.kill()
            child.communicate()


def _serve(folder: str, seed: str, numbers: str) -> None:
    """Be such a child program: write every so-manieth patient and say what was written."""
    for number in range(*map(int, numbers.split(":"))):
        sys.stdout.buffer.write(pickle.dumps(_write_patient(Path(folder), int(seed), number)))
        sys.stdout.buffer.flush()


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _number(seed: int, index: int, *, salt: int) -> str:
    """Twelve digits that no other (seed, index) has: a one-to-one map, so seeds below a million never meet."""
    return f"{((seed % 10**6) * 10**6 + index) * salt % 10**12:012d}"


def _uid(seed: int, *parts: object) -> str:
    digest = hashlib.sha256("/".join(map(str, ("mmssl phantom", seed, *parts))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


class _Patient(NamedTuple):
    number: int
    id: str
    name: str
    sex: Literal["F", "M"]
    born: date
    site: Site


def _sample_patient(seed: int, number: int, random: Random) -> _Patient:
    sex: Literal["F", "M"] = random.choice(("F", "M"))
    name = f"{random.choice(_FAMILY)}^{random.choice(_WOMEN if sex == 'F' else _MEN)}"
    born = date(1930, 1, 1) + timedelta(days=random.randrange(365 * 72))
    # 12 digits at one site, so one id in ten begins with a zero; the other writes a letter before them.
    site = random.choice(SITES)
    digits = _number(seed, number, salt=618_033_988_749)
    return _Patient(number, digits if site.issuer else f"P{digits}", name, sex, born, site)


def _write_patient(folder: Path, seed: int, number: int) -> _Written:
    from .anatomy import sample_body

    random = Random(f"mmssl phantom {seed} {number}")
    patient = _sample_patient(seed, number, random)
    body = sample_body(random, breasts=patient.sex == "F" and random.random() < 0.8)
    found = findings_of.sample(random)
    day = date(2018, 1, 1) + timedelta(days=random.randrange(365 * 6))
    num_studies = random.choices((1, 2, 3), (0.86, 0.11, 0.03))[0]
    written = _Written([], [], 0, 0, 0, 0, 0)
    prior: date | None = None
    for index in range(num_studies):
        accession = ("" if patient.site.issuer else "C") + _number(seed, 4 * number + index, salt=414_213_562_373)
        part = _write_study(folder / patient.id / accession, patient, body, found, day, prior, accession, seed, random)
        written = _Written(*(a + b for a, b in zip(written, part, strict=True)))  # type: ignore[operator]
        prior, day = day, day + timedelta(days=random.randrange(20, 500))
        found = findings_of.later(found, random)
    return written


def _write_study(
    folder: Path,
    patient: _Patient,
    body: Any,
    found: list[Finding],
    day: date,
    prior: date | None,
    accession: str,
    seed: int,
    random: Random,
) -> _Written:
    from . import anatomy, film

    portable = random.random() < patient.site.portable
    views: list[Literal["PA", "AP"]] = ["AP" if portable else "PA"]
    if random.random() < 0.18:
        views.append(random.choice(("PA", "AP")))
    leads = random.random() < (0.35 if portable else 0.05)
    header = _header(patient, day, accession, seed, random)
    exposures = [
        anatomy.sample_exposure(random, scanner=patient.site.scanner, view=view, leads=leads) for view in views
    ]
    for index, exposure in enumerate(exposures, 1):
        values = film.draw(body, found, exposure)
        _write_film(
            folder / f"IM{index}.dcm", values, {**header, **_instance(exposure.view, accession, index, seed)}, random
        )
    study = wording.Study(found, anatomy.traits(body, exposures[0]), views, prior, _age(patient, day), patient.sex)
    row = {
        "AccessionNumber": accession,
        "PatientID": patient.id,
        "sex": patient.sex,
        "age": str(study.age),
        "site": patient.site.name,
        "date": day.isoformat(),
        "report": wording.report(study, random),
    }
    missing = random.random() < 0.02
    corrupt, blank, duplicates = _spoil(folder, header, accession, seed, random)
    return _Written(
        reports=[] if missing else [row],
        truth=[{"AccessionNumber": accession, "truth": "|".join(findings_of.names(found))}],
        studies=1,
        files=len(views) + corrupt + blank + duplicates,
        corrupt=corrupt,
        blank=blank,
        duplicates=duplicates,
    )


def _age(patient: _Patient, day: date) -> int:
    return day.year - patient.born.year - ((day.month, day.day) < (patient.born.month, patient.born.day))


def _header(patient: _Patient, day: date, accession: str, seed: int, random: Random) -> dict[str, Any]:
    """What all images of a study share."""
    site = patient.site
    header = {
        "PatientName": patient.name,
        "PatientID": patient.id,
        "PatientBirthDate": patient.born.strftime("%Y%m%d"),
        "PatientSex": patient.sex,
        "PatientAge": f"{_age(patient, day):03d}Y",
        "AccessionNumber": accession,
        "StudyInstanceUID": _uid(seed, accession),
        "StudyID": accession[-6:],
        "StudyDate": day.strftime("%Y%m%d"),
        "StudyTime": f"{random.randrange(24):02d}{random.randrange(60):02d}{random.randrange(60):02d}",
        "StudyDescription": "XR CHEST",
        "Modality": site.modality,
        "BodyPartExamined": "CHEST",
        "InstitutionName": site.name,
        "Manufacturer": site.manufacturer,
        "ManufacturerModelName": site.model,
        "StationName": f"ROOM{random.randrange(1, 4)}",
        "ReferringPhysicianName": f"{random.choice(_FAMILY)}^{random.choice(_WOMEN + _MEN)}",
    }
    return {**header, "IssuerOfPatientID": site.issuer} if site.issuer else header


def _instance(view: str, accession: str, index: int, seed: int) -> dict[str, Any]:
    return {
        "ViewPosition": view,
        "SeriesInstanceUID": _uid(seed, accession, "series", index),
        "SeriesNumber": index,
        "SOPInstanceUID": _uid(seed, accession, "image", index),
        "InstanceNumber": 1,
        "ImageType": ["ORIGINAL", "PRIMARY"],
    }


def _write_film(path: Path, values: Any, header: dict[str, Any], random: Random) -> None:
    """Store values in 0..1 the way scanners differ in: depth, polarity, rescale, and a window that undoes all of it."""
    import numpy as np

    from mmssl.data.dicom_write import write_image

    bits = random.choice((12, 16))
    top = 2**bits - 1
    low = random.uniform(0.02, 0.20) * top  # the detector's range is wider than what the film uses
    high = random.uniform(0.75, 0.98) * top
    inverted = random.random() < 0.35
    stored = np.rint(low + (high - low) * (1 - values if inverted else values)).astype(np.uint16)
    slope, intercept = random.choice(((1.0, 0.0), (1.0, 0.0), (1.0, -1024.0), (0.5, 100.0)))
    header = {
        **header,
        "RescaleSlope": f"{slope:g}",
        "RescaleIntercept": f"{intercept:g}",
        "RescaleType": "US",
        "WindowCenter": f"{slope * (low + high) / 2 + intercept:.1f}",
        "WindowWidth": f"{slope * (high - low):.1f}",
    }
    photometric = "MONOCHROME1" if inverted else "MONOCHROME2"
    write_image(path, stored, header, bits_stored=bits, photometric=photometric)


def _spoil(folder: Path, header: dict[str, Any], accession: str, seed: int, random: Random) -> tuple[int, int, int]:
    """Sometimes add a file that should not be kept: corrupt, blank or a copy. Returns how many of each."""
    import numpy as np

    from mmssl.data.dicom_write import write_image

    what = random.choices(("", "corrupt", "blank", "duplicate"), (0.965, 0.013, 0.009, 0.013))[0]
    first = folder / "IM1.dcm"
    if what == "corrupt":
        whole = first.read_bytes()
        kind = random.choice(("truncated", "zero", "garbage"))
        spoilt = {
            "truncated": whole[: int(len(whole) * random.uniform(0.1, 0.8))],
            "zero": b"",
            "garbage": random.randbytes(4000),
        }
        (folder / "IM8.dcm").write_bytes(spoilt[kind])
    if what == "blank":
        pixels = np.full((300, 320), random.randrange(4096), np.uint16)
        write_image(folder / "IM9.dcm", pixels, {**header, **_instance("PA", accession, 9, seed)}, bits_stored=12)
    if what == "duplicate":
        (folder / "IM1_copy.dcm").write_bytes(first.read_bytes())
    return int(what == "corrupt"), int(what == "blank"), int(what == "duplicate")

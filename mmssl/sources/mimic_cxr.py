"""MIMIC-CXR as PhysioNet publishes it: JPEGs (MIMIC-CXR-JPG 2.x), DICOM files (MIMIC-CXR 2.x), or both in one folder.

    files/p10/p10000032/s50414267/DICOM_ID.jpg or .dcm
    mimic-cxr-2.0.0-metadata.csv.gz, -split.csv.gz, -chexpert.csv.gz, -negbio.csv.gz (JPG)
    cxr-record-list.csv.gz (DICOM); mimic-cxr-reports.zip, or files/p10/p10000032/s50414267.txt from it

File names and columns: https://physionet.org/content/mimic-cxr-jpg/2.1.0/ and
https://physionet.org/content/mimic-cxr/2.1.0/. Johnson et al. 2019, https://doi.org/10.1038/s41597-019-0322-0 and
https://arxiv.org/abs/1901.07042
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from mmssl import files
from mmssl.data import columnar, dicom, folders, observations, priors, report_texts, table_rows, tables
from mmssl.errors import Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

METADATA, SPLIT = "mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv"
RECORDS, REPORTS = "cxr-record-list.csv", "mimic-cxr-reports.zip"
LABELS = {"chexpert": "mimic-cxr-2.0.0-chexpert.csv", "negbio": "mimic-cxr-2.0.0-negbio.csv"}

IMAGE, STUDY = ("dicom_id", "subject_id", "study_id"), ("subject_id", "study_id")
DATES, VIEW = ("StudyDate", "StudyTime"), ("ViewPosition", "ViewCodeSequence_CodeMeaning")
KEPT = ("PerformedProcedureStepDescription", "PatientOrientationCodeSequence_CodeMeaning")
"""Columns of the metadata that enter the store under their own names."""

VIEWS = {"postero-anterior": "PA", "antero-posterior": "AP", "lateral": "LATERAL", "left lateral": "LL"}
"""What ViewCodeSequence says where ViewPosition is empty; anything else is unknown."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")
"""Endings of images, the one that is taken first where an image is there in two."""

ON_THE_WAY = re.compile(r"physionet\.org|files|mimic-cxr(-jpg)?|\d+\.\d+\.\d+|p\d{2}|p\d{8}|s\d{8}")
"""Folders above and below the one that is meant, as downloads make them."""


class Source:
    """Studies patient by patient, in the order of their ids; tables stay in columns, so that memory stays small.

    Official splits (`validate` is our validation), the labels of one labeller, the prior by StudyDate and StudyTime.
    Rows without a file, files without a row and labelled studies without an image are all inputs; other files (the
    index.html of wget) are none.
    """

    keyed_ids = False
    patients_known = True
    table_columns = ()

    def __init__(
        self,
        path: Path,
        *,
        labels: Literal["chexpert", "negbio"] = "chexpert",
        reports: Path | None = None,
        with_reports: bool = True,
        official_splits: bool = True,
        patients: Path | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder that has the tables and `files`.
            labels: whose labels become label_NAME.
            reports: mimic-cxr-reports.zip, or the folder in which it was unpacked; else looked for in `path`.
            with_reports: False: images alone.
            official_splits: False: patients are drawn, where the table of splits is missing or not wanted.
            patients: MIMIC-IV's patients.csv.gz, from which sex and age come.
        """
        self.path, self.labels = Path(path), labels
        self.reports, self.with_reports = reports and Path(reports).expanduser(), with_reports
        self.official_splits, self.patients = official_splits, patients and Path(patients).expanduser()

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the folder has the tables and `files`, or lies on the way to or below one that has."""
        return _root(Path(path)) is not None

    @property
    def complete_splits(self) -> tuple[str, ...]:
        return ("validation", "test") if self.official_splits else ()

    def fingerprint(self) -> str:
        """Changes with a table, the reports, or which patients there are; an image that is exchanged goes unseen."""
        self._check()
        told = [tables.stamp(self._reports() if self.with_reports else None)]
        told += [(file.name, files.hash_file(file)) for file in self._tables()]
        return files.hash_json([told, [name for _, name in _patient_folders(self.path)]])

    def studies(self) -> Iterator[Study]:
        """Every row and every image, patient by patient."""
        self._check()
        rows, bad = self._rows()
        seen: set[str] = set()
        with self._opened_reports() as text:
            for patient in columnar.groups(rows, ["subject_id"]):
                seen.add(patient[0]["subject_id"])
                yield from self._patient(patient, text)
        for folder, name in _patient_folders(self.path):
            if name[1:] not in seen:
                yield from _unlisted(self.path, folder / name, set())
        for name in bad:
            yield Study(name, None, (Picture(name, None, reason="bad_row"),))

    def decode(self, picture: Picture) -> "list[tuple[Image.Image, dict[str, Any]]]":
        """The picture of a file; what a DICOM header says fills only what the tables leave open.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    # ---- what is there ---------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raises WrongUse for all that is missing, with where it comes from."""
        root = _root(self.path)
        if root is None:
            raise WrongUse(
                f"{self.path} is not MIMIC-CXR: it has neither {METADATA}.gz (of MIMIC-CXR-JPG) nor {RECORDS}.gz (of "
                "MIMIC-CXR) beside a folder `files`; name the folder that has them, packed or unpacked"
            )
        if root != self.path:
            raise WrongUse(f"{self.path} is not the folder of MIMIC-CXR's tables and `files`; say {root}")
        problems = []
        if self.official_splits and columnar.find(root, SPLIT) is None:
            problems.append(
                f"{SPLIT}.gz of MIMIC-CXR-JPG is not in {root}: put it there, or say source.official_splits=false and "
                "patients are drawn"
            )
        if self.with_reports and self._reports() is None:
            problems.append(
                f"no reports: {self.reports or f'{root / REPORTS} of MIMIC-CXR'} is not there, nor are the .txt files "
                f"from it in {root / 'files'}; say source.reports=FILE, or source.with_reports=false for images alone"
            )
        if self.patients and not self.patients.is_file():
            problems.append(f"source.patients={self.patients}: no such file; it is patients.csv.gz of MIMIC-IV")
        if problems:
            raise WrongUse("\n".join(problems))

    def _tables(self) -> list[Path]:
        names = [METADATA, RECORDS, LABELS[self.labels], *([SPLIT] if self.official_splits else ())]
        found = [file for name in names if (file := columnar.find(self.path, name))]
        return [*found, *([self.patients] if self.patients else ())]

    def _reports(self) -> Path | None:
        """The zip or the folder below which `files/p10/p10000032/s50414267.txt` lie."""
        if self.reports:
            below = self.reports.parent if self.reports.name == "files" else self.reports
            return below if below.exists() else None
        unpacked = self.path / REPORTS.removesuffix(".zip")
        for place in (self.path / REPORTS, unpacked):
            if place.is_file() or (place / "files").is_dir():
                return place
        first = next(_patient_folders(self.path), None)
        return self.path if first and any((first[0] / first[1]).glob("s*.txt")) else None

    @contextlib.contextmanager
    def _opened_reports(self) -> Iterator[report_texts.Text]:
        place = self._reports() if self.with_reports else None
        if place is None:
            yield lambda name: None
        else:
            with report_texts.opened(place, below="files") as text:
                yield text

    def _rows(self) -> tuple[pa.Table, list[str]]:
        """A row for each image that any table knows, and for each labelled study without one; names of bad rows."""
        rows, bad = pa.table({name: pa.array([], pa.string()) for name in IMAGE}), []
        optional = {METADATA: (*DATES, *VIEW, *KEPT), SPLIT: ("split",), RECORDS: ()}
        for file in self._tables():
            name = file.name.removesuffix(".gz")
            if name not in optional:
                continue
            wanted = (*IMAGE, "split") if name == SPLIT else IMAGE
            found, torn = columnar.read(file, wanted, optional=[c for c in optional[name] if c != "split"], keys=IMAGE)
            columnar.check_unique(file, found, "dicom_id")
            rows = rows.join(found, list(IMAGE), join_type="full outer")
            bad += [f"{file.name} row {number}" for number in torn]
        if labels := columnar.find(self.path, LABELS[self.labels]):
            found, torn = columnar.read(labels, STUDY, optional=observations.NAMES, keys=STUDY)
            columnar.check_unique(labels, found, "study_id")
            rows = rows.join(found, list(STUDY), join_type="full outer")
            bad += [f"{labels.name} row {number}" for number in torn]
        if self.patients:
            found, _ = columnar.read(self.patients, ["subject_id", "gender", "anchor_age", "anchor_year"])
            columnar.check_unique(self.patients, found, "subject_id")
            rows = rows.join(found, "subject_id", join_type="left outer")
        return rows.combine_chunks(), bad

    # ---- a patient -------------------------------------------------------------------------------------------------

    def _patient(self, rows: list[dict[str, Any]], text: report_texts.Text) -> Iterator[Study]:
        of_study: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: (row["study_id"], row["dicom_id"] or "")):
            of_study.setdefault(row["study_id"], []).append(row)
        folder = self.path / _patient_path(rows[0]["subject_id"])
        dates = {study: _moment(group) for study, group in of_study.items()}
        for study in [study for study, (moment, unread) in dates.items() if moment is None and not unread]:
            dates[study] = _from_header(folder / f"s{study}"), False
        before = priors.of_patient({study: moment for study, (moment, _) in dates.items()})
        for study, group in of_study.items():
            moment, unread = dates[study]
            report = text(f"{_patient_path(group[0]['subject_id'])}/s{study}.txt")
            columns = {"study_datetime": moment, "prior_study_id": before.get(study), **_told(group[0], moment)}
            if unread:
                columns |= {"flags": ["value_unreadable"], "source_study_datetime": " ".join(_dates(group[0]))}
            if LABELS[self.labels] in self._labelled():
                columns |= observations.labels(group[0], LABELS[self.labels])
            yield _study(self.path, folder / f"s{study}", group, report=report, columns=columns)
        yield from _unlisted(self.path, folder, {f"s{study}" for study in of_study})

    def _labelled(self) -> tuple[str, ...]:
        return (LABELS[self.labels],) if columnar.find(self.path, LABELS[self.labels]) else ()


def _root(path: Path) -> Path | None:
    """The folder with the tables and `files`: a path itself, one above it, or one below on a download's way."""
    if _has_layout(path):
        return path
    place = path.absolute()
    while ON_THE_WAY.fullmatch(place.name) and place != place.parent:
        place = place.parent
        if _has_layout(place):
            return place
    waiting = [path]
    for _ in range(5):
        waiting = [one for folder in waiting for one in _folders(folder) if ON_THE_WAY.fullmatch(one.name)][:20]
        if found := [folder for folder in waiting if _has_layout(folder)]:
            return found[0]
    return None


def _has_layout(path: Path) -> bool:
    known = any(columnar.find(path, name) for name in (METADATA, RECORDS)) if folders.is_folder(path) else False
    return known and (path / "files").is_dir()


def _folders(path: Path) -> list[Path]:
    """The folders in one, by name; none where it may not be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def _patient_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """(folder of ten thousand, folder of a patient), in order."""
    for folder in _folders(root / "files"):
        for patient in _folders(folder) if re.fullmatch(r"p\d{2}", folder.name) else ():
            if re.fullmatch(r"p\d{8}", patient.name):
                yield folder, patient.name


def _patient_path(subject: str) -> str:
    return f"files/p{subject[:2]}/p{subject}"


# ---- a study -------------------------------------------------------------------------------------------------------


def _study(
    root: Path, folder: Path, rows: Sequence[dict[str, Any]], *, report: str | None, columns: dict[str, Any]
) -> Study:
    """The images of a study: those of the tables, those that only lie in its folder, and second forms of either."""
    there, closed = _images(folder)
    pictures = []
    for row in rows:
        if row["dicom_id"] is None:
            continue
        forms = there.pop(row["dicom_id"], [])
        path = forms[0] if forms else folder / f"{row['dicom_id']}.jpg"
        own = {"view": _view(row), "split": row.get("split"), **{name: row.get(name) for name in KEPT}}
        reason = None if forms else "no_permission" if closed else "missing"
        pictures += [Picture(folders.below(root, path), path, columns=own, reason=reason), *_second(root, forms)]
    for forms in there.values():
        flagged = {"flags": ["not_in_metadata"], "split": rows[0].get("split")}
        pictures += [Picture(folders.below(root, forms[0]), forms[0], columns=flagged), *_second(root, forms)]
    if not pictures:
        pictures.append(Picture(folders.below(root, folder), None, reason="missing"))
    study, subject = rows[0]["study_id"], rows[0]["subject_id"]
    keys = {"StudyInstanceUID": study, "PatientID": subject}
    known = {"body_part": "CHEST", **columns}
    if not any(picture.path and picture.path.suffix.lower() == ".dcm" for picture in pictures):
        known["modality"] = "XR"
    return Study(study, subject, tuple(pictures), report=report, columns=known, keys=keys)


def _unlisted(root: Path, patient: Path, known: set[str]) -> Iterator[Study]:
    """Images of a patient in folders of studies that no table knows."""
    for folder in _folders(patient):
        there, _ = _images(folder)
        if folder.name in known or not there:
            continue
        row = {"dicom_id": None, "study_id": folder.name.removeprefix("s"), "subject_id": patient.name[1:]}
        yield _study(root, folder, [row], report=None, columns={})


def _images(folder: Path) -> tuple[dict[str, list[Path]], bool]:
    """{name without ending: its files, the form that is taken first}, and whether the folder may not be listed."""
    found: dict[str, list[Path]] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except PermissionError:
        return {}, True
    except OSError:
        return {}, False
    for path in (folder / name for name in names):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.stem, []).append(path)
    return {
        stem: sorted(forms, key=lambda path: SUFFIXES.index(path.suffix.lower())) for stem, forms in found.items()
    }, False


def _second(root: Path, forms: Sequence[Path]) -> list[Picture]:
    """The same image as another file: of a .jpg and a .dcm one is a row."""
    return [Picture(folders.below(root, path), path, reason="duplicate") for path in forms[1:]]


def _view(row: dict[str, Any]) -> str | None:
    """From ViewPosition, else the code's words, else unknown; None where no table says anything of views."""
    if "ViewPosition" not in row:
        return None
    position, code = row["ViewPosition"], row["ViewCodeSequence_CodeMeaning"]
    return position or VIEWS.get((code or "").lower(), "unknown")


def _told(row: dict[str, Any], moment: datetime | None) -> dict[str, Any]:
    """Sex and age, where MIMIC-IV's patients are given: its years are shifted as those of the images are."""
    if row.get("anchor_year") is None:
        return {}
    years = int(row["anchor_age"]) + moment.year - int(row["anchor_year"]) if moment and row["anchor_age"] else None
    return {"sex": row["gender"], "age": None if years is None or years < 0 else float(years)}


def _dates(row: dict[str, Any]) -> list[str]:
    return [row[name] for name in DATES if row.get(name)]


def _moment(rows: Sequence[dict[str, Any]]) -> tuple[datetime | None, bool]:
    """When a study was taken, and whether something is said of it that is not understood.

    StudyDate is 21800506; StudyTime is a number that lost its leading zeros, 93014.531 is 09:30:14.

    >>> _moment([{"StudyDate": "21800506", "StudyTime": "93014.531"}])
    (datetime.datetime(2180, 5, 6, 9, 30, 14), False)
    >>> _moment([{"StudyDate": "21800506", "StudyTime": "99999"}])
    (datetime.datetime(2180, 5, 6, 0, 0), True)
    """
    row = next((row for row in rows if row.get("StudyDate")), None)
    if row is None:
        return None, False
    clock = (row.get("StudyTime") or "").partition(".")[0]
    try:
        day = datetime.strptime(row["StudyDate"], "%Y%m%d")
    except ValueError:
        return None, True
    if not clock:
        return day, False
    try:
        return datetime.strptime(row["StudyDate"] + clock.zfill(6), "%Y%m%d%H%M%S"), False
    except ValueError:
        return day, True


def _from_header(folder: Path) -> datetime | None:
    """The date that the first DICOM file of a study has, where no table has it."""
    there, _ = _images(folder)
    for path in (path for forms in there.values() for path in forms if path.suffix.lower() == ".dcm"):
        try:
            return dicom.read(path).columns["study_datetime"]
        except Unreadable:
            continue
    return None

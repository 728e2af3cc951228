"""PadChest, the chest X-rays of San Juan Hospital (Alicante), with their reports in Spanish.

    PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv, or .csv.gz
    0/IMAGE_ID.png ... 54/IMAGE_ID.png: 16-bit PNG, a folder for each zip; or all in one folder, as in smaller copies

https://bimcv.cipf.es/bimcv-projects/padchest/. Bustos et al. 2020, https://doi.org/10.1016/j.media.2020.101797 and
https://arxiv.org/abs/1901.07441. Reports are stemmed Spanish: `language` is es. There are no official splits.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mmssl import files
from mmssl.data import columnar, folders, priors, table_rows
from mmssl.errors import CannotDo, Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

TABLE = "PADCHEST_chest_x_ray_images_labels_160K*.csv*"
KEYS = ("ImageID", "StudyID", "PatientID")
KEPT = (
    "Projection", "MethodProjection", "ViewPosition_DICOM", "Pediatric", "PhotometricInterpretation_DICOM", "ReportID",
    "MethodLabel", "LabelsLocalizationsBySentence", "labelCUIS", "LocalizationsCUIS",
)  # fmt: skip
"""Columns that enter the store under their own names."""

READ = (
    "ImageDir", "StudyDate_DICOM", "PatientBirth", "PatientSex_DICOM", "Modality_DICOM", "Manufacturer_DICOM", "Report",
    "Labels", "Localizations", *KEPT,
)  # fmt: skip

VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LATERAL", "UNK": "unknown"}
"""What a Projection is as a view; COSTAL, EXCLUDE and others stay as they are, and `Projection` is kept as well."""

FLAT = ("", "images", "images-224", "images-64")
"""Folders in which all images may lie, where they are not in one for each ImageDir."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
BATCH = 4096  # files that are looked up in the table together

_DIRECTORY = re.compile(r"\d{1,2}|images(-\d+)?")


class Source:
    """Studies patient by patient; images that the table does not list are inputs too.

    `label_padchest` is the list in Labels as it stands (`unchanged` and `exclude` are among its names), `MethodLabel`
    says whether a physician or a network gave it. Age is the year of the study less the year of birth, all that is
    known of it. The prior is found by the date of the study.
    """

    keyed_ids = False
    patients_known = True
    complete_splits = ()
    table_columns = ()

    def __init__(self, path: Path, *, images: Path | None = None) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder with the table.
            images: the folder with the images, where it is another.
        """
        self.path = Path(path)
        self.images = Path(images).expanduser() if images else None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder has the table, by its name and columns; or is the table, or one of its folders of images."""
        return _root(Path(path)) is not None

    @property
    def root(self) -> Path:
        return self.images or self.path

    def fingerprint(self) -> str:
        """Changes with the table and with which folders there are; an image that is exchanged or comes goes unseen."""
        table = self._check()
        there = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        return files.hash_json([table.name, files.hash_file(table), there])

    def studies(self) -> Iterator[Study]:
        """Every row and every image: rows patient by patient, then what the table does not list."""
        table = self._check()
        rows, bad = columnar.read(table, KEYS, optional=READ, keys=KEYS)
        columnar.check_unique(table, rows, "ImageID")
        for patient in columnar.groups(rows, ["PatientID"]):
            yield from self._patient(patient)
        yield from self._unlisted(rows)
        for number in bad:
            name = f"{table.name} row {number}"
            yield Study(name, None, (Picture(name, None, reason="bad_row"),))

    def decode(self, picture: Picture) -> "list[tuple[Image.Image, dict[str, Any]]]":
        """The picture of a file; 16 bits stay 16 bits.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    # ---- what is there ---------------------------------------------------------------------------------------------

    def _check(self) -> Path:
        """The table.

        Raises:
            WrongUse: where table or images are missing.
        """
        found = _root(self.path)
        if found is None:
            raise WrongUse(
                f"{self.path} is not PadChest: no {TABLE.replace('*', '_01.02.19', 1).removesuffix('*')} is there, "
                "packed or unpacked; name the folder that has it"
            )
        if found != self.path:
            raise WrongUse(f"{self.path} is not the folder of PadChest's table; say {found}")
        pictures = itertools.chain(self.root.glob("*.png"), self.root.glob("*/*.png"))
        if next(pictures, None) is None:
            packed = next(iter(sorted(self.root.glob("*.zip"))), None)
            say = f"unpack {packed.name} and the other zip files there" if packed else "say source.images=FOLDER"
            raise WrongUse(
                f"{self.root} has no images: a folder for each ImageDir (0 to 54) belongs there, or all images in "
                f"one folder; {say}"
            )
        table = _table(self.path)
        assert table is not None, "a root has the table"
        return table

    # ---- a patient -------------------------------------------------------------------------------------------------

    def _patient(self, rows: list[dict[str, Any]]) -> Iterator[Study]:
        of_study: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: (row["StudyID"], row["ImageID"])):
            of_study.setdefault(row["StudyID"], []).append(row)
        dates = {study: _date(group[0]["StudyDate_DICOM"]) for study, group in of_study.items()}
        before = priors.of_patient(dates)
        for study, group in of_study.items():
            yield Study(
                study_id=study,
                patient_id=group[0]["PatientID"],
                pictures=tuple(self._picture(row, dates[study]) for row in group),
                report=next((row["Report"] for row in group if row["Report"]), None),
                columns={
                    "study_datetime": dates[study],
                    "prior_study_id": before.get(study),
                    "language": "es",
                    "body_part": "CHEST",
                },
                keys={"StudyInstanceUID": study, "PatientID": group[0]["PatientID"]},
            )

    def _picture(self, row: dict[str, Any], date: datetime | None) -> Picture:
        path = self._place(row)
        columns = {name: row[name] for name in KEPT} | {
            "view": VIEWS.get(row["Projection"] or "UNK", row["Projection"]),
            "modality": row["Modality_DICOM"] or "XR",
            "scanner": row["Manufacturer_DICOM"],
            "sex": table_rows.own("sex", row["PatientSex_DICOM"]),
            "age": _age(row["PatientBirth"], date),
            "label_padchest": _names(row["Labels"]),
            "Localizations": _names(row["Localizations"]),
        }
        unread = _unread(row, columns, date)
        if unread:
            columns |= {"flags": ["value_unreadable"], **unread}
        reason = None if folders.is_file(path) else "missing"
        return Picture(folders.below(self.root, path), path, columns=columns, reason=reason)

    def _place(self, row: dict[str, Any]) -> Path:
        """Where an image lies; where it is expected, if it is nowhere."""
        folder = row["ImageDir"] or ""
        own = self.root / folder / row["ImageID"]
        others = (self.root / place / row["ImageID"] for place in (f"{folder}/{folder}", *FLAT))
        return next((path for path in (own, *others) if folders.is_file(path)), own)

    def _unlisted(self, rows: pa.Table) -> Iterator[Study]:
        """Images that no row names, and those that lie in two places, looked up many at a time."""
        known = pc.SetLookupOptions(value_set=rows["ImageID"].combine_chunks())
        images = (path for path in folders.walk(self.root, hidden=False) if path.suffix.lower() in SUFFIXES)
        while batch := list(itertools.islice(images, BATCH)):
            names = pa.array([folders.written(path.name) for path in batch])
            places = pc.call_function("index_in", [names], known)
            listed = rows.select(["ImageDir", "ImageID"]).take(places).to_pylist()
            for path, row in zip(batch, listed, strict=True):
                name = folders.below(self.root, path)
                if row["ImageID"] is None:
                    picture = Picture(name, path, columns={"flags": ["not_in_metadata"]})
                    yield Study(name, None, (picture,), columns={"modality": "XR", "body_part": "CHEST"})
                elif self._place(row) != path:
                    yield Study(name, None, (Picture(name, path, reason="duplicate"),))


# ---- cells ---------------------------------------------------------------------------------------------------------


def _date(cell: str | None) -> datetime | None:
    """A day as 20140915; None where it is none.

    >>> _date("20140915"), _date("2014")
    (datetime.datetime(2014, 9, 15, 0, 0), None)
    """
    try:
        return datetime.strptime(cell or "", "%Y%m%d") if len(cell or "") == 8 else None
    except ValueError:
        return None


def _age(birth: str | None, date: datetime | None) -> float | None:
    """Years between the year of birth, all that is known of it, and that of the study.

    >>> _age("1930.0", datetime(2014, 9, 15)), _age("2015", datetime(2014, 9, 15)), _age("?", datetime(2014, 9, 15))
    (84.0, None, None)
    """
    if birth is None or date is None or not re.fullmatch(r"\d{4}(\.0)?", birth):
        return None
    years = date.year - int(birth[:4])
    return float(years) if 0 <= years < 150 else None


def _names(cell: str | None) -> list[str] | None:
    """A list as Python writes it; None where it says nothing, or is none.

    >>> _names("['pleural effusion', ' unchanged']"), _names("[]"), _names(None), _names("nan")
    (['pleural effusion', 'unchanged'], [], None, None)
    """
    try:
        found = ast.literal_eval(cell or "None")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(name).strip() for name in found if str(name).strip()] if isinstance(found, list) else None


def _unread(row: dict[str, Any], columns: dict[str, Any], date: datetime | None) -> dict[str, str]:
    """What is said of date, birth or labels, and is not understood."""
    told = {
        "source_study_datetime": (row["StudyDate_DICOM"], date),
        "source_PatientBirth": (row["PatientBirth"], columns["age"] if date else 0),
        "source_Labels": (row["Labels"], columns["label_padchest"]),
    }
    return {name: said for name, (said, read) in told.items() if said and said.lower() != "nan" and read is None}


# ---- where it begins -----------------------------------------------------------------------------------------------


def _table(path: Path) -> Path | None:
    """The table in a folder, by its name and its columns."""
    for file in sorted(path.glob(TABLE)) if path.is_dir() else ():
        try:
            if set(KEYS) <= set(columnar.header(file)):
                return file
        except CannotDo:
            continue
    return None


def _root(path: Path) -> Path | None:
    """The folder with the table: a path itself, or the one above it, where it is the table or a folder of images."""
    if _table(path):
        return path
    above = path.absolute().parent
    if (path.is_file() and path.match(TABLE)) or _DIRECTORY.fullmatch(path.name):
        return above if _table(above) else None
    return None

"""CheXpert 1.0, full size or small, with the reports of CheXpert Plus where they are there too.

    train.csv, valid.csv: Path,Sex,Age,Frontal/Lateral,AP/PA and the fourteen labels
    train/patient00001/study1/view1_frontal.jpg; or as downloaded, `CheXpert-v1.0 batch 2 (train 1)/patient00001/...`
    test_labels.csv (Path) or groundtruth.csv (Study), and test/patient64741/study1/view1_frontal.jpg
    df_chexpert_plus_240401.csv, alone or beside these; its images in PNG/train/... or DICOM/train/...

Irvin et al. 2019, https://arxiv.org/abs/1901.07031; Chambon et al. 2024, https://arxiv.org/abs/2405.19538
(CheXpert Plus); the test set and its labels are those of https://github.com/rajpurkarlab/cheXpert-test-set-labels and
of CheXlocalize. None has dates: studies are not numbered in the order of time, and `patient_report_date_order` does not
agree with the dates in reports, so no study has a prior.
"""

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mmssl import files
from mmssl.data import columnar, folders, observations, table_rows
from mmssl.errors import CannotDo, Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

SPLITS = {"train": "train", "valid": "validation", "val": "validation", "test": "test"}
"""Folders of a split, and what it is here."""

TABLES = (("train.csv",), ("valid.csv", "val_labels.csv"), ("test_labels.csv", "groundtruth.csv"))
"""Tables with labels: of each group the first that is there."""

PLUS = "df_chexpert_plus_240401.csv"
BATCH_1 = "CheXpert-v1.0 batch 1 (validate & csv)"
FORMS = ("", "PNG", "PNG/PNG", "DICOM")
"""Folders in which those of the splits may lie."""

SECTIONS = {
    "section_clinical_history": "CLINICAL HISTORY", "section_history": "HISTORY", "section_comparison": "COMPARISON",
    "section_technique": "TECHNIQUE", "section_findings": "FINDINGS", "section_impression": "IMPRESSION",
}  # fmt: skip
"""Columns of CheXpert Plus that make the report, and their headings."""

SAID = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
SAID_PLUS = ("sex", "age", "frontal_lateral", "ap_pa", "race", "ethnicity", "patient_report_date_order", "report")

SUFFIXES = (".jpg", ".jpeg", ".png", ".dcm")
"""Endings of images, the one that is taken first where an image is there in two."""

_PATH = (
    r"(?:^|/)(?P<split>train|valid|val|test)/(?P<patient>patient\d+)/(?P<study>study\d+)(?:/(?P<view>[^/.]+)\.\w+)?/?$"
)

Row = dict[str, Any]
Places = list[tuple[str, Path]]


class Source:
    """Studies patient by patient; a row is an image, and images that no table names are inputs too.

    The splits are those of the folders; `view` is AP, PA, LL, RL, LATERAL, or FRONTAL where only that is known.
    """

    keyed_ids = False
    patients_known = True
    complete_splits = ("validation", "test")
    table_columns = ()

    def __init__(self, path: Path, *, images: Path | None = None, with_reports: bool = True) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder with the tables.
            images: the folder with `train`, `valid` and `test`, where it is another.
            with_reports: False: the reports of CheXpert Plus are not read.
        """
        self.path, self.with_reports = Path(path), with_reports
        self.images = Path(images).expanduser() if images else None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a folder has one of the tables, by its columns; or lies in a folder that has."""
        path = Path(path)
        return _is_root(path) or _root_above(path) is not None or _root_below(path) is not None

    def fingerprint(self) -> str:
        """Changes with a table, and with which folders of splits and of patients there are; images go unseen."""
        self._check()
        told = [(file.name, files.hash_file(file)) for file in self._tables()]
        there = [(folder.name, sorted(entry.name for entry in os.scandir(folder))) for _, folder in self._places()]
        return files.hash_json([told, there])

    def studies(self) -> Iterator[Study]:
        """Every row and every image, patient by patient."""
        self._check()
        labels, bad = self._labels()
        plus, bad_plus = self._plus()
        places = self._places()
        seen: set[str] = set()
        for patient, rows, reports in _merged(labels, plus):
            seen.add(patient)
            yield from self._patient(places, patient, rows, reports)
        for split, place in places:
            for patient in sorted(path.name for path in place.glob("patient*") if path.is_dir()):
                if patient not in seen:
                    seen.add(patient)
                    yield from self._patient(places, patient, [], [], split=split)
        for name in [*bad, *bad_plus]:
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
        """Raises WrongUse where tables or images are missing."""
        if not _is_root(self.path):
            other = _root_above(self.path) or _root_below(self.path)
            if other:
                raise WrongUse(f"{self.path} is not the folder of CheXpert's tables; say {other}")
            raise WrongUse(
                f"{self.path} is not CheXpert: none of {', '.join(name for group in TABLES for name in group)} (with a "
                f"column Path or Study) and {PLUS} is there; name the folder that has them"
            )
        if not self._places():
            where = self.images or self.path
            raise WrongUse(
                f"{where} has no images: `train`, `valid` or `test` (or PNG, DICOM, or the batches as downloaded) "
                "belongs there; unpack the zip files there, or say source.images=FOLDER"
            )

    def _tables(self) -> list[Path]:
        found = [next((file for name in group if (file := self._find(name))), None) for group in TABLES]
        plus = self._find(PLUS) if self.with_reports or not any(found) else None
        return [file for file in (*found, plus) if file]

    def _find(self, name: str) -> Path | None:
        return columnar.find(self.path, name) or columnar.find(self.path / BATCH_1, name)

    def _places(self) -> Places:
        """(split, folder of patients), wherever images of a split lie."""
        root = self.images or self.path
        found = [
            (split, root / form / name)
            for form in FORMS
            for name, split in SPLITS.items()
            if (root / form / name).is_dir()
        ]
        batches = sorted(root.glob("CheXpert-v1.0 batch *"))
        found += [("train", folder) for folder in batches if "(train" in folder.name and folder.is_dir()]
        return found + [("validation", f / "valid") for f in batches if (f / "valid").is_dir()]

    def _labels(self) -> tuple[pa.Table | None, list[str]]:
        found, bad = [], []
        for file in self._tables():
            if file.name.startswith(PLUS):
                continue
            key = "Study" if file.name.startswith("groundtruth") else "Path"
            rows, torn = columnar.read(file, [key], optional=[*SAID, *observations.NAMES], keys=[key])
            table = pa.array([file.name] * len(rows), pa.string())
            rows, unread = _with_place(rows.rename_columns({key: "path"}).append_column("table", table), "path")
            found.append(rows)
            bad += [*(f"{file.name} row {number}" for number in torn), *(f"{file.name}: {path}" for path in unread)]
        return (pa.concat_tables(found) if found else None), bad

    def _plus(self) -> tuple[pa.Table | None, list[str]]:
        file = next((file for file in self._tables() if file.name.startswith(PLUS)), None)
        if file is None:
            return None, []
        rows, torn = columnar.read(file, ["path_to_image"], optional=[*SAID_PLUS, *SECTIONS], keys=["path_to_image"])
        columnar.check_unique(file, rows, "path_to_image")
        rows, unread = _with_place(rows, "path_to_image")
        return rows, [*(f"{file.name} row {n}" for n in torn), *(f"{file.name}: {path}" for path in unread)]

    # ---- a patient -------------------------------------------------------------------------------------------------

    def _patient(
        self, places: Places, patient: str, rows: list[Row], reports: list[Row], *, split: str = "train"
    ) -> Iterator[Study]:
        splits = {SPLITS[row["split"]] for row in (*rows, *reports)} or {split}
        there = _there(places, patient)
        told: dict[str, tuple[list[Row], list[Row]]] = {study: ([], []) for study in there}
        for number, some in enumerate((rows, reports)):
            for row in some:
                told.setdefault(row["study"], ([], []))[number].append(row)
        for study in sorted(told, key=lambda name: (len(name), name)):
            labels, plus = told[study]
            yield self._study(patient, study, labels, plus, there.get(study, {}), min(splits))

    def _study(
        self, patient: str, study: str, rows: list[Row], plus: list[Row], there: dict[str, list[Path]], split: str
    ) -> Study:
        of_study = next((row for row in rows if not row["view"]), None)
        by_view = {row["view"]: row for row in plus} | {row["view"]: row for row in rows if row["view"]}
        reports = {row["view"]: row for row in plus}
        names = dict.fromkeys([*sorted(by_view), *sorted(there)])
        pictures = []
        for view in names:
            row, more = by_view.get(view) or of_study, reports.get(view, {})
            forms = sorted(there.get(view, ()), key=lambda path: (SUFFIXES.index(path.suffix.lower()), path))
            columns = {"split": SPLITS[row["split"]] if row else split, **_columns(view, row or {}, more)}
            if row is None:
                columns["flags"] = ["not_in_metadata"]
            expected = f"{row['split'] if row else split}/{patient}/{study}/{view}.jpg"
            pictures += self._pictures(forms, columns, expected)
        if not pictures:
            name = f"{rows[0]['split']}/{patient}/{study}"
            pictures.append(Picture(name, None, columns={"split": split}, reason="missing"))
        is_dicom = any(picture.path and picture.path.suffix.lower() == ".dcm" for picture in pictures)
        return Study(
            study_id=f"{patient}/{study}",
            patient_id=patient,
            pictures=tuple(pictures),
            report=next((text for row in plus if (text := _report(row))), None),
            columns={"body_part": "CHEST", "modality": None if is_dicom else "XR"},
            keys={"StudyInstanceUID": f"{patient}/{study}", "PatientID": patient},
        )

    def _pictures(self, forms: Sequence[Path], columns: dict[str, Any], name: str) -> list[Picture]:
        """The first form of an image, and the others as repetitions of it; where there is none, the one expected."""
        root = self.images or self.path
        if not forms:
            return [Picture(name, root / name, columns=columns, reason="missing")]
        first = Picture(folders.below(root, forms[0]), forms[0], columns=columns)
        return [first, *(Picture(folders.below(root, path), path, reason="duplicate") for path in forms[1:])]


def _there(places: Places, patient: str) -> dict[str, dict[str, list[Path]]]:
    """{study: {view: its files}}, whatever places a patient's images lie in."""
    found: dict[str, dict[str, list[Path]]] = {}
    for _, place in places:
        for path in folders.walk(place / patient, hidden=False) if (place / patient).is_dir() else ():
            study = path.parent.name
            if path.suffix.lower() in SUFFIXES and re.fullmatch(r"study\d+", study):
                found.setdefault(study, {}).setdefault(path.stem, []).append(path)
    return found


# ---- rows ----------------------------------------------------------------------------------------------------------


def _with_place(rows: pa.Table, path: str) -> tuple[pa.Table, list[str]]:
    """Rows with the columns split, patient, study and view of a path; and the paths that name no study."""
    parts = pc.call_function("extract_regex", [rows[path].combine_chunks()], pc.ExtractRegexOptions(_PATH))
    known = parts.is_valid()
    unread = [text for text, is_known in zip(rows[path].to_pylist(), known.to_pylist(), strict=True) if not is_known]
    for number, name in enumerate(("split", "patient", "study", "view")):
        rows = rows.append_column(name, parts.field(number))
    return rows.filter(known) if unread else rows, unread


def _merged(labels: pa.Table | None, plus: pa.Table | None) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """(patient, rows with labels, rows with reports) in the order of patients, of whichever table has them."""
    sides = [iter(columnar.groups(rows, ["patient"])) if rows is not None else iter(()) for rows in (labels, plus)]
    heads = [next(side, None) for side in sides]
    while any(heads):
        patient = min(head[0]["patient"] for head in heads if head)
        taken: list[list[Row]] = []
        for number, head in enumerate(heads):
            mine = head is not None and head[0]["patient"] == patient
            taken.append(head or [] if mine else [])
            if mine:
                heads[number] = next(sides[number], None)
        yield patient, taken[0], taken[1]


def _columns(view: str, row: Row, more: Row) -> dict[str, Any]:
    """What the tables say of an image; CheXpert's own before CheXpert Plus."""
    side = row.get("Frontal/Lateral") or more.get("frontal_lateral") or view.rpartition("_")[2].capitalize()
    position = row.get("AP/PA") or more.get("ap_pa")
    known = {
        "view": position or {"Frontal": "FRONTAL", "Lateral": "LATERAL"}.get(side, "unknown"),
        "sex": table_rows.own("sex", row.get("Sex") or more.get("sex")),
        "age": table_rows.own("age", row.get("Age") or more.get("age")),
        "ethnicity": more.get("ethnicity"),
        "race": more.get("race"),
        "patient_report_date_order": more.get("patient_report_date_order"),
    }
    return known | (observations.labels(row, row["table"]) if row.get("table") else {})


def _report(row: Row) -> str | None:
    """The sections that CheXpert Plus found, under their headings; else the report as it stands."""
    told = [f"{heading}: {row[name]}" for name, heading in SECTIONS.items() if row[name]]
    return "\n".join(told) or row["report"]


# ---- where it begins -----------------------------------------------------------------------------------------------


def _is_root(path: Path) -> bool:
    """Whether a folder has a table whose columns are CheXpert's."""
    if not path.is_dir() or path.name == BATCH_1:
        return False
    for name in itertools.chain(*TABLES, (PLUS,)):
        file = columnar.find(path, name) or columnar.find(path / BATCH_1, name)
        if file and (name == PLUS or _has_columns(file)):
            return True
    return False


def _has_columns(file: Path) -> bool:
    try:
        named = set(columnar.header(file))
    except CannotDo:
        return False
    return bool(named & {"Path", "Study"}) and {"Cardiomegaly", "Pleural Effusion"} <= named


def _root_above(path: Path) -> Path | None:
    """The folder with the tables, where a path is one of those that hold images in it."""
    place = path.absolute()
    while re.fullmatch(r"train|valid|val|test|PNG|DICOM|CheXpert-v1\.0 batch .*|patient\d+|study\d+", place.name):
        place = place.parent
        if _is_root(place):
            return place
    return None


def _root_below(path: Path) -> Path | None:
    """The folder with the tables, where it is the only one below a path that is called like the data set."""
    found = [one for one in (path.glob("CheXpert*") if path.is_dir() else ()) if one.name != BATCH_1 and _is_root(one)]
    return found[0] if len(found) == 1 else None

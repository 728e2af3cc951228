"""Indiana University's chest X-rays as Open-i gives them out: an XML file a report, and its images as PNG or DICOM.

    NLMCXR_reports.tgz, or unpacked: ecgen-radiology/207.xml
    NLMCXR_png/CXR207_IM-0703-1001.png
    NLMCXR_dcm/207/207_IM-0703-1001.dcm

https://openi.nlm.nih.gov/faq. Demner-Fushman et al. 2016, https://doi.org/10.1093/jamia/ocv080: 3,996 reports of as
many patients, so a report is a study and a patient. There are no official splits, no dates (all carry one of
publication), no sex and no age.
"""

import functools
import os
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmssl import files
from mmssl.data import folders, table_rows, tables
from mmssl.errors import CannotDo, Unreadable, WrongUse
from mmssl.types import Picture, Study

if TYPE_CHECKING:
    from PIL import Image

REPORTS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "NLMCXR_reports", "reports", ".")
"""Folders below the source in which the reports may lie; else a .tgz beside them."""

UNPACKED = ("ecgen-radiology", "NLMCXR_reports")
"""Folders that unpacking the reports makes."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm")
"""Endings of images, the one that is taken first where an image is there in two."""

IMAGES = ("NLMCXR_*", "images")
"""Folders with images, where the source is named by its .tgz."""

NO_CODES = ("No Indexing",)
"""What stands in the place of codes where nobody coded the report."""

_NAME = re.compile(r"(?:CXR)?(\d+)(?:_\1)?_(IM-[\w-]+)")

Forms = dict[str, list[Path]]
"""An image's name and its files, the form that is taken first."""


class Source:
    """Reports with their images; `label_mesh` is what people coded (the headings of MeSH/major), null where nobody did.

    `mesh_major` has these codes whole, `mesh_automatic` those of a program. Images that no report names are inputs, and
    so are reports whose images are not there or that name none.
    """

    keyed_ids = False
    patients_known = True
    complete_splits = ()
    table_columns = ()

    def __init__(self, path: Path, *, reports: Path | None = None) -> None:
        """Reads nothing yet.

        Args:
            path: of the folder with images and reports, or of NLMCXR_reports.tgz beside the folder with images.
            reports: the folder of .xml files or their .tgz; else looked for in `path`.
        """
        self.path = Path(path)
        self.reports = Path(reports).expanduser() if reports else None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a report of the collection is in one of its places."""
        return _reports(Path(path)) is not None or _holds_reports_alone(Path(path))

    @property
    def root(self) -> Path:
        """The folder below which the images lie."""
        return self.path.parent if self.path.is_file() else self.path

    def fingerprint(self) -> str:
        """Changes with a report, and with the name, size or ends of an image."""
        place = self._check()
        told = files.hash_file(place) if place.is_file() else [files.hash_file(file) for file in _xml_files(place)]
        there = [tables.stamp(path) for of_report in self._images().values() for form in of_report.values()
                 for path in form]  # fmt: skip
        return files.hash_json([told, sorted(there)])

    def studies(self) -> Iterator[Study]:
        """A study for each report, in its images' order; then images of no report."""
        place = self._check()
        images, names = self._images(), dict[str, int]()
        for name, content in _read_reports(place):
            try:
                report = ElementTree.fromstring(content)
            except ElementTree.ParseError:
                report = None
            uid = None if report is None else report.find("uId")
            if report is None or uid is None or not uid.get("id"):
                name = table_rows.unique(name, names)
                yield Study(name, None, (Picture(name, None, reason="bad_row"),))
            else:
                yield self._study(uid.attrib["id"], report, name, images, names)
        for number, forms in images.items():
            study = f"CXR{number}" if number else None
            for name, of_image in forms.items():
                pictures = self._pictures(of_image, {"flags": ["not_in_metadata"]}, names)
                yield Study(study or name, study, tuple(pictures), columns=_common(of_image))

    def decode(self, picture: Picture) -> "list[tuple[Image.Image, dict[str, Any]]]":
        """The picture of a file.

        Raises:
            Unreadable: with a reason code.
        """
        if picture.path is None:
            raise Unreadable("missing")
        return table_rows.opened(picture, picture.path)

    # ---- what is there ---------------------------------------------------------------------------------------------

    def _check(self) -> Path:
        """The place of the reports.

        Raises:
            WrongUse: where reports or images are missing.
        """
        place = _named_reports(self.reports) if self.reports else _reports(self.path)
        if place is None and self.reports:
            raise WrongUse(
                f"source.reports={self.reports}: no report of Open-i is there; it is NLMCXR_reports.tgz, or the folder "
                "of .xml files from it"
            )
        if place is None and _holds_reports_alone(self.path):
            raise WrongUse(
                f"{self.path} has the reports alone; name the folder that has the images too, say {_above(self.path)}"
            )
        if place is None:
            raise WrongUse(
                f"{self.path} has no reports of Open-i: NLMCXR_reports.tgz, or the folder ecgen-radiology from it, "
                "belongs there; it may be named by source.reports=FILE"
            )
        if not self._images():
            raise WrongUse(
                f"{self.root} has no images: unpack NLMCXR_png.tgz or NLMCXR_dcm.tgz there (tar -xzf), into a folder "
                "of its name; reports alone are no training store"
            )
        return place

    def _images(self) -> dict[str, Forms]:
        """{number of the report: its images}; those whose name tells of no report are under an empty one."""
        found: dict[str, Forms] = {}
        places = [self.root]
        if self.path.is_file():
            places = sorted(folder for name in IMAGES for folder in self.root.glob(name) if folder.is_dir())
        for path in (path for place in places for path in folders.walk(place, hidden=False)):
            if path.suffix.lower() in SUFFIXES:
                number, name = _named(path.name) or ("", folders.below(self.root, path))
                found.setdefault(number, {}).setdefault(name, []).append(path)
        for of_report in found.values():
            for forms in of_report.values():
                forms.sort(key=lambda path: (SUFFIXES.index(path.suffix.lower()), path))
        return found

    # ---- a report --------------------------------------------------------------------------------------------------

    def _study(
        self, uid: str, report: ElementTree.Element, name: str, images: dict[str, Forms], names: dict[str, int]
    ) -> Study:
        """A report with the images that it names, and with those that only bear its number."""
        left, found, files_there = images.pop(uid.removeprefix("CXR"), {}), [], list[Path]()
        for image in report.findall("parentImage"):
            key = _named(image.get("id") or "")
            forms = left.pop(key[1], []) if key else []
            files_there += forms
            columns = {"source_caption": _said(image.find("caption"))}
            found += self._pictures(forms, columns, names) or [
                Picture(table_rows.unique(f"{image.get('id')}.png", names), None, columns=columns, reason="missing")
            ]
        for forms in left.values():
            files_there += forms
            found += self._pictures(forms, {"flags": ["not_in_metadata"]}, names)
        if not found:
            found.append(Picture(table_rows.unique(name, names), None, reason="missing"))
        return Study(
            study_id=uid,
            patient_id=uid,
            pictures=tuple(found),
            report=_report_text(report),
            columns={**_common(files_there), **_codes(report)},
            keys={"StudyInstanceUID": uid, "PatientID": uid},
        )

    def _pictures(self, forms: list[Path], columns: dict[str, Any], names: dict[str, int]) -> list[Picture]:
        """The first form of an image, and the others as repetitions of it."""
        named = [(table_rows.unique(folders.below(self.root, path), names), path) for path in forms]
        first = [Picture(name, path, columns=columns) for name, path in named[:1]]
        return [*first, *(Picture(name, path, reason="duplicate") for name, path in named[1:])]


def _named(name: str) -> tuple[str, str] | None:
    """(number of the report, name of the image), as reports, PNG and DICOM files spell it in their ways.

    >>> _named("CXR1_1_IM-0001-3001"), _named("1_IM-0001-3001.dcm"), _named("CXR207_IM-0703-1001.png")
    (('1', 'IM-0001-3001'), ('1', 'IM-0001-3001'), ('207', 'IM-0703-1001'))
    """
    match = _NAME.match(name)
    return (match[1], match[2]) if match else None


def _common(paths: list[Path]) -> dict[str, Any]:
    """What holds for every image; of a DICOM file the header says what it is."""
    is_dicom = any(path.suffix.lower() == ".dcm" for path in paths)
    return {"body_part": "CHEST", "modality": None if is_dicom else "XR"}


def _report_text(report: ElementTree.Element) -> str | None:
    """The sections under their headings, as they stand in the file; empty ones are left out."""
    told = [(part.get("Label"), _said(part)) for part in report.iter("AbstractText")]
    return "\n".join(f"{label}: {text}" if label else text for label, text in told if text) or None


def _codes(report: ElementTree.Element) -> dict[str, Any]:
    major = [code for one in report.findall("MeSH/major") if (code := _said(one))]
    automatic = [code for one in report.findall("MeSH/automatic") if (code := _said(one))]
    coded = [code for code in major if code not in NO_CODES]
    headings = list(dict.fromkeys(code.split("/")[0].strip() for code in coded))
    return {"label_mesh": headings or None, "mesh_major": coded or None, "mesh_automatic": automatic or None}


def _said(element: ElementTree.Element | None) -> str | None:
    return " ".join((element.text or "").split()) or None if element is not None else None


# ---- where reports are ---------------------------------------------------------------------------------------------


def _reports(path: Path) -> Path | None:
    """The folder or .tgz with the reports of a source; None where its reports lie in it alone, beside nothing."""
    if path.is_file():
        return path if path.name.endswith((".tgz", ".tar.gz")) and _is_report(_first_of(path)) else None
    if not path.is_dir() or _holds_reports_alone(path):
        return None
    for name in REPORTS:
        if _is_report_folder(path / name):
            return path / name if name != "." else path
    archives = sorted(file for file in path.iterdir() if file.name.endswith((".tgz", ".tar.gz")))
    return next((file for file in archives if _is_report(_first_of(file))), None)


def _named_reports(path: Path) -> Path | None:
    """The folder or .tgz with reports that a user named."""
    if path.is_file():  # one that is broken is told when it is read
        return path
    folder = next((one for one in (path, path / "ecgen-radiology") if _is_report_folder(one)), None)
    return folder or _reports(path)


def _holds_reports_alone(path: Path) -> bool:
    """Whether a folder is one that unpacking the reports made, not the one that has the images too."""
    return path.name in UNPACKED and (_is_report_folder(path) or _is_report_folder(path / "ecgen-radiology"))


def _above(path: Path) -> Path:
    """The folder that has the images beside the folders of the reports."""
    place = path.absolute()
    while place.name in UNPACKED:
        place = place.parent
    return place


def _is_report_folder(path: Path) -> bool:
    """Whether the first .xml of a folder is a report of the collection."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        first = next((entry.path for entry in entries if entry.name.endswith(".xml")), None)
    return first is not None and _is_report(folders.ends(Path(first))[0])


def _is_report(start: bytes) -> bool:
    return b"<eCitation" in start and b"Indiana University" in start


@functools.lru_cache(maxsize=64)
def _first_of(archive: Path) -> bytes:
    """The beginning of the first .xml in an archive, where one is among its first members."""
    try:
        with tarfile.open(archive, "r|gz") as members:
            for _, member in zip(range(3), members, strict=False):
                if member.isfile() and member.name.endswith(".xml"):
                    held = members.extractfile(member)
                    return held.read(4096) if held else b""
    except (OSError, EOFError, tarfile.TarError):
        pass
    return b""


def _xml_files(folder: Path) -> list[Path]:
    return [path for path in folders.walk(folder, hidden=False) if path.suffix.lower() == ".xml"]


def _read_reports(place: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each report.

    Raises:
        WrongUse: where an archive has no reports.
        CannotDo: where it is broken.
    """
    if place.is_dir():
        yield from ((folders.below(place, path), path.read_bytes()) for path in _xml_files(place))
        return
    found = False
    try:
        with tarfile.open(place, "r|gz") as members:
            for member in members:
                if member.isfile() and member.name.endswith(".xml") and (held := members.extractfile(member)):
                    found = True
                    yield folders.written(member.name), held.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise CannotDo(f"{place} cannot be read ({error}): was its download interrupted? Fetch it again") from None
    if not found:
        raise WrongUse(f"{place} has no .xml in it: it is not NLMCXR_reports.tgz")

"""DICOM files in: header values as columns, pixels as pictures.

How a grey picture is made (PS3.3 C.11; PS3.4 N.2), in this order; `Frame.shown` records which rule was followed:

1. stored values, the bits above and below them masked out (old overlays stand there; overlays are left out),
2. the first modality LUT, else slope and intercept; of an enhanced object those of the frame, then the shared ones,
3. the first VOI LUT, else the first window that is one, with its function (LINEAR, LINEAR_EXACT, SIGMOID), else
   nothing for 8 bits that are ready for display, else the 0.5 to 99.5 percentile of what is not padding,
4. turned over for MONOCHROME1 or a PresentationLUTShape of INVERSE (both say the same thing, so once),
5. padding that touches the edge is black.

Real-world values, presentation LUTs (they belong to other objects) and supplemental palettes are left alone.
What comes out:

- CT: Hounsfield units + 32768 as 16 bits, where the header gives a slope and an intercept and names no other unit.
- MR, and CT in other units: the stored values as 16 bits, as they are (signed ones shifted, inverse ones turned over,
  which the picture records). Which modalities stay such measurements can be chosen (`measured`).
- every other grey picture: 8 bits after the VOI step. 8-bit pictures of ultrasound and the like that have neither a
  LUT nor a window are ready for display and stay as they are; so do bitmaps of 1 bit.
- colour: RGB of 8 bits each.
"""

from __future__ import annotations

import functools
import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mmssl.data import dicom_frames, dicom_kinds, dicom_pictures, dicom_values, dicom_views, images, intensity
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydicom import Dataset

REASONS: dict[str, str] = {
    **images.REASONS,
    "not_dicom": "not a DICOM file, or an index of others (DICOMDIR)",
    "not_an_image": "a DICOM object without a picture of a patient: report, presentation, plan or dose, segmentation, "
    "waveform, document",
    "no_such_frame": "fewer frames than the number of the one that was asked for",
    "unsupported_transfer_syntax": "pixels in a coding that no installed decoder reads (video, for one)",
    "unsupported_pixel_format": "pixels described in a way that is contradictory or not read here",
    "header_unreadable": "a DICOM file whose header cannot be read",
    **dicom_kinds.REASONS,
}
"""Every reason code of a DICOM file, with its meaning."""

OF_PICTURE = ("modality", "body_part", "view", "laterality")
"""What a header says of a picture, whoever's it is."""

MAX_TOTAL = 2**30
"""Files with more pixels in all their frames together are refused as too_large; a limit of frames counts first."""

_DICOMDIR = "1.2.840.10008.1.3.10"

_HEADER = [
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "SeriesDate", "AcquisitionDate",
    "ContentDate", "StudyTime", "AccessionNumber", "Modality", "Manufacturer", "InstitutionName",
    "ManufacturerModelName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "EthnicGroup", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "Laterality",
    "ImageLaterality", "NumberOfFrames", "Rows", "Columns", *dicom_kinds.TAGS, *dicom_views.TAGS,
]  # fmt: skip
"""All that is read of a header where no pixels are needed."""


@dataclass(frozen=True)
class Dicom:
    """What a header says, and nothing that is not listed here."""

    columns: dict[str, Any] = field(default_factory=dict)
    """Columns of a store: modality, body_part, view, laterality, sex, age, ethnicity, site, scanner, study_datetime."""
    keys: dict[str, str] = field(default_factory=dict)
    """AccessionNumber, StudyInstanceUID, PatientID: what reports are joined by, as trimmed text; absent where empty."""
    patient_id: str | None = None
    """PatientID as it stands."""
    issuer: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    instance_number: int | None = None
    num_frames: int = 1
    reason: str | None = None
    """Why there will be no picture, where the header shows that already."""
    birth: str | None = field(default=None, repr=False)
    """PatientBirthDate as YYYY-MM-DD, to tell two people under one id apart; no column, and in no message."""
    kind: dicom_kinds.Kind = dicom_kinds.PLAIN
    """Whether it is for processing, a capture, a localizer, a test image, and what else tells of its like."""
    view_from: dicom_views.From | None = None
    """What told the view."""


class Frame(NamedTuple):
    """One picture of a file."""

    image: Image.Image
    """L, RGB, or I;16 whose info says what its values mean (`intensity.UNIT`, `intensity.SCALE`)."""
    columns: dict[str, Any]
    """Columns of the store that hold for this frame alone."""
    rule: dicom_pictures.Rule
    """By which rule stored values became these ..."""
    shown: dicom_pictures.Shown
    """... and with which numbers; `image.info` says the same as JSON under `intensity.SHOWN`."""


def read(source: bytes | Path) -> Dicom:
    """The header of a DICOM file, without its pixels.

    Raises:
        Unreadable: missing, no_permission, too_large, empty, not_dicom, not_an_image, truncated, header_unreadable.
    """
    dataset = _dataset(source, header_only=True)
    with _quiet():
        return _describe(dataset)


Which = int | Literal["first", "middle"]
"""A frame: its number from 0, or its place."""


def pixels(
    source: bytes | Path,
    frame: Which | None = None,
    *,
    max_frames: int | None = None,
    measured: Sequence[str] = intensity.INTENSITY["measured"],
    percentiles: Sequence[float] = intensity.INTENSITY["percentiles"],
) -> list[Frame]:
    """The pictures of a DICOM file: all frames, the first `max_frames`, or the one asked for.

    Args:
        source: a file, or its bytes.
        frame: the only one that is wanted.
        max_frames: how many there are at most.
        measured: modalities whose grey pictures of more than 8 bits stay measurements of 16 bits.
        percentiles: between which grey is stretched where the header gives no window.

    Raises:
        Unreadable: with one of `REASONS`.
    """
    dataset = _dataset(source, header_only=False)
    with _quiet():
        if _no_image(dataset):
            raise Unreadable("not_an_image")
        wanted = _wanted(dicom_frames.num_frames(dataset), frame, max_frames)
        if _num_pixels(dataset) * len(wanted) > MAX_TOTAL:
            raise Unreadable("too_large")
        decoded = dicom_frames.decode(dataset, wanted)
        return [
            _frame(dataset, number, *one, measured=measured, percentiles=percentiles)
            for number, one in zip(wanted, decoded, strict=True)
        ]


def _wanted(total: int, frame: Which | None, max_frames: int | None) -> list[int]:
    if frame is None:
        return list(range(total if max_frames is None else min(total, max_frames)))
    number = {"first": 0, "middle": total // 2}[frame] if isinstance(frame, str) else frame
    if not 0 <= number < total:
        raise Unreadable("no_such_frame")
    return [number]


def is_dicom(content: bytes) -> bool:
    """Whether a file is DICOM by its first bytes, with or without the preamble; no other image begins so."""
    return content[128:132] == b"DICM" or _looks_headless(content)


def open_any(source: bytes | Path) -> list[tuple[Image.Image, dict[str, Any]]]:
    """The pictures in a file of any kind that is read here, with the columns that the file itself says of them.

    An image file has one, and says nothing; a DICOM file has its frames, and says what is in `OF_PICTURE`, never whose
    picture it is.

    Raises:
        Unreadable: with one of `REASONS`.
    """
    content = source if isinstance(source, bytes) else images.read_bytes(source)
    if not is_dicom(content):
        return [(images.open_image(content), {})]
    told = read(content).columns
    columns = {name: told[name] for name in OF_PICTURE if told[name] is not None}
    return [(frame.image, columns | frame.columns) for frame in pixels(content)]


def _frame(
    dataset: Dataset,
    number: int,
    values: np.ndarray,
    photometric: str,
    *,
    measured: Sequence[str],
    percentiles: Sequence[float],
) -> Frame:
    try:
        image, shown = dicom_pictures.picture(
            dataset, number, values, photometric, measured=measured, percentiles=percentiles
        )
        anatomy = dicom_values.functional(dataset, number, "FrameAnatomySequence")
        side = dicom_views.side_of(dicom_values.text(anatomy, "FrameLaterality"))
    except Unreadable:
        raise
    except MemoryError:
        raise Unreadable("too_large") from None
    except Exception:  # a description of pixels that nobody thought of must not end a run over a million files
        raise Unreadable("unsupported_pixel_format") from None
    image.info[intensity.SHOWN] = json.dumps(shown._asdict())
    if shown.rule in ("colour", "as_is") and dicom_frames.is_lossless(dataset):
        images.mark_lossless(image)
    return Frame(image, {"laterality": side} if side else {}, shown.rule, shown)


# ---- the file ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _pydicom() -> Any:
    """pydicom, told not to judge values and to keep what it reads to itself: its log lines hold header values."""
    import logging

    import pydicom
    import pydicom.config

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    try:
        import gdcm

        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
        gdcm.Trace.DebugOff()
    except ImportError:
        pass
    return pydicom


@functools.lru_cache(maxsize=1)
def _header_tags() -> list[Any]:
    return [dicom_values.tag(keyword) for keyword in _HEADER]


def _quiet() -> warnings.catch_warnings:
    return warnings.catch_warnings(action="ignore")


def _dataset(source: bytes | Path, *, header_only: bool) -> Dataset:
    """A file as pydicom's data set; also one that lacks the preamble or the meta group."""
    pydicom = _pydicom()
    start = source[:132] if isinstance(source, bytes) else _start(Path(source))
    if not start:
        raise Unreadable("empty")
    magic = start[128:132] == b"DICM"
    if not magic and not _looks_headless(start):
        raise Unreadable("not_dicom")
    options: dict[str, Any] = {"stop_before_pixels": True, "specific_tags": _header_tags()} if header_only else {}
    with _quiet():
        try:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            dataset = pydicom.dcmread(file, force=True, **options)
            known = any(dicom_values.tag(keyword) in dataset for keyword in ("SOPClassUID", "Modality", "Rows"))
        except EOFError:
            raise Unreadable("truncated" if magic else "not_dicom") from None
        except (OSError, MemoryError):
            raise Unreadable("header_unreadable") from None
        except Exception:  # pydicom raises nearly anything on a broken header
            raise Unreadable("header_unreadable" if magic else "not_dicom") from None
        if not known:
            raise Unreadable(_of_no_known_kind(dataset) if magic else "not_dicom")
        if dicom_values.text(dataset, "SOPClassUID") == _DICOMDIR or "DirectoryRecordSequence" in dataset:
            raise Unreadable("not_dicom")
    return dataset


def _of_no_known_kind(dataset: Dataset) -> str:
    """Why a data set has nothing of a picture: what its meta group announces has been cut off, or it announces none."""
    announced = dicom_values.text(dataset.file_meta, "MediaStorageSOPClassUID")
    return "not_dicom" if announced == _DICOMDIR else "truncated" if announced else "not_an_image"


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Unreadable("missing")
        if path.stat().st_size > images.MAX_BYTES:
            raise Unreadable("too_large")
        with open(path, "rb") as file:
            return file.read(132)
    except PermissionError:
        raise Unreadable("no_permission") from None
    except (OSError, ValueError):
        raise Unreadable("missing") from None


def _looks_headless(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, as files without the preamble do."""
    return start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08") and len(start) >= 12


# ---- the header ----------------------------------------------------------------------------------------------------


def _describe(dataset: Dataset) -> Dicom:
    text = functools.partial(dicom_values.text, dataset)
    keys = {key: text(key) for key in ("AccessionNumber", "StudyInstanceUID", "PatientID")}
    view, view_from = dicom_views.view(dataset)
    scanner = " ".join(part for part in (text("Manufacturer"), text("ManufacturerModelName")) if part)
    return Dicom(
        columns={
            "modality": text("Modality"),
            "body_part": text("BodyPartExamined"),
            "view": view,
            "laterality": dicom_views.laterality(dataset),
            "sex": text("PatientSex"),
            "age": dicom_values.years(text("PatientAge"), text("PatientBirthDate"), text("StudyDate")),
            "ethnicity": text("EthnicGroup"),
            "site": text("InstitutionName"),
            "scanner": scanner or None,
            "study_datetime": dicom_values.moment(dataset),
        },
        keys={key: value for key, value in keys.items() if value},
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        instance_uid=text("SOPInstanceUID"),
        instance_number=dicom_values.whole(dataset, "InstanceNumber"),
        num_frames=dicom_frames.num_frames(dataset),
        reason=_no_image(dataset),
        birth=dicom_values.birth(text("PatientBirthDate")),
        kind=dicom_kinds.of(dataset),
        view_from=view_from,
    )


def _no_image(dataset: Dataset) -> str | None:
    return None if _num_pixels(dataset) > 0 and not dicom_kinds.is_no_picture(dataset) else "not_an_image"


def _num_pixels(dataset: Dataset) -> int:
    return (dicom_values.whole(dataset, "Rows") or 0) * (dicom_values.whole(dataset, "Columns") or 0)

"""What kind of object a DICOM header is of: a picture of a patient, or which of the others; decided from it alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from mmssl.data import dicom_values

if TYPE_CHECKING:
    from pydicom import Dataset

Doubt = Literal["for_processing", "secondary_capture", "localizer", "test_image"]
"""Why a picture may not be wanted; whether it is, the whole study tells (`mmssl.sources.dicom_tree`)."""

REASONS: dict[Doubt, str] = {
    "for_processing": "what a machine makes its picture from; the picture itself is there, and kept",
    "secondary_capture": "a screenshot or scan that came as DICOM, beside real pictures; or a document, or a drawing",
    "localizer": "a survey scan to plan others on",
    "test_image": "a phantom or test pattern, by QualityControlImage",
}

TAGS = (
    "ImageType",
    "ConversionType",
    "PresentationIntentType",
    "QualityControlImage",
    "SourceImageSequence",
    "IrradiationEventUID",
    "AcquisitionTime",
)
"""What is read of a header for this, beside what `dicom` reads of all."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_PICTURES = ("481.1", "481.23", "481.24")  # RT image, and the enhanced ones
_NO_PICTURES = (
    "481.",  # radiotherapy: dose, structures, plan, record
    "11.",  # presentation states
    "88.",  # reports, key objects
    "104.",  # documents: PDF, CDA, STL
    "9.",  # waveforms
    "66",  # raw data, registrations, segmentations, label maps, tracts
    "67",  # real-world values
    "68.",  # surfaces
)
_NAMES = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD", "SR", "KO", "PR", "DOC", "REG", "FID", "ECG", "HD")
_CAPTURE = f"{_STORAGE}7"
_FOR_PROCESSING = (f"{_STORAGE}1.1.1", f"{_STORAGE}1.2.1", f"{_STORAGE}1.3.1")  # DX, mammography, intra-oral
_LOCALIZER = re.compile(
    r"(?<![a-z])(locali[sz]er|scout|topogram|scanogram|scanoscope|surview)s?(?![a-z])", re.IGNORECASE
)

Conversion = Literal["document", "film", "other"]


class Kind(NamedTuple):
    """What a header says of what its picture is."""

    doubts: tuple[Doubt, ...] = ()
    conversion: Conversion | None = None
    """Of a secondary capture: a scanned document or drawing; a digitised film, video or print; all else."""
    sources: tuple[str, ...] = ()
    """SOPInstanceUIDs of the images that it was made from."""
    event: str | None = None
    """IrradiationEventUID: one exposure, whatever pictures come of it."""
    acquired: str | None = None
    """When it was acquired, to the second at least, as it stands."""


PLAIN = Kind()


def is_no_picture(dataset: Dataset) -> bool:
    """Whether an object is, by its class, nothing to look at: a report, a plan, a mask, a dose, a waveform."""
    kind = dicom_values.text(dataset, "SOPClassUID")
    if not kind:
        return dicom_values.text(dataset, "Modality") in _NAMES
    own = kind.removeprefix(_STORAGE)
    return own != kind and own not in _PICTURES and own.startswith(_NO_PICTURES)


def of(dataset: Dataset) -> Kind:
    """What kind of picture it is."""
    kind = dicom_values.text(dataset, "SOPClassUID") or ""
    conversion = dicom_values.text(dataset, "ConversionType")
    captured = kind == _CAPTURE or kind.startswith(f"{_CAPTURE}.") or conversion is not None
    intent = (dicom_values.text(dataset, "PresentationIntentType") or "").upper()
    doubts: dict[Doubt, bool] = {
        "for_processing": intent == "FOR PROCESSING" if intent else kind in _FOR_PROCESSING,
        "secondary_capture": captured,
        "localizer": _is_localizer(dataset),
        "test_image": (dicom_values.text(dataset, "QualityControlImage") or "").upper() == "YES",
    }
    return Kind(
        doubts=tuple(name for name, holds in doubts.items() if holds),
        conversion=_conversion(conversion) if captured else None,
        sources=_sources(dataset),
        event=dicom_values.text(dataset, "IrradiationEventUID"),
        acquired=_acquired(dataset),
    )


def _conversion(code: str | None) -> Conversion:
    """ConversionType (PS3.3 C.8.6.1): SD scanned document, DRW drawing; DF film, DV video, SI scanned image."""
    code = (code or "").upper()
    return "document" if code in ("SD", "DRW") else "film" if code in ("DF", "DV", "SI") else "other"


def _is_localizer(dataset: Dataset) -> bool:
    """By ImageType; of CT and MR also by what the series is called, since MR has no such type."""
    if "LOCALIZER" in (value.upper() for value in dicom_values.texts(dataset, "ImageType")):
        return True
    if dicom_values.text(dataset, "Modality") not in ("CT", "MR", "PT"):
        return False
    names = (dicom_values.text(dataset, keyword) or "" for keyword in ("SeriesDescription", "ProtocolName"))
    return any(_LOCALIZER.search(name) for name in names)


def _sources(dataset: Dataset) -> tuple[str, ...]:
    items = dicom_values.items(dataset, "SourceImageSequence")
    named = (dicom_values.text(item, "ReferencedSOPInstanceUID") for item in items)
    return tuple(name for name in named if name)


def _acquired(dataset: Dataset) -> str | None:
    """Date and time of the acquisition; None where the time lacks seconds or is midnight, which stands for unknown."""
    date, time = dicom_values.text(dataset, "AcquisitionDate"), dicom_values.text(dataset, "AcquisitionTime")
    if not date or not time or len(time) < 6 or not time.replace(".", "").strip("0"):
        return None
    return f"{date} {time}"

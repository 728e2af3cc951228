"""Where the frames of a DICOM header lie in the patient, and what their numbers mean; headers alone, no pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mmssl.data import dicom_values
from mmssl.data.stacks import DISTINGUISHING, SLABS, Plane, Vector

if TYPE_CHECKING:
    from pydicom import Dataset

TAGS = (
    "SOPClassUID", "SOPInstanceUID", "ImageType", "Modality", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel", "PixelSpacing",
    "ImageOrientationPatient", "ImagePositionPatient", "GantryDetectorTilt", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", *DISTINGUISHING, *SLABS,
)  # fmt: skip
"""All of a header that is read here."""

VOLUMETRIC = ("CT", "MR", "PT", "NM")
"""Modalities whose series are volumes."""

_MACROS = {
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "NominalPercentageOfCardiacPhase": (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "SliceThickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "ImageType": (("MRImageFrameTypeSequence", "FrameType"), ("CTImageFrameTypeSequence", "FrameType")),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
    "FlipAngle": (("MRTimingAndRelatedParametersSequence", "FlipAngle"),),
}
"""Where an enhanced object keeps what tells frames of one place apart."""


class Rescale(NamedTuple):
    """value = stored * slope + intercept."""

    slope: float
    intercept: float
    is_hounsfield: bool
    """Whether these are Hounsfield units, for a CT: the header says so, or names no unit."""


def planes(dataset: Dataset) -> list[Plane | None]:
    """Where each frame of a file lies; None for those of which the header does not say."""
    total = max(1, dicom_values.whole(dataset, "NumberOfFrames") or 1)
    per_frame = "PerFrameFunctionalGroupsSequence" in dataset
    if total > 1 and not per_frame:
        return [None] * total  # one place cannot be that of all frames
    tilt = dicom_values.real(dataset, "GantryDetectorTilt") or 0.0
    size = (dicom_values.whole(dataset, "Rows") or 0, dicom_values.whole(dataset, "Columns") or 0)
    frame_of_reference = dicom_values.text(dataset, "FrameOfReferenceUID")
    found: list[Plane | None] = []
    for number in range(total):
        place = _place(dataset, number)
        if place is None:
            found.append(None)
            continue
        told = tuple(_told(dataset, number, enhanced=per_frame))
        found.append(Plane(*place, size=size, frame_of_reference=frame_of_reference, told=told, tilt=tilt))
    return found


def _place(dataset: Dataset, number: int) -> tuple[Vector, Vector, Vector, tuple[float, float]] | None:
    """Directions, position and pixel spacing of a frame, where they are all there and can be meant."""
    orientation = dicom_values.numbers(
        dicom_values.functional(dataset, number, "PlaneOrientationSequence"), "ImageOrientationPatient"
    )
    position = dicom_values.numbers(
        dicom_values.functional(dataset, number, "PlanePositionSequence"), "ImagePositionPatient"
    )
    spacing = dicom_values.numbers(dicom_values.functional(dataset, number, "PixelMeasuresSequence"), "PixelSpacing")
    if len(orientation) != 6 or len(position) != 3 or len(spacing) != 2 or min(spacing) <= 0:
        return None
    row, column = _unit(orientation[:3]), _unit(orientation[3:])
    if row is None or column is None or abs(sum(a * b for a, b in zip(row, column, strict=True))) > 0.01:
        return None
    return row, column, (position[0], position[1], position[2]), (spacing[0], spacing[1])


def _unit(vector: list[float]) -> Vector | None:
    """A direction of length 1, if it was nearly that."""
    x, y, z = vector
    length = math.hypot(x, y, z)
    return (x / length, y / length, z / length) if abs(length - 1) <= 0.01 else None


def _told(dataset: Dataset, number: int, *, enhanced: bool) -> Iterator[tuple[str, str]]:
    for keyword in dict.fromkeys((*DISTINGUISHING, *SLABS)):
        value = next((said for said in _said(dataset, number, keyword, enhanced=enhanced) if said), None)
        if value:
            yield keyword, value


def _said(dataset: Dataset, number: int, keyword: str, *, enhanced: bool) -> Iterator[str | None]:
    if enhanced:
        for macro, name in _MACROS.get(keyword, ()):
            yield every_value(dicom_values.functional(dataset, number, macro), name)
    yield every_value(dataset, keyword)


def every_value(dataset: Dataset, keyword: str) -> str | None:
    r"""All values of an element as text, with DICOM's backslash between them; None where there are none."""
    if keyword not in dataset:
        return None
    numbers = dicom_values.numbers(dataset, keyword)
    if numbers:
        return "\\".join(f"{number:g}" for number in numbers)
    try:
        value = dataset.get(keyword)
        return "\\".join(map(str, [value] if isinstance(value, str) else list(value or ()))).strip() or None
    except Exception:  # a value that pydicom cannot convert
        return None


def kinds(dataset: Dataset) -> list[str]:
    """The words of ImageType, in capitals, of the object and of its first frame."""
    words = every_value(dataset, "ImageType") or ""
    for macro in ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence"):
        group = dicom_values.functional(dataset, 0, macro)
        words += "\\" + (every_value(group, "FrameType") or "") if group is not dataset else ""
    return words.upper().split("\\")


def rescale(dataset: Dataset, number: int) -> Rescale | None:
    """Slope and intercept of a frame; None where it has not both, or a slope of 0."""
    group = dicom_values.functional(dataset, number, "PixelValueTransformationSequence")
    slope, intercept = dicom_values.real(group, "RescaleSlope"), dicom_values.real(group, "RescaleIntercept")
    if intercept is None or not slope:
        return None
    return Rescale(slope, intercept, dicom_values.text(group, "RescaleType") in (None, "HU"))

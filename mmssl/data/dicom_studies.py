"""Which pictures of a study are wanted, told from the headers of all of them: others' twins, captures, localizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmssl.data import dicom_views
from mmssl.data.dicom import Dicom


@dataclass(frozen=True)
class Wanted:
    """What becomes of pictures that are in doubt."""

    for_processing: Literal["twin", "keep", "drop"] = "twin"
    """`twin`: dropped where the picture that was made from it is there."""
    secondary_capture: Literal["beside", "keep", "drop"] = "beside"
    """`beside`: dropped where the study has a picture that is none; scanned documents and drawings always, digitised
    films never. Whole public sets of radiographs came as captures, and their studies have nothing else."""
    localizer: Literal["keep", "drop"] = "drop"
    test_image: Literal["keep", "drop"] = "drop"


def reasons(headers: Sequence[Dicom], wanted: Wanted) -> list[str | None]:
    """For each picture of one study, the reason code (of `dicom_kinds.REASONS`) for which it is not wanted, or None.

    A header that has a reason of its own keeps it.
    """
    return [header.reason or _reason(header, headers, wanted) for header in headers]


def _reason(header: Dicom, study: Sequence[Dicom], wanted: Wanted) -> str | None:
    doubts = header.kind.doubts
    if "test_image" in doubts and wanted.test_image == "drop":
        return "test_image"
    if "localizer" in doubts and wanted.localizer == "drop":
        return "localizer"
    if "for_processing" in doubts and _is_raw_unwanted(header, study, wanted):
        return "for_processing"
    if "secondary_capture" in doubts and wanted.secondary_capture != "keep":
        if wanted.secondary_capture == "drop" or header.kind.conversion == "document":
            return "secondary_capture"
        if header.kind.conversion == "other" and any(_is_acquired(other) for other in study):
            return "secondary_capture"
    return None


def _is_raw_unwanted(header: Dicom, study: Sequence[Dicom], wanted: Wanted) -> bool:
    if wanted.for_processing == "twin":
        return any(is_twin(header, other, study) for other in study)
    return wanted.for_processing == "drop"


def _is_acquired(header: Dicom) -> bool:
    """Whether it is a picture as a machine took it."""
    return not header.reason and not {"secondary_capture", "test_image"} & set(header.kind.doubts)


def is_twin(raw: Dicom, shown: Dicom, study: Sequence[Dicom]) -> bool:
    """Whether `shown` is the picture, for presentation, that was made from `raw`, which is for processing.

    It is where it names `raw` among its sources, or comes from the same exposure (IrradiationEventUID), or, where it
    names no image for processing of the study as its source, was acquired in the same second of the same day by the
    same kind of machine, with the same view and laterality. A view or side alone never makes a twin: an exposure that
    was repeated has the same.
    """
    if not _is_acquired(shown) or "for_processing" in shown.kind.doubts:
        return False
    if shown.columns["modality"] != raw.columns["modality"]:
        return False
    if raw.instance_uid and raw.instance_uid in shown.kind.sources:
        return True
    if raw.kind.event and raw.kind.event == shown.kind.event:
        return True
    unshown = {other.instance_uid for other in study if "for_processing" in other.kind.doubts}
    return (
        raw.kind.acquired is not None
        and raw.kind.acquired == shown.kind.acquired
        and not unshown & set(shown.kind.sources)
        and all(raw.columns[name] == shown.columns[name] for name in ("view", "laterality"))
    )


def views(headers: Sequence[Dicom]) -> list[str]:
    """The view of each picture of one study; what the study's description says holds only for a single picture."""
    alone = sum(header.reason is None for header in headers) == 1
    return [
        dicom_views.UNKNOWN if header.view_from == "study" and not alone else header.columns["view"]
        for header in headers
    ]

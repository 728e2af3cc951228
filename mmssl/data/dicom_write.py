"""Writes grey images as DICOM files; reading them is `dicom.py`'s. Only the phantoms' hospital needs this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CLASSES = {"DX": "1.2.840.10008.5.1.4.1.1.1.1", "CR": "1.2.840.10008.5.1.4.1.1.1"}
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_IMPLEMENTATION = "2.25.303977103478123984237423842"


def write_image(
    path: Path, pixels: Any, header: Mapping[str, Any], *, bits_stored: int = 16, photometric: str = "MONOCHROME2"
) -> None:
    """Write `pixels` ([H, W] uint16, as stored: already inverted for MONOCHROME1) with `header`, keyword to value."""
    from pydicom import Dataset, FileMetaDataset
    from pydicom.uid import UID

    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    dataset.SOPClassUID = _CLASSES[header["Modality"]]
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_CLASSES[header["Modality"]])
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE_ENDIAN)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)  # fixed: any pydicom writes the same bytes
    meta.ImplementationVersionName = "MMSSL_PHANTOM"
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)

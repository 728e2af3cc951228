"""What a volume becomes in a store: one row with the volume itself, or rows that are slices of it.

`images=volumes`: a row whose `image` is the middle slice, as 16 bits, so that every tool has something to show, and
beside it the columns `volume` (a .nii.gz in RAS order, which `datasets` opens as its `Nifti` feature), `spacing` (x, y,
z in millimetres) and `shape`.

`images=slices`: of a DICOM series every file is a row of its own, as it comes. A NIfTI file has hundreds of slices
with one report, and neighbours are nearly alike, so it gives the middle slice and from there one at least every
10 mm; `every` is another distance, 0 all of them, None the middle one alone. They are cut in the plane with the finest
pixels, in which the scan was made, and axially where there is no difference; `plane` is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmssl.data import dicom_series, intensity, nifti, volumes, voxels

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from PIL import Image

Images = Literal["slices", "volumes"]

FEATURES: dict[str, dict[str, str]] = {"volume": {"_type": "Nifti"}}
"""How `datasets` shows the columns of a volume, as the schema's metadata under "huggingface" has it."""

EVERY = 10.0
"""Millimetres from slice to slice of a NIfTI file."""


def types() -> dict[str, pa.DataType]:
    """The columns that `row` adds to those of a store."""
    import pyarrow as pa

    return {
        "volume": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "spacing": pa.list_(pa.float32()),
        "shape": pa.list_(pa.int32()),
    }


def row(volume: volumes.Volume) -> tuple[Image.Image, dict[str, Any]]:
    """A volume as the picture and the columns of a row."""
    turned = voxels.canonical(volume)
    plane = voxels.finest_plane(turned)
    (image,) = pictures(turned, plane, voxels.every(turned, plane, None))
    columns: dict[str, Any] = {
        "volume": {"bytes": nifti.encode(turned), "path": None},
        "spacing": list(turned.spacing),
        "shape": list(turned.shape),
    }
    return image, columns | _told(volume)


def cut(
    volume: volumes.Volume, *, plane: voxels.Plane | None = None, every: float | None = EVERY
) -> list[tuple[Image.Image, dict[str, Any]]]:
    """Some slices of a volume as the pictures and the columns of rows, from the first of the plane to the last."""
    turned = voxels.canonical(volume)
    plane = plane or voxels.finest_plane(turned)
    return [(image, _told(volume)) for image in pictures(turned, plane, voxels.every(turned, plane, every))]


def _told(volume: volumes.Volume) -> dict[str, Any]:
    """Columns that say the same of every slice."""
    found: dict[str, Any] = {"modality": volume.modality} if volume.modality else {}
    return found | ({"flags": list(volume.flags)} if volume.flags else {})


def pictures(volume: volumes.Volume, plane: voxels.Plane, places: Sequence[int]) -> list[Image.Image]:
    """Slices of a plane as I;16, whose info says what the values mean; all of a volume on one scale."""
    import numpy as np

    found = []
    for values in voxels.slices(volume, plane)[list(places)]:
        if volume.unit == "HU":
            shifted = np.clip(np.rint(values.astype(np.float64)) + intensity.INTENSITY["hu_offset"], 0, 65535)
            found.append(intensity.sixteen(shifted.astype(np.uint16), intensity.HU))
        else:
            found.append(_as_given(values, *_scale(volume)))
    return found


def _scale(volume: volumes.Volume) -> tuple[float, float]:
    """(slope, intercept) by which the numbers of a volume fit 16 bits."""
    import numpy as np

    low, high = float(volume.values.min()), float(volume.values.max())
    if volume.values.dtype == np.int16:
        return 1.0, 0.0 if low >= 0 else -32768.0
    return (high - low) / 65535 or 1.0, low


def _as_given(values: np.ndarray, slope: float, intercept: float) -> Image.Image:
    import numpy as np

    stored = np.rint((values.astype(np.float64) - intercept) / slope).astype(np.uint16)
    image = intensity.sixteen(stored)
    if (slope, intercept) != (1, 0):
        image.info[intensity.SCALE] = f"{slope} {intercept}"
    return image


# ---- files of a table or a folder ----------------------------------------------------------------------------------


def is_nifti(source: bytes | Path) -> bool:
    """Whether an input is a NIfTI file; a file by its name, so that none is opened twice, bytes by how they begin."""
    if isinstance(source, bytes):
        return nifti.is_nifti(source[:4096])
    return source.name.lower().endswith(nifti.SUFFIXES)


def open_nifti(
    source: bytes | Path,
    *,
    modality: str | None = None,
    images: Images = "slices",
    plane: voxels.Plane | None = None,
    every: float | None = EVERY,
) -> list[tuple[Image.Image, dict[str, Any]]]:
    """The pictures of a NIfTI file with their columns, as `dicom.open_any` gives those of other files.

    Args:
        source: a file, or its bytes.
        modality: of the picture, as the table has it; with CT the numbers are taken for Hounsfield units.
        images: `volumes`: one picture, with the volume among its columns.
        plane: of slices; that of the finest pixels if left out.
        every: millimetres from slice to slice at least; 0: all, None: the middle one.

    Raises:
        Unreadable: with one of `volumes.REASONS`.
    """
    volume = nifti.read(source, modality=modality)
    return [row(volume)] if images == "volumes" else cut(volume, plane=plane, every=every)


def open_series(
    parts: Sequence[dicom_series.Part | Path],
) -> tuple[list[tuple[Image.Image, dict[str, Any]]], dict[Path, str | None]]:
    """The row of a DICOM series, if it is a volume, and for each of its files None or the reason.

    For a worker that decodes: pure, and never raises for what is in the files.
    """
    volume, reasons = dicom_series.build(parts)
    return ([row(volume)] if volume is not None else []), reasons

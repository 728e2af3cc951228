"""Volumes from files and to files: `read`, `read_all`, `from_series`, `write`, and what one does with a volume.

>>> import numpy as np, tempfile
>>> from pathlib import Path
>>> from mmssl.data import volumes
>>> file = Path(tempfile.mkdtemp()) / "chest.nii.gz"
>>> made = volumes.Volume(np.full((40, 40, 10), -1000, np.int16), np.diag([-0.7, -0.7, 5, 1]), "HU")
>>> volumes.write(made, file)
>>> chest = volumes.read(file)
>>> chest
Volume(40 x 40 x 10 voxels of int16, HU; 0.7 x 0.7 x 5 mm, axes LPS)
>>> volumes.canonical(chest).axes
'RAS'
>>> volumes.resample(chest, 2.5).shape
(11, 11, 20)
>>> volumes.slices(chest, "coronal").shape
(40, 10, 40)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmssl import files
from mmssl.data import dicom, dicom_series, folders, nifti, voxels
from mmssl.data.voxels import FLAGS as FLAGS
from mmssl.data.voxels import Plane as Plane
from mmssl.data.voxels import Volume as Volume
from mmssl.data.voxels import canonical as canonical
from mmssl.data.voxels import resample as resample
from mmssl.data.voxels import slices as slices
from mmssl.data.voxels import window as window
from mmssl.errors import CannotDo, Unreadable, WrongUse

REASONS: dict[str, str] = {**dicom.REASONS, **voxels.REASONS}
"""Every reason why a file is part of no volume, with its meaning."""

_HELP = {
    "missing_slices": "find the slices that are missing, or take gaps=True to have them interpolated",
    "unequal_spacing": "take gaps=True to have slices interpolated at equal distances",
    "orientation_unknown": "give assume_ras=True if its voxels are known to lie in RAS order, else set its sform",
    "several_volumes": "say which one with number=0, 1 ...",
    "mixed_series": "give the files of one volume, or take read_all",
    "geometry_unknown": "without ImagePositionPatient, ImageOrientationPatient and PixelSpacing nothing can be told",
}


class Found(NamedTuple):
    """One volume of several, or files that are none."""

    volume: Volume | None
    files: dict[Path, str | None]
    """Each file with its reason; None: it is in the volume."""


def read(
    path: Path | str | Iterable[Path | str],
    *,
    modality: str | None = None,
    number: int | None = None,
    assume_ras: bool = False,
    gaps: bool = False,
) -> Volume:
    """The one volume that there is in a NIfTI file, a DICOM file, a folder of DICOM files, or a list of them.

    Args:
        path: of the file or folder, or the files of a series.
        modality: of a NIfTI file; with CT its numbers are Hounsfield units. DICOM files tell it themselves.
        number: which volume of a NIfTI file that has several.
        assume_ras: take a NIfTI file that does not say how it lies in the patient as RAS.
        gaps: interpolate slices of a DICOM series that are missing or not equally far apart, instead of refusing it.

    Raises:
        CannotDo: there is no volume, or several; it says which, and why.
    """
    if not isinstance(path, str | Path):
        return from_series(path, gaps=gaps)
    path = Path(path)
    if path.is_dir():
        return from_series(folders.walk(path), gaps=gaps)
    if not is_nifti(path):
        return from_series([path], gaps=gaps)
    try:
        return nifti.read(path, modality=modality, number=number, assume_ras=assume_ras)
    except Unreadable as error:
        raise CannotDo(_said(str(path), error.reason)) from None


def is_nifti(path: Path) -> bool:
    """Whether a file is to be read as NIfTI: by its name, else by its first bytes."""
    return path.name.lower().endswith(nifti.SUFFIXES) or nifti.is_nifti(folders.ends(path)[0])


def from_series(paths: Iterable[Path | str], *, gaps: bool = False) -> Volume:
    """The volume of DICOM files that are one series; others among them that are no slices are passed over.

    Raises:
        CannotDo: as `read`.
    """
    given = [Path(path) for path in paths]
    groups, unread = _grouped(given)
    good = [group for group in groups if group.reason is None]
    if not good and gaps:  # what headers object to for its gaps alone may be a volume now
        good = [group for group in groups if group.reason in ("missing_slices", "unequal_spacing")]
    if len(good) == 1:
        volume, reasons = dicom_series.build(good[0].parts, gaps=gaps)
        if volume is not None:
            return volume
        refused = list(reasons.values())
    else:
        refused = [*(group.reason for group in groups for _ in group.members), *unread.values()]
    what = f"{given[0]} ..." if len(given) > 1 else str(given[0]) if given else "no file was given"
    if len(good) > 1:
        sizes = ", ".join(f"{sum(map(len, group.members.values()))} slices" for group in good)
        raise CannotDo(f"{what}: there are {len(good)} volumes ({sizes}); take read_all, or give the files of one")
    counts = {reason: refused.count(reason) for reason in dict.fromkeys(refused) if reason}
    first = next(iter(counts), "missing")
    several = f" ({', '.join(f'{reason}: {count}' for reason, count in counts.items())})" if len(counts) > 1 else ""
    raise CannotDo(_said(what, first) + several)


def read_all(paths: Path | str | Iterable[Path | str], *, gaps: bool = False) -> Iterator[Found]:
    """Every volume of a folder of DICOM files or of a list of them, one at a time, and then what is none.

    Every file is in at least one of what comes, with its reason; one with many frames may be part of several volumes.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    found = [file for path in given for file in (folders.walk(path) if path.is_dir() else [path])]
    groups, unread = _grouped(found)
    for group in groups:
        if group.reason is None or (gaps and group.reason in ("missing_slices", "unequal_spacing")):
            volume, reasons = dicom_series.build(group.parts, gaps=gaps)
            if volume is not None and group.is_split:
                volume = voxels.with_flags(volume, "series_split")
            yield Found(volume, reasons)
        else:
            yield Found(None, dict.fromkeys(group.members, group.reason))
    if unread:
        yield Found(None, unread)


def _grouped(paths: Sequence[Path]) -> tuple[list[dicom_series.Group], dict[Path, str | None]]:
    """Groups of the files whose headers can be read, and the reasons of the others."""
    headers: dict[Path, dicom_series.Header] = {}
    unread: dict[Path, str | None] = {}
    for path in paths:
        try:
            headers[path] = dicom_series.header(path)
        except Unreadable as error:
            unread[path] = error.reason
    return dicom_series.series(headers), unread


def _said(what: str, reason: str) -> str:
    remedy = f"; {_HELP[reason]}" if reason in _HELP else ""
    return f"{what}: {reason}, {REASONS.get(reason, 'no volume')}{remedy}"


def write(volume: Volume, path: Path | str) -> None:
    """A volume as .nii or .nii.gz, whole or not at all; the same volume gives the same bytes every time.

    Raises:
        WrongUse: the name ends in neither, or an axis is longer than NIfTI-1 takes.
    """
    path = Path(path)
    if not path.name.lower().endswith(nifti.SUFFIXES):
        raise WrongUse(f"{path}: a volume is written as {' or '.join(nifti.SUFFIXES)}; give a name that ends so")
    try:
        content = nifti.encode(volume, compressed=path.suffix.lower() == ".gz")
    except ValueError as error:
        raise WrongUse(str(error)) from None
    with files.whole_file(path) as part:
        part.write_bytes(content)

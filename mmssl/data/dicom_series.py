"""Series of DICOM slices as volumes: grouped by their headers, then read, each file accounted for.

`header` and `series` are cheap and say which files are a volume; `build` reads the pixels of one volume.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmssl.data import dicom, dicom_frames, dicom_planes, dicom_values, stacks, voxels
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from pydicom import Dataset


class Header(NamedTuple):
    """What grouping needs of a file."""

    series: str | None
    """SeriesInstanceUID."""
    planes: tuple[stacks.Plane | None, ...]
    """Where each frame lies; None for those of which the header does not say."""
    reason: str | None = None
    """Why the file cannot be part of a volume, where its header shows that."""


class Part(NamedTuple):
    """A file of a volume."""

    path: Path
    frames: tuple[int, ...] | None = None
    """Those of its frames that are meant; None: all."""


class Group(NamedTuple):
    """Frames of one series that are one volume, or that are none for one reason."""

    members: dict[Path, tuple[int, ...]]
    """{file: its frames}, files in the order of their slices; as they came, where there is no volume."""
    reason: str | None
    """Of `voxels.REASONS` or of `dicom.REASONS`; None: a volume."""
    is_split: bool = False
    """Whether its series has other volumes as well."""

    @property
    def parts(self) -> list[Part]:
        """As `build` takes them."""
        return [Part(path, frames) for path, frames in self.members.items()]


# ---- headers -------------------------------------------------------------------------------------------------------


def header(source: bytes | Path) -> Header:
    """What grouping needs of a DICOM file, without its pixels, and without anything that says whose it is.

    Raises:
        Unreadable: there is no header that can be read, with one of `dicom.REASONS`.
    """
    reason = dicom.read(source).reason
    dataset = _read(source, header_only=True)
    return describe(dataset)._replace(reason=reason) if reason else describe(dataset)


def describe(dataset: Dataset) -> Header:
    """What grouping needs of a header that was read with `dicom_planes.TAGS`, or whole.

    Raises:
        Unreadable: header_unreadable.
    """
    with warnings.catch_warnings(action="ignore"):
        try:
            planes = tuple(dicom_planes.planes(dataset))
            return Header(dicom_values.text(dataset, "SeriesInstanceUID"), planes, _objection_to(dataset))
        except Exception:  # sequences that pydicom cannot convert, in one of its many ways
            raise Unreadable("header_unreadable") from None


def _objection_to(dataset: Dataset) -> str | None:
    """Why a picture is no slice of a volume, wherever it lies."""
    if dicom_values.text(dataset, "Modality") not in dicom_planes.VOLUMETRIC:
        return "not_volumetric"
    if (dicom_values.whole(dataset, "SamplesPerPixel") or 1) != 1:
        return "not_scalar"
    kinds = dicom_planes.kinds(dataset)
    return "localizer" if "LOCALIZER" in kinds else "mosaic" if "MOSAIC" in kinds else None


def _read(source: bytes | Path, *, header_only: bool) -> Dataset:
    """A file of which `dicom.read` has seen that it can be read."""
    import pydicom

    options = {"stop_before_pixels": True, "specific_tags": list(dicom_planes.TAGS)} if header_only else {}
    with warnings.catch_warnings(action="ignore"):
        try:
            return pydicom.dcmread(io.BytesIO(source) if isinstance(source, bytes) else source, force=True, **options)
        except Exception:  # pydicom raises nearly anything on a broken header
            raise Unreadable("header_unreadable") from None


def series(headers: Mapping[Path, Header]) -> list[Group]:
    """Files as volumes, by their headers alone; every frame of every file is in exactly one group.

    A file of many frames is in several groups where it holds several volumes. Slices that came twice are in the group
    of the others: only pixels can show that they are the same.

    Args:
        headers: {file: what `header` says of it}; files of any number of series, in any order.
    """
    found: list[Group] = []
    by_series: dict[str, list[tuple[Path, int, stacks.Plane]]] = {}
    aside: dict[tuple[str | None, str], dict[Path, tuple[int, ...]]] = {}
    for path, one in headers.items():
        lost = [frame for frame, plane in enumerate(one.planes) if plane is None]
        reason = one.reason or ("series_unknown" if one.series is None else None)
        if reason or lost:
            frames = range(len(one.planes)) if reason else lost
            aside.setdefault((one.series, reason or "geometry_unknown"), {})[path] = tuple(frames)
        if not reason and one.series is not None:
            placed = [(path, frame, plane) for frame, plane in enumerate(one.planes) if plane is not None]
            by_series.setdefault(one.series, []).extend(placed)
    for slices in by_series.values():
        found += _volumes(slices) if slices else []
    return [*found, *(Group(members, reason) for (_, reason), members in aside.items())]


def _volumes(slices: Sequence[tuple[Path, int, stacks.Plane]]) -> list[Group]:
    """The frames of one series as volumes, and what is left over."""
    parts: list[Group] = []
    planes = [plane for _, _, plane in slices]
    for group in (slab for alike in stacks.groups(planes) for slab in stacks.slabs(planes, alike)):
        same = stacks.same_places([planes[place] for place in group])
        reason = stacks.objection([planes[place] for place in group])
        members: dict[Path, tuple[int, ...]] = {}
        for place in group if reason else [group[one] for depth in same for one in depth]:
            path, frame, _ = slices[place]
            members[path] = (*members.get(path, ()), frame)
        parts.append(Group(members, reason))
    good = sum(part.reason is None for part in parts)
    return [
        part._replace(
            reason="mixed_series" if part.reason == "too_few_slices" and len(parts) > 1 else part.reason,
            is_split=part.reason is None and good > 1,
        )
        for part in parts
    ]


# ---- pixels --------------------------------------------------------------------------------------------------------


class _Slice(NamedTuple):
    path: Path
    plane: stacks.Plane
    values: np.ndarray  # [H, W], rescaled
    rescale: dicom_planes.Rescale | None
    modality: str | None


def build(parts: Sequence[Part | Path], *, gaps: bool = False) -> tuple[voxels.Volume | None, dict[Path, str | None]]:
    """The volume of a group of `series`, and for each file None where it is in the volume, else the reason.

    Args:
        parts: the files, in any order; of those with many frames perhaps only some.
        gaps: interpolate slices that are missing or not equally far apart, instead of refusing the volume.
    """
    parts = [Part(part) if isinstance(part, Path) else Part(*part) for part in parts]
    reasons: dict[Path, str | None] = {part.path: None for part in parts}
    slices: list[_Slice] = []
    room = voxels.MAX_VOXELS
    for part in parts:
        try:
            found = _slices(part, room)
        except Unreadable as error:
            reasons[part.path] = error.reason
            continue
        room -= sum(one.values.size for one in found)
        slices += found
    lost = len(set(reasons.values()) - {None}) > 0
    try:
        slices = _without_twins(slices, reasons)
        volume = _volume(slices, gaps=gaps)
    except Unreadable as error:
        return None, {path: reason or error.reason for path, reason in reasons.items()}
    flags = ["slices_unreadable"] if lost else []
    flags += ["duplicate_slices"] if "duplicate_slice" in reasons.values() else []
    return voxels.with_flags(volume, *flags), reasons


def _slices(part: Part, room: int) -> list[_Slice]:
    """The slices of a file, as far as there is room for so many voxels."""
    if reason := dicom.read(part.path).reason:
        raise Unreadable(reason)
    dataset = _read(part.path, header_only=False)
    told = describe(dataset)
    frames = list(range(len(told.planes)) if part.frames is None else part.frames)
    places = [told.planes[frame] for frame in frames]
    if told.reason or None in places:
        raise Unreadable(told.reason or "geometry_unknown")
    if sum(place.size[0] * place.size[1] for place in places if place) > room:
        raise Unreadable("too_large")
    if "ModalityLUTSequence" in dataset:
        raise Unreadable("unsupported_pixel_format")  # tables give no measure that slices of a volume would share
    modality = dicom_values.text(dataset, "Modality")
    found = []
    for place, (stored, rescale) in zip(places, _decoded(dataset, frames), strict=True):
        assert place is not None, "frames without a place were refused above"
        found.append(_Slice(part.path, place, rescaled(stored, rescale), rescale, modality))
    return found


def _decoded(dataset: Dataset, frames: list[int]) -> list[tuple[np.ndarray, dicom_planes.Rescale | None]]:
    """Stored values [H, W] of frames, and how each is rescaled."""
    with warnings.catch_warnings(action="ignore"):
        try:
            values = [stored for stored, _ in dicom_frames.decode(dataset, frames)]
            rescales = [dicom_planes.rescale(dataset, frame) for frame in frames]
        except Unreadable:
            raise
        except MemoryError:
            raise Unreadable("too_large") from None
        except Exception:  # a description of pixels that nobody thought of
            raise Unreadable("unsupported_pixel_format") from None
    if any(stored.ndim != 2 for stored in values):
        raise Unreadable("not_scalar")
    return list(zip(values, rescales, strict=True))


def rescaled(stored: np.ndarray, rescale: dicom_planes.Rescale | None) -> np.ndarray:
    """Stored values times slope plus intercept, once: int16 where that is exact, else float32.

    >>> import numpy as np
    >>> rescaled(np.array([0, 24, 1024], np.uint16), dicom_planes.Rescale(1.0, -1024.0, True))
    array([-1024, -1000,     0], dtype=int16)
    """
    import numpy as np

    if rescale is None:
        return voxels.exact(stored)
    slope, intercept, _ = rescale
    whole = stored.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if whole and max(abs(slope), abs(intercept)) < 2**24:
        return voxels.exact(stored.astype(np.int64) * int(slope) + int(intercept))
    return voxels.exact(stored.astype(np.float64) * slope + intercept)


def _without_twins(slices: list[_Slice], reasons: dict[Path, str | None]) -> list[_Slice]:
    """Slices, those left out that are the same picture of the same place as an earlier one; `reasons` tells of them.

    Raises:
        Unreadable: conflicting_slices, mixed_series.
    """
    import numpy as np

    planes = [one.plane for one in slices]
    if not slices:
        raise Unreadable("too_few_slices")
    if len(stacks.groups(planes)) > 1:
        raise Unreadable("mixed_series")
    kept, twins = [], []
    for first, *others in stacks.same_places(planes):
        kept.append(slices[first])
        for other in others:
            if not np.array_equal(slices[first].values, slices[other].values):
                raise Unreadable("conflicting_slices")
            twins.append(slices[other].path)
    used = {one.path for one in kept}
    reasons.update({path: "duplicate_slice" for path in twins if path not in used})
    return kept


def _volume(slices: list[_Slice], *, gaps: bool) -> voxels.Volume:
    stack = stacks.arrange([one.plane for one in slices], gaps=gaps)
    ordered = [slices[place] for place in stack.order]
    unit, rule, flags = _meaning(ordered)
    values, filled = _between([one.values for one in ordered], stack.at)
    flags = [*stack.flags, *flags, *(["slices_interpolated"] if filled else [])]
    volume = voxels.Volume(values.transpose(2, 1, 0), stack.affine, unit, ordered[0].modality, rule)
    return voxels.with_flags(volume, *flags)


def _meaning(slices: list[_Slice]) -> tuple[voxels.Unit, voxels.Rule, list[str]]:
    """What the numbers of slices are, and how they came about."""
    told = {one.rescale for one in slices}
    kinds = {(one.modality, one.rescale and one.rescale.is_hounsfield) for one in slices}
    if len(kinds) > 1:
        raise Unreadable("unsupported_pixel_format")
    flags = ["rescale_varies"] if len(told) > 1 else []
    if None in told:
        return "as given", "stored_values", ["no_rescale"] if slices[0].modality == "CT" else []
    if kinds == {("CT", True)}:
        return "HU", "hounsfield", flags
    plain = all((one.slope, one.intercept) == (1, 0) for one in told if one)
    return "as given", "stored_values" if plain else "rescaled", flags


def _between(slices: list[np.ndarray], at: Sequence[float]) -> tuple[np.ndarray, bool]:
    """Slices [H, W] that lie `at` so many steps, as [Z, H, W] with one at every step, and whether some had to be made.

    Those in between are interpolated linearly from the two next to them.
    """
    import numpy as np

    kind = np.int16 if all(one.dtype == np.int16 for one in slices) else np.float32
    steps = int(np.floor(at[-1] + 1e-6)) + 1
    values = np.empty((steps, *slices[0].shape), kind)
    filled = False
    for step in range(steps):
        after = min(int(np.searchsorted(at, step + 1e-6)), len(at) - 1)
        before = max(0, after - 1)
        share = (step - at[before]) / (at[after] - at[before])
        nearest = before if share < 0.5 else after
        if abs(at[nearest] - step) < 1e-6:
            values[step] = slices[nearest]
            continue
        filled = True
        mixed = slices[before].astype(np.float64) * (1 - share) + slices[after] * share
        values[step] = np.rint(mixed) if kind == np.int16 else mixed
    return values, filled

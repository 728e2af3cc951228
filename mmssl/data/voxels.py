"""Volumes: voxels, where they lie in the patient, and what their numbers mean; turned, cut, resampled and windowed.

Axes: `values[i, j, k]` lies at `affine @ (i, j, k, 1)`, in millimetres, x to the patient's right, y to the front
(anterior), z to the head (RAS+, as NIfTI and nibabel have it; DICOM's own axes point to the left and back).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mmssl.data import intensity

if TYPE_CHECKING:
    import numpy as np

Plane = Literal["axial", "coronal", "sagittal"]
Unit = Literal["HU", "as given"]
Rule = Literal["hounsfield", "rescaled", "stored_values"]

REASONS: dict[str, str] = {
    "localizer": "a scout that other slices were planned on",
    "mosaic": "several slices side by side in one picture, as Siemens writes them, which are not taken apart here",
    "series_unknown": "a slice whose header names no series",
    "geometry_unknown": "a slice whose header does not say where in the patient it lies",
    "mixed_series": "a picture that differs from the rest of its series and is no volume by itself",
    "too_few_slices": "a series of a single slice, which has no thickness that is known",
    "missing_slices": "a series with gaps of whole slices",
    "unequal_spacing": "a series whose slices are not equally far from each other",
    "not_a_stack": "a series whose slices do not lie behind each other",
    "conflicting_slices": "a series that has several different pictures of one place, and does not say what they are",
    "duplicate_slice": "the same picture of the same place is in the volume already",
    "unsupported_pixel_format": "pixels described in a way that is contradictory or not read here",
    "not_a_volume": "a file that is neither NIfTI nor DICOM",
    "orientation_unknown": "a NIfTI file that does not say how it lies in the patient (no sform, no qform)",
    "several_volumes": "a NIfTI file of several volumes, a time series for one",
    "not_volumetric": "a picture of a modality whose series are no volumes; those of CT, MR, PT (PET) and NM are",
    "not_scalar": "voxels that are colours, complex numbers or vectors",
    "header_unreadable": "a file whose header cannot be read",
    "truncated": "the file ends before the voxels do",
    "decode_failed": "the file says that it is compressed, and cannot be decompressed",
    "too_large": "more voxels or bytes than the limit",
}
"""Why there is no volume, or why a file is not part of one; files have those of `mmssl.data.dicom.REASONS` as well."""

FLAGS: dict[str, str] = {
    "gantry_tilt": "slices lie obliquely behind each other; the affine has that shear, `resample` straightens it",
    "tilt_not_in_positions": "the header tells a tilt of the gantry, and the slices lie straight behind each other",
    "series_split": "the series was several volumes; this is one of them",
    "duplicate_slices": "slices that came twice were left out once",
    "slices_unreadable": "slices that could not be read are not in the volume, or were interpolated as asked",
    "slices_interpolated": "slices that were missing, or not equally far apart, were interpolated",
    "rescale_varies": "slope and intercept differ between slices; each slice was rescaled by its own",
    "no_rescale": "a CT whose header has no slope and intercept: the numbers are no Hounsfield units",
    "forms_disagree": "sform and qform of the NIfTI file lie apart; the sform was taken",
    "orientation_assumed": "the NIfTI file does not say how it lies in the patient; RAS was assumed, as asked",
    "hu_unlikely": "hardly Hounsfield units (no air or no tissue, or thinner than air): rescaled twice, or never",
}
"""What may be worth knowing of a volume that was made."""

MAX_VOXELS = 2**30
"""Volumes with more voxels are refused as too_large."""

_AXES: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis of RAS that a plane is cut across


@dataclass(frozen=True, eq=False)
class Volume:
    """One volume; functions make new ones, and leave it as it is.

    >>> import numpy as np
    >>> volume = Volume(np.zeros((4, 3, 2), np.int16), np.diag([-0.7, -0.7, 5, 1]), "HU")
    >>> volume
    Volume(4 x 3 x 2 voxels of int16, HU; 0.7 x 0.7 x 5 mm, axes LPS)
    """

    values: np.ndarray
    """[X, Y, Z], int16 where the numbers are whole and fit, else float32."""
    affine: np.ndarray
    """[4, 4] float64: from (i, j, k, 1) to millimetres of RAS."""
    unit: Unit = intensity.AS_GIVEN
    """`HU`: Hounsfield units; `as given`: what the file holds, rescaled as the file says and no further."""
    modality: str | None = None
    rule: Rule = "stored_values"
    """How the numbers came about: `hounsfield` and `rescaled` once by the file's own slope and intercept."""
    flags: tuple[str, ...] = ()
    """Of `FLAGS`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.values.shape
        return x, y, z

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from voxel to voxel along each axis of `values`."""
        x, y, z = (float(round(sum(self.affine[:3, axis] ** 2) ** 0.5, 6)) for axis in range(3))
        return x, y, z

    @property
    def axes(self) -> str:
        """Where each axis of `values` leads, nearly: RAS, LPS, LSA ...

        As with `nibabel.aff2axcodes`, every letter pair comes once.
        """
        return "".join("LPI"[axis] if sign < 0 else "RAS"[axis] for axis, sign in _directions(self.affine))

    def __repr__(self) -> str:
        size, spacing = " x ".join(map(str, self.shape)), " x ".join(f"{mm:.4g}" for mm in self.spacing)
        flags = f"; {', '.join(self.flags)}" if self.flags else ""
        return f"Volume({size} voxels of {self.values.dtype}, {self.unit}; {spacing} mm, axes {self.axes}{flags})"


def with_flags(volume: Volume, *flags: str) -> Volume:
    """The volume with more flags, each once and in order."""
    return replace(volume, flags=tuple(sorted({*volume.flags, *flags})))


def exact(values: np.ndarray) -> np.ndarray:
    """Numbers of any shape as int16 where nothing is lost, else as float32; those that are no numbers become 0."""
    import numpy as np

    if values.dtype.kind in "iub":
        if values.dtype.itemsize == 1 or values.dtype == np.int16:
            return values.astype(np.int16, copy=False)
        low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
        return values.astype(np.int16 if low >= -32768 and high <= 32767 else np.float32)
    most = float(np.finfo(np.float32).max)
    finite = np.clip(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0), -most, most)
    fits = bool((np.rint(finite) == finite).all()) and (finite.size == 0 or _fits(finite))
    return finite.astype(np.int16 if fits else np.float32)


def _fits(values: np.ndarray) -> bool:
    return bool(values.min() >= -32768 and values.max() <= 32767)


# ---- turning -------------------------------------------------------------------------------------------------------


def canonical(volume: Volume) -> Volume:
    """The volume with its axes in the order x, y, z and in the directions R, A, S, as near as flips and swaps come.

    Nothing is interpolated: every voxel keeps its number and its place in the patient.

    >>> import numpy as np
    >>> canonical(Volume(np.zeros((4, 3, 2), np.int16), np.diag([-0.7, -0.7, 5, 1]))).axes
    'RAS'
    """
    import numpy as np

    directions = _directions(volume.affine)
    order = [next(i for i, (axis, _) in enumerate(directions) if axis == wanted) for wanted in range(3)]
    affine = np.eye(4)
    affine[:, :3] = volume.affine[:, order]
    affine[:, 3] = volume.affine[:, 3]
    values = volume.values.transpose(order)
    for axis in range(3):
        if directions[order[axis]][1] < 0:
            affine[:3, 3] += affine[:3, axis] * (values.shape[axis] - 1)
            affine[:, axis] *= -1
            values = np.flip(values, axis)
    return replace(volume, values=values, affine=affine)


def _directions(affine: np.ndarray) -> list[tuple[int, int]]:
    """For each axis of the voxels the axis of the patient that it is nearest to, and the sign; each is taken once.

    Of the six ways to pair them that with the largest sum of squared cosines, so that no order of choosing matters.
    """
    import numpy as np

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)  # [3 of the patient, 3 of the voxels]
    best = max(itertools.permutations(range(3)), key=lambda way: sum(cosines[way[i], i] ** 2 for i in range(3)))
    return [(best[i], -1 if cosines[best[i], i] < 0 else 1) for i in range(3)]


# ---- cutting -------------------------------------------------------------------------------------------------------


def slices(volume: Volume, plane: Plane = "axial") -> np.ndarray:
    """Every slice of a plane, [slices, H, W], as it is looked at.

    Axial from the feet up, the patient's front above; coronal from the back to the front, the head above; both with
    the patient's right on the left, as they are read. Sagittal from left to right, the head above, the face left.
    Oblique volumes are cut along their own axes, those that come nearest.
    """
    turned = canonical(volume).values  # [X, Y, Z], x to the right, y to the front, z to the head
    if plane == "axial":
        return turned[::-1, ::-1, :].transpose(2, 1, 0)
    if plane == "coronal":
        return turned[::-1, :, ::-1].transpose(1, 2, 0)
    return turned[:, ::-1, ::-1].transpose(0, 2, 1)


def finest_plane(volume: Volume) -> Plane:
    """The plane with the finest pixels, in which a series was most likely made; axial where there is no difference."""
    spacing = canonical(volume).spacing
    thickest = max(spacing)
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
    return next(plane for plane in planes if spacing[_AXES[plane]] > 0.99 * thickest)


def every(volume: Volume, plane: Plane, millimetres: float | None) -> list[int]:
    """Places of some slices of a plane: the middle one, and from it one at least every so many millimetres.

    >>> import numpy as np
    >>> thick = Volume(np.zeros((2, 2, 9), np.int16), np.diag([1, 1, 4, 1]))
    >>> every(thick, "axial", 10), every(thick, "axial", 0), every(thick, "axial", None)
    ([0, 2, 4, 6, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8], [4])
    """
    turned, axis = canonical(volume), _AXES[plane]
    total, middle = turned.shape[axis], turned.shape[axis] // 2
    if millimetres is None:
        return [middle]
    step = max(1, int(millimetres / turned.spacing[axis] + 1e-6))
    return list(range(middle % step, total, step))


# ---- resampling and windows ----------------------------------------------------------------------------------------


def resample(volume: Volume, spacing: float | tuple[float, float, float], *, outside: float | None = None) -> Volume:
    """The volume on a grid of that spacing, by linear interpolation in the patient's space.

    The new axes are those of the volume, made square where they are not (as with a tilted gantry), and the new grid
    has the same middle and covers the same box, to half a voxel.

    Args:
        volume: in any orientation.
        spacing: millimetres along each axis of `values`, or one number for all.
        outside: what is where the volume is not, which only a tilted one needs; -1024 for Hounsfield units, else the
            lowest number there is.
    """
    import numpy as np
    from scipy import ndimage

    wanted = np.broadcast_to(np.asarray(spacing, np.float64), 3)
    if not (np.isfinite(wanted).all() and (wanted > 0).all()):
        raise ValueError(f"spacing={spacing}: it is one or three numbers of millimetres above 0")
    grid, shape = _grid(volume, wanted)
    inverse = np.linalg.inv(volume.affine) @ grid  # from new voxels to old ones
    values = ndimage.affine_transform(
        volume.values.astype(np.float32, copy=False),
        inverse[:3, :3],
        tuple(inverse[:3, 3]),  # pyright: ignore[reportArgumentType]
        output_shape=shape,
        order=1,
        mode="nearest",
    )
    if is_sheared(volume.affine):
        fill = outside if outside is not None else -1024 if volume.unit == "HU" else float(volume.values.min())
        values[_is_outside(inverse, shape, volume.shape)] = fill
    if volume.values.dtype == np.int16:
        values = np.rint(values).astype(np.int16)
    flags = tuple(flag for flag in volume.flags if flag != "gantry_tilt")
    return replace(volume, values=values, affine=grid, flags=flags)


def is_sheared(affine: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Whether the axes of voxels are not at right angles to each other; the tolerance is a cosine."""
    import numpy as np

    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > tolerance)


def _grid(volume: Volume, spacing: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The affine [4, 4] and the shape of a right-angled grid over a volume."""
    import numpy as np

    size = np.asarray(volume.shape)
    columns = volume.affine[:3, :3]
    first = columns[:, 0] / np.linalg.norm(columns[:, 0])
    second = columns[:, 1] - first * (first @ columns[:, 1])
    second /= np.linalg.norm(second)
    third = np.cross(first, second)
    third *= 1 if third @ columns[:, 2] > 0 else -1
    axes = np.stack([first, second, third], axis=1)
    # Half a voxel beyond the outer centres, along the new axes: where the corners of the box come to lie.
    corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in size))))
    places = (corners @ columns.T + volume.affine[:3, 3]) @ axes
    low, high = places.min(axis=0), places.max(axis=0)
    shape = np.maximum(1, np.rint((high - low) / spacing)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = axes @ ((low + high) / 2 - (shape - 1) / 2 * spacing)
    return affine, (int(shape[0]), int(shape[1]), int(shape[2]))


def _is_outside(inverse: np.ndarray, shape: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
    """Which voxels of a new grid lie more than half an old voxel outside of the old ones, as bool of `shape`."""
    import numpy as np

    i, j, k = np.ogrid[: shape[0], : shape[1], : shape[2]]
    outside = np.zeros(shape, bool)
    for axis in range(3):
        place = inverse[axis, 0] * i + inverse[axis, 1] * j + inverse[axis, 2] * k + inverse[axis, 3]
        outside |= (place < -0.5 - 1e-6) | (place > size[axis] - 0.5 + 1e-6)
    return outside


def window(volume: Volume, low: float | None = None, high: float | None = None) -> np.ndarray:
    """The volume as uint8 [X, Y, Z]: 0 up to `low`, 255 from `high`.

    Left out, these are the contract's window for Hounsfield units (-1000 and 1000), and for all else the contract's
    percentiles of the whole volume (0.5 and 99.5), so that all of its slices are shown alike.

    >>> import numpy as np
    >>> window(Volume(np.array([[[-2000, -1000, 0, 1000]]], np.int16), np.eye(4), "HU")).tolist()
    [[[0, 0, 128, 255]]]
    """
    import numpy as np

    if low is None or high is None:
        usual = _usual_window(volume)
        low, high = usual[0] if low is None else low, usual[1] if high is None else high
    if not high > low:
        return np.zeros(volume.shape, np.uint8)
    shown = np.empty(volume.shape, np.uint8)
    for place in range(volume.shape[2]):  # slice by slice: floats of a whole volume take four times its room
        share = np.clip((volume.values[:, :, place].astype(np.float64) - low) / (high - low), 0, 1)
        shown[:, :, place] = (share * 255 + 0.5).astype(np.uint8)
    return shown


def _usual_window(volume: Volume) -> tuple[float, float]:
    import numpy as np

    contract: dict[str, Any] = intensity.INTENSITY
    if volume.unit == "HU":
        low, high = contract["hu_window"]
    elif volume.values.dtype == np.int16:
        shifted = (volume.values.astype(np.int32) + 32768).astype(np.uint16)
        low, high = (edge - 32768 for edge in intensity.percentiles16(shifted, contract["percentiles"]))
    else:
        low, high = np.percentile(volume.values, contract["percentiles"], method="inverted_cdf")
    return float(low), float(high)

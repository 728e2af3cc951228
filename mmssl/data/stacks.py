"""Slices as stacks: which of them belong together, in which order, and where they lie. Geometry alone, no pixels.

Order is by place along the normal of the slices, never by number; the distance is that of the places, never the
thickness that a header tells. Places and directions of DICOM are in millimetres of LPS, affines are in RAS.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mmssl.errors import Unreadable

if TYPE_CHECKING:
    import numpy as np

DISTINGUISHING = (
    "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase", "TriggerTime", "FrameReferenceTime", "InversionTime", "FlipAngle", "ImageType",
    "ConvolutionKernel", "StackID", "AcquisitionNumber",
)  # fmt: skip
"""What tells pictures of one place apart, in the order in which it is tried: echoes, diffusion, time, kind."""

SLABS = ("StackID", "AcquisitionNumber", "SliceThickness")
"""What tells parts of one series apart that lie one after the other, each with its own distance of slices."""

MOST_SLABS = 3  # more are the steps of a table, of which a slice is missing

SAME_PLACE = 0.01  # mm
SAME_DIRECTION = 1e-3  # of a component of a unit vector: 0.06 degrees
EQUAL = 0.05  # of the step from slice to slice; places are written with few digits
TILT = 5e-3  # how far slices may slip sideways, as a share of the step, before that is a tilt: 0.3 degrees

Vector = tuple[float, float, float]


class Plane(NamedTuple):
    """One slice, as its header has it."""

    row: Vector
    """Direction along a row of pixels, to the next column."""
    column: Vector
    """Direction down a column of pixels, to the next row."""
    position: Vector
    """Of the centre of the first pixel."""
    spacing: tuple[float, float]
    """Between rows, and between columns, as PixelSpacing has it."""
    size: tuple[int, int]
    """Rows, columns."""
    frame_of_reference: str | None = None
    told: tuple[tuple[str, str], ...] = ()
    """What the header has of `DISTINGUISHING` and `SLABS`."""
    tilt: float = 0.0
    """Of the gantry, in degrees, as the header tells it."""


class Stack(NamedTuple):
    """Slices in their order."""

    order: tuple[int, ...]
    """Places of the slices among those given, from the first along the normal to the last."""
    at: tuple[float, ...]
    """Where each of them lies along the normal, in steps from the first: 0, 1, 2 ... where none is missing."""
    affine: np.ndarray
    """[4, 4] RAS: from (column, row, step) to millimetres."""
    flags: tuple[str, ...]


def groups(planes: Sequence[Plane]) -> list[list[int]]:
    """Places of the planes that can lie in one volume with each other, in the order of their first ones.

    Planes of other directions, sizes, pixel spacings or frames of reference never do. Several planes of one place do
    not, if the header tells them apart: then all planes are divided by that.
    """
    alike: list[list[int]] = []
    for number, plane in enumerate(planes):
        home = next((group for group in alike if _alike(planes[group[0]], plane)), None)
        if home is None:
            alike.append([number])
        else:
            home.append(number)
    return sorted((part for group in alike for part in _told_apart(planes, group, DISTINGUISHING)), key=min)


def _alike(one: Plane, other: Plane) -> bool:
    if one.size != other.size or one.frame_of_reference != other.frame_of_reference:
        return False
    directions = zip(one.row + one.column, other.row + other.column, strict=True)
    spacings = zip(one.spacing, other.spacing, strict=True)
    return all(abs(a - b) <= SAME_DIRECTION for a, b in directions) and all(
        abs(a - b) <= 1e-3 * max(a, b) for a, b in spacings
    )


def _told_apart(planes: Sequence[Plane], group: list[int], keywords: Sequence[str]) -> list[list[int]]:
    """A group divided by the first keywords that make places single.

    There are never more parts than pictures of one place: what differs from slice to slice is no kind of picture.
    """
    most, repeated = _crowd(planes, group)
    if not repeated:
        return [group]
    for number, keyword in enumerate(keywords):
        parts = _by(group, lambda place, keyword=keyword: dict(planes[place].told).get(keyword))
        if 1 < len(parts) <= most and sum(_crowd(planes, part)[1] for part in parts) < repeated:
            return [small for part in parts for small in _told_apart(planes, part, keywords[number + 1 :])]
    return [group]


def slabs(planes: Sequence[Plane], group: list[int]) -> list[list[int]]:
    """A group that is no stack as the few that it is made of, where the header tells them apart.

    So a head is scanned: thin slices through its base and thick ones above, in one series.
    """
    if objection([planes[place] for place in group]) is None:
        return [group]
    for keyword in SLABS:
        parts = _by(group, lambda place, keyword=keyword: dict(planes[place].told).get(keyword))
        if 1 < len(parts) <= MOST_SLABS and not any(objection([planes[one] for one in part]) for part in parts):
            return parts
    return [group]


def objection(planes: Sequence[Plane]) -> str | None:
    """Why planes of one group are no stack, if they are none; of several in one place only the first counts."""
    try:
        arrange([planes[first] for first, *_ in same_places(planes)])
    except Unreadable as error:
        return error.reason
    return None


def _by(group: list[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    parts: dict[Hashable, list[int]] = {}
    for place in group:
        parts.setdefault(key(place), []).append(place)
    return list(parts.values())


def _crowd(planes: Sequence[Plane], group: list[int]) -> tuple[int, int]:
    """The most planes of one place, and how many planes there are beyond one for each place."""
    shared = [len(same) for same in same_places([planes[place] for place in group])]
    return max(shared), sum(shared) - len(shared)


def same_places(planes: Sequence[Plane]) -> list[list[int]]:
    """Places among planes of one direction, those that lie at the same depth together, by depth."""
    depths = along_normal(planes)
    found: list[list[int]] = []
    for number in sorted(range(len(planes)), key=lambda one: (depths[one], one)):
        if found and depths[number] - depths[found[-1][0]] <= SAME_PLACE:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def along_normal(planes: Sequence[Plane]) -> list[float]:
    """Where each plane lies along the normal of the first, in millimetres."""
    normal = _normal(planes[0])
    return [float(normal @ plane.position) for plane in planes]


def _normal(plane: Plane) -> np.ndarray:
    import numpy as np

    normal = np.cross(plane.row, plane.column)
    return normal / np.linalg.norm(normal)


def arrange(planes: Sequence[Plane], *, gaps: bool = False) -> Stack:
    """Planes of one group, each of another depth, as a stack.

    Args:
        planes: in any order.
        gaps: take slices that are missing or not equally far apart all the same; `Stack.at` tells where they lie.

    Raises:
        Unreadable: too_few_slices, conflicting_slices, missing_slices, unequal_spacing, not_a_stack.
    """
    import numpy as np

    if len(planes) < 2:
        raise Unreadable("too_few_slices")
    same = same_places(planes)
    if len(same) < len(planes):
        raise Unreadable("conflicting_slices")
    order = [one for (one,) in same]
    depths = np.asarray(along_normal(planes))[order]
    step, at = _steps(depths, gaps=gaps)
    positions = np.asarray([planes[one].position for one in order])
    line = (positions[-1] - positions[0]) / at[-1]  # from slice to slice
    astray = np.linalg.norm(positions - positions[0] - np.outer(at, line), axis=1)
    if astray.max() > max(EQUAL * step, SAME_PLACE):
        raise Unreadable("not_a_stack")
    return Stack(
        order=tuple(order),
        at=tuple(float(one) for one in at),
        affine=_affine(planes[order[0]], line),
        flags=_tilt(planes[order[0]], line, step),
    )


def _steps(depths: np.ndarray, *, gaps: bool) -> tuple[float, np.ndarray]:
    """The distance of slices, and where each lies in such steps.

    The distance is the mean one where all are equal, also where depths were written with few digits. Where they are
    not, it is the most usual one, and gaps of whole slices are told from distances that are simply unequal.
    """
    import numpy as np

    count = len(depths) - 1
    mean = (depths[-1] - depths[0]) / count
    even = np.arange(count + 1)
    if np.abs(depths - depths[0] - even * mean).max() <= max(EQUAL * mean, SAME_PLACE):
        return float(mean), even.astype(np.float64)
    usual = float(np.median(np.diff(depths)))
    whole = np.concatenate([[0], np.cumsum(np.maximum(1, np.rint(np.diff(depths) / usual)))])
    step = (depths[-1] - depths[0]) / whole[-1]
    if np.abs(depths - depths[0] - whole * step).max() <= max(EQUAL * step, SAME_PLACE):
        if not gaps:
            raise Unreadable("missing_slices")
        return float(step), whole
    if not gaps:
        raise Unreadable("unequal_spacing")
    return usual, (depths - depths[0]) / usual


def _affine(first: Plane, line: np.ndarray) -> np.ndarray:
    import numpy as np

    affine = np.eye(4)
    affine[:3, 0] = np.asarray(first.row) * first.spacing[1]
    affine[:3, 1] = np.asarray(first.column) * first.spacing[0]
    affine[:3, 2] = line
    affine[:3, 3] = first.position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _tilt(first: Plane, line: np.ndarray, step: float) -> tuple[str, ...]:
    """Flags of how slices lie behind each other."""
    import numpy as np

    sideways = float(np.linalg.norm(line - _normal(first) * step))
    if sideways > TILT * step:
        return ("gantry_tilt",)
    return ("tilt_not_in_positions",) if abs(first.tilt) > 0.3 else ()

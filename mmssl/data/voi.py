"""From measured values to grey: DICOM's windows, lookup tables and percentiles as functions of arrays.

Values of 8 and 16 bits are few: what would be computed for every pixel is computed once for every possible value, and
looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Function = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


ENOUGH = 2**18
"""As many values give percentiles that no eye tells from the true ones."""

_BLOCK = 2**16  # values that are looked up at a time: their places fit a cache


class Table(NamedTuple):
    """A DICOM lookup table (PS3.3 C.11.1.1): the entries, the first value mapped, the bits of an entry."""

    entries: np.ndarray  # [entries]
    first: int
    bits: int


def window(values: np.ndarray, center: float, width: float, function: Function = "LINEAR") -> np.ndarray:
    """Values of any shape through a window, as float64 from 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def ends(center: float, width: float, function: Function = "LINEAR") -> tuple[float, float]:
    """The values up to which a window is black and from which it is white; a sigmoid has none but is named alike."""
    if function == "LINEAR":
        return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    return center - width / 2, center + width / 2


def is_window(width: float, function: Function) -> bool:
    """Whether a window of that width exists."""
    return width >= 1 if function == "LINEAR" else width > 0


def stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as float64 from 0 (at `low` and below) to 1 (at `high` and above); 0 where the two are the same."""
    if not high > low:
        return np.zeros(values.shape)
    return np.clip((values - low) / (high - low), 0, 1)


def look_up(values: np.ndarray, table: Table) -> np.ndarray:
    """Entries of a table for whole values of any shape; those outside its range take the entry at its end."""
    place = np.clip(np.rint(values).astype(np.int64) - table.first, 0, len(table.entries) - 1)
    return table.entries[place]


def to_eight_bits(shares: np.ndarray) -> np.ndarray:
    """Shares from 0 to 1 as uint8 from 0 to 255."""
    return (shares * 255 + 0.5).astype(np.uint8)


def each_value(values: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """`function(values)`, for a function that looks at each value alone; few possible values are computed once."""
    if not is_small(values) or values.size < 4096:
        return function(values)
    table, places = function(all_values(values.dtype)), as_index(values)
    found = np.empty(values.shape, table.dtype)
    for start in range(0, len(values), step := max(1, _BLOCK // max(1, values[0].size))):
        block = slice(start, start + step)
        np.take(table, places[block], mode="clip", out=found[block])  # no place is outside: clip spares the test
    return found


def percentiles(
    values: np.ndarray,
    meaning: Callable[[np.ndarray], np.ndarray],
    padding: tuple[float, float] | None,
    shares: Sequence[float] = (0.5, 99.5),
) -> tuple[float, ...]:
    """Percentiles (nearest rank) of `meaning(values)` over the pixels that are not padding; over all, if all are.

    Of large arrays every second, third ... row is looked at, such that a quarter of a million values are.

    Args:
        values: stored values, at least one axis.
        meaning: what each stored value stands for.
        padding: the lowest and highest stored value that is padding.
        shares: which percentiles.
    """
    values = values[:: max(1, min(len(values), values.size // ENOUGH))]
    if is_small(values):
        possible = all_values(values.dtype)
        counts = np.bincount(as_index(values).ravel(), minlength=len(possible))
    else:
        finite = values[np.isfinite(values)]
        possible, counts = np.unique(finite, return_counts=True)
    if padding:
        inside = np.where((possible >= padding[0]) & (possible <= padding[1]), 0, counts)
        counts = inside if inside.any() else counts
    if not counts.any():
        return tuple(0.0 for _ in shares)
    meant = meaning(possible[counts > 0])
    order = np.argsort(meant, kind="stable")
    below = np.cumsum(counts[counts > 0][order])
    ranks = [max(1, int(np.ceil(share / 100 * below[-1]))) for share in shares]
    return tuple(float(meant[order[np.searchsorted(below, rank)]]) for rank in ranks)


def is_small(values: np.ndarray) -> bool:
    """Whether values are whole numbers of at most 16 bits."""
    return values.dtype.kind in "iu" and values.dtype.itemsize <= 2


def all_values(dtype: np.dtype) -> np.ndarray:
    """Every value of an 8- or 16-bit type, in the order of `as_index`."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return np.arange(2 ** (8 * dtype.itemsize), dtype=unsigned).view(dtype.newbyteorder("="))


def as_index(values: np.ndarray) -> np.ndarray:
    """Places of 8- or 16-bit values in `all_values`."""
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return native.view(np.dtype(f"u{values.dtype.itemsize}"))

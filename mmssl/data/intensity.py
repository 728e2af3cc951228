"""What the numbers in a picture mean: the intensity contract, 16 bits for what was measured and 8 to look at."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from mmssl.errors import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

HU_OFFSET = 32768
"""What is added to Hounsfield units, so that none is negative."""

EightBit = Literal["jpeg", "png"]


@dataclass(frozen=True)
class Intensity:
    """What a store keeps of the numbers in a picture, and how they are shown."""

    short_side: Annotated[int, Ge(32)] = 512
    """Larger pictures are made smaller, to a short side of so many pixels."""
    eight_bit: EightBit = "jpeg"
    """How 8 bits that cannot stay as they are, are kept: jpeg, or png without loss."""
    jpeg_quality: Annotated[int, Ge(1), Le(100)] = 95
    measured: tuple[str, ...] = ("CT", "MR")
    """Modalities whose grey DICOM pictures of more than 8 bits stay measurements of 16 bits, without a window."""
    hu_window: tuple[float, float] = (-1000, 1000)
    """Between which Hounsfield units are shown."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Between which all else is shown that has no window of its own."""

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles={low:g},{high:g}: two numbers from 0 to 100, the lower first")
        if not self.hu_window[0] < self.hu_window[1]:
            raise ValueError(f"hu_window={self.hu_window[0]:g},{self.hu_window[1]:g}: the lower end comes first")

    def contract(self) -> dict[str, Any]:
        """The intensity contract that a store's manifest and a checkpoint carry, as plain values."""
        coded = f"JPEG of quality {self.jpeg_quality}" if self.eight_bit == "jpeg" else "PNG"
        return {
            "version": 1,
            "short_side": self.short_side,
            "eight_bit": "as given, after the VOI window where the source is DICOM: files that fit byte for byte; "
            "where they are too large, animated or lie on their side, lossless ones that fit as PNG (colour and what "
            f"was ready for display out of DICOM too), the rest as {coded}; who decodes them makes palettes, 1 bit, "
            "CMYK and alpha (laid over black) grey or RGB",
            "jpeg_quality": self.jpeg_quality,
            "sixteen_bit": "PNG, lossless; CT from DICOM as Hounsfield units plus hu_offset, all else as the source "
            "has it",
            "hu_offset": HU_OFFSET,
            "hu_window": list(self.hu_window),
            "percentiles": list(self.percentiles),
            "measured": list(self.measured),
        }


INTENSITY: dict[str, Any] = Intensity().contract()
"""The intensity contract: how numbers in a stored picture relate to what was measured, and how `view8` shows them."""

HU = "HU+32768"
AS_GIVEN = "as given"
UNIT = "intensity"
"""Key of `Image.info`, and of the text in a stored PNG, under which stands what 16-bit values mean: HU or AS_GIVEN."""

SCALE = "scale"
"""Likewise, where values had to be changed to fit 16 bits: "slope intercept", value = stored * slope + intercept."""

SHOWN = "shown"
"""Likewise, for a picture out of a DICOM file: the rule that made it, with its numbers, as JSON."""


def eight(image: Image.Image, modality: str | None, contract: Mapping[str, Any]) -> Image.Image:
    """Grey of 16 bits as L: Hounsfield units through the contract's window, all else between its percentiles."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image).astype(np.uint16, copy=False)
    unit = image.info.get(UNIT, HU if modality == "CT" else AS_GIVEN)
    if unit == HU:
        low, high = (float(edge) + contract["hu_offset"] for edge in contract["hu_window"])
    else:
        low, high = percentiles16(values, contract["percentiles"])
    return Image.fromarray(_ramp(low, high)[values])


def percentiles16(values: np.ndarray, shares: list[float]) -> tuple[float, ...]:
    """Percentiles (nearest rank) of uint16 values of any shape."""
    import numpy as np

    below = np.cumsum(np.bincount(values.ravel(), minlength=65536))
    ranks = [max(1, int(np.ceil(share / 100 * values.size))) for share in shares]
    return tuple(float(np.searchsorted(below, rank)) for rank in ranks)


@functools.lru_cache(maxsize=64)
def _ramp(low: float, high: float) -> np.ndarray:
    """[65536] uint8: 0 up to `low`, 255 from `high`; all 0 where there is nothing between them."""
    import numpy as np

    if high <= low:
        return np.zeros(65536, np.uint8)
    share = np.clip((np.arange(65536) - low) / (high - low), 0, 1)
    return (share * 255 + 0.5).astype(np.uint8)


def sixteen(values: np.ndarray, unit: str = AS_GIVEN) -> Image.Image:
    """Whole numbers or floats, [H, W], as I;16: as they are if they fit, else shifted, else scaled; the info says how.

    Through numpy, because Pillow turns negative values into 0 when it saves a PNG, and clips large ones.

    Raises:
        Unreadable: `decode_failed`, where no value is finite.
    """
    import numpy as np
    from PIL import Image

    info: dict[str | tuple[int, int], Any] = {UNIT: unit}
    if values.dtype != np.uint16:
        wide = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        finite = np.isfinite(wide)
        if not finite.any():
            raise Unreadable("decode_failed")
        low, high = wide[finite].min(), wide[finite].max()
        wide = np.where(finite, wide, low)
        whole = values.dtype.kind != "f" or bool((wide == np.rint(wide)).all())
        if not (whole and low >= 0 and high <= 65535):
            low = -32768 if whole and low >= -32768 and high <= 32767 else low  # the same for all slices of a series
            slope = 1.0 if whole and high - low <= 65535 else float(high - low) / 65535 or 1.0
            wide = np.rint((wide - low) / slope)
            info[SCALE] = f"{slope} {float(low)}"
        values = wide.astype(np.uint16)
    deep = Image.fromarray(np.ascontiguousarray(values))
    deep.info = info
    return deep


def scale_of(image: Image.Image) -> tuple[float, float] | None:
    """(slope, intercept) of a picture whose values had to be changed: value = stored * slope + intercept."""
    if SCALE not in image.info:
        return None
    slope, intercept = str(image.info[SCALE]).split()
    return float(slope), float(intercept)

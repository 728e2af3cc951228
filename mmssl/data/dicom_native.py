"""Pixels that stand in a DICOM file as they are, uncompressed: cut out without a copy where that can be done.

PS3.5 section 8: bits allocated, bits stored and high bit say where in a cell a sample stands; what else is in the cell
(overlays of old) is masked out. Cells of 1, 8, 12, 16, 32 and 64 bits, 1 or 3 samples by pixel or by plane, chroma for
every other pixel (YBR_FULL_422, YBR_PARTIAL_422), floats, both byte orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmssl.data import dicom_values
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

FLOATS = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8"}
HALVED = ("YBR_FULL_422", "YBR_PARTIAL_422")
"""Photometric interpretations with two samples of chroma for every two pixels of a row."""


class Cells(NamedTuple):
    """How samples lie in the bytes of a file."""

    rows: int
    columns: int
    samples: int
    photometric: str
    planar: bool
    allocated: int
    bits: int
    high: int
    signed: bool

    @property
    def count(self) -> int:
        """Samples of a frame in the file."""
        return self.rows * self.columns * (2 if self.photometric in HALVED else self.samples)


def cells(dataset: Dataset) -> Cells:
    """What a header says of its cells.

    Raises:
        Unreadable: `unsupported_pixel_format`, where something is missing, contradictory or not read here.
    """

    def told(keyword: str, otherwise: int | None = None) -> int:
        value = dicom_values.whole(dataset, keyword)
        value = otherwise if value is None else value
        if value is None:
            raise Unreadable("unsupported_pixel_format")
        return value

    allocated, samples = told("BitsAllocated"), told("SamplesPerPixel", 1)
    bits = told("BitsStored", allocated)
    found = Cells(
        rows=told("Rows"),
        columns=told("Columns"),
        samples=samples,
        photometric=dicom_values.text(dataset, "PhotometricInterpretation") or "",
        planar=samples > 1 and told("PlanarConfiguration") == 1,
        allocated=allocated,
        bits=bits,
        high=told("HighBit", bits - 1),
        signed=samples == 1 and told("PixelRepresentation", 0) == 1,
    )
    sound = (
        found.photometric
        and allocated in (1, 8, 12, 16, 32, 64)
        and samples in (1, 3)
        and 1 <= bits <= found.high + 1 <= allocated
        and not (found.photometric in HALVED and (samples != 3 or found.columns % 2 or allocated != 8))
    )
    if not sound:
        raise Unreadable("unsupported_pixel_format")
    return found


def frames(dataset: Dataset, wanted: list[int], *, total: int, big_endian: bool) -> Iterator[tuple[np.ndarray, str]]:
    """Stored values of frames, [H, W] or [H, W, 3], and their photometric interpretation.

    Raises:
        Unreadable: `truncated`, `unsupported_pixel_format`, before the first frame is made.
    """
    layout = cells(dataset)
    keyword = next(name for name in ("PixelData", *FLOATS) if name in dataset)
    try:
        data, words = dataset[keyword].value, dataset[keyword].VR == "OW"
    except Exception:  # a value representation that there is not, for one
        raise Unreadable("unsupported_pixel_format") from None
    if not isinstance(data, bytes):
        raise Unreadable("unsupported_pixel_format")
    whole = layout.rows * layout.columns * layout.samples * total
    if layout.photometric in HALVED and len(data) >= whole:  # says that chroma is halved, and it is not
        layout = layout._replace(photometric=layout.photometric.removesuffix("_422"))
    if keyword in FLOATS:
        kind = np.dtype(FLOATS[keyword])
        layout = layout._replace(allocated=8 * kind.itemsize)
    elif layout.allocated in (1, 12):
        kind = np.dtype("u1")
    else:
        kind = np.dtype(f"{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    if 8 * len(data) < layout.count * total * layout.allocated:
        raise Unreadable("truncated")
    if big_endian and kind.itemsize != 2 and words:
        # only the bytes of each word of 16 bits are turned round, whatever the cells are (PS3.5 6.2)
        data, big_endian = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes(), False
    order = kind.newbyteorder(">" if big_endian else "<")
    return (_frame(data, number, order, layout, floats=keyword in FLOATS) for number in wanted)


def _frame(data: bytes, number: int, kind: np.dtype, layout: Cells, *, floats: bool) -> tuple[np.ndarray, str]:
    if layout.allocated in (1, 12):
        values = _unpack(data, number * layout.count, layout.count, layout.allocated)
    else:
        values = np.frombuffer(data, kind, layout.count, number * layout.count * kind.itemsize)
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not floats:
        values = sample(values, layout)
    if layout.photometric in HALVED:
        return _whole_chroma(values.reshape(layout.rows, -1, 4)), layout.photometric.removesuffix("_422")
    if layout.samples == 1:
        return values.reshape(layout.rows, layout.columns), layout.photometric
    if layout.planar:
        return np.moveaxis(values.reshape(layout.samples, layout.rows, layout.columns), 0, -1), layout.photometric
    return values.reshape(layout.rows, layout.columns, layout.samples), layout.photometric


def _unpack(data: bytes, start: int, count: int, bits: int) -> np.ndarray:
    """`count` cells of 1 or 12 bits, beginning with cell `start`; the lowest bits come first."""
    first, last = start * bits // 8, -(-(start + count) * bits // 8)
    each = np.unpackbits(np.frombuffer(data, np.uint8, last - first, first), bitorder="little")
    each = each[start * bits - 8 * first :][: count * bits]
    if bits == 1:
        return each
    return each.reshape(count, bits) @ (1 << np.arange(bits, dtype=np.uint16))


def sample(values: np.ndarray, layout: Cells) -> np.ndarray:
    """Cells as samples: what stands above and below the bits stored is masked out; a copy only where something does."""
    bits, below = layout.bits, layout.high + 1 - layout.bits
    if bits == 8 * values.dtype.itemsize or not values.size:
        return values
    if values.dtype.kind == "i":
        top = 1 << (bits - 1)
        if not below and values.min() >= -top and values.max() < top:
            return values
        raw = (values.view(f"u{values.dtype.itemsize}") >> below) & ((1 << bits) - 1)
        return ((raw ^ top) - top).astype(raw.dtype).view(values.dtype)
    if not below and not int(values.max()) >> bits:
        return values
    return (values >> below) & values.dtype.type((1 << bits) - 1)


def _whole_chroma(pairs: np.ndarray) -> np.ndarray:
    """[H, W / 2, 4] of two grey values, blue and red for both, as [H, W, 3]."""
    found = np.empty((pairs.shape[0], pairs.shape[1], 2, 3), pairs.dtype)
    found[..., 0] = pairs[..., :2]
    found[..., 1:] = pairs[..., None, 2:]
    return found.reshape(pairs.shape[0], -1, 3)

"""Lookup tables of a DICOM header: of grey values (modality, VOI) and of colours (palettes, segmented ones too)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmssl.data import voi
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset


def grey(dataset: Dataset, sequence: str, *, signed: bool) -> voi.Table | None:
    """The first lookup table of a sequence, or None where there is none that can be used.

    Args:
        dataset: that has the sequence.
        sequence: its keyword.
        signed: whether the values to be looked up can be negative.
    """
    try:
        items = dataset.get(sequence)
        if not items:
            return None
        count, first, bits = (int(one) for one in items[0].LUTDescriptor)
        data = items[0].LUTData
    except Exception:  # what is broken is not there
        return None
    count = count or 65536
    if isinstance(data, bytes):
        entries = np.frombuffer(data[: len(data) // 2 * 2], "u1" if len(data) < 2 * count else _order(dataset))
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if first > 32767 and signed:
        first -= 65536  # written as unsigned, meant as signed
    entries = entries[:count]
    if not len(entries):
        return None
    # some makers give fewer bits than their entries have: all that is above would be white
    bits = max(min(max(bits, 1), 16), int(entries.max()).bit_length())
    return voi.Table(entries, first, bits)


def coloured(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """Values of a palette picture, [H, W], as its colours, [H, W, 3] uint8 (PS3.3 C.7.6.3.1.5 and C.7.9.2).

    Entries of 16 bits are divided by 256; where none of the three tables is above 255, they are 8 bits in cells of 16.

    Raises:
        Unreadable: `unsupported_pixel_format`.
    """
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        raise Unreadable("unsupported_pixel_format")
    try:
        tables = [_palette(dataset, colour, signed=values.dtype.kind == "i") for colour in ("Red", "Green", "Blue")]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise Unreadable("unsupported_pixel_format") from None  # palettes come broken in many ways
    if max(int(table.entries.max()) for table in tables) > 255:
        tables = [table._replace(entries=table.entries >> 8) for table in tables]
    possible = voi.all_values(values.dtype)
    palette = np.stack([voi.look_up(possible, table).astype(np.uint8) for table in tables], axis=-1)  # [values, 3]
    return np.take(palette, voi.as_index(values), axis=0, mode="clip")


def _palette(dataset: Dataset, colour: str, *, signed: bool) -> voi.Table:
    """One of the three tables of a palette, its entries as uint16."""
    count, first, bits = (int(one) for one in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
    count = count or 65536
    segmented = f"Segmented{colour}PaletteColorLookupTableData"
    data = dataset[segmented if segmented in dataset else f"{colour}PaletteColorLookupTableData"].value
    if not isinstance(data, bytes):
        raise TypeError("a table is bytes")
    wide = bits > 8 if segmented in dataset else len(data) >= 2 * count
    entries = np.frombuffer(data[: len(data) // 2 * 2], _order(dataset)) if wide else np.frombuffer(data, "u1")
    if segmented in dataset:
        entries = _expand(entries.tolist(), wide, count)
    if first > 32767 and signed:
        first -= 65536
    return voi.Table(entries[:count].astype(np.uint16), first, bits)


def _expand(code: list[int], wide: bool, count: int) -> np.ndarray:
    """A segmented table written out: [`count`] at most."""
    found: list[int] = []
    starts: list[int] = []  # of every discrete and linear segment
    place = 0

    def segment(place: int) -> int:
        """Writes out the discrete or linear segment at a place, and gives the place behind it."""
        kind, length = code[place], code[place + 1]
        if kind == 0:
            found.extend(code[place + 2 : place + 2 + length])
            return place + 2 + length
        if kind != 1:
            raise ValueError("neither discrete nor linear")
        low, high = found[-1], code[place + 2]
        found.extend(round(low + (high - low) * step / length) for step in range(1, length + 1))
        return place + 3

    while place < len(code) and len(found) < count:
        if code[place] == 2:
            parts = code[place + 2 : place + (4 if wide else 6)]
            offset = sum(part << ((16 if wide else 8) * i) for i, part in enumerate(parts)) // (2 if wide else 1)
            again = starts.index(offset)
            for start in starts[again : again + code[place + 1]]:
                segment(start)
            place += 4 if wide else 6
        else:
            starts.append(place)
            place = segment(place)
    return np.array(found)


def _order(dataset: Dataset) -> str:
    """The name in numpy of a 16-bit number in the byte order of a data set."""
    return "<u2" if dataset.is_little_endian is not False else ">u2"

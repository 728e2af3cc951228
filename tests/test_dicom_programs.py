"""Our pictures against what the programs of dcmtk and gdcm see, of all files of pydicom and of generated ones."""

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom import uid

from tests.dicom_comparison import compare
from tests.test_dicom import RGB, dataset, ramp, save, table

pytestmark = [pytest.mark.needs_dcmtk, pytest.mark.needs_gdcm]

PACKAGED = sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))
UNREAD = {
    "SC_rgb_jpeg.dcm": "a meta group that dcmtk refuses",
}
"""Files with a picture that the programs do not read."""


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.name)
def test_files_that_come_with_pydicom(path, tmp_path):
    verdicts = compare(path, tmp_path)
    assert all(verdict.is_good for verdict in verdicts), verdicts
    unread = [verdict for verdict in verdicts if verdict.said == "not read by them"]
    assert not unread or path.name in UNREAD, unread


def test_there_are_files_that_come_with_pydicom():
    assert len(PACKAGED) > 70


NOISE = np.random.default_rng(0)
WINDOW = {"WindowCenter": 1800, "WindowWidth": 1500}


def shifted(values, by):
    """12 bits that stand in the upper part of 16, with other bits below and above them."""
    return (values << by | NOISE.integers(0, 1 << by, values.shape)).astype(np.uint16)


def packed(values):
    """Two values of 12 bits in three bytes, the lowest bits first (PS3.5 annex D)."""
    bits = (values.reshape(-1, 1) >> np.arange(12)) & 1
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


def big_endian(made, data):
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    made.PixelData = data
    return made


def chroma(photometric):
    made = dataset(RGB, photometric=photometric, Modality="US")
    made.PixelData = RGB.reshape(-1, 6)[:, [0, 3, 1, 2]].tobytes()
    return made


def palette(entries, dtype, descriptor):
    header = {f"{name}PaletteColorLookupTableDescriptor": descriptor for name in ("Red", "Green", "Blue")}
    for number, name in enumerate(("Red", "Green", "Blue")):
        header[f"{name}PaletteColorLookupTableData"] = np.roll(entries, number).astype(dtype).tobytes()
    return header


def bitmap(frames):
    bits = NOISE.integers(0, 2, (frames, 10, 13)).astype(np.uint8)
    made = dataset(bits, frames=frames, BitsAllocated=1, BitsStored=1, HighBit=0, Modality="OT")
    cells = np.packbits(bits.ravel(), bitorder="little").tobytes()
    made.PixelData = cells + b"\0" * (len(cells) % 2)
    return made


def overlay(made):
    """Bit 12 of every cell holds an overlay, as files of old have it."""
    made.add_new((0x6000, 0x0010), "US", 24)
    made.add_new((0x6000, 0x0011), "US", 32)
    made.add_new((0x6000, 0x0040), "CS", "G")
    made.add_new((0x6000, 0x0050), "SS", [1, 1])
    made.add_new((0x6000, 0x0100), "US", 16)
    made.add_new((0x6000, 0x0102), "US", 12)
    return made


SIGNED = ramp(low=-2048, high=2047, dtype=np.int16)
GENERATED = {
    "12 bits in the upper part": lambda: dataset(shifted(ramp(), 4), bits=12, HighBit=15, **WINDOW),
    "12 bits in the middle": lambda: dataset(shifted(ramp(), 2), bits=12, HighBit=13, **WINDOW),
    "10 bits": lambda: dataset(ramp(high=1023), bits=10, WindowCenter=500, WindowWidth=600),
    "signed 12 bits, not extended": lambda: dataset(SIGNED & 0xFFF, bits=12, WindowCenter=0, WindowWidth=900),
    "12 bits packed": lambda: dataset(ramp(), bits=12, BitsAllocated=12, PixelData=packed(ramp()), **WINDOW),
    "an overlay in the cells": lambda: overlay(dataset(ramp() | 0x1000, bits=12, **WINDOW)),
    "32 bits": lambda: dataset(ramp(high=9e8, dtype=np.uint32), WindowCenter=4e8, WindowWidth=3e8),
    "signed 8 bits": lambda: dataset(ramp(low=-128, high=127, dtype=np.int8), Modality="US"),
    "signed 8 bits, inverse": lambda: dataset(
        ramp(low=-128, high=127, dtype=np.int8), Modality="US", photometric="MONOCHROME1"
    ),
    "6 bits": lambda: dataset(ramp(high=63, dtype=np.uint8), bits=6, Modality="US"),
    "percentiles": lambda: dataset(NOISE.integers(0, 4096, (50, 40)).astype(np.uint16), bits=12),
    "two windows": lambda: dataset(ramp(), WindowCenter=[1800, 900], WindowWidth=[1500, 100]),
    "a modality LUT": lambda: dataset(
        ramp(high=255), ModalityLUTSequence=table([k * k for k in range(256)], 0), WindowCenter=9000, WindowWidth=9000
    ),
    "a VOI LUT of 12 bits": lambda: dataset(
        ramp(high=255), VOILUTSequence=table([k * 16 for k in range(256)], 0, 12), PresentationLUTShape="INVERSE"
    ),
    "a bitmap": lambda: bitmap(1),
    "two bitmaps": lambda: bitmap(2),
    "big endian": lambda: big_endian(dataset(ramp(), **WINDOW), ramp().astype(">u2").tobytes()),
    "big endian, 32 bits": lambda: big_endian(
        dataset(ramp(high=9e8, dtype=np.uint32), WindowCenter=4e8, WindowWidth=3e8),
        ramp(high=9e8, dtype=np.uint32).astype(">u4").tobytes(),
    ),
    "colour by plane": lambda: dataset(
        RGB, photometric="RGB", PlanarConfiguration=1, PixelData=np.moveaxis(RGB, -1, 0).tobytes()
    ),
    "colour of 16 bits": lambda: dataset(RGB.astype(np.uint16) * 257, photometric="RGB"),
    "halved chroma": lambda: chroma("YBR_FULL_422"),
    "partial chroma": lambda: chroma("YBR_PARTIAL_422"),
    "a palette of 8 bits": lambda: dataset(
        ramp(high=255, dtype=np.uint8), photometric="PALETTE COLOR", **palette(np.arange(256), "u1", [256, 0, 8])
    ),
    "a palette of 16 bits": lambda: dataset(
        ramp(high=255, dtype=np.uint8),
        photometric="PALETTE COLOR",
        **palette(np.arange(256) * 257, "<u2", [256, 0, 16]),
    ),
    "a palette for 16 bits": lambda: dataset(
        ramp(high=999), photometric="PALETTE COLOR", **palette(np.arange(500) * 131, "<u2", [500, 100, 16])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files(name, tmp_path):
    made = GENERATED[name]()
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.5"
    save(made, tmp_path / "in.dcm")
    verdicts = compare(tmp_path / "in.dcm", tmp_path)
    assert {verdict.said for verdict in verdicts} <= {"equal", "close"}, verdicts

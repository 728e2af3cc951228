"""DICOM files made with pydicom, their pictures against the standard's formulas in plain Python, and against dcmtk."""

import datetime
import io
import json
import math
import subprocess
import zlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from mmssl.data import dicom, images
from mmssl.errors import Unreadable

DX, CT, MR = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("1.1", "2", "4"))


def dataset(values=None, *, photometric="MONOCHROME2", bits=None, frames=None, **header):
    """A DICOM object around [H, W], [H, W, 3] or [frames, H, W] whole numbers."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = header.pop("SOPClassUID", DX)
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = "1.2.3.4"
    made.Modality = header.pop("Modality", "DX")
    if values is not None:
        values = np.asarray(values)
        height, width = values.shape[1:3] if frames else values.shape[:2]
        made.Rows, made.Columns = height, width
        made.SamplesPerPixel = 3 if values.shape[-1] == 3 and values.ndim == 3 + bool(frames) else 1
        if made.SamplesPerPixel == 3:
            made.PlanarConfiguration = 0
        if frames:
            made.NumberOfFrames = frames
        made.PhotometricInterpretation = photometric
        made.BitsAllocated = 8 * values.dtype.itemsize
        made.BitsStored = bits or made.BitsAllocated
        made.HighBit = made.BitsStored - 1
        made.PixelRepresentation = int(values.dtype.kind == "i")
        made.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
        made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for keyword, value in header.items():
        setattr(made, keyword, value)
    return made


def save(made, path=None):
    buffer = io.BytesIO()
    known = str(made.file_meta.TransferSyntaxUID) in uid.AllTransferSyntaxes
    encoding = {} if known else {"implicit_vr": False, "little_endian": True}
    pydicom.dcmwrite(buffer, made, enforce_file_format=known, **encoding)
    if path is not None:
        path.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def file(values=None, **options):
    return save(dataset(values, **options))


def picture(data, frame=0):
    return np.asarray(dicom.pixels(data)[frame].image)


def reason(data, read=dicom.pixels):
    with pytest.raises(Unreadable) as error:
        read(data)
    assert error.value.reason in dicom.REASONS
    return error.value.reason


def ramp(height=24, width=32, low=0, high=4095, dtype=np.uint16):
    return np.linspace(low, high, height * width).round().reshape(height, width).astype(dtype)


def linear(x, center, width):
    """PS3.3 C.11.2.1.2.1, as it stands there, with 0 and 255 as the ends."""
    if x <= center - 0.5 - (width - 1) / 2:
        return 0
    if x > center - 0.5 + (width - 1) / 2:
        return 255
    return ((x - (center - 0.5)) / (width - 1) + 0.5) * 255


def linear_exact(x, center, width):
    """PS3.3 C.11.2.1.3.2."""
    if x <= center - width / 2:
        return 0
    return 255 if x > center + width / 2 else ((x - center) / width + 0.5) * 255


def sigmoid(x, center, width):
    """PS3.3 C.11.2.1.3.1."""
    return 255 / (1 + math.exp(-4 * (x - center) / width))


def each(function, values):
    return np.array([[function(x) for x in row] for row in np.asarray(values).tolist()])


def assert_close(found, expected, atol=0.51):
    np.testing.assert_allclose(found.astype(float), expected, atol=atol)


# ---- grey pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "formula"), [(None, linear), ("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)]
)
def test_the_window_functions_of_the_standard(name, formula):
    values = ramp()
    header = {"VOILUTFunction": name} if name else {}
    found = dicom.pixels(file(values, WindowCenter=1800, WindowWidth=1500, **header))[0]
    assert found.rule == "window"
    assert_close(np.asarray(found.image), each(lambda x: formula(x, 1800, 1500), values))


def test_a_window_of_width_1_is_a_threshold():
    found = picture(file(ramp(), WindowCenter=2000, WindowWidth=1))
    np.testing.assert_array_equal(found, np.where(ramp() > 1999.5, 255, 0))


def test_the_first_window_that_is_one_counts():
    found = picture(file(ramp(), WindowCenter=[100, 1800, 900], WindowWidth=[0, 1500, 10]))
    assert_close(found, each(lambda x: linear(x, 1800, 1500), ramp()))


def test_the_window_is_applied_after_slope_and_intercept():
    header = {"RescaleSlope": "0.5", "RescaleIntercept": "-200"}
    found = picture(file(ramp(), WindowCenter=800, WindowWidth=700, **header))
    assert_close(found, each(lambda x: linear(x * 0.5 - 200, 800, 700), ramp()))


def test_without_a_window_the_percentiles_count():
    values = np.random.default_rng(0).integers(500, 3500, (50, 60)).astype(np.uint16)
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf").astype(float)
    found = dicom.pixels(file(values, bits=12))[0]
    assert found.rule == "percentiles"
    assert_close(np.asarray(found.image), np.clip((values - low) / (high - low), 0, 1) * 255)


def test_percentiles_of_large_pictures_are_as_good():
    values = np.random.default_rng(0).integers(500, 3500, (2100, 2000)).astype(np.uint16)
    low, high = np.percentile(values, [0.5, 99.5]).astype(float)
    assert_close(picture(file(values, bits=12)), np.clip((values - low) / (high - low), 0, 1) * 255, atol=1)


def test_padding_does_not_count_and_is_black():
    values = ramp(40, 40, 1000, 2000).astype(np.int16)
    values[:, :10] = -2000
    inside = values[:, 10:]
    low, high = np.percentile(inside, [0.5, 99.5], method="inverted_cdf").astype(float)
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    assert_close(picture(file(values, PixelPaddingValue=-2000)), expected)
    inverted = picture(file(values, photometric="MONOCHROME1", PixelPaddingValue=-2000))
    assert_close(inverted[:, 10:], 255 - expected[:, 10:])
    assert inverted[:, :10].max() == 0
    assert picture(file(values, photometric="MONOCHROME1")).max() == 255


def test_padding_in_a_range():
    values = ramp(40, 40, 1000, 2000)
    values[:5], values[-5:] = 60000, 60100
    found = picture(file(values, PixelPaddingValue=60000, PixelPaddingRangeLimit=60100))
    assert found[:5].max() == found[-5:].max() == 0
    assert found[6:30].max() > 180


def test_a_padding_value_inside_the_picture_is_left_alone():
    values = ramp(40, 40, 0, 4000)
    values[20:22, 20:22] = 0
    values[0] = 0
    found = picture(file(values, photometric="MONOCHROME1", PixelPaddingValue=0))
    assert (found[0] == 0).all()
    assert (found[20:22, 20:22] == 255).all()


def test_all_padding():
    assert picture(file(np.full((9, 9), 7, np.uint16), PixelPaddingValue=7)).max() == 0


@pytest.mark.parametrize("header", [{"photometric": "MONOCHROME1"}, {"PresentationLUTShape": "INVERSE"}])
def test_both_ways_of_saying_inverse(header):
    plain = picture(file(ramp(), WindowCenter=2000, WindowWidth=3000))
    found = picture(file(ramp(), WindowCenter=2000, WindowWidth=3000, **header))
    np.testing.assert_array_equal(found, 255 - plain)


def test_inverse_said_twice_is_said_once():
    once = picture(file(ramp(), photometric="MONOCHROME1"))
    twice = picture(file(ramp(), photometric="MONOCHROME1", PresentationLUTShape="INVERSE"))
    np.testing.assert_array_equal(once, twice)


def table(entries, first, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = list(entries)
    item["LUTData"].VR = "US"
    return [item]


def test_a_voi_lut_goes_before_a_window():
    entries = [0, 100, 4000, 60000, 65535]
    values = np.array([[0, 10, 11, 12], [13, 14, 15, 4000]], np.uint16)
    made = dicom.pixels(file(values, VOILUTSequence=table(entries, 10), WindowCenter=5, WindowWidth=2))[0]
    assert made.rule == "voi_lut"
    shown = [entries[min(max(int(x) - 10, 0), 4)] * 255 / 65535 for x in values.ravel()]
    assert_close(np.asarray(made.image), np.reshape(shown, values.shape))


def test_a_modality_lut_goes_before_all():
    values = np.array([[0, 1, 2, 3], [3, 2, 1, 9]], np.uint16)
    entries = [500, 100, 900, 700]
    made = file(values, ModalityLUTSequence=table(entries, 0), WindowCenter=500, WindowWidth=801)
    expected = [linear(entries[min(int(x), 3)], 500, 801) for x in values.ravel()]
    assert_close(picture(made), np.reshape(expected, values.shape))


def test_a_table_for_negative_values():
    values = np.array([[-3, -2, -1, 0]], np.int16)
    for first in (-2, 65534):  # 65534 is -2 where the file says that it is unsigned
        assert picture(file(values, VOILUTSequence=table([0, 100, 255], first, 8))).tolist() == [[0, 0, 100, 255]]
    header = {"RescaleSlope": 1, "RescaleIntercept": -3, "VOILUTSequence": table([0, 100, 255], 65534, 8)}
    assert picture(file((values + 3).astype(np.uint16), **header)).tolist() == [[0, 0, 100, 255]]


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.int16, 16), (np.int16, 12), (np.uint16, 10), (np.int8, 8), (np.uint8, 8)]
)
def test_signed_and_narrow_values(dtype, bits):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if np.dtype(dtype).kind == "i" else (0, 2**bits - 1)
    values = ramp(low=low, high=high, dtype=dtype)
    center, width = (low + high) / 2, (high - low) / 2
    assert_close(
        picture(file(values, bits=bits, WindowCenter=center, WindowWidth=width)),
        each(lambda x: linear(x, center, width), values),
    )


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_32_bits(dtype):
    values = ramp(low=100_000, high=900_000, dtype=dtype)
    assert_close(
        picture(file(values, WindowCenter=500_000, WindowWidth=400_000)),
        each(lambda x: linear(x, 500_000, 400_000), values),
    )


def test_bits_above_the_stored_ones_are_no_part_of_a_value():
    values = ramp()
    noisy = values | (np.arange(values.size).reshape(values.shape) % 16 << 12).astype(np.uint16)
    header = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    np.testing.assert_array_equal(picture(file(noisy, **header)), picture(file(values, **header)))


def test_bitmaps():
    bits = np.random.default_rng(0).integers(0, 2, (10, 13)).astype(np.uint8)
    made = dataset(bits, Modality="SEG", BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    made.PixelData = packed + b"\0" * (len(packed) % 2)
    np.testing.assert_array_equal(picture(save(made)), bits * 255)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_float_pixels(keyword):
    values = np.random.default_rng(0).normal(size=(20, 30)).astype("f4" if keyword.startswith("Float") else "f8")
    made = dataset(np.zeros((20, 30), np.uint16), BitsAllocated=8 * values.dtype.itemsize, Modality="OT")
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    setattr(made, keyword, values.tobytes())
    low, high = np.percentile(values, [0.5, 99.5], method="inverted_cdf")
    assert_close(picture(save(made)), np.clip((values - low) / (high - low), 0, 1) * 255)


def test_a_constant_picture_is_a_picture():
    assert picture(file(np.full((9, 9), 700, np.uint16))).max() == 0
    assert picture(file(np.full((9, 9), 700, np.uint16), WindowCenter=700, WindowWidth=100)).shape == (9, 9)


def test_eight_bits_of_ultrasound_are_ready_for_display():
    values = ramp(low=40, high=90, dtype=np.uint8)
    made = dicom.pixels(file(values, Modality="US"))[0]
    assert made.rule == "as_is"
    np.testing.assert_array_equal(np.asarray(made.image), values)
    assert picture(file(values, Modality="CR")).max() == 255


def test_overlays_are_left_out():
    made = dataset(ramp())
    made.add_new((0x6000, 0x0010), "US", 24)
    made.add_new((0x6000, 0x0011), "US", 32)
    made.add_new((0x6000, 0x3000), "OW", b"\xff" * 96)
    np.testing.assert_array_equal(picture(save(made)), picture(file(ramp())))


# ---- CT and MR -----------------------------------------------------------------------------------------------------


def test_ct_is_hounsfield_units_of_16_bits():
    values = ramp(low=-1024, high=3071, dtype=np.int16)
    made = dicom.pixels(file(values, Modality="CT", SOPClassUID=CT, RescaleSlope=2, RescaleIntercept=-24))[0]
    assert made.rule == "hounsfield"
    np.testing.assert_array_equal(np.asarray(made.image).astype(int) - 32768, values.astype(int) * 2 - 24)
    kept = images.standardise(made.image)
    again = Image.open(io.BytesIO(kept.bytes))
    assert again.info["intensity"] == "HU+32768"
    np.testing.assert_array_equal(np.asarray(again), np.asarray(made.image))


def test_ct_is_not_inverted_and_not_windowed():
    header = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 80}
    plain, inverse = (picture(file(ramp(), photometric=name, **header)) for name in ("MONOCHROME2", "MONOCHROME1"))
    np.testing.assert_array_equal(plain.astype(int), ramp().astype(int) - 1024 + 32768)
    np.testing.assert_array_equal(plain, inverse)


@pytest.mark.parametrize("header", [{}, {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}])
def test_ct_in_other_units_is_as_it_is(header):
    made = dicom.pixels(file(ramp(), Modality="CT", **header))[0]
    assert made.rule == "stored_values"
    assert made.image.info["intensity"] == "as given"
    np.testing.assert_array_equal(np.asarray(made.image), ramp())


def test_mr_is_lossless_and_a_shift_is_recorded():
    np.testing.assert_array_equal(picture(file(ramp(), Modality="MR", RescaleSlope=3, RescaleIntercept=9)), ramp())
    signed = ramp(low=-500, high=2000, dtype=np.int16)
    kept = images.standardise(dicom.pixels(file(signed, Modality="MR"))[0].image)
    assert kept.scale == (1.0, -32768.0)
    found = np.asarray(Image.open(io.BytesIO(kept.bytes))).astype(int)
    np.testing.assert_array_equal(found - 32768, signed)


def test_mr_of_monochrome1_is_turned_over():
    """At the ends of their bits, so that all slices of a series are turned over alike, and that is recorded."""
    unsigned = dicom.pixels(file(ramp(), Modality="MR", photometric="MONOCHROME1", bits=12))[0]
    np.testing.assert_array_equal(np.asarray(unsigned.image), 4095 - ramp())
    signed = dicom.pixels(file(ramp(low=-500, dtype=np.int16), Modality="MR", photometric="MONOCHROME1"))[0]
    for made, values in ((unsigned, ramp()), (signed, ramp(low=-500, dtype=np.int16))):
        slope, intercept = images.standardise(made.image).scale
        np.testing.assert_array_equal(np.asarray(made.image) * slope + intercept, values)
        assert made.shown.inverse


def test_an_enhanced_object_has_its_own_values_for_every_frame():
    def groups(slope, center):
        group, value, window = Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, -100, "HU"
        window.WindowCenter, window.WindowWidth = center, 500
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [value], [window]
        return group

    values = np.stack([ramp(), ramp()])
    per_frame = {"PerFrameFunctionalGroupsSequence": [groups(1, 100), groups(2, 900)]}
    first, second = (frame.image for frame in dicom.pixels(file(values, frames=2, Modality="CT", **per_frame)))
    np.testing.assert_array_equal(np.asarray(first).astype(int), ramp().astype(int) - 100 + 32768)
    np.testing.assert_array_equal(np.asarray(second).astype(int), ramp().astype(int) * 2 - 100 + 32768)
    first, second = dicom.pixels(file(values, frames=2, Modality="XA", **per_frame))
    assert_close(np.asarray(first.image), each(lambda x: linear(x - 100, 100, 500), ramp()))
    assert_close(np.asarray(second.image), each(lambda x: linear(2 * x - 100, 900, 500), ramp()))


# ---- frames --------------------------------------------------------------------------------------------------------


def test_every_frame_or_the_one_asked_for():
    values = np.stack([np.full((4, 5), 10 * k, np.uint8) for k in range(5)])
    data = file(values, frames=5, Modality="US")
    assert [int(np.asarray(frame.image)[0, 0]) for frame in dicom.pixels(data)] == [0, 10, 20, 30, 40]
    assert len(dicom.pixels(data, max_frames=2)) == 2
    assert np.asarray(dicom.pixels(data, 3)[0].image)[0, 0] == 30
    assert dicom.read(data).num_frames == 5
    assert [np.asarray(dicom.pixels(data, which)[0].image)[0, 0] for which in ("first", "middle")] == [0, 20]
    assert reason(data, lambda file: dicom.pixels(file, 5)) == "no_such_frame"


# ---- colour --------------------------------------------------------------------------------------------------------

RGB = np.random.default_rng(1).integers(0, 256, (24, 32, 3)).astype(np.uint8)


def test_rgb_by_pixel_and_by_plane():
    np.testing.assert_array_equal(picture(file(RGB, photometric="RGB", Modality="US")), RGB)
    planes = dataset(RGB, photometric="RGB", PlanarConfiguration=1)
    planes.PixelData = np.moveaxis(RGB, -1, 0).tobytes()
    np.testing.assert_array_equal(picture(save(planes)), RGB)


def test_rgb_of_16_bits_becomes_8():
    np.testing.assert_array_equal(picture(file(RGB.astype(np.uint16) << 8, photometric="RGB")), RGB)
    np.testing.assert_array_equal(picture(file(RGB.astype(np.uint16) << 4, photometric="RGB", bits=12)), RGB)


def test_ybr_becomes_rgb():
    """PS3.3 C.7.6.3.1.2, backwards."""
    ybr = RGB.astype(float) - [0, 128, 128]
    back = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
    assert_close(picture(file(RGB, photometric="YBR_FULL")), np.clip(ybr @ back.T, 0, 255), atol=1.01)


def test_a_palette():
    entries = np.arange(256, dtype=np.uint8)
    header = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 8] for name in ("Red", "Green", "Blue")}
    header["RedPaletteColorLookupTableData"] = entries.tobytes()
    header["GreenPaletteColorLookupTableData"] = entries[::-1].tobytes()
    header["BluePaletteColorLookupTableData"] = (entries // 2).tobytes()
    values = ramp(high=255, dtype=np.uint8)
    found = picture(file(values, photometric="PALETTE COLOR", Modality="US", **header))
    np.testing.assert_array_equal(found, np.stack([values, 255 - values, values // 2], axis=-1))
    assert reason(file(values, photometric="PALETTE COLOR", Modality="US")) == "unsupported_pixel_format"


# ---- transfer syntaxes ---------------------------------------------------------------------------------------------

LOSSLESS = {
    "RLE": uid.RLELossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("kind", ["grey of 12 bits", "grey of 8 bits", "signed", "colour", "two frames"])
def test_compressed_pictures_are_the_uncompressed_ones(name, kind):
    values, header = {
        "grey of 12 bits": (ramp(48, 64), {"bits": 12}),
        "grey of 8 bits": (ramp(48, 64, high=255, dtype=np.uint8), {}),
        "signed": (ramp(48, 64, -900, 900, np.int16), {"WindowCenter": 0, "WindowWidth": 900}),
        "colour": (np.tile(RGB, (2, 2, 1)), {"photometric": "RGB"}),
        "two frames": (np.stack([ramp(48, 64), ramp(48, 64)[::-1]]), {"frames": 2, "bits": 12}),
    }[kind]
    made = dataset(values, **header)
    expected = [np.asarray(frame.image) for frame in dicom.pixels(save(made))]
    made.compress(LOSSLESS[name], generate_instance_uid=False)
    found = [np.asarray(frame.image) for frame in dicom.pixels(save(made))]
    np.testing.assert_array_equal(found, expected)


def test_deflated_and_big_endian_and_implicit_files():
    expected = picture(file(ramp()))
    deflated = dataset(ramp())
    deflated.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    np.testing.assert_array_equal(picture(save(deflated)), expected)
    implicit = dataset(ramp())
    implicit.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    np.testing.assert_array_equal(picture(save(implicit)), expected)
    big = dataset(ramp())
    big.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    big.PixelData = ramp().astype(">u2").tobytes()
    np.testing.assert_array_equal(picture(save(big)), expected)


def jpeg(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def encapsulated(values, syntax, code, **header):
    made = dataset(values, **header)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([code])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return made


def test_jpeg():
    values = ramp(high=255, dtype=np.uint8)
    data = save(encapsulated(values, uid.JPEGBaseline8Bit, jpeg(values), Modality="US"))
    np.testing.assert_allclose(picture(data).astype(int), values, atol=3)
    smooth = np.stack([values, values[::-1], values // 2], axis=-1)
    code = jpeg(smooth, subsampling=0)
    colour = save(encapsulated(smooth, uid.JPEGBaseline8Bit, code, photometric="YBR_FULL_422", Modality="US"))
    np.testing.assert_allclose(picture(colour).astype(int), smooth, atol=6)


def with_syntax(data, former, syntax):
    """A file with a transfer syntax that pydicom does not write."""
    head = b"\x02\x00\x10\x00UI"
    old, new = (head + len(text).to_bytes(2, "little") + text for text in (former, syntax))
    length = int.from_bytes(data[140:144], "little") + len(new) - len(old)
    return (data[:140] + length.to_bytes(4, "little") + data[144:]).replace(old, new)


@pytest.mark.parametrize("deflated", [False, True])
def test_bitmaps_in_runs_or_deflated(deflated):
    bits = np.zeros((24, 32), np.uint8)
    bits[3:9, 5:30] = 1
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    if deflated:
        deflate = zlib.compressobj(wbits=-15)
        code = deflate.compress(packed) + deflate.flush()
    else:  # PackBits by hand: every byte a literal run of one
        body = b"".join(bytes([0, byte]) for byte in packed)
        code = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + b"\0" * 56 + body
    data = save(encapsulated(bits, uid.RLELossless, code, BitsAllocated=1, BitsStored=1, HighBit=0, Modality="SEG"))
    if deflated:
        data = with_syntax(data, b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.8.1\0")
        assert b"1.2.840.10008.1.2.8.1" in data
    np.testing.assert_array_equal(picture(data), bits * 255)


# ---- what is no picture --------------------------------------------------------------------------------------------


def test_what_is_no_dicom_file(tmp_path):
    assert reason(b"") == "empty"
    assert reason(b"hello " * 100) == "not_dicom"
    assert reason(bytes(range(256)) * 4000) == "not_dicom"
    assert reason(b"\x08\x00\x05\x00" + b"\xff" * 400) == "not_dicom"
    assert reason(tmp_path / "nowhere") == "missing"
    assert reason(tmp_path) == "missing"
    (tmp_path / "empty.dcm").write_bytes(b"")
    assert reason(tmp_path / "empty.dcm", dicom.read) == "empty"


def test_a_directory_of_files_is_no_dicom_file():
    index = dataset(SOPClassUID="1.2.840.10008.1.3.10")
    del index.SOPClassUID, index.SOPInstanceUID, index.Modality
    index.DirectoryRecordSequence = []
    assert reason(save(index)) == reason(save(index), dicom.read) == "not_dicom"


@pytest.mark.parametrize(
    ("modality", "kind"),
    [("SR", "88.11"), ("PR", "11.1"), ("KO", "88.59"), ("RTSTRUCT", "481.3"), ("DOC", "104.1"), ("ECG", "9.1.1")],
)
def test_objects_without_a_picture(modality, kind):
    data = file(Modality=modality, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}")
    assert dicom.read(data).reason == reason(data) == "not_an_image"


def test_a_dose_is_no_picture_and_an_rt_image_is():
    dose = file(ramp(), Modality="RTDOSE", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2")
    assert dicom.read(dose).reason == reason(dose) == "not_an_image"
    assert dicom.read(file(ramp(), SOPClassUID="1.2.840.10008.5.1.4.1.1.481.1")).reason is None


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, *LOSSLESS.values()])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_truncated_wherever(syntax, share):
    made = dataset(np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16), bits=12)
    if syntax != uid.ExplicitVRLittleEndian:
        made.compress(syntax, generate_instance_uid=False)
    data = save(made)
    assert reason(data[: int(len(data) * share)]) == "truncated"


def test_a_header_without_its_pixels_is_truncated():
    data = file(ramp())
    assert reason(data[: data.index(b"\xe0\x7f\x10\x00")]) == "truncated"
    assert reason(data[:180]) == "truncated"


def test_a_frame_without_its_end_is_truncated():
    values = ramp(high=255, dtype=np.uint8)
    assert reason(save(encapsulated(values, uid.JPEGBaseline8Bit, jpeg(values)[:-40]))) == "truncated"


def test_codes_that_cannot_be_decoded():
    values = ramp(high=255, dtype=np.uint8)
    broken = b"\xff\xd8" + b"nonsense" * 20 + b"\xff\xd9"
    assert reason(save(encapsulated(values, uid.JPEGBaseline8Bit, broken))) == "decode_failed"
    assert reason(save(encapsulated(values, uid.MPEG2MPML, broken))) == "unsupported_transfer_syntax"
    assert reason(save(encapsulated(values, "1.2.3.4.5", broken))) == "unsupported_transfer_syntax"


def test_after_a_panic_the_next_decoder_is_asked():
    """The run-length decoder, written in Rust, raises what is no Exception; found by changing bytes at random."""
    values = ramp(64, 64)
    start = b"".join(number.to_bytes(4, "little") for number in (2, 64, 64 + 80))
    code = start + b"\0" * (64 - len(start)) + b"\x81\x01" * 80  # two segments of 5,120 bytes for 4,096 pixels
    assert (picture(save(encapsulated(values, uid.RLELossless, code, WindowCenter=1, WindowWidth=1))) == 255).all()


def test_contradictions():
    made = dataset(ramp())
    del made.BitsAllocated
    assert reason(save(made)) == "unsupported_pixel_format"
    assert reason(file(RGB, photometric="CMYK")) == "unsupported_pixel_format"
    made = dataset(ramp())
    made.Rows = 0
    assert reason(save(made)) == "not_an_image"


def test_too_many_pixels(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 700)
    assert reason(file(ramp())) == "too_large"
    monkeypatch.setattr(images, "MAX_PIXELS", 800)
    monkeypatch.setattr(dicom, "MAX_TOTAL", 1000)
    values = np.stack([ramp(), ramp()])
    assert reason(file(values, frames=2)) == "too_large"
    assert len(dicom.pixels(file(values, frames=2), max_frames=1)) == 1


def test_a_file_without_preamble_or_meta_group():
    made = dataset(ramp())
    buffer = io.BytesIO()
    bare = Dataset()
    bare.update({element.tag: element for element in made})
    pydicom.dcmwrite(buffer, bare, implicit_vr=True, little_endian=True)
    np.testing.assert_array_equal(picture(buffer.getvalue()), picture(save(made)))


# ---- the header ----------------------------------------------------------------------------------------------------

HEADER = {
    "PatientName": "Doe^Jane",
    "PatientID": " 007 ",
    "IssuerOfPatientID": "GENERAL",
    "PatientBirthDate": "19800615",
    "PatientSex": "F",
    "PatientAge": "045Y",
    "StudyInstanceUID": "1.2.3",
    "StudyDate": "20240131",
    "StudyTime": "142530.123",
    "AccessionNumber": "0012",
    "ReferringPhysicianName": "Roe^Richard",
    "InstitutionName": "General Hospital",
    "InstitutionAddress": "1 Main Street",
    "Manufacturer": "Maker",
    "ManufacturerModelName": "Model 5",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "ImageLaterality": "U",
    "StudyDescription": "Jane Doe chest",
}


def test_the_header_as_columns():
    found = dicom.read(file(ramp(), **HEADER))
    assert found.columns == {
        "modality": "DX",
        "body_part": "CHEST",
        "view": "PA",
        "laterality": "U",
        "sex": "F",
        "age": 45.0,
        "ethnicity": None,
        "site": "General Hospital",
        "scanner": "Maker Model 5",
        "study_datetime": datetime.datetime(2024, 1, 31, 14, 25, 30),
    }
    assert found.keys == {"AccessionNumber": "0012", "StudyInstanceUID": "1.2.3", "PatientID": "007"}
    assert (found.patient_id, found.issuer, found.reason) == ("007", "GENERAL", None)
    assert not any(word in repr(found) for word in ("Jane", "Roe", "Main Street", "1980"))


def test_an_empty_header_is_no_error():
    found = dicom.read(file(ramp()))
    assert found.columns["view"] == "unknown"
    assert [name for name, value in found.columns.items() if value is not None] == ["modality", "view"]
    assert found.keys == {}


@pytest.mark.parametrize(
    ("header", "age"),
    [
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientAge": "010D"}, 0.03),
        ({"PatientAge": "004W"}, 0.08),
        ({"PatientAge": "", "PatientBirthDate": "19800131"}, 44.0),
        ({"PatientBirthDate": "20300131"}, None),
        ({"PatientAge": "old", "PatientBirthDate": "1980"}, None),
    ],
)
def test_age(header, age):
    assert dicom.read(file(ramp(), StudyDate="20240131", **header)).columns["age"] == age


def test_when_a_study_was_made():
    def moment(**header):
        return dicom.read(file(ramp(), **header)).columns["study_datetime"]

    assert moment(StudyDate="20240131", StudyTime="1425") == datetime.datetime(2024, 1, 31, 14, 25)
    assert moment(StudyDate="2024.01.31", StudyTime="nonsense") == datetime.datetime(2024, 1, 31)
    assert moment(AcquisitionDate="20240131", StudyTime="101010") == datetime.datetime(2024, 1, 31)
    assert moment(StudyDate="20249931") is None


def test_nothing_of_a_file_is_said_aloud(capfd, recwarn):
    data = file(ramp(), **{**HEADER, "PatientBirthDate": "Doe Jane 1980", "StudyDate": "Doe"})
    dicom.read(data)
    dicom.pixels(data)
    reason(data[: len(data) // 2])
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


# ---- an independent reader -----------------------------------------------------------------------------------------


def seen_by_dcmtk(path, tmp_path, *options):
    out = tmp_path / "out.pnm"
    subprocess.run(["dcm2pnm", "-O", *options, str(path), str(out)], check=True, capture_output=True)
    return np.asarray(Image.open(out))


GENERATED = {
    "window": (ramp(), {"WindowCenter": 1800, "WindowWidth": 1500}, ["+Wi", "1"]),
    "window, 12 bit": (ramp(), {"bits": 12, "WindowCenter": 1800, "WindowWidth": 1500}, ["+Wi", "1"]),
    "sigmoid": (ramp(), {"WindowCenter": 1800, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
    "slope": (
        ramp(),
        {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 3000, "WindowWidth": 2500},
        ["+Wi", "1"],
    ),
    "signed": (ramp(low=-2000, high=2000, dtype=np.int16), {"WindowCenter": 0, "WindowWidth": 900}, ["+Wi", "1"]),
    "monochrome1": (ramp(), {"photometric": "MONOCHROME1", "WindowCenter": 1800, "WindowWidth": 1500}, ["+Wi", "1"]),
    "voi lut": (ramp(high=255), {"VOILUTSequence": table([k * k for k in range(256)], 0)}, ["+Wl", "1"]),
    "colour": (RGB, {"photometric": "RGB"}, []),
}


@pytest.mark.needs_dcmtk
@pytest.mark.parametrize("name", GENERATED)
def test_dcmtk_sees_the_same(name, tmp_path):
    values, header, options = GENERATED[name]
    data = save(dataset(values, **header), tmp_path / "in.dcm")
    found = seen_by_dcmtk(tmp_path / "in.dcm", tmp_path, *options).astype(int)
    np.testing.assert_allclose(picture(data).astype(int), found, atol=1)


@pytest.mark.needs_dcmtk
@pytest.mark.parametrize("program", [["dcmcjpeg", "+e1"], ["dcmcjpeg", "+eb"], ["dcmcjpls"], ["dcmcrle"]])
def test_what_dcmtk_compresses(program, tmp_path):
    bits = 8 if "+eb" in program else 12
    values = ramp(high=2**bits - 1, dtype=np.uint8 if bits == 8 else np.uint16)
    made = dataset(values, bits=bits, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.5")
    data = save(made, tmp_path / "in.dcm")
    packed = tmp_path / "packed.dcm"
    subprocess.run([*program, str(tmp_path / "in.dcm"), str(packed)], check=True, capture_output=True)
    lossy = 3 if bits == 8 else 0
    np.testing.assert_allclose(picture(packed).astype(int), picture(data).astype(int), atol=lossy)


@pytest.mark.needs_dcmtk
def test_jpeg_of_12_bits(tmp_path):
    made = dataset(ramp(64, 64), bits=12, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.5")
    header = {"WindowCenter": 2048, "WindowWidth": 4096}
    for keyword, value in header.items():
        setattr(made, keyword, value)
    save(made, tmp_path / "in.dcm")
    subprocess.run(
        ["dcmcjpeg", "+ee", str(tmp_path / "in.dcm"), str(tmp_path / "x.dcm")], check=True, capture_output=True
    )
    subprocess.run(["dcmdjpeg", str(tmp_path / "x.dcm"), str(tmp_path / "plain.dcm")], check=True, capture_output=True)
    np.testing.assert_array_equal(picture(tmp_path / "x.dcm"), picture(tmp_path / "plain.dcm"))


# ---- what a store keeps of it --------------------------------------------------------------------------------------


def kept(data, **options):
    return images.standardise(dicom.pixels(data)[0].image, **options)


def test_colour_that_no_codec_touched_stays_without_loss():
    stored = kept(file(RGB, photometric="RGB", Modality="US"))
    assert stored.format == "PNG"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored.bytes))), RGB)
    assert kept(file(RGB, photometric="RGB", Modality="US"), short_side=20).format == "JPEG"
    assert kept(file(RGB, photometric="RGB", Modality="US", LossyImageCompression="01")).format == "JPEG"
    lossy = encapsulated(RGB, uid.JPEGBaseline8Bit, jpeg(RGB), photometric="YBR_FULL_422", Modality="US")
    assert kept(save(lossy)).format == "JPEG"
    assert kept(file(ramp(high=255, dtype=np.uint8), Modality="US")).format == "PNG"


def test_a_windowed_picture_is_a_jpeg_unless_asked():
    data = file(ramp(), WindowCenter=1800, WindowWidth=1500)
    assert kept(data).format == "JPEG"
    stored = kept(data, eight_bit="png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored.bytes))), picture(data))
    assert len(kept(data, jpeg_quality=50).bytes) < len(kept(data).bytes)


def test_what_is_stored_says_how_it_was_made():
    shown = json.loads(
        kept(file(ramp(), WindowCenter=[9, 1800], WindowWidth=[0, 1501], photometric="MONOCHROME1")).shown
    )
    expected = {"rule": "window", "low": 1049.5, "high": 2549.5, "function": "LINEAR", "number": 2, "inverse": True}
    assert shown == expected
    shown = dicom.pixels(file(ramp(), WindowCenter=100, WindowWidth=50, VOILUTFunction="SIGMOID"))[0].shown
    assert (shown.low, shown.high, shown.function) == (75, 125, "SIGMOID")
    values = np.random.default_rng(0).integers(500, 3500, (50, 60)).astype(np.uint16)
    low, high = np.percentile(values, [10, 90], method="inverted_cdf")
    shown = dicom.pixels(file(values), percentiles=(10, 90))[0].shown
    assert (shown.rule, shown.low, shown.high) == ("percentiles", low, high)


def test_which_modalities_stay_measurements_is_asked():
    pet = file(ramp(), Modality="PT", RescaleSlope=2, RescaleIntercept=0)
    assert dicom.pixels(pet)[0].rule == "percentiles"
    made = dicom.pixels(pet, measured=("PT",))[0]
    assert made.rule == "stored_values"
    np.testing.assert_array_equal(np.asarray(made.image), ramp())
    ct = file(ramp(), Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    made = dicom.pixels(ct, measured=())[0]
    assert made.rule == "window"
    assert_close(np.asarray(made.image), each(lambda x: linear(x - 1024, 40, 400), ramp()))


# ---- cells and tables that few files have --------------------------------------------------------------------------


def test_a_segmented_palette():
    """PS3.3 C.7.9.2: 3 entries as they stand, then a line of 4 up to 100, then both again by their place."""
    code = {8: np.array([0, 3, 7, 8, 9, 1, 4, 101, 2, 2, 0, 0, 0, 0], "u1"),
            16: np.array([0, 3, 7, 8, 9, 1, 4, 101, 2, 2, 0, 0], "<u2")}  # fmt: skip
    once = [7, 8, 9, 32, 55, 78, 101]
    for bits, data in code.items():
        header = {f"{name}PaletteColorLookupTableDescriptor": [14, 0, bits] for name in ("Red", "Green", "Blue")}
        header |= {f"Segmented{name}PaletteColorLookupTableData": data.tobytes() for name in ("Red", "Green", "Blue")}
        values = np.arange(16, dtype=np.uint8).reshape(4, 4)
        found = picture(file(values, photometric="PALETTE COLOR", Modality="US", **header))
        assert found[..., 0].ravel().tolist() == [*once, *once, 101, 101]


def test_a_broken_segmented_palette():
    for code in ([2, 2, 0, 0], [1, 4, 9], [5, 1, 1], [0], [1, 0, 3]):
        header = {f"{name}PaletteColorLookupTableDescriptor": [14, 0, 16] for name in ("Red", "Green", "Blue")}
        data = np.array(code, "<u2").tobytes()
        header |= {f"Segmented{name}PaletteColorLookupTableData": data for name in ("Red", "Green", "Blue")}
        values = np.arange(16, dtype=np.uint8).reshape(4, 4)
        assert reason(file(values, photometric="PALETTE COLOR", Modality="US", **header)) == "unsupported_pixel_format"


def test_a_dark_picture_of_a_palette_is_not_taken_for_8_bits():
    """Whether entries of 16 bits hold 8 is seen by the palette, not by the colours that a frame happens to have."""
    entries = (np.arange(256) * 257).astype("<u2")
    header = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 16] for name in ("Red", "Green", "Blue")}
    header |= {f"{name}PaletteColorLookupTableData": entries.tobytes() for name in ("Red", "Green", "Blue")}
    dark = np.zeros((4, 4), np.uint8)
    dark[0, 0] = 1
    assert picture(file(dark, photometric="PALETTE COLOR", Modality="US", **header)).max() == 1


def test_a_table_with_more_bits_than_it_says():
    entries = [0, 1000, 2000, 4000]
    found = picture(file(np.array([[0, 1], [2, 3]], np.uint16), VOILUTSequence=table(entries, 0, 8)))
    assert_close(found, np.array([[0, 1000], [2000, 4000]]) / 4095 * 255)


def test_bits_above_and_below_in_runs():
    """Run-length coded cells are cells: the high bit says where a value stands in them."""
    noisy = (ramp() << 4 | 5).astype(np.uint16)
    made = dataset(noisy, bits=12, HighBit=15, WindowCenter=1800, WindowWidth=1500)
    halves = (noisy >> 8).astype(np.uint8), (noisy & 0xFF).astype(np.uint8)
    segments = [b"".join(bytes([0, byte]) for byte in half.ravel()) for half in halves]
    start = [2, 64, 64 + len(segments[0])]
    code = b"".join(number.to_bytes(4, "little") for number in start).ljust(64, b"\0") + b"".join(segments)
    made.file_meta.TransferSyntaxUID = uid.RLELossless
    made.PixelData = encapsulate([code])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    np.testing.assert_array_equal(picture(save(made)), picture(file(ramp(), WindowCenter=1800, WindowWidth=1500)))


def test_contradictory_cells():
    for header in (
        {"bits": 17},
        {"HighBit": 17},
        {"HighBit": 3, "bits": 12},
        {"BitsAllocated": 7},
        {"SamplesPerPixel": 2},
    ):
        assert reason(file(ramp(), **header)) == "unsupported_pixel_format"
    odd = dataset(RGB[:, :31], photometric="YBR_FULL_422", PixelData=RGB[:, :21].tobytes())
    assert reason(save(odd)) == "unsupported_pixel_format"

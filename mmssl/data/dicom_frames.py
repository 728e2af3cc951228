"""Frames of a DICOM file: decoded by the fastest decoder of their transfer syntax, and shown as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from mmssl.data import dicom_values, images, intensity, voi
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

Rule = Literal["hounsfield", "stored_values", "colour", "voi_lut", "window", "percentiles", "as_is"]
"""How stored values became a picture."""

XRAY = ("DX", "CR", "RG", "RF", "XA", "MG", "IO", "PX", "DR")
"""Modalities whose pictures are stretched by percentiles where the header gives no window, 8-bit ones too."""

_RLE = "1.2.840.10008.1.2.5"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

DECODERS: dict[str, tuple[str, ...]] = {
    _RLE: ("pylibjpeg", "pydicom"),  # 68 and 13 images/s
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),  # JPEG baseline
    _EXTENDED: ("pillow", "gdcm"),  # of 8 bits; those of 12 are `_jpeg_of_12_bits`
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": ("pyjpegls",),  # JPEG-LS: 8.1; gdcm 5.1
    "1.2.840.10008.1.2.4.81": ("pyjpegls",),
    "1.2.840.10008.1.2.4.90": (
        "pylibjpeg",
        "pillow",
    ),  # JPEG 2000: 1.3 and 1.3; gdcm, 1.2, ends the process on some broken files
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pillow"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
    _DEFLATED_FRAMES: (),  # `_bitmap`
}
"""Decoders of pydicom per transfer syntax, fastest first (images/s of a 3056 x 2544 radiograph on one core)."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_ENDED = tuple(syntax for syntax in DECODERS if syntax not in (_RLE, _DEFLATED_FRAMES))  # by the marker FF D9


def decode(dataset: Dataset, frames: list[int]) -> Iterator[tuple[np.ndarray, str]]:
    """Stored values, [H, W] or [H, W, 3], and their photometric interpretation, of each frame wanted.

    Raises:
        Unreadable: what there is to say against it is found before anything is decoded.
    """
    syntax = _check(dataset)
    if (
        syntax not in NATIVE
        and dicom_values.whole(dataset, "BitsAllocated") == 1
        and syntax in (_RLE, _DEFLATED_FRAMES)
    ):
        return (_bitmap(dataset, frame, syntax) for frame in frames)
    if syntax == _DEFLATED_FRAMES:
        raise Unreadable("unsupported_pixel_format")
    if syntax == _EXTENDED and dicom_values.whole(dataset, "BitsStored") == 12:
        return (_jpeg_of_12_bits(dataset, frame) for frame in frames)
    return (_decode_one(dataset, frame, syntax) for frame in frames)


def _check(dataset: Dataset) -> str:
    """The transfer syntax of pixels that there is a chance of decoding."""
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        # a picture's header without pixels was cut short; any other object is no picture
        raise Unreadable("truncated" if dicom_values.whole(dataset, "BitsAllocated") else "not_an_image")
    syntax = _syntax(dataset)
    if syntax not in NATIVE and syntax not in DECODERS:
        raise Unreadable("unsupported_transfer_syntax")
    if (dicom_values.whole(dataset, "Rows") or 0) * (dicom_values.whole(dataset, "Columns") or 0) > images.MAX_PIXELS:
        raise Unreadable("too_large")
    if syntax in NATIVE and "PixelData" in dataset:
        from pydicom.pixels.utils import get_expected_length

        try:
            short = len(dataset.PixelData) < get_expected_length(dataset)
        except Exception:  # the header lacks a size, or gives one that is no number
            raise Unreadable("unsupported_pixel_format") from None
        if short:
            raise Unreadable("truncated")
    return syntax


def _syntax(dataset: Dataset) -> str:
    meta = dataset.file_meta
    if "TransferSyntaxUID" in meta:
        return str(meta.TransferSyntaxUID)
    from pydicom.uid import UID

    implicit, little = dataset.original_encoding
    syntax = NATIVE[0] if implicit else NATIVE[1] if little else NATIVE[3]
    meta.TransferSyntaxUID = UID(syntax)
    return syntax


def _decode_one(dataset: Dataset, frame: int, syntax: str) -> tuple[np.ndarray, str]:
    """One frame, by the first decoder that can."""
    from pydicom.pixels.decoders.base import get_decoder

    if syntax in _ENDED and b"\xff\xd9" not in _encoded(dataset, frame)[-64:]:
        raise Unreadable("truncated")  # some decoders would fill up what is missing
    decoder = get_decoder(syntax)
    plugins = [name for name in DECODERS.get(syntax, ("",)) if not name or name in decoder.available_plugins]
    reason = "unsupported_transfer_syntax"
    for plugin in plugins:
        try:
            values, said = decoder.as_array(dataset, index=frame, raw=True, decoding_plugin=plugin)
            return values, str(said["photometric_interpretation"])
        except MemoryError:
            raise Unreadable("too_large") from None
        except AttributeError:  # an element that describes the pixels is not there
            reason = "unsupported_pixel_format"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # decoders raise nearly anything; a panic of the one in Rust is not even an Exception
            reason = "decode_failed"
    raise Unreadable(reason)


def _encoded(dataset: Dataset, frame: int) -> bytes:
    """The bytes of one encapsulated frame."""
    from pydicom.encaps import get_frame

    total = dicom_values.whole(dataset, "NumberOfFrames") or 1
    try:
        return bytes(get_frame(dataset.PixelData, frame, number_of_frames=total))
    except Exception:
        raise Unreadable("truncated") from None


def _bitmap(dataset: Dataset, frame: int, syntax: str) -> tuple[np.ndarray, str]:
    """A frame of 1 bit a pixel, run-length coded or deflated, which pydicom does not read."""
    import zlib

    try:
        data = _encoded(dataset, frame)
        packed = zlib.decompress(data, wbits=-15) if syntax == _DEFLATED_FRAMES else _unpack_runs(data[64:])
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        return bits[: dataset.Rows * dataset.Columns].reshape(dataset.Rows, dataset.Columns), "MONOCHROME2"
    except (zlib.error, ValueError, IndexError):
        raise Unreadable("decode_failed") from None


def _unpack_runs(data: bytes) -> bytes:
    """PackBits (PS3.5 G.3.2)."""
    found, place = bytearray(), 0
    while place + 1 < len(data):
        count = data[place]
        if count < 128:
            found += data[place + 1 : place + 2 + count]
            place += 2 + count
        elif count > 128:
            found += data[place + 1 : place + 2] * (257 - count)
            place += 2
        else:
            place += 1
    return bytes(found)


def _jpeg_of_12_bits(dataset: Dataset, frame: int) -> tuple[np.ndarray, str]:
    """JPEG extended of 12 bits, by gdcm itself: pydicom's way to it refuses them."""
    import gdcm

    data = _encoded(dataset, frame)
    if b"\xff\xd9" not in data[-64:]:
        raise Unreadable("truncated")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((dataset.Columns, dataset.Rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(_EXTENDED)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    text = image.GetBuffer()
    values = np.frombuffer((text or "").encode("utf-8", "surrogateescape"), "<u2")
    if values.size < dataset.Rows * dataset.Columns:
        raise Unreadable("decode_failed")
    photometric = dicom_values.text(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    return values[: dataset.Rows * dataset.Columns].reshape(dataset.Rows, dataset.Columns), photometric


# ---- stored values as pictures -------------------------------------------------------------------------------------


def picture(dataset: Dataset, number: int, values: np.ndarray, photometric: str) -> tuple[Image.Image, Rule]:
    """Stored values of frame `number`, as `decode` gives them, as L, RGB or I;16, and the rule that was followed.

    Raises:
        Unreadable: `unsupported_pixel_format`.
    """
    if photometric == "PALETTE COLOR" or values.ndim == 3:
        return Image.fromarray(_colour(dataset, values, photometric)), "colour"
    modality = dicom_values.text(dataset, "Modality")
    bits = dicom_values.whole(dataset, "BitsStored") or 8 * values.dtype.itemsize
    inverse = photometric == "MONOCHROME1" or dicom_values.text(dataset, "PresentationLUTShape") == "INVERSE"
    if bits == 1:
        return Image.fromarray((values != 0).astype("u1") * 255 ^ (255 if inverse else 0)), "as_is"
    rescale = _rescale(dataset, number)
    if modality == "CT" and rescale and rescale.is_hounsfield and (bits > 8 or rescale != (1.0, 0.0, True)):
        return _hounsfield(values, rescale), "hounsfield"
    if modality in ("CT", "MR") and bits > 8:
        return intensity.sixteen(values.max() - values if inverse else values), "stored_values"
    grey, rule = _grey(dataset, number, values, modality, bits)
    grey = 255 - grey if inverse else grey
    return Image.fromarray(_black_padding(grey, values, _padding(dataset, values))), rule


class _Rescale(NamedTuple):
    slope: float
    intercept: float
    is_hounsfield: bool


def _rescale(dataset: Dataset, number: int) -> _Rescale | None:
    group = dicom_values.functional(dataset, number, "PixelValueTransformationSequence")
    slope, intercept = dicom_values.real(group, "RescaleSlope"), dicom_values.real(group, "RescaleIntercept")
    if intercept is None or not slope:
        return None
    return _Rescale(slope, intercept, dicom_values.text(group, "RescaleType") in (None, "HU"))


def _hounsfield(values: np.ndarray, rescale: _Rescale) -> Image.Image:
    def stored(raw: np.ndarray) -> np.ndarray:
        units = raw.astype(np.float64) * rescale.slope + rescale.intercept
        return np.clip(np.rint(units) + intensity.INTENSITY["hu_offset"], 0, 65535).astype(np.uint16)

    return intensity.sixteen(voi.each_value(values, stored), intensity.HU)


def _grey(
    dataset: Dataset, number: int, values: np.ndarray, modality: str | None, bits: int
) -> tuple[np.ndarray, Rule]:
    """Stored values through modality LUT and VOI: [H, W] uint8, before any inversion, and the rule that applied."""
    rescale = _rescale(dataset, number)
    signed = values.dtype.kind == "i"
    table = _table(dataset, "ModalityLUTSequence", signed=signed)

    def meaning(raw: np.ndarray) -> np.ndarray:
        if table:
            return voi.look_up(raw, table).astype(np.float64)
        raw = raw.astype(np.float64)
        return raw * rescale.slope + rescale.intercept if rescale else raw

    group = dicom_values.functional(dataset, number, "FrameVOILUTSequence")
    signed = signed or (rescale is not None and rescale.intercept < 0)
    lut, window = _table(group, "VOILUTSequence", signed=signed), _window(group)
    if lut:
        most = 2**lut.bits - 1
        shown: Any = lambda raw: np.clip(voi.look_up(meaning(raw), lut) / most, 0, 1)  # noqa: E731
        rule: Rule = "voi_lut"
    elif window:
        if values.dtype.kind == "f" and window[2] == "LINEAR":  # its half steps are made for whole numbers
            window = (window[0], window[1], "LINEAR_EXACT")
        shown, rule = lambda raw: voi.window(meaning(raw), *window), "window"
    elif bits <= 8 and modality not in XRAY and not table:
        return values.astype(np.uint8) << (8 - bits), "as_is"
    else:
        low, high = voi.percentiles(values, meaning, _padding(dataset, values), intensity.INTENSITY["percentiles"])
        shown, rule = lambda raw: voi.stretch(meaning(raw), low, high), "percentiles"
    return voi.each_value(values, lambda raw: voi.to_eight_bits(np.nan_to_num(shown(raw)))), rule


def _window(group: Dataset) -> tuple[float, float, Any] | None:
    """The first window of the header that is one: centre, width, function."""
    function = (dicom_values.text(group, "VOILUTFunction") or "LINEAR").upper()
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    for center, width in zip(
        dicom_values.numbers(group, "WindowCenter"), dicom_values.numbers(group, "WindowWidth"), strict=False
    ):
        if voi.is_window(width, function):
            return center, width, function
    return None


def _table(dataset: Dataset, sequence: str, *, signed: bool) -> voi.Table | None:
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
    except (AttributeError, TypeError, ValueError):
        return None
    count = count or 65536
    if isinstance(data, bytes):
        entries = np.frombuffer(data, "u1" if len(data) < 2 * count else _order(dataset))
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if first > 32767 and signed:
        first -= 65536  # written as unsigned, meant as signed
    entries = entries[:count]
    return voi.Table(entries, first, min(max(bits, 1), 16)) if len(entries) else None


def _order(dataset: Dataset) -> str:
    """The name in numpy of a 16-bit number in the byte order of a data set."""
    return "<u2" if dataset.is_little_endian is not False else ">u2"


def _padding(dataset: Dataset, values: np.ndarray) -> tuple[float, float] | None:
    """Lowest and highest stored value that is padding."""
    value, limit = dicom_values.real(dataset, "PixelPaddingValue"), dicom_values.real(dataset, "PixelPaddingRangeLimit")
    if value is None or values.dtype.kind not in "iu":
        return None
    limit = value if limit is None else limit
    if values.dtype.kind == "i":  # written as unsigned, meant as signed
        value, limit = (
            edge - 65536 if edge > 32767 and values.dtype.itemsize == 2 else edge for edge in (value, limit)
        )
    return min(value, limit), max(value, limit)


def _black_padding(grey: np.ndarray, values: np.ndarray, padding: tuple[float, float] | None) -> np.ndarray:
    """Padding that touches the edge, as black: a film's surround is white after inversion, and no anatomy.

    Padding values in the middle are left alone: some makers name 0, which dense parts of a film reach as well.
    """
    if not padding:
        return grey
    outside = (values >= padding[0]) & (values <= padding[1]) & (grey > 0)
    if not outside.any():
        return grey
    from scipy import ndimage

    labels = np.empty(outside.shape, np.int32)
    ndimage.label(outside, output=labels)
    edges = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.where(np.isin(labels, edges[edges > 0]), 0, grey).astype(np.uint8)


def _colour(dataset: Dataset, values: np.ndarray, photometric: str) -> np.ndarray:
    """[H, W, 3] uint8, RGB."""
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        try:
            values = apply_color_lut(values, dataset)[..., :3]
        except Exception:  # palettes come broken in many ways
            raise Unreadable("unsupported_pixel_format") from None
        return values if values.dtype == np.uint8 else (values >> 8 if values.max() > 255 else values).astype(np.uint8)
    if values.shape[-1] != 3 or values.dtype.kind not in "iu":
        raise Unreadable("unsupported_pixel_format")
    bits = dicom_values.whole(dataset, "BitsStored") or 8 * values.dtype.itemsize
    eight = values if values.dtype == np.uint8 else (values >> max(0, bits - 8)).astype(np.uint8)
    if photometric.startswith("YBR_FULL"):
        return np.asarray(Image.fromarray(eight, "YCbCr").convert("RGB"))
    if photometric not in ("RGB", "YBR_ICT", "YBR_RCT"):
        raise Unreadable("unsupported_pixel_format")
    return eight

"""Frames of a DICOM file as stored values, by the fastest decoder of their transfer syntax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mmssl.data import dicom_native, dicom_values, images
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

_RLE = "1.2.840.10008.1.2.5"
_BASELINE = "1.2.840.10008.1.2.4.50"
_EXTENDED = "1.2.840.10008.1.2.4.51"
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

DECODERS: dict[str, tuple[str, ...]] = {
    _RLE: ("pylibjpeg", "pydicom"),  # 68 and 13 images/s
    _BASELINE: ("pillow",),  # JPEG baseline; gdcm ends the process on some broken files
    _EXTENDED: ("pillow",),  # of 8 bits; those of 12 are `_jpeg_of_12_bits`
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

_PIXEL_DATA = 0x7FE00010
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_ENDED = tuple(syntax for syntax in DECODERS if syntax not in (_RLE, _DEFLATED_FRAMES))  # by the marker FF D9


def decode(dataset: Dataset, frames: list[int]) -> Iterator[tuple[np.ndarray, str]]:
    """Stored values, [H, W] or [H, W, 3], and their photometric interpretation, of each frame wanted.

    Raises:
        Unreadable: what there is to say against it is found before anything is decoded.
    """
    syntax = _check(dataset)
    if syntax in NATIVE:
        return dicom_native.frames(dataset, frames, total=num_frames(dataset), big_endian=syntax == NATIVE[3])
    codes = _encoded(dataset, frames)
    if dicom_values.whole(dataset, "BitsAllocated") == 1 and syntax in (_RLE, _DEFLATED_FRAMES):
        return (_bitmap(dataset, code, syntax) for code in codes)
    if syntax == _DEFLATED_FRAMES:
        raise Unreadable("unsupported_pixel_format")
    if syntax == _EXTENDED and dicom_values.whole(dataset, "BitsStored") == 12:
        return (_jpeg_of_12_bits(dataset, code) for code in codes)
    described = _description(dataset)
    return (_decode_one(described, code, syntax) for code in codes)


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
    return syntax


_LOSSY = (
    _BASELINE,
    _EXTENDED,
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
)
"""Transfer syntaxes that lose something, or may."""


def is_lossless(dataset: Dataset) -> bool:
    """Whether neither the transfer syntax nor anything before it, by LossyImageCompression, has lost anything."""
    return _syntax(dataset) not in _LOSSY and dicom_values.text(dataset, "LossyImageCompression") != "01"


def num_frames(dataset: Dataset) -> int:
    return max(1, dicom_values.whole(dataset, "NumberOfFrames") or 1)


def _syntax(dataset: Dataset) -> str:
    meta = dataset.file_meta
    if "TransferSyntaxUID" in meta:
        return str(meta.TransferSyntaxUID)
    from pydicom.uid import UID

    implicit, little = dataset.original_encoding
    syntax = NATIVE[0] if implicit else NATIVE[1] if little else NATIVE[3]
    meta.TransferSyntaxUID = UID(syntax)
    return syntax


def _description(dataset: Dataset) -> Dataset:
    """What a header says of its pixels, alone, as of a file of one frame.

    pydicom would look for each frame from the start of the file again: hundreds of them took quadratic time.
    """
    from pydicom import Dataset as Header

    described = Header()
    described.file_meta = dataset.file_meta
    for place in list(dataset.keys()):
        if place >> 16 == 0x0028:
            described[place] = dataset.get_item(place)
    described.pop("NumberOfFrames", None)
    return described


def _decode_one(described: Dataset, code: bytes, syntax: str) -> tuple[np.ndarray, str]:
    """One frame, by the first decoder that can."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    if syntax in _ENDED and b"\xff\xd9" not in code[-64:]:
        raise Unreadable("truncated")  # some decoders would fill up what is missing
    described.add_new(_PIXEL_DATA, "OB", encapsulate([code], has_bot=False))
    decoder = get_decoder(syntax)
    plugins = [name for name in DECODERS[syntax] if name in decoder.available_plugins]
    options: dict[str, Any] = {"correct_unused_bits": syntax != _RLE}
    reason = "unsupported_transfer_syntax"
    for plugin in plugins:
        try:
            values, said = decoder.as_array(described, index=0, raw=True, decoding_plugin=plugin, **options)
            if syntax == _RLE:  # cells as they are, in runs; pydicom takes the bits stored for the lowest ones
                values = dicom_native.sample(values, dicom_native.cells(described))
            return values, str(said["photometric_interpretation"])
        except MemoryError:
            raise Unreadable("too_large") from None
        except Unreadable:
            raise
        except AttributeError:  # an element that describes the pixels is not there
            reason = "unsupported_pixel_format"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # decoders raise nearly anything; a panic of the one in Rust is not even an Exception
            reason = "decode_failed"
    raise Unreadable(reason)


def _encoded(dataset: Dataset, frames: list[int]) -> Iterator[bytes]:
    """The bytes of encapsulated frames, whose numbers ascend; each part of the file is looked at once."""
    from pydicom.encaps import generate_frames, get_frame

    where: dict[str, Any] = {"number_of_frames": num_frames(dataset)}
    if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
        where["extended_offsets"] = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    wanted = set(frames)
    try:
        if len(frames) == 1:
            yield bytes(get_frame(dataset.PixelData, frames[0], **where))
            return
        for number, code in enumerate(generate_frames(dataset.PixelData, **where)):
            if number in wanted:
                yield bytes(code)
            if number == frames[-1]:
                return
    except Exception:
        raise Unreadable("truncated") from None
    raise Unreadable("truncated")


def _bitmap(dataset: Dataset, data: bytes, syntax: str) -> tuple[np.ndarray, str]:
    """A frame of 1 bit a pixel, run-length coded or deflated, which pydicom does not read."""
    import zlib

    try:
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


def _jpeg_of_12_bits(dataset: Dataset, data: bytes) -> tuple[np.ndarray, str]:
    """JPEG extended of 12 bits, by gdcm itself: pydicom's way to it refuses them."""
    import gdcm

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

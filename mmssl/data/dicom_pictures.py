"""Stored values of a DICOM frame as a picture, and the rule that was followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from mmssl.data import dicom_tables, dicom_values, intensity, voi
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from pydicom import Dataset

Rule = Literal["hounsfield", "stored_values", "colour", "voi_lut", "window", "percentiles", "as_is"]
"""How stored values became a picture."""

XRAY = ("DX", "CR", "RG", "RF", "XA", "MG", "IO", "PX", "DR")
"""Modalities whose pictures are stretched by percentiles where the header gives no window, 8-bit ones too."""


class Shown(NamedTuple):
    """The rule in numbers, as far as it has any."""

    rule: Rule
    low: float | None = None
    """The value, after the modality LUT or slope and intercept, up to which all is black (before any inversion) ..."""
    high: float | None = None
    """... and the one from which all is white; of a sigmoid, centre minus and plus half a width."""
    function: voi.Function | None = None
    number: int | None = None
    """Which window or VOI LUT of the header, counted from 1."""
    inverse: bool = False


def picture(
    dataset: Dataset,
    number: int,
    values: np.ndarray,
    photometric: str,
    *,
    measured: Sequence[str] = intensity.INTENSITY["measured"],
    percentiles: Sequence[float] = intensity.INTENSITY["percentiles"],
) -> tuple[Image.Image, Shown]:
    """Stored values of frame `number`, as `dicom_frames.decode` gives them, as L, RGB or I;16, and what was done.

    Args:
        dataset: the header.
        number: of the frame, from 0.
        values: [H, W] or [H, W, 3].
        photometric: the photometric interpretation of the values.
        measured: modalities whose grey pictures of more than 8 bits stay measurements.
        percentiles: between which grey is stretched where the header gives no window.

    Raises:
        Unreadable: `unsupported_pixel_format`.
    """
    if photometric == "PALETTE COLOR" or values.ndim == 3:
        return Image.fromarray(_colour(dataset, values, photometric)), Shown("colour")
    modality = dicom_values.text(dataset, "Modality")
    bits = dicom_values.whole(dataset, "BitsStored") or 8 * values.dtype.itemsize
    inverse = photometric == "MONOCHROME1" or dicom_values.text(dataset, "PresentationLUTShape") == "INVERSE"
    if bits == 1 and values.dtype.kind != "f":
        return Image.fromarray(((values != 0) ^ inverse).astype("u1") * 255), Shown("as_is", inverse=inverse)
    rescale = _rescale(dataset, number)
    hounsfield = rescale and rescale.is_hounsfield and (bits > 8 or rescale != (1.0, 0.0, True))
    if modality == "CT" and modality in measured and rescale and hounsfield:
        return _hounsfield(values, rescale), Shown("hounsfield")
    if modality in measured and bits > 8:
        return _measured(values, bits, inverse), Shown("stored_values", inverse=inverse)
    grey, shown = _grey(dataset, number, values, modality, bits, inverse, percentiles)
    return Image.fromarray(_black_padding(grey, values, _padding(dataset, values))), shown


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
        return np.clip(np.rint(np.nan_to_num(units)) + intensity.HU_OFFSET, 0, 65535).astype(np.uint16)

    return intensity.sixteen(voi.each_value(values, stored), intensity.HU)


def _measured(values: np.ndarray, bits: int, inverse: bool) -> Image.Image:
    """Stored values; where they mean the inverse, turned over at the ends of their bits, as `scale` then says."""
    if not inverse:
        return intensity.sixteen(values)
    if values.dtype.kind == "f":
        ends = float(np.nanmin(values)) + float(np.nanmax(values))
    else:
        ends = -1 if values.dtype.kind == "i" else 2**bits - 1
    image = intensity.sixteen(ends - values.astype(np.float64 if values.dtype.kind == "f" else np.int64))
    slope, intercept = intensity.scale_of(image) or (1.0, 0.0)
    image.info[intensity.SCALE] = f"{-slope} {ends - intercept}"
    return image


def _grey(
    dataset: Dataset,
    number: int,
    values: np.ndarray,
    modality: str | None,
    bits: int,
    inverse: bool,
    shares: Sequence[float],
) -> tuple[np.ndarray, Shown]:
    """Stored values through modality LUT and VOI, turned over where they are the inverse: [H, W] uint8."""
    rescale = _rescale(dataset, number)
    signed = values.dtype.kind == "i"
    table = dicom_tables.grey(dataset, "ModalityLUTSequence", signed=signed)

    def meaning(raw: np.ndarray) -> np.ndarray:
        if table:
            return voi.look_up(raw, table).astype(np.float64)
        raw = raw.astype(np.float64)
        return raw * rescale.slope + rescale.intercept if rescale else raw

    group = dicom_values.functional(dataset, number, "FrameVOILUTSequence")
    signed = signed or (rescale is not None and rescale.intercept < 0)
    lut, found = dicom_tables.grey(group, "VOILUTSequence", signed=signed), _window(group)
    share: Any
    if lut:
        most = 2**lut.bits - 1
        share = lambda raw: np.clip(voi.look_up(meaning(raw), lut) / most, 0, 1)  # noqa: E731
        shown = Shown("voi_lut", float(lut.first), float(lut.first + len(lut.entries) - 1), None, 1, inverse)
    elif found:
        center, width, function, place = found
        if values.dtype.kind == "f" and function == "LINEAR":  # its half steps are made for whole numbers
            function = "LINEAR_EXACT"
        share = lambda raw: voi.window(meaning(raw), center, width, function)  # noqa: E731
        shown = Shown("window", *voi.ends(center, width, function), function, place, inverse)
    elif bits <= 8 and values.dtype.kind != "f" and modality not in XRAY and not table and _upright(rescale):
        return _as_it_is(values, bits, inverse), Shown("as_is", inverse=inverse)
    else:
        low, high = voi.percentiles(values, meaning, _padding(dataset, values), shares)
        share = lambda raw: voi.stretch(meaning(raw), low, high)  # noqa: E731
        shown = Shown("percentiles", low, high, inverse=inverse)

    def eight(raw: np.ndarray) -> np.ndarray:
        grey = voi.to_eight_bits(np.nan_to_num(share(raw)))
        return 255 - grey if inverse else grey

    return voi.each_value(values, eight), shown


def _upright(rescale: _Rescale | None) -> bool:
    return rescale is None or rescale.slope > 0


def _as_it_is(values: np.ndarray, bits: int, inverse: bool) -> np.ndarray:
    """Values of at most 8 bits over the whole range of 8; of signed ones the lowest is black."""
    low = -(1 << (bits - 1)) if values.dtype.kind == "i" else 0
    eight = (values.astype(np.int16) - low << (8 - bits)).astype(np.uint8)
    return 255 - eight if inverse else eight


def _window(group: Dataset) -> tuple[float, float, voi.Function, int] | None:
    """The first window of the header that is one: centre, width, function, and its number from 1."""
    told = (dicom_values.text(group, "VOILUTFunction") or "LINEAR").upper()
    functions: dict[str, voi.Function] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
    function = functions.get(told, "LINEAR")
    pairs = zip(dicom_values.numbers(group, "WindowCenter"), dicom_values.numbers(group, "WindowWidth"), strict=False)
    for place, (center, width) in enumerate(pairs, 1):
        if voi.is_window(width, function):
            return center, width, function, place
    return None


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
    if not (outside[0].any() or outside[-1].any() or outside[:, 0].any() or outside[:, -1].any()):
        return grey
    from scipy import ndimage

    labels = np.empty(outside.shape, np.int32)
    ndimage.label(outside, output=labels)
    edges = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.where(np.isin(labels, edges[edges > 0]), 0, grey).astype(np.uint8)


def _colour(dataset: Dataset, values: np.ndarray, photometric: str) -> np.ndarray:
    """[H, W, 3] uint8, RGB."""
    if photometric == "PALETTE COLOR":
        return dicom_tables.coloured(dataset, values)
    if values.shape[-1] != 3 or values.dtype.kind not in "iu":
        raise Unreadable("unsupported_pixel_format")
    bits = dicom_values.whole(dataset, "BitsStored") or 8 * values.dtype.itemsize
    if bits == 8 and values.dtype.itemsize == 1:
        eight = values
    else:
        eight = (values >> (bits - 8) if bits > 8 else values << (8 - bits)).astype(np.uint8)
    eight = np.ascontiguousarray(eight)
    if photometric.startswith("YBR_FULL"):
        return np.asarray(Image.fromarray(eight, "YCbCr").convert("RGB"))
    if photometric.startswith("YBR_PARTIAL"):
        return _from_partial(eight)
    if photometric not in ("RGB", "YBR_ICT", "YBR_RCT"):  # decoders of JPEG 2000 undo the last two
        raise Unreadable("unsupported_pixel_format")
    return eight


def _from_partial(values: np.ndarray) -> np.ndarray:
    """YBR_PARTIAL (PS3.3 C.7.6.3.1.2): grey from 16 to 235, chroma from 16 to 240, as in ITU-R BT.601."""
    grey, blue, red = np.moveaxis(values.astype(np.float64) - (16, 128, 128), -1, 0)
    grey *= 255 / 219
    parts = (
        grey + 255 / 224 * 1.402 * red,
        grey - 255 / 224 * (0.344136 * blue + 0.714136 * red),
        grey + 255 / 224 * 1.772 * blue,
    )
    return np.clip(np.rint(np.stack(parts, axis=-1)), 0, 255).astype(np.uint8)

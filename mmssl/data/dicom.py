"""DICOM files in: header values as columns, pixels as pictures. The only file that imports pydicom to read.

How a grey picture is made (PS3.3 C.11; PS3.4 N.2): stored values -> modality LUT, or slope and intercept -> VOI LUT, or
the first window with its function, or the 0.5 to 99.5 percentile of what is not padding -> inverted for MONOCHROME1 or a
PresentationLUTShape of INVERSE (the two say the same thing, so once). Overlays are left out. What comes out:

- CT: Hounsfield units + 32768 as 16 bits, where the header gives a slope and an intercept and names no other unit.
- MR, and CT in other units: the stored values as 16 bits, as they are (signed ones shifted, which the picture records).
- every other grey picture: 8 bits after the VOI step. 8-bit pictures of ultrasound and the like that have neither a
  LUT nor a window are ready for display and stay as they are; so do bitmaps of 1 bit.
- colour: RGB of 8 bits each.
"""

from __future__ import annotations

import datetime
import functools
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mmssl.data import images
from mmssl.data.images import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydicom import Dataset

REASONS: dict[str, str] = {
    **images.REASONS,
    "not_dicom": "not a DICOM file, or an index of others (DICOMDIR)",
    "not_an_image": "a DICOM object without a picture: report, presentation, plan or dose, waveform, document",
    "unsupported_transfer_syntax": "pixels in a coding that no installed decoder reads (video, for one)",
    "unsupported_pixel_format": "pixels described in a way that is contradictory or not read here",
    "header_unreadable": "a DICOM file whose header cannot be read",
}
"""Every reason code of a DICOM file, with its meaning."""

XRAY = ("DX", "CR", "RG", "RF", "XA", "MG", "IO", "PX", "DR")
"""Modalities whose pictures are stretched by percentiles where the header gives no window, 8-bit ones too."""

MAX_TOTAL = 2**30
"""Files with more pixels in all their frames together are refused as too_large; a limit of frames counts first."""

DECODERS: dict[str, tuple[str, ...]] = {
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pydicom"),  # RLE: 68 against 13 images/s
    "1.2.840.10008.1.2.4.50": ("pillow", "gdcm"),  # JPEG baseline
    "1.2.840.10008.1.2.4.51": ("pillow", "gdcm"),  # JPEG extended
    "1.2.840.10008.1.2.4.57": ("gdcm",),  # JPEG lossless
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "gdcm"),  # JPEG-LS: 8.1 against 5.1
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "gdcm"),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pillow", "gdcm"),  # JPEG 2000: 1.3, 1.3, 1.2
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pillow", "gdcm"),
    "1.2.840.10008.1.2.4.201": ("pylibjpeg",),  # high-throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": ("pylibjpeg",),
    "1.2.840.10008.1.2.4.203": ("pylibjpeg",),
}
"""Decoders of pydicom per transfer syntax, fastest first (images/s of a 3056 x 2544 radiograph on one core)."""

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_DICOMDIR = "1.2.840.10008.1.3.10"
_RT = "1.2.840.10008.5.1.4.1.1.481."
_RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"

_HEADER = (
    "SpecificCharacterSet SOPClassUID SOPInstanceUID ImageType StudyDate SeriesDate AcquisitionDate ContentDate StudyTime "
    "AccessionNumber Modality Manufacturer InstitutionName ManufacturerModelName PatientID IssuerOfPatientID "
    "PatientBirthDate PatientSex PatientAge EthnicGroup BodyPartExamined ViewPosition StudyInstanceUID "
    "SeriesInstanceUID InstanceNumber Laterality ImageLaterality NumberOfFrames Rows Columns"
).split()
"""All that is read of a header where no pixels are needed."""

Rule = Literal["hounsfield", "stored_values", "colour", "voi_lut", "window", "percentiles", "as_is"]


@dataclass(frozen=True)
class Dicom:
    """What a header says, and nothing that is not listed here."""

    columns: dict[str, Any] = field(default_factory=dict)
    """Columns of a store: modality, body_part, view, laterality, sex, age, ethnicity, site, scanner, study_datetime."""
    keys: dict[str, str] = field(default_factory=dict)
    """AccessionNumber, StudyInstanceUID, PatientID: what reports are joined by, as trimmed text; absent where empty."""
    patient_id: str | None = None
    """PatientID as it stands."""
    issuer: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    instance_uid: str | None = None
    instance_number: int | None = None
    num_frames: int = 1
    reason: str | None = None
    """Why there will be no picture, where the header shows that already."""


class Frame(NamedTuple):
    """One picture of a file."""

    image: Image.Image
    """L, RGB, or I;16 whose info says what its values mean (`images.UNIT`, `images.SCALE`)."""
    columns: dict[str, Any]
    """Columns of the store that hold for this frame alone."""
    rule: Rule
    """By which rule stored values became these."""


def read(source: bytes | Path) -> Dicom:
    """The header of a DICOM file, without its pixels.

    Raises:
        Unreadable: missing, empty, not_dicom, truncated, header_unreadable.
    """
    dataset = _dataset(source, header_only=True)
    with _quiet():
        return _describe(dataset)


def pixels(source: bytes | Path, frame: int | None = None, *, max_frames: int | None = None) -> list[Frame]:
    """The pictures of a DICOM file: all frames, the first `max_frames`, or the one asked for (counted from 0).

    Raises:
        Unreadable: with one of `REASONS`.
        IndexError: there is no such frame.
    """
    dataset = _dataset(source, header_only=False)
    with _quiet():
        _check(dataset)
        total = _int(dataset, "NumberOfFrames") or 1
        if frame is not None and not 0 <= frame < total:
            raise IndexError(f"frame {frame}: the file has {total}")
        wanted = [frame] if frame is not None else list(range(total if max_frames is None else min(total, max_frames)))
        if dataset.Rows * dataset.Columns * len(wanted) > MAX_TOTAL:
            raise Unreadable("too_large")
        return [
            _picture(dataset, number, *decoded)
            for number, decoded in zip(wanted, _decode(dataset, wanted), strict=True)
        ]


# ---- the file ------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _pydicom() -> Any:
    """pydicom, told not to judge values and to keep what it reads to itself: its log lines hold header values."""
    import logging

    import pydicom
    import pydicom.config

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    try:
        import gdcm

        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
        gdcm.Trace.DebugOff()
    except ImportError:
        pass
    return pydicom


def _quiet() -> warnings.catch_warnings:
    return warnings.catch_warnings(action="ignore")


def _dataset(source: bytes | Path, *, header_only: bool) -> Dataset:
    """A file as pydicom's data set; also one that lacks the preamble or the meta group."""
    pydicom = _pydicom()
    start = source[:132] if isinstance(source, bytes) else _start(Path(source))
    if not start:
        raise Unreadable("empty")
    magic = start[128:132] == b"DICM"
    if not magic and not _looks_headless(start):
        raise Unreadable("not_dicom")
    options: dict[str, Any] = {"stop_before_pixels": True, "specific_tags": _HEADER} if header_only else {}
    with _quiet():
        try:
            file = io.BytesIO(source) if isinstance(source, bytes) else source
            dataset = pydicom.dcmread(file, force=True, **options)
            known = "SOPClassUID" in dataset or "Modality" in dataset or "Rows" in dataset
        except EOFError:
            raise Unreadable("truncated" if magic else "not_dicom") from None
        except (OSError, MemoryError):
            raise Unreadable("header_unreadable") from None
        except Exception:  # pydicom raises nearly anything on a broken header
            raise Unreadable("header_unreadable" if magic else "not_dicom") from None
        if not known:
            meta = dataset.file_meta if magic else {}
            if "MediaStorageSOPClassUID" in meta and meta.MediaStorageSOPClassUID == _DICOMDIR:
                raise Unreadable("not_dicom")
            raise Unreadable("truncated" if magic else "not_dicom")
        if _text(dataset, "SOPClassUID") == _DICOMDIR or "DirectoryRecordSequence" in dataset:
            raise Unreadable("not_dicom")
    return dataset


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Unreadable("missing")
        if path.stat().st_size > images.MAX_BYTES:
            raise Unreadable("too_large")
        with open(path, "rb") as file:
            return file.read(132)
    except PermissionError:
        raise Unreadable("no_permission") from None
    except (OSError, ValueError):
        raise Unreadable("missing") from None


def _looks_headless(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, as files without the preamble do."""
    return start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08") and len(start) >= 12


# ---- the header ----------------------------------------------------------------------------------------------------


def _describe(dataset: Dataset) -> Dicom:
    text = functools.partial(_text, dataset)
    keys = {key: text(key) for key in ("AccessionNumber", "StudyInstanceUID", "PatientID")}
    scanner = " ".join(part for part in (text("Manufacturer"), text("ManufacturerModelName")) if part)
    return Dicom(
        columns={
            "modality": text("Modality"),
            "body_part": text("BodyPartExamined"),
            "view": text("ViewPosition") or "unknown",
            "laterality": text("ImageLaterality") or text("Laterality"),
            "sex": text("PatientSex"),
            "age": _age(text("PatientAge"), text("PatientBirthDate"), text("StudyDate")),
            "ethnicity": text("EthnicGroup"),
            "site": text("InstitutionName"),
            "scanner": scanner or None,
            "study_datetime": _moment(dataset),
        },
        keys={key: value for key, value in keys.items() if value},
        patient_id=text("PatientID"),
        issuer=text("IssuerOfPatientID"),
        study_uid=text("StudyInstanceUID"),
        series_uid=text("SeriesInstanceUID"),
        instance_uid=text("SOPInstanceUID"),
        instance_number=_int(dataset, "InstanceNumber"),
        num_frames=max(1, _int(dataset, "NumberOfFrames") or 1),
        reason=_no_image(dataset),
    )


def _no_image(dataset: Dataset) -> str | None:
    kind = _text(dataset, "SOPClassUID") or ""
    if kind.startswith(_RT) and kind != _RT_IMAGE:
        return "not_an_image"
    return None if _int(dataset, "Rows") and _int(dataset, "Columns") else "not_an_image"


def _text(dataset: Dataset, keyword: str) -> str | None:
    """A header value as trimmed text, the first of several; None where it is empty or cannot be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # a value that pydicom cannot convert
        return None
    if value is not None and not isinstance(value, str | bytes | int | float):
        value = value[0] if len(value) else None
    if value is None or isinstance(value, bytes):
        return None
    return " ".join(str(value).replace("\0", " ").split()) or None


def _int(dataset: Dataset, keyword: str) -> int | None:
    try:
        return int(_text(dataset, keyword) or "")
    except ValueError:
        return None


def _float(dataset: Dataset, keyword: str) -> float | None:
    try:
        return float(_text(dataset, keyword) or "")
    except ValueError:
        return None


def _age(age: str | None, birth: str | None, study: str | None) -> float | None:
    """Years, from `045Y`, `006M`, `003W`, `010D`, else from birth to study."""
    years = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
    if age and age[-1].upper() in years and age[:-1].strip().isdigit():
        return round(int(age[:-1]) * years[age[-1].upper()], 2)
    born, seen = _day(birth), _day(study)
    return round((seen - born).days / 365.25, 2) if born and seen and seen >= born else None


def _day(text: str | None) -> datetime.date | None:
    try:
        return datetime.datetime.strptime((text or "").replace(".", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _moment(dataset: Dataset) -> datetime.datetime | None:
    """When the study was made; the series', acquisition's or content's date where the study has none."""
    for kind in ("Study", "Series", "Acquisition", "Content"):
        day = _day(_text(dataset, f"{kind}Date"))
        if day:
            digits = (_text(dataset, "StudyTime") or "").replace(":", "")[:6] if kind == "Study" else ""
            try:
                clock = datetime.datetime.strptime(
                    digits, {6: "%H%M%S", 4: "%H%M", 2: "%H"}.get(len(digits), "-")
                ).time()
            except ValueError:
                clock = datetime.time()
            return datetime.datetime.combine(day, clock)
    return None


# ---- the pixels ----------------------------------------------------------------------------------------------------


def _check(dataset: Dataset) -> None:
    """Refuses what cannot become a picture, before anything is decoded."""
    if _no_image(dataset) or not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise Unreadable(_missing_pixels(dataset))
    syntax = _syntax(dataset)
    if syntax not in _NATIVE and syntax not in DECODERS:
        raise Unreadable("unsupported_transfer_syntax")
    if dataset.Rows * dataset.Columns > images.MAX_PIXELS:
        raise Unreadable("too_large")
    if syntax in _NATIVE and "PixelData" in dataset:
        from pydicom.pixels.utils import get_expected_length

        try:
            short = len(dataset.PixelData) < get_expected_length(dataset)
        except (AttributeError, TypeError, ValueError, ZeroDivisionError):
            raise Unreadable("unsupported_pixel_format") from None
        if short:
            raise Unreadable("truncated")


def _missing_pixels(dataset: Dataset) -> str:
    """A picture's header without its pixels was cut short; any other object is no picture."""
    described = _int(dataset, "Rows") and _int(dataset, "BitsAllocated") and not _no_image(dataset)
    return "truncated" if described else "not_an_image"


def _syntax(dataset: Dataset) -> str:
    meta = dataset.file_meta
    if "TransferSyntaxUID" in meta:
        return str(meta.TransferSyntaxUID)
    implicit, little = dataset.original_encoding
    meta.TransferSyntaxUID = _NATIVE[0] if implicit else _NATIVE[1] if little else _NATIVE[3]
    return str(meta.TransferSyntaxUID)


def _decode(dataset: Dataset, frames: list[int]) -> Iterator[tuple[np.ndarray, str]]:
    """([H, W] or [H, W, 3] stored values, photometric interpretation) of each frame wanted."""
    from pydicom.pixels import get_decoder

    syntax = _syntax(dataset)
    decoder = get_decoder(syntax)
    plugins = [name for name in DECODERS.get(syntax, ("",)) if not name or name in decoder.available_plugins]
    if not plugins:
        raise Unreadable("unsupported_transfer_syntax")
    for frame in frames:
        yield _decode_one(decoder, dataset, frame, plugins)


def _decode_one(decoder: Any, dataset: Dataset, frame: int, plugins: list[str]) -> tuple[np.ndarray, str]:
    """One frame, by the first decoder that can."""
    for plugin in plugins:
        try:
            values, said = decoder.as_array(dataset, index=frame, raw=True, decoding_plugin=plugin)
            return values, str(said["photometric_interpretation"])
        except MemoryError:
            raise Unreadable("too_large") from None
        except (AttributeError, NotImplementedError) as error:
            failed: Exception = error
        except Exception as error:  # decoders raise nearly anything
            failed = error
    if isinstance(failed, AttributeError):
        raise Unreadable("unsupported_pixel_format")
    raise Unreadable("truncated" if _is_cut(dataset) else "decode_failed")


def _is_cut(dataset: Dataset) -> bool:
    """Whether encapsulated pixels end without the mark of their end."""
    data = dataset.PixelData if "PixelData" in dataset else b""
    return _syntax(dataset) not in _NATIVE and not bytes(data[-16:]).rstrip(b"\0")


def _picture(dataset: Dataset, number: int, values: np.ndarray, photometric: str) -> Frame:
    """Stored values of one frame as a picture."""
    from PIL import Image

    if photometric == "PALETTE COLOR" or values.ndim == 3:
        return Frame(Image.fromarray(_colour(dataset, values, photometric)), {}, "colour")
    modality = _text(dataset, "Modality")
    bits = _int(dataset, "BitsStored") or 8 * values.dtype.itemsize
    inverse = photometric == "MONOCHROME1" or _text(dataset, "PresentationLUTShape") == "INVERSE"
    if bits == 1:
        return Frame(Image.fromarray((values != 0).astype("u1") * 255 ^ (255 if inverse else 0)), {}, "as_is")
    rescale = _rescale(dataset, number)
    if modality == "CT" and rescale and rescale.is_hounsfield and (bits > 8 or rescale != (1.0, 0.0, True)):
        return Frame(_hounsfield(values, rescale), {}, "hounsfield")
    if modality in ("CT", "MR") and bits > 8:
        return Frame(images.sixteen(values.max() - values if inverse else values), {}, "stored_values")
    grey, rule = _grey(dataset, number, values, modality, bits)
    grey = 255 - grey if inverse else grey
    return Frame(Image.fromarray(_black_padding(grey, values, _padding(dataset, values))), {}, rule)


class _Rescale(NamedTuple):
    slope: float
    intercept: float
    is_hounsfield: bool


def _rescale(dataset: Dataset, number: int) -> _Rescale | None:
    group = _functional(dataset, number, "PixelValueTransformationSequence")
    slope, intercept = _float(group, "RescaleSlope"), _float(group, "RescaleIntercept")
    if intercept is None or not slope:
        return None
    return _Rescale(slope, intercept, _text(group, "RescaleType") in (None, "HU"))


def _hounsfield(values: np.ndarray, rescale: _Rescale) -> Image.Image:
    import numpy as np

    from mmssl.data import voi

    def stored(raw: np.ndarray) -> np.ndarray:
        units = raw.astype(np.float64) * rescale.slope + rescale.intercept
        return np.clip(np.rint(units) + images.INTENSITY["hu_offset"], 0, 65535).astype(np.uint16)

    return images.sixteen(voi.each_value(values, stored), images.HU)


def _grey(
    dataset: Dataset, number: int, values: np.ndarray, modality: str | None, bits: int
) -> tuple[np.ndarray, Rule]:
    """Stored values through modality LUT and VOI: [H, W] uint8, before any inversion, and the rule that applied."""
    import numpy as np

    from mmssl.data import voi

    rescale = _rescale(dataset, number)
    table = _table(dataset, "ModalityLUTSequence", values)

    def meaning(raw: np.ndarray) -> np.ndarray:
        if table:
            return voi.look_up(raw, table).astype(np.float64)
        raw = raw.astype(np.float64)
        return raw * rescale.slope + rescale.intercept if rescale else raw

    group = _functional(dataset, number, "FrameVOILUTSequence")
    lut, window = _table(group, "VOILUTSequence", values), _window(group)
    if lut:
        most = 2**lut.bits - 1
        shown: Any = lambda raw: np.clip(voi.look_up(meaning(raw), lut) / most, 0, 1)  # noqa: E731
        rule: Rule = "voi_lut"
    elif window:
        shown, rule = lambda raw: voi.window(meaning(raw), *window), "window"
    elif bits <= 8 and modality not in XRAY and not table:
        return values.astype(np.uint8) << (8 - bits), "as_is"
    else:
        low, high = voi.percentiles(values, meaning, _padding(dataset, values), images.INTENSITY["percentiles"])
        shown, rule = lambda raw: voi.stretch(meaning(raw), low, high), "percentiles"
    return voi.each_value(values, lambda raw: voi.to_eight_bits(np.nan_to_num(shown(raw)))), rule


def _window(group: Dataset) -> tuple[float, float, Any] | None:
    """The first window of the header that is one: centre, width, function."""
    from mmssl.data import voi

    function = (_text(group, "VOILUTFunction") or "LINEAR").upper()
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    for center, width in zip(_numbers(group, "WindowCenter"), _numbers(group, "WindowWidth"), strict=False):
        if voi.is_window(width, function):
            return center, width, function
    return None


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values of a numeric element that are finite numbers."""
    import math

    try:
        value = dataset.get(keyword)
        several = [value] if isinstance(value, str | int | float) else list(value if value is not None else ())
        numbers = [float(one) for one in several]
    except (TypeError, ValueError):
        return []
    return [number for number in numbers if math.isfinite(number)]


def _table(dataset: Dataset, sequence: str, values: np.ndarray) -> Any:
    """The first lookup table of a sequence, or None where there is none that can be used."""
    import numpy as np

    from mmssl.data import voi

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
        entries = np.frombuffer(data, "u1" if len(data) < 2 * count else dataset_order(dataset))
    else:
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)).astype(np.uint16)
    if first > 32767 and values.dtype.kind == "i":
        first -= 65536  # written as unsigned, meant as signed
    entries = entries[:count]
    return voi.Table(entries, first, min(max(bits, 1), 16)) if len(entries) else None


def dataset_order(dataset: Dataset) -> str:
    """numpy's name of a 16-bit number in the byte order of a data set."""
    return "<u2" if dataset.is_little_endian is not False else ">u2"


def _functional(dataset: Dataset, number: int, keyword: str) -> Dataset:
    """Where an enhanced object keeps a macro: the frame's own group, the shared one, else the data set itself."""
    for groups, place in (("PerFrameFunctionalGroupsSequence", number), ("SharedFunctionalGroupsSequence", 0)):
        try:
            return dataset[groups][place][keyword][0]
        except (KeyError, IndexError, TypeError):
            continue
    return dataset


def _padding(dataset: Dataset, values: np.ndarray) -> tuple[float, float] | None:
    """Lowest and highest stored value that is padding."""
    value, limit = _float(dataset, "PixelPaddingValue"), _float(dataset, "PixelPaddingRangeLimit")
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
    import numpy as np

    outside = (values >= padding[0]) & (values <= padding[1]) & (grey > 0)
    if not outside.any():
        return grey
    from scipy import ndimage

    labels, _ = ndimage.label(outside)
    edges = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.where(np.isin(labels, edges[edges > 0]), 0, grey).astype(np.uint8)


def _colour(dataset: Dataset, values: np.ndarray, photometric: str) -> np.ndarray:
    """[H, W, 3] uint8, RGB."""
    import numpy as np

    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        try:
            values = apply_color_lut(values, dataset)[..., :3]
        except Exception:  # palettes come broken in many ways
            raise Unreadable("unsupported_pixel_format") from None
        return values if values.dtype == np.uint8 else (values >> 8 if values.max() > 255 else values).astype(np.uint8)
    if values.shape[-1] != 3 or values.dtype.kind not in "iu":
        raise Unreadable("unsupported_pixel_format")
    bits = _int(dataset, "BitsStored") or 8 * values.dtype.itemsize
    eight = values if values.dtype == np.uint8 else (values >> max(0, bits - 8)).astype(np.uint8)
    if photometric.startswith("YBR_FULL"):
        from PIL import Image

        return np.asarray(Image.fromarray(eight, "YCbCr").convert("RGB"))
    if photometric not in ("RGB", "YBR_ICT", "YBR_RCT"):
        raise Unreadable("unsupported_pixel_format")
    return eight

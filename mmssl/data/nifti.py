"""NIfTI files in and out, .nii and .nii.gz, through nibabel.

Which rule: the sform where its code is above 0, else the qform, else the file does not say how it lies in the patient.
Numbers are stored * scl_slope + scl_inter, once; nothing else is ever applied, so what is in Hounsfield units stays so.
"""

from __future__ import annotations

import functools
import gzip
import io
import logging
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmssl.data import images, intensity, voxels
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".nii", ".nii.gz")

MAX_BYTES = 2**32
"""Voxels of more bytes are refused as too_large, whatever the compressed file has."""

_GZIP = b"\x1f\x8b"
_HEADERS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}  # size of the header: (place of the magic word, word)
_STARTS = 540
_OURS = "mmssl "
_UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}  # metres, millimetres, micrometres
_SIZES = tuple(size.to_bytes(4, order) for size in _HEADERS for order in ("little", "big"))
_AIR, _THIN, _TISSUE = -500, -1200, 200  # Hounsfield units
_LEVEL = 4  # of gzip: level 6 takes four times as long for the last hundredth
_SCALING = 112  # where scl_slope and scl_inter are in a file


@functools.lru_cache(maxsize=1)
def _nibabel() -> Any:
    """nibabel, told to keep to itself what it finds odd in a header."""
    import nibabel

    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)
    return nibabel


def is_nifti(start: bytes) -> bool:
    """Whether bytes begin as a NIfTI file, compressed or not; some hundred bytes are enough.

    >>> is_nifti(bytes(348)), is_nifti(b"P5 2 2 255")
    (False, False)
    """
    if start[:2] == _GZIP:
        try:
            start = zlib.decompressobj(wbits=31).decompress(start, _STARTS)
        except zlib.error:
            return False
    return _order(start) is not None


def _order(start: bytes) -> str | None:
    """The byte order of a header, as numpy and struct write it; None where it is none of NIfTI."""
    for order, name in (("<", "little"), (">", "big")):
        size = int.from_bytes(start[:4], name)  # type: ignore[arg-type]
        place, word = _HEADERS.get(size, (0, b"?"))
        if start[place : place + len(word)] == word:
            return order
    return None


def read(
    source: bytes | Path, *, modality: str | None = None, number: int | None = None, assume_ras: bool = False
) -> voxels.Volume:
    """The volume in a NIfTI file.

    Args:
        source: a file, or its bytes.
        modality: of the picture, which the file does not tell; with CT the numbers are taken for Hounsfield units, and
            flagged where they hardly can be.
        number: which volume, where the file has several.
        assume_ras: take a file that does not say how it lies in the patient as RAS, its voxels as large as pixdim says.

    Raises:
        Unreadable: with one of `voxels.REASONS`, or missing, no_permission, empty.
    """
    import numpy as np
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    nibabel = _nibabel()
    content = _decompressed(source if isinstance(source, bytes) else images.read_bytes(source))
    kind = nibabel.Nifti2Image if content[4:8] == b"n+2\0" else nibabel.Nifti1Image
    try:
        with np.errstate(all="ignore"):  # a broken header has numbers that are none
            image = kind.from_stream(io.BytesIO(content))
    except (ImageFileError, HeaderDataError, ValueError, OverflowError):
        raise Unreadable("header_unreadable") from None
    header: Any = image.header
    proxy: Any = image.dataobj
    values = _numbers(image, number)
    affine, flags = _affine(header, assume_ras=assume_ras)
    said = bytes(header["descrip"].item()).rstrip(b"\0").decode("latin-1")
    is_ours = said == _OURS + "HU"
    is_hu = modality == "CT" or is_ours
    if is_hu and not is_ours and is_unlikely(values):
        flags.append("hu_unlikely")
    plain = proxy.slope == 1 and proxy.inter == 0
    return voxels.Volume(
        values,
        affine,
        "HU" if is_hu else intensity.AS_GIVEN,
        modality or ("CT" if is_hu else None),
        "stored_values" if plain else "rescaled",
        tuple(sorted(flags)),
    )


def _decompressed(content: bytes) -> bytes:
    """The bytes of a file as far as its header says that there are voxels: no bomb unfolds, and what lacks is seen."""
    if not content:
        raise Unreadable("empty")
    if content[:2] != _GZIP:
        size = _announced(content[:_STARTS])
        return content[:size] if len(content) >= size else _cut()
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        try:
            start = file.read(_STARTS)
            size = _announced(start)
            rest = file.read(max(0, size - len(start)))
        except EOFError:
            _cut()
        except (OSError, zlib.error):
            raise Unreadable("decode_failed") from None
        if len(start) + len(rest) < size:
            _cut()
        try:
            file.read(1)  # the end of the stream, where its checksum is
        except EOFError:
            _cut()
        except (OSError, zlib.error):
            raise Unreadable("decode_failed") from None
    return (start + rest)[:size]


def _cut() -> NoReturn:
    raise Unreadable("truncated")


def _announced(start: bytes) -> int:
    """How many bytes a file has by its header, voxels included."""
    from nibabel.spatialimages import HeaderDataError

    nibabel = _nibabel()
    if _order(start) is None:
        raise Unreadable("truncated" if 0 < len(start) < 348 and start[:4] in _SIZES else "not_a_volume")
    kind = nibabel.Nifti2Header if start[4:8] == b"n+2\0" else nibabel.Nifti1Header
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        # a file may leave the offset out: no voxels begin before the header ends
        offset, shape = max(int(header["vox_offset"]), kind.sizeof_hdr + 4), header.get_data_shape()
        voxels_there, each = math.prod(int(one) for one in shape), header.get_data_dtype().itemsize
    except (HeaderDataError, ValueError, KeyError, OverflowError):
        raise Unreadable("header_unreadable") from None
    if not 1 <= int(header["dim"][0]) <= 7 or min(shape, default=0) <= 0:
        raise Unreadable("header_unreadable")
    if voxels_there * each > MAX_BYTES or offset > MAX_BYTES:
        raise Unreadable("too_large")
    return offset + voxels_there * each


def _numbers(image: Any, number: int | None) -> np.ndarray:
    """The numbers of one volume, [X, Y, Z], rescaled as the file says."""
    import numpy as np

    if image.get_data_dtype().kind not in "iuf":
        raise Unreadable("not_scalar")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:
        raise Unreadable("not_scalar")  # by the standard, what lies along the fifth axis are vectors
    if len(shape) > 4 or (len(shape) == 4 and number is None):
        raise Unreadable("several_volumes")
    if len(shape) == 4 and not 0 <= (number or 0) < shape[3]:
        raise IndexError(f"number {number}: the file has {shape[3]} volumes")
    if math.prod(shape[:3]) > voxels.MAX_VOXELS:
        raise Unreadable("too_large")
    proxy = image.dataobj
    raw = np.asarray(proxy.get_unscaled()).reshape(shape, order="F")
    raw = raw[..., number] if len(shape) == 4 else raw.reshape((*shape, 1, 1)[:3], order="F")
    slope, inter = float(proxy.slope), float(proxy.inter)
    if slope == 1 and inter == 0:
        return voxels.exact(raw)
    if raw.dtype.kind in "iu" and slope.is_integer() and inter.is_integer() and max(abs(slope), abs(inter)) < 2**24:
        return voxels.exact(raw.astype(np.int64) * int(slope) + int(inter))
    return voxels.exact(raw.astype(np.float64) * slope + inter)


def _affine(header: Any, *, assume_ras: bool) -> tuple[np.ndarray, list[str]]:
    """[4, 4] from voxels to millimetres of RAS, and flags."""
    import numpy as np

    scale = _UNITS.get(int(header["xyzt_units"]) & 7, 1.0)
    with np.errstate(all="ignore"):
        sform = _sound(header.get_sform() if header["sform_code"] > 0 else None)
        qform = _sound(_qform(header) if header["qform_code"] > 0 else None)
    flags = []
    found = sform if sform is not None else qform
    if found is None and assume_ras:
        zooms = [abs(float(one)) or 1.0 for one in (*header.get_zooms(), 1.0, 1.0)[:3]]
        found, flags = np.diag([*zooms, 1.0]), ["orientation_assumed"]
    if found is None:
        raise Unreadable("orientation_unknown")
    if sform is not None and qform is not None and _apart(sform, qform, header.get_data_shape()):
        flags.append("forms_disagree")
    return np.diag([scale, scale, scale, 1.0]) @ found, flags


def _qform(header: Any) -> np.ndarray | None:
    try:
        return header.get_qform()
    except ValueError:  # a quaternion longer than 1
        return None


def _sound(affine: np.ndarray | None) -> np.ndarray | None:
    """An affine that is finite and leaves no axis flat, else None."""
    import numpy as np

    if affine is None or not np.isfinite(affine).all():
        return None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() <= 1e-6 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        return None
    return np.asarray(affine, np.float64)


def _apart(one: np.ndarray, other: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether two affines put a corner of the volume a tenth of a voxel or more from each other."""
    import numpy as np

    size = np.asarray((*shape, 1, 1)[:3]) - 1
    corners = np.array([[i, j, k, 1] for i in (0, size[0]) for j in (0, size[1]) for k in (0, size[2])])
    voxel = np.linalg.norm(one[:3, :3], axis=0).min()
    return bool(np.linalg.norm(corners @ (one - other).T, axis=1).max() >= 0.1 * voxel)


def is_unlikely(values: np.ndarray) -> bool:
    """Whether numbers that should be Hounsfield units hardly are: slope and intercept were applied twice, or never.

    A CT has air in it, soft tissue, and nothing thinner than air: at least a thousandth below -500, a twentieth between
    -200 and 200, at most a hundredth below -1200. The lowest number is left out where it is that low: it fills corners.
    """
    import numpy as np

    sample = values.ravel(order="K")[:: max(1, values.size // 2**20)]
    inside = sample[sample > sample.min()] if sample.min() < _THIN else sample
    if inside.size == 0:
        return True
    air, thin = np.mean(inside < _AIR), np.mean(inside < _THIN)
    return bool(air < 0.001 or thin > 0.01 or np.mean(np.abs(inside) <= _TISSUE) < 0.05)


# ---- out -----------------------------------------------------------------------------------------------------------


def encode(volume: voxels.Volume, *, compressed: bool = True) -> bytes:
    """A NIfTI-1 file, the same bytes every time; with an sform, a qform where no axis is oblique to another, its unit.

    Raises:
        ValueError: an axis has more than 32,767 voxels.
    """
    import numpy as np

    nibabel = _nibabel()
    if max(volume.shape) > 32767:
        raise ValueError(f"{volume!r}: NIfTI-1 takes at most 32767 voxels along an axis; cut or resample it")
    image = nibabel.Nifti1Image(np.asarray(volume.values), volume.affine, dtype=volume.values.dtype)
    image.set_sform(volume.affine, code=1)
    if voxels.is_sheared(volume.affine):
        image.set_qform(None, code=0)
        image.header["pixdim"][1:4] = volume.spacing
    else:
        image.set_qform(volume.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = (_OURS + volume.unit).encode()
    plain = bytearray(image.to_bytes())
    # nibabel leaves "no scaling" as not-a-number, which not every reader expects; dcm2niix writes 1 and 0 too
    plain[_SCALING : _SCALING + 8] = np.array([1, 0], image.header.endianness + "f4").tobytes()
    return gzip.compress(plain, compresslevel=_LEVEL, mtime=0) if compressed else bytes(plain)

"""Image files in, standard pictures out: what a store keeps of an image, and the 8-bit view that the towers see."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl.data import intensity
from mmssl.errors import Unreadable

if TYPE_CHECKING:
    from PIL import Image

REASONS: dict[str, str] = {
    "missing": "no file of that name",
    "no_permission": "the file may not be read",
    "empty": "a file of zero bytes",
    "truncated": "the file ends before the picture does",
    "not_an_image": "not a picture of a kind that is read here",
    "too_large": "more pixels or bytes than the limit",
    "decode_failed": "the file says that it is a picture, and its pixels cannot be decoded",
}
"""Why an image file cannot be read; DICOM files have some more, in `mmssl.data.dicom.REASONS`."""

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
"""What Pillow may try on a file. EPS and the like are left out: they would start other programs."""

MAX_PIXELS = 178_000_000
"""Pictures with more pixels are refused (just under the size at which Pillow itself stops)."""

MAX_BYTES = 2**31
"""Files with more bytes are refused."""

_ENCODED = "_encoded"  # attribute of an opened image that holds the file's bytes; Pillow does not hand it on to copies
_LOSSLESS = "_lossless"  # likewise, whether these bytes hold the pixels without loss
_LOSSLESS_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
_FORMAT = {"MPO": "JPEG"}
_COLOUR_SPREAD = 16  # channels nearer to one another than this are grey with the noise of a codec
_COLOUR_SHARE = 0.001  # a coloured arrow on a grey slice does not make it a colour image


class Stored(NamedTuple):
    """A picture as a store keeps it."""

    bytes: bytes
    """An image file."""
    width: int
    height: int
    is_colour: bool
    pixel_hash: str
    """SHA-256 of the pixels before they were made smaller, so that equal pictures are found whatever their file."""
    phash: str
    """imagehash.phash of the 8-bit view, 16 hexadecimal digits."""
    format: str = "JPEG"
    bits: int = 8
    kept: bool = False
    """True: `bytes` are those of the input file."""
    scale: tuple[float, float] | None = None
    """(slope, intercept) where values had to be changed to fit 16 bits: value = stored * slope + intercept."""
    shown: str | None = None
    """Of a picture out of a DICOM file: by which rule it was made, with its numbers, as JSON."""
    view: Image.Image | None = None
    """What the towers see of it, in 8 bits: for whoever measures it, who then need not decode the bytes."""


def open_image(data: bytes | Path) -> Image.Image:
    """The picture in a file or in bytes, decoded whole and upright; the first frame where there are several.

    A file whose EXIF says that it lies on its side is put upright (and is then encoded anew when it is stored).

    Raises:
        Unreadable: with one of `REASONS`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    content = data if isinstance(data, bytes) else read_bytes(data)
    if not content:
        raise Unreadable("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable("too_large")
            image.load()
            upright = ImageOps.exif_transpose(image)
    except Unreadable:
        raise
    except (Image.DecompressionBombError, MemoryError):
        raise Unreadable("too_large") from None
    except UnidentifiedImageError:
        known = content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        raise Unreadable("truncated" if _cut_short(content) else "decode_failed" if known else "not_an_image") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        cut = "truncated" in str(error) or isinstance(error, EOFError) or _cut_short(content)
        raise Unreadable("truncated" if cut else "decode_failed") from None
    lossless = image.format in _LOSSLESS_FORMATS or _is_lossless_webp(content)
    if upright is not image and image.getexif().get(0x0112, 1) != 1:
        vars(upright)[_LOSSLESS] = lossless
        return upright
    vars(image).update({_ENCODED: content, _LOSSLESS: lossless})
    return image


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        Unreadable: `missing` (or no ordinary file), `no_permission`, `too_large`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise Unreadable("missing")
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable("too_large")
        return path.read_bytes()
    except PermissionError:
        raise Unreadable("no_permission") from None
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        raise Unreadable("missing") from None


def mark_lossless(image: Image.Image) -> None:
    """Says of a picture that was not opened here that no codec has touched it: it is stored without loss if it fits."""
    vars(image)[_LOSSLESS] = True


def standardise(
    image: Image.Image,
    *,
    short_side: int = 512,
    eight_bit: intensity.EightBit = "jpeg",
    jpeg_quality: int = intensity.INTENSITY["jpeg_quality"],
) -> Stored:
    """A picture as a store keeps it; never enlarged.

    - The bytes of an 8-bit file whose short side fits stay as they are, whatever the mode; `view8` flattens.
    - 16-bit stays 16-bit, as PNG. Integers and floats that do not fit are shifted or scaled into 16 bits: `scale`.
    - All else (what is larger, animated, or lies on its side) becomes grey or RGB, transparent ones laid over black:
      as PNG where the source was lossless and is not made smaller, else as JPEG (or PNG, if asked).

    Args:
        image: as `open_image` or `dicom.pixels` gives it.
        short_side: larger pictures are made smaller.
        eight_bit: how 8 bits are kept that cannot stay as they are.
        jpeg_quality: of those that become JPEG.

    Raises:
        Unreadable: `decode_failed`, where the picture is of a kind that cannot be converted.
    """
    encoded: bytes | None = vars(image).get(_ENCODED)
    plain = plain_mode(image)
    digest = hashlib.sha256(f"{plain.mode} {plain.width}x{plain.height} ".encode())
    digest.update(plain.tobytes())
    small = shrink(plain, short_side)
    colour = is_colour(small)
    deep = small.mode == "I;16"
    lossless = vars(image).get(_LOSSLESS, image.format in _LOSSLESS_FORMATS) and small is plain
    if encoded is not None and small is plain and not deep and _is_plain_file(image, encoded):
        data, kind = encoded, _FORMAT.get(image.format or "", image.format or "")
    elif deep or lossless or eight_bit == "png":
        data, kind = _png(small), "PNG"
    else:
        data, kind = _jpeg(small, jpeg_quality), "JPEG"
    view = view8(small, None)
    return Stored(
        bytes=data,
        width=small.width,
        height=small.height,
        is_colour=colour,
        pixel_hash=digest.hexdigest(),
        phash=_phash(view),
        format=kind,
        bits=16 if deep else 8,
        kept=data is encoded,
        scale=intensity.scale_of(small),
        shown=image.info.get(intensity.SHOWN),
        view=view,
    )


def plain_mode(image: Image.Image) -> Image.Image:
    """The picture as L, RGB or I;16; itself where it is that already.

    Raises:
        Unreadable: `decode_failed`.
    """
    from PIL import Image

    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode == "I;16":
        return image
    if mode.startswith("I") or mode == "F":
        import numpy as np

        return intensity.sixteen(np.asarray(image), image.info.get(intensity.UNIT, intensity.AS_GIVEN))
    try:
        if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
            clear = image.convert("LA" if mode in ("L", "LA", "La") else "RGBA")
            ground = Image.new(clear.mode, clear.size, (0, 255) if clear.mode == "LA" else (0, 0, 0, 255))
            flat = Image.alpha_composite(ground.convert("RGBA"), clear.convert("RGBA")).convert("RGB")
            return flat.getchannel(0) if clear.mode == "LA" else _grey_if_equal(flat)
        if mode == "1":
            return image.convert("L")
        flat = image.convert("RGB")
        return _grey_if_equal(flat) if mode == "P" else flat
    except (ValueError, OSError):  # LAB, for one
        raise Unreadable("decode_failed") from None


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    """The picture with a short side of at most `short_side` pixels; itself where it fits."""
    from PIL import Image

    short = min(image.size)
    if short <= short_side:
        return image
    size = (max(1, round(image.width * short_side / short)), max(1, round(image.height * short_side / short)))
    if image.mode == "I;16":
        import numpy as np

        wide = _resize(Image.fromarray(np.asarray(image).astype(np.float32)), size)
        small = Image.fromarray(np.clip(np.rint(np.asarray(wide)), 0, 65535).astype(np.uint16))
    else:
        small = _resize(image, size)
    small.info = dict(image.info)
    return small


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    from PIL import Image

    # whole factors by averaging, 20 times faster, and only the rest by Lanczos
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=1.0)


def is_colour(image: Image.Image) -> bool:
    """Whether a picture is truly coloured: more than a thousandth of its pixels is, beyond the noise of a codec."""
    if image.mode != "RGB":
        return False
    from PIL import ImageChops

    red, green, blue = image.split()
    spread = ImageChops.lighter(ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return sum(spread.histogram()[_COLOUR_SPREAD + 1 :]) > _COLOUR_SHARE * image.width * image.height


def view8(
    image: Image.Image,
    modality: str | None,
    contract: Mapping[str, Any] = intensity.INTENSITY,
    *,
    grey: bool = False,
) -> Image.Image:
    """What the towers see of a picture: 8-bit "L", or "RGB" where it is truly coloured.

    8-bit pictures stay as they are (RGB without colour becomes L). 16-bit ones: Hounsfield units through the
    contract's window, all else stretched between the contract's percentiles. What 16-bit values mean is said by
    the picture itself (`intensity.UNIT` in its info, which every stored PNG has), else by `modality`: CT is
    Hounsfield units.

    Args:
        image: any mode.
        modality: DICOM's code (CT, MR, DX ...), or None.
        contract: `intensity.INTENSITY` as the store's manifest or the checkpoint has it.
        grey: always L; a JPEG that is not decoded yet is then decoded to grey alone, which is much faster.
    """
    if grey and image.mode == "RGB":
        image.draft("L", image.size)  # nothing happens where the file is no JPEG, or decoded already
    if image.mode not in ("L", "RGB", "I;16") or "transparency" in image.info:
        image = plain_mode(image)
    if image.mode == "I;16":
        return intensity.eight(image, modality, contract)
    if image.mode == "RGB" and (grey or not is_colour(image)):
        return image.convert("L")
    return image


def _grey_if_equal(image: Image.Image) -> Image.Image:
    """A palette of greys, or grey with alpha, needs no three channels."""
    red, green, blue = image.split()
    equal = red.tobytes() == green.tobytes() == blue.tobytes()
    return red if equal else image


def _is_plain_file(image: Image.Image, content: bytes) -> bool:
    """Whether the file's bytes are one 8-bit picture to every reader."""
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more pictures behind it, as cameras write them
        return True
    if image.format == "PNG":
        return content[24] <= 8 and b"acTL" not in content[:4096]
    several: Any = image
    one_frame = image.format not in ("GIF", "TIFF", "WEBP") or several.n_frames == 1
    return one_frame and image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def _cut_short(content: bytes) -> bool:
    """Whether bytes begin as a JPEG or PNG and do not end as one."""
    if content[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in content[-64:]
    signature = b"\x89PNG\r\n\x1a\n"
    return content[: len(signature)] == signature[: len(content)] and b"IEND" not in content[-64:]


def _is_lossless_webp(content: bytes) -> bool:
    """Whether the first picture in a WebP file is coded without loss.

    RFC 9649, section 2.7: chunks of name, size and padded content; those of a frame stand inside ANMF, after 16 bytes.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return False
    place = 12
    while place + 8 <= len(content):
        name, size = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8L"
        place += 8 + (16 if name == b"ANMF" else size + size % 2)
    return False


def _png(image: Image.Image) -> bytes:
    from PIL import PngImagePlugin

    said = PngImagePlugin.PngInfo()
    if image.mode == "I;16":
        said.add_text(intensity.UNIT, str(image.info.get(intensity.UNIT, intensity.AS_GIVEN)))
        if intensity.SCALE in image.info:
            said.add_text(intensity.SCALE, str(image.info[intensity.SCALE]))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=said, compress_level=4)
    return buffer.getvalue()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    options = {"subsampling": 0} if image.mode == "RGB" else {}
    image.save(buffer, "JPEG", quality=quality, exif=b"", **options)
    return buffer.getvalue()


def _phash(image: Image.Image) -> str:
    import imagehash

    return str(imagehash.phash(image))

"""Images against Pillow and numpy used by hand, and every kind of bad file against its reason code."""

import hashlib
import io
import os
import pickle

import imagehash
import numpy as np
import pytest
from PIL import Image

from mmssl.data import images, intensity
from mmssl.errors import Unreadable


def noise(height=30, width=40, depth=256, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, depth, (height, width)).astype(dtype)


def grey(height=30, width=40):
    return Image.fromarray(noise(height, width))


def colour(height=30, width=40):
    return Image.fromarray(np.stack([noise(height, width, seed=seed) for seed in range(3)], axis=-1))


def smooth(height=30, width=40):
    red, green = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([red * 4 + 60, green * 3 + 50, 200 - red * 2], axis=-1).astype(np.uint8))


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored(data, **options):
    return images.standardise(images.open_image(data), **options)


def decoded(kept):
    return np.asarray(Image.open(io.BytesIO(kept.bytes)))


def seen(kept):
    """As every reader sees a stored picture."""
    return np.asarray(images.view8(Image.open(io.BytesIO(kept.bytes)), None))


# ---- what cannot be read -------------------------------------------------------------------------------------------

JPEG, PNG = encode(grey(200, 200), "JPEG"), encode(grey(200, 200), "PNG")

BAD = {
    "zero bytes": (b"", "empty"),
    "text": (b"this is no image at all\n" * 20, "not_an_image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "not_an_image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_an_image"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "truncated"),
    "the start of a JPEG": (JPEG[:12], "truncated"),
    "half a PNG": (PNG[: len(PNG) // 2], "truncated"),
    "the start of a PNG": (PNG[:12], "truncated"),
    "half a GIF": (encode(grey(200, 200), "GIF")[:9000], "truncated"),
    "half a TIFF": (encode(grey(200, 200), "TIFF")[:9000], "truncated"),
    "a JPEG with a broken middle": (JPEG[:2] + b"\xff\xff" * 60 + JPEG[122:], "decode_failed"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_its_reason(name, tmp_path):
    content, reason = BAD[name]
    path = tmp_path / "image"
    path.write_bytes(content)
    for given in (content, path):
        with pytest.raises(Unreadable) as error:
            images.open_image(given)
        assert error.value.reason == reason
        assert reason in images.REASONS


def test_what_is_no_file_is_missing(tmp_path):
    for path in (tmp_path / "nowhere.png", tmp_path, tmp_path / "zero\0byte"):
        with pytest.raises(Unreadable, match=r"^missing$"):
            images.open_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(Unreadable, match=r"^no_permission$"):
        images.open_image(tmp_path / "a.png")


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded():
    header = encode(Image.new("1", (1, 1)), "PNG")
    huge = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    import zlib

    huge = huge[:29] + zlib.crc32(huge[12:29]).to_bytes(4, "big") + huge[33:]
    with pytest.raises(Unreadable, match=r"^too_large$"):
        images.open_image(huge)


def test_a_file_with_too_many_bytes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(Unreadable, match=r"^too_large$"):
        images.open_image(tmp_path / "a.png")


def test_a_reason_comes_back_from_a_worker():
    assert pickle.loads(pickle.dumps(Unreadable("empty"))).reason == "empty"


# ---- what is stored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("picture", [grey(), colour()], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_eight_bit_files_that_fit_stay_byte_for_byte(picture, kind):
    data = encode(picture, kind)
    kept = stored(data)
    assert kept.bytes == data
    assert (kept.width, kept.height, kept.kept, kept.bits) == (40, 30, True, 8)
    assert kept.is_colour == (picture.mode == "RGB")


def coloured():
    return Image.fromarray(np.repeat(np.array([[[250, 0, 0], [0, 0, 250]]], np.uint8), 9, axis=0))


ANY_MODE = {
    "palette": (coloured().quantize(2), "PNG", {}),
    "grey palette": (grey().quantize(256), "PNG", {}),
    "palette with a clear colour": (coloured().quantize(2), "PNG", {"transparency": 1}),
    "grey with a clear value": (grey(), "PNG", {"transparency": 200}),
    "RGB with a clear colour": (coloured(), "PNG", {"transparency": (250, 0, 0)}),
    "RGBA": (Image.fromarray(np.dstack([np.asarray(colour()), noise(seed=9)])), "PNG", {}),
    "LA": (Image.fromarray(np.dstack([noise(), noise(seed=9)]), "LA"), "PNG", {}),
    "one bit": (Image.fromarray(noise(depth=2).astype(bool)), "PNG", {}),
    "CMYK": (colour().convert("CMYK"), "JPEG", {}),
    "a JPEG with another behind it": (colour(), "MPO", {"save_all": True, "append_images": [grey()]}),
    "BMP": (colour(), "BMP", {}),
    "TIFF": (colour(), "TIFF", {"compression": "tiff_lzw"}),
    "GIF": (grey(), "GIF", {}),
    "PPM": (grey(), "PPM", {}),
    "WebP": (colour(), "WEBP", {}),
    "WebP without loss": (colour(), "WEBP", {"lossless": True, "exif": b"Exif\0\0"}),
}


@pytest.mark.parametrize("name", ANY_MODE)
def test_files_of_any_mode_stay_byte_for_byte_and_their_readers_flatten_them(name):
    picture, kind, options = ANY_MODE[name]
    data = encode(picture, kind, **options)
    kept = stored(data)
    assert (kept.bytes, kept.kept, kept.bits) == (data, True, 8)
    assert kept.format == ("JPEG" if kind == "MPO" else kind)
    plain = images.plain_mode(images.open_image(data))
    assert plain.mode in ("L", "RGB")
    assert seen(kept).tobytes() == plain.tobytes()
    assert kept.pixel_hash == images.standardise(plain).pixel_hash


@pytest.mark.parametrize(
    ("kind", "options", "format"),
    [("TIFF", {}, "PNG"), ("WEBP", {"lossless": True}, "PNG"), ("WEBP", {}, "JPEG"), ("GIF", {}, "PNG")],
)
def test_of_several_frames_the_first_is_kept_without_loss_where_it_had_none(kind, options, format):
    data = encode(smooth(), kind, save_all=True, append_images=[smooth().rotate(90)], **options)
    kept = stored(data)
    assert (kept.format, kept.kept) == (format, False)
    if format == "PNG":
        np.testing.assert_array_equal(decoded(kept), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_picture_on_its_side_is_put_upright_without_loss(kind, options):
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = stored(encode(smooth(), kind, exif=exif, **options))
    assert (kept.format, kept.kept) == ("PNG", False)
    np.testing.assert_array_equal(decoded(kept), np.rot90(np.asarray(smooth()), 3))


def test_an_opened_picture_that_was_changed_is_not_stored_as_the_old_file():
    opened = images.open_image(PNG)
    turned = images.standardise(opened.transpose(Image.Transpose.ROTATE_90))
    assert not turned.kept
    np.testing.assert_allclose(decoded(turned), np.rot90(np.asarray(opened)), atol=40)


def test_a_large_picture_gets_a_short_side_of_512_and_a_small_one_stays():
    kept = stored(encode(grey(1100, 1300), "PNG"))
    assert (kept.width, kept.height, kept.kept, kept.format) == (605, 512, False, "JPEG")
    assert decoded(kept).shape == (512, 605)
    long = stored(encode(grey(3, 2000), "PNG"))
    assert (long.width, long.height, long.kept) == (2000, 3, True)
    assert stored(encode(grey(40, 60), "PNG"), short_side=20).width == 30


def test_a_whole_factor_is_averaged():
    array = noise(1024, 1024)
    small = np.asarray(images.shrink(Image.fromarray(array), 512)).astype(float)
    np.testing.assert_allclose(small, array.reshape(512, 2, 512, 2).mean(axis=(1, 3)), atol=1)


@pytest.mark.parametrize("height", [1024, 1300, 700])
def test_sixteen_bits_are_made_smaller_as_eight_are(height):
    """Found on real MR slices of 1,024 pixels: Pillow averages no 16-bit pictures."""
    array = np.add.outer(np.arange(height), np.arange(height)).astype(np.uint16) * 20
    kept = images.standardise(intensity.sixteen(array, intensity.HU))
    small = Image.open(io.BytesIO(kept.bytes))
    assert (kept.width, kept.height, kept.bits, small.info["intensity"]) == (512, 512, 16, intensity.HU)
    centres = (np.arange(512) + 0.5) * height / 512 - 0.5
    np.testing.assert_allclose(np.asarray(small)[9:-9, 9:-9], 20 * np.add.outer(centres, centres)[9:-9, 9:-9], atol=12)


def test_one_pixel():
    kept = stored(encode(Image.new("L", (1, 1), 77), "PNG"))
    assert (kept.width, kept.height) == (1, 1)
    assert decoded(kept).tolist() == [[77]]


def test_sixteen_bits_stay_as_they_are():
    array = noise(30, 40, 65536, np.uint16)
    kept = stored(encode(Image.fromarray(array), "PNG"))
    assert (kept.bits, kept.format, kept.scale) == (16, "PNG", None)
    np.testing.assert_array_equal(decoded(kept), array)
    np.testing.assert_array_equal(decoded(stored(encode(Image.fromarray(array), "TIFF"))), array)


def test_big_endian_sixteen_bits():
    array = noise(5, 6, 65536, np.uint16)
    image = Image.frombytes("I;16B", (6, 5), array.astype(">u2").tobytes())
    np.testing.assert_array_equal(decoded(images.standardise(image)), array)


@pytest.mark.parametrize(
    ("array", "scale"),
    [
        (np.array([[-5, 0], [7, 300]], np.int32), (1.0, -32768.0)),
        (np.array([[-40000, 0], [7, 300]], np.int32), (1.0, -40000.0)),
        (np.array([[0, 1], [7, 65535]], np.int32), None),
        (np.array([[0.25, 1.0], [0.5, 0.75]], np.float32), (0.75 / 65535, 0.25)),
        (np.array([[3.0, 100.0]], np.float32), None),
        (np.array([[2.5, 2.5]], np.float32), (1.0, 2.5)),
    ],
)
def test_wide_values_come_back_through_their_scale(array, scale):
    kept = stored(encode(Image.fromarray(array), "TIFF"))
    assert kept.bits == 16
    assert kept.scale == (None if scale is None else pytest.approx(scale))
    slope, intercept = kept.scale or (1, 0)
    np.testing.assert_allclose(decoded(kept) * slope + intercept, array, atol=1e-4)


def test_what_is_not_finite_is_the_lowest_value():
    kept = stored(encode(Image.fromarray(np.array([[np.nan, 1, 2]], np.float32)), "TIFF"))
    assert decoded(kept).tolist() == [[1, 1, 2]]
    with pytest.raises(Unreadable, match="decode_failed"):
        stored(encode(Image.fromarray(np.full((2, 2), np.nan, np.float32)), "TIFF"))


def test_palettes_and_bitmaps():
    grey_palette = stored(encode(grey(), "GIF"))
    np.testing.assert_array_equal(seen(grey_palette), np.asarray(grey()))
    palette = stored(encode(coloured().quantize(2), "PNG"))
    np.testing.assert_array_equal(seen(palette), np.asarray(coloured()))
    assert palette.is_colour
    bits = noise(9, 11, 2).astype(bool)
    np.testing.assert_array_equal(seen(stored(encode(Image.fromarray(bits), "PNG"))), bits * np.uint8(255))


def test_alpha_is_laid_over_black():
    array = np.dstack([np.asarray(colour()), noise(seed=9)])
    expected = np.rint(array[..., :3] * (array[..., 3:] / 255.0))
    np.testing.assert_allclose(seen(stored(encode(Image.fromarray(array), "PNG"))), expected, atol=1)
    pair = np.dstack([noise(), noise(seed=9)])
    kept = seen(stored(encode(Image.fromarray(pair, "LA"), "PNG")))
    np.testing.assert_allclose(kept, np.rint(pair[..., 0] * (pair[..., 1] / 255.0)), atol=1)
    assert kept.ndim == 2


def test_a_transparent_colour_is_black():
    image = Image.fromarray(np.array([[10, 200]], np.uint8))
    assert seen(stored(encode(image, "PNG", transparency=200))).tolist() == [[10, 0]]


def test_cmyk_becomes_rgb():
    kept = stored(encode(colour().convert("CMYK"), "JPEG"))
    assert seen(kept).shape == (30, 40, 3)


def test_a_picture_on_its_side_is_put_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    kept = stored(encode(grey(), "JPEG", exif=exif, quality=100))
    assert (kept.width, kept.height, kept.kept) == (30, 40, False)
    np.testing.assert_allclose(decoded(kept), np.rot90(np.asarray(grey()), 3), atol=40)
    exif[0x0112] = 1
    data = encode(grey(), "JPEG", exif=exif)
    assert stored(data).bytes == data


def test_the_first_frame_of_a_moving_picture():
    data = encode(grey(), "GIF", save_all=True, append_images=[Image.new("L", (40, 30), 9)])
    np.testing.assert_array_equal(decoded(stored(data)), np.asarray(grey()))
    moving = encode(grey(), "PNG", save_all=True, append_images=[Image.new("L", (40, 30), 9)])
    kept = stored(moving)
    assert not kept.kept
    np.testing.assert_array_equal(decoded(kept), np.asarray(grey()))


def test_hashes_are_of_pixels_not_of_files():
    one, other = stored(encode(grey(), "PNG")), stored(encode(grey(), "BMP"))
    assert one.pixel_hash == other.pixel_hash == hashlib.sha256(b"L 40x30 " + noise().tobytes()).hexdigest()
    assert one.phash == str(imagehash.phash(grey()))
    changed = noise()
    changed[0, 0] ^= 1
    assert stored(encode(Image.fromarray(changed), "PNG")).pixel_hash != one.pixel_hash
    assert stored(encode(grey().resize((30, 40)), "PNG")).pixel_hash != one.pixel_hash


def test_a_coloured_arrow_or_the_noise_of_a_codec_is_no_colour():
    array = np.repeat(noise(100, 100)[..., None], 3, axis=-1)
    assert not stored(encode(Image.fromarray(array), "PNG")).is_colour
    array[:3, :3] = [255, 0, 0]
    assert not stored(encode(Image.fromarray(array), "PNG")).is_colour
    array[:5, :5] = [255, 0, 0]
    assert stored(encode(Image.fromarray(array), "PNG")).is_colour


# ---- what the towers see -------------------------------------------------------------------------------------------


def hu_picture(units):
    return intensity.sixteen((np.asarray(units) + 32768).astype(np.uint16), intensity.HU)


def test_hounsfield_units_are_seen_through_the_window():
    units = [[-3000, -1000, 0, 500, 1000, 3000]]
    kept = images.standardise(hu_picture(units))
    seen = images.view8(Image.open(io.BytesIO(kept.bytes)), None)
    assert seen.mode == "L"
    assert np.asarray(seen).tolist() == [[0, 0, 128, 191, 255, 255]]


def test_the_window_is_the_contracts():
    contract = {**intensity.INTENSITY, "hu_window": [0, 100]}
    seen = images.view8(hu_picture([[-10, 0, 50, 100]]), "CT", contract)
    assert np.asarray(seen).tolist() == [[0, 0, 128, 255]]


def test_a_stored_ct_that_is_no_hounsfield_units_is_stretched():
    kept = images.standardise(Image.fromarray(noise(60, 60, 300, np.uint16)))
    seen = np.asarray(images.view8(Image.open(io.BytesIO(kept.bytes)), "CT"))
    assert (seen.min(), seen.max()) == (0, 255)
    raw = Image.fromarray(np.array([[32768]], np.uint16))  # nothing says what it is but the modality
    assert np.asarray(images.view8(raw, "CT")).tolist() == [[128]]


def test_other_sixteen_bits_are_stretched_between_percentiles():
    array = noise(200, 300, 4096, np.uint16)
    low, high = np.percentile(array, [0.5, 99.5], method="inverted_cdf")
    expected = np.clip((array.astype(float) - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(np.asarray(images.view8(Image.fromarray(array), "MR")), expected, atol=0.51)


def test_sixteen_bits_are_never_clipped_to_white():
    array = np.linspace(1000, 3000, 2500).reshape(50, 50).astype(np.uint16)
    seen = np.asarray(images.view8(images.open_image(encode(Image.fromarray(array), "PNG")), None))
    assert len(np.unique(seen)) > 200


def test_a_constant_picture_is_black_not_an_error():
    assert np.asarray(images.view8(Image.fromarray(np.full((4, 4), 700, np.uint16)), "MR")).max() == 0


def test_eight_bits_stay_and_grey_rgb_becomes_grey():
    assert images.view8(grey(), "DX").tobytes() == grey().tobytes()
    assert images.view8(colour(), None).tobytes() == colour().tobytes()
    assert images.view8(grey().convert("RGB"), None).tobytes() == grey().tobytes()
    assert images.view8(colour(), None, grey=True).tobytes() == colour().convert("L").tobytes()


def test_a_colour_jpeg_is_decoded_to_grey_alone():
    data = encode(smooth(), "JPEG")
    seen = images.view8(Image.open(io.BytesIO(data)), None, grey=True)
    full = Image.open(io.BytesIO(data)).convert("L")
    np.testing.assert_allclose(np.asarray(seen).astype(int), np.asarray(full).astype(int), atol=2)
    assert seen.mode == "L"

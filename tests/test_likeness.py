"""Near duplicates: one picture coded twice is one picture, two slices with one outline are two."""

import io
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmssl.data.likeness import agreement, compared, correlation, same
from mmssl.phantoms import spoilt


def film(seed):
    return spoilt.draw(spoilt.FRONTAL, Random(f"likeness {seed}"))


def as_jpeg(image, quality):
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality)
    return Image.open(held)


CHANGES = {
    "coded again": lambda image: as_jpeg(image, 60),
    "made smaller": lambda image: image.resize((image.width // 2, image.height // 2)),
    "another window": lambda image: image.point(lambda value: 255 * (value / 255) ** 0.8),
    "an arrow": lambda image: arrow(image.copy()),
}


def arrow(image):
    ImageDraw.Draw(image).line((20, 30, 60, 70), fill=255, width=3)
    return image


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_that_was_changed_a_little_is_the_same(change):
    for seed in range(3):
        image = film(seed)
        assert same(compared(image), compared(CHANGES[change](image))), seed


def test_films_of_two_patients_are_two():
    films = [compared(film(seed)) for seed in range(6)]
    assert not any(same(films[i], films[j]) for i in range(6) for j in range(i))


def slices():
    """Two slices with one outline, whose insides are a quarter of a wave apart: all that neighbours differ in."""
    y, x = np.mgrid[:128, :128]
    body = np.hypot((x - 64) / 56, (y - 64) / 40) < 1
    return [
        np.where(body, 190 + 12 * np.sin(x / 3 + phase) * np.cos(y / 4 + phase), 0).astype(np.float32)
        for phase in (0, 0.8)
    ]


def test_two_slices_with_one_outline_are_two_although_they_correlate():
    one, other = slices()
    assert correlation(one, other) > 0.99
    assert agreement(one, other) < 0.9
    assert not same(one, other)


def test_what_is_measured_is_what_numpy_measures():
    one, other = slices()
    assert correlation(one, other) == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=1e-5)
    found = []
    for top in range(0, 128, 16):
        for left in range(0, 128, 16):
            a, b = (picture[top : top + 16, left : left + 16] for picture in (one, other))
            if max(a.std(), b.std()) > 6:
                found.append(np.corrcoef(a.ravel(), b.ravel())[0, 1])
    assert agreement(one, other) == pytest.approx(np.percentile(found, 20), abs=1e-4)


def test_pictures_without_texture_are_compared_as_a_whole():
    flat = np.full((128, 128), 7, np.float32)
    assert agreement(flat, flat) == correlation(flat, flat) == 0
    assert not same(flat, flat), "equal pixels are found by their hash"

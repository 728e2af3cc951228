"""Sound pictures of several kinds, and the same with one defect planted: what cleaning is tried on, with the truth.

`cases` gives made-up chest films (frontal and lateral), films of a hand, and slices of a chest and a head. They differ
as real ones do: size, exposure, noise, collimation, side markers, devices, words burnt into a corner. Letters: H rows,
W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import anatomy, film, findings
from .anatomy import Field, edge, smooth_noise

if TYPE_CHECKING:
    from PIL import Image, ImageDraw


class Case(NamedTuple):
    """One picture with the columns that its source gives, and what is wrong with it."""

    image: Image.Image
    columns: dict[str, Any]
    defect: str | None
    """A reason code or flag of `mmssl.data.quality`; None: sound."""
    name: str


class Kind(NamedTuple):
    """What a picture is of, as a header says it."""

    modality: str
    body_part: str
    view: str | None


FRONTAL = Kind("DX", "CHEST", "PA")
LATERAL = Kind("DX", "CHEST", "LL")
HAND = Kind("DX", "HAND", "PA")
CHEST = Kind("CT", "CHEST", None)
HEAD = Kind("MR", "HEAD", None)


def cases(seed: int, *, sound: int, each: int) -> Iterator[Case]:
    """`sound` sound pictures, then `each` with every defect, always the same for the same arguments.

    Half of the sound ones are frontal films, the rest are shared out between the other four kinds.
    """
    others = (LATERAL, HAND, CHEST, HEAD)
    for number in range(sound):
        random = Random(f"sound {seed} {number}")
        kind = FRONTAL if number % 2 else others[number // 2 % 4]
        yield Case(draw(kind, random), kind._asdict(), None, f"sound-{number}")
    for defect, plant in PLANT.items():
        for number in range(each):
            random = Random(f"{defect} {seed} {number}")
            image, kind = plant(random)
            yield Case(image, kind._asdict(), defect, f"{defect}-{number}")


# ---- sound ---------------------------------------------------------------------------------------------------------


def draw(kind: Kind, random: Random) -> Image.Image:
    """A sound picture of a kind, 8-bit grey."""
    from PIL import Image

    rng = np.random.default_rng(random.getrandbits(32))
    values = _frontal(random) if kind == FRONTAL else DRAW[kind](random, rng)
    image = Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))
    scale = random.choice((0.75, 1.0, 1.0, 1.3, 1.8))
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    if kind.modality in ("CT", "MR") and random.random() < 0.4:
        _annotate(image, random)
    return image


def _frontal(random: Random) -> Field:
    body = anatomy.sample_body(random, breasts=random.random() < 0.4)
    portable = random.random() < 0.3
    exposure = anatomy.sample_exposure(
        random,
        scanner=random.choice(("crisp", "soft")),
        view="AP" if portable else "PA",
        leads=random.random() < (0.35 if portable else 0.05),
    )
    return film.draw(body, findings.sample(random), exposure)


def _grid(random: Random, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[Field, Field]:
    """(x, y) of each pixel in units of half the longer side, moved and turned a little: [H, W] each."""
    height, width = random.randint(*rows), random.randint(*columns)
    half = max(height, width) / 2
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = (y - height / 2) / half, (x - width / 2) / half
    turn = np.deg2rad(random.uniform(-5, 5))
    x, y = x - random.uniform(-0.05, 0.05), y - random.uniform(-0.05, 0.05)
    return (np.cos(turn) * x + np.sin(turn) * y).astype(np.float32), (np.cos(turn) * y - np.sin(turn) * x).astype(
        np.float32
    )


def _ellipse(x: Field, y: Field, cx: float, cy: float, a: float, b: float, soft: float = 0.05) -> Field:
    """1 inside an ellipse with half axes a and b, 0 outside."""
    return edge(1 - np.sqrt(((x - np.float32(cx)) / a) ** 2 + ((y - np.float32(cy)) / b) ** 2), soft)


def _texture(rng: np.random.Generator, values: Field, grain: float, clouds: float) -> Field:
    """With noise of the detector, and the slow changes that tissue has."""
    values = values + np.float32(clouds) * smooth_noise(rng, values.shape, (9, 9)) * (values > 0.05)
    return values + np.float32(grain) * rng.standard_normal(values.shape, dtype=np.float32)


def _collimate(values: Field, random: Random) -> Field:
    rows, columns = values.shape
    if random.random() < 0.5:
        top, bottom = (random.randrange(1 + rows // 14) for _ in range(2))
        left, right = (random.randrange(1 + columns // 12) for _ in range(2))
        values[:top], values[rows - bottom :], values[:, :left], values[:, columns - right :] = 0.02, 0.02, 0.02, 0.02
    return values


def _lateral(random: Random, rng: np.random.Generator) -> Field:
    """A chest from the side: the spine at the film's right, the heart before it, one lung over the other."""
    x, y = _grid(random, (330, 384), (288, 340))
    depth = random.uniform(0.5, 0.62)
    torso = edge(np.float32(depth + 0.1) + 0.08 * y - np.abs(x), 0.04) * edge(y + np.float32(0.95), 0.1)
    lung = _ellipse(x, y, -0.02, -0.1, depth, random.uniform(0.62, 0.72), 0.12)
    dome = edge(y - np.float32(random.uniform(0.35, 0.5)) - np.float32(0.35) * x * x, 0.05)
    heart = _ellipse(x, y, -0.2, 0.18, 0.27, random.uniform(0.24, 0.32), 0.2)
    spine = edge(np.float32(0.11) - np.abs(x - np.float32(0.72 * depth) - np.float32(0.1) * y * y), 0.04)
    discs = 0.8 + 0.2 * np.sin(y * np.float32(random.uniform(30, 38)))
    arm = edge(np.float32(-0.5) - y + np.float32(0.6) * np.abs(x), 0.2)
    tissue = 0.62 * torso + 0.2 * arm * torso - 0.36 * lung * (1 - dome) + 0.24 * heart + 0.26 * spine * discs * torso
    return _collimate(_texture(rng, tissue * random.uniform(0.85, 1.1), 0.012, 0.03), random)


def _hand(random: Random, rng: np.random.Generator) -> Field:
    """A hand with the fingers up, bones brighter than flesh."""
    x, y = _grid(random, (330, 384), (270, 330))
    values = np.zeros_like(x)
    if random.random() < 0.5:
        x = -x
    wide = random.uniform(0.85, 1.1)
    bones = [(-0.32, 0.0, -0.42, -0.52), (-0.12, -0.05, -0.15, -0.72), (0.08, -0.05, 0.1, -0.74)]
    bones += [(0.26, 0.0, 0.32, -0.58), (0.3, 0.4, 0.62, -0.08), (-0.16, 0.5, -0.22, 0.05), (-0.03, 0.5, -0.06, 0.0)]
    bones += [(0.1, 0.5, 0.12, 0.0), (0.2, 0.5, 0.25, 0.05), (-0.08, 0.62, -0.1, 1.2), (0.14, 0.62, 0.16, 1.2)]
    palm = _ellipse(x, y, 0, 0.3, 0.4 * wide, 0.36, 0.08) + edge(np.float32(0.27 * wide) - np.abs(x), 0.03) * (y > 0.4)
    values += 0.34 * np.minimum(palm, 1)
    for x0, y0, x1, y1 in bones:
        dx, dy = (x1 - x0) * wide, y1 - y0
        along = np.clip(((x - x0 * wide) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        away = np.hypot(x - x0 * wide - along * dx, y - y0 - along * dy).astype(np.float32)
        values = np.maximum(values, 0.34 * edge(np.float32(0.1) - away, 0.02))
        values += np.float32(0.36) * edge(np.float32(0.045) - away, 0.015) * (0.8 + 0.2 * np.cos(along * 18))
    return _collimate(_texture(rng, values * random.uniform(0.8, 1.15) + 0.04, 0.01, 0.02), random)


def _chest_slice(random: Random, rng: np.random.Generator) -> Field:
    """A slice through a chest on its table, in a window of lung or of soft tissue."""
    x, y = _grid(random, (300, 340), (300, 340))
    a, b = random.uniform(0.78, 0.9), random.uniform(0.5, 0.62)
    body = _ellipse(x, y, 0, 0, a, b)
    soft = random.random() < 0.6
    values = body * (0.55 if soft else 0.85)
    lung = _ellipse(x, y, -0.42 * a, 0, 0.36 * a, 0.7 * b) + _ellipse(x, y, 0.44 * a, 0, 0.33 * a, 0.66 * b)
    values -= lung * (0.52 if soft else 0.62)
    heart = _ellipse(x, y, 0.1, -0.08, 0.25, 0.24)
    values += heart * lung * 0.5 + heart * 0.08 + 0.35 * _ellipse(x, y, 0, 0.6 * b, 0.1, 0.1)
    values += 0.3 * _ellipse(x, y, 0.1, 0.5 * b, 0.05, 0.05) * soft
    table = _ellipse(x, y, 0, b - 0.35, 0.9, 0.5, 0.01) - _ellipse(x, y, 0, b - 0.35, 0.87, 0.47, 0.01)
    values += 0.35 * table * (y > b)
    vessels = np.maximum(smooth_noise(rng, x.shape, (28, 28)) - 1.2, 0) * 0.3 * lung * (1 - heart)
    return _texture(rng, values + vessels, 0.015, 0.02) * (values > 0.005)


def _head_slice(random: Random, rng: np.random.Generator) -> Field:
    """A slice through a head, the face up: skull, brain, ventricles."""
    x, y = _grid(random, (256, 320), (230, 270))
    a, b = random.uniform(0.56, 0.66), random.uniform(0.74, 0.84)
    values = 0.75 * (_ellipse(x, y, 0, 0, a, b) - _ellipse(x, y, 0, 0, a - 0.06, b - 0.06))
    brain = _ellipse(x, y, 0, 0, a - 0.1, b - 0.1)
    values += brain * random.uniform(0.35, 0.5)
    folds = np.abs(smooth_noise(rng, x.shape, (14, 14))) * 0.1 * brain
    for side in (-1, 1):
        horn = _ellipse(x, y, side * 0.11, -0.05, 0.06, random.uniform(0.2, 0.3))
        values += horn * random.choice((-0.28, 0.35))
    if random.random() < 0.3:
        values += 0.3 * _ellipse(x, y, random.uniform(-0.3, 0.3), random.uniform(-0.4, 0.4), 0.12, 0.12, 0.2)
    values -= 0.1 * edge(np.float32(0.012) - np.abs(x), 0.01) * brain
    return _texture(rng, values + folds, 0.01, 0.02)


DRAW: dict[Kind, Callable[[Random, np.random.Generator], Field]] = {
    LATERAL: _lateral,
    HAND: _hand,
    CHEST: _chest_slice,
    HEAD: _head_slice,
}


def _annotate(image: Image.Image, random: Random) -> None:
    """A few words in the corners, as scanners burn them in."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for x, y in random.sample([(4, 4), (image.width - 70, 4), (4, image.height - 40)], 2):
        for line in range(random.randint(1, 3)):
            pen.text((x, y + 11 * line), _words(random, 2), fill=230)


def _words(random: Random, number: int) -> str:
    letters = "abcdefghiklmnoprstuvw"
    return " ".join("".join(random.choices(letters, k=random.randint(2, 9))).title() for _ in range(number))


# ---- spoilt --------------------------------------------------------------------------------------------------------

Spoilt = tuple["Image.Image", Kind]


def _any(random: Random) -> Spoilt:
    kind = random.choice((FRONTAL, FRONTAL, FRONTAL, LATERAL, HAND, CHEST, HEAD))
    return draw(kind, random), kind


def _constant(random: Random) -> Spoilt:
    from PIL import Image

    return Image.new("L", (random.randint(64, 700), random.randint(64, 700)), random.randrange(256)), FRONTAL


def _blank(random: Random) -> Spoilt:
    """Nearly one value; or nothing but the noise of a detector, which a window stretches; a marker may be on it."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(random.getrandbits(32))
    size = (random.randint(200, 600), random.randint(200, 600))
    noise = random.choice((0.4, 1.0, 30.0, 60.0))
    level = random.randint(0, 255) if noise < 2 else random.randint(90, 160)
    values = level + noise * rng.standard_normal(size, dtype=np.float32)
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if random.random() < 0.3:
        ImageDraw.Draw(image).text((10, 10), random.choice("LR"), fill=255 if level < 128 else 0)
    return image, random.choice((FRONTAL, CHEST, HEAD))


def _saturated(random: Random) -> Spoilt:
    """So many times too bright, or too dark, that nearly all is at one end of the range."""
    from PIL import Image

    kind = random.choice((FRONTAL, FRONTAL, LATERAL))
    values = np.asarray(draw(kind, random), dtype=np.float32)
    lit = values[values > 40]
    if random.random() < 0.5:
        values = (values - np.percentile(lit, 2)) * 40 + 240
    else:
        values = (values - np.percentile(lit, 97)) * 40 + 1
    values[:: values.shape[0] // 7, 3] += 3  # what is left is never one value alone, which has a code of its own
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)), kind


def _too_small(random: Random) -> Spoilt:
    image, kind = _any(random)
    side = random.randint(4, 15)
    return image.resize((side, random.randint(side, 40))), kind


def _inverted(random: Random) -> Spoilt:
    from PIL import ImageOps

    image, kind = _any(random)
    return ImageOps.invert(image), kind


def _document(random: Random) -> Spoilt:
    """A scanned page of lines of words, on paper that is not quite white."""
    from PIL import Image, ImageDraw, ImageFilter

    width, height = random.choice(((420, 594), (594, 420), (840, 1188), (640, 900)))
    paper = random.randint(225, 255)
    image = Image.new("L", (width, height), paper)
    pen, size = ImageDraw.Draw(image), random.choice((11, 12, 14, 18)) * width // 600 + 4
    y, margin = random.randint(30, 80), random.randint(20, 60)
    if random.random() < 0.5:
        pen.rectangle((margin, y - 22, width - margin, y - 4), outline=60, width=2)
    while y < height * random.uniform(0.6, 0.95):
        if random.random() < 0.85:
            x = margin
            while x < width - margin - 60 and random.random() < 0.96:
                word = _words(random, 1)
                pen.text((x, y), word, fill=random.randint(0, 60), font_size=size)
                x += int(pen.textlength(word + " ", font_size=size))
        y += int(size * random.uniform(1.3, 1.6))
    if random.random() < 0.5:
        grain = np.random.default_rng(random.getrandbits(32)).normal(0, 3, (height, width))
        image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
        image = image.filter(ImageFilter.GaussianBlur(0.6)).rotate(random.uniform(-2, 2), fillcolor=paper)
    return image, random.choice((FRONTAL, CHEST, HEAD))


def _screenshot(random: Random) -> Spoilt:
    """A program's window: bars, a list, buttons and words, perhaps with a picture in a frame."""
    from PIL import Image, ImageDraw

    width, height = random.choice(((800, 600), (1024, 768), (1280, 720)))
    dark = random.random() < 0.5
    ground, panel, ink = (38, 52, 220) if dark else (236, 214, 20)
    image = Image.new("RGB", (width, height), (ground, ground, ground + 6))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, width, 28), fill=(30, 80, 150))
    pen.text((8, 7), _words(random, 4), fill=(255, 255, 255))
    pen.rectangle((0, 29, width, 56), fill=(panel, panel, panel))
    for place in range(6):
        pen.rectangle((10 + place * 80, 33, 80 + place * 80, 52), outline=(120, 120, 120))
        pen.text((16 + place * 80, 37), _words(random, 1)[:9], fill=(ink, ink, ink))
    side = random.randint(160, 260)
    pen.rectangle((0, 57, side, height), fill=(panel, panel, panel + 4))
    for y in range(70, height - 20, random.choice((16, 18, 22))):
        pen.text((10, y), _words(random, 3)[:26], fill=(ink, ink, ink))
    if random.random() < 0.6:
        inner = draw(random.choice((FRONTAL, CHEST, HEAD)), random).resize((height - 160, height - 160)).convert("RGB")
        image.paste(inner, (side + 40, 90))
        pen.rectangle((side + 39, 89, side + height - 120, height - 70), outline=(200, 200, 90))
    else:
        _table(pen, (side + 20, 80), (width - 20, height - 40), (ink, ink, ink), random)
    pen.rectangle((0, height - 22, width, height), fill=(panel, panel, panel))
    pen.text((8, height - 17), _words(random, 5), fill=(ink, ink, ink))
    return image if random.random() < 0.5 else image.convert("L"), random.choice((FRONTAL, CHEST, HEAD))


def _table(
    pen: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], ink: tuple[int, int, int], random: Random
) -> None:
    for y in range(start[1], end[1], 24):
        pen.line((start[0], y, end[0], y), fill=(130, 130, 130))
        for x in range(start[0] + 6, end[0] - 80, 110):
            pen.text((x, y + 6), _words(random, 1), fill=ink)


def _wrong_modality(random: Random) -> Spoilt:
    """A photograph under the name of a film or a slice; or a slice under that of a film, and the other way round."""
    if random.random() < 0.5:
        return _photograph(random), random.choice((FRONTAL, CHEST, HEAD))
    if random.random() < 0.5:
        return draw(CHEST, random), FRONTAL
    return draw(FRONTAL, random), CHEST


def _photograph(random: Random) -> Image.Image:
    from PIL import Image

    rng = np.random.default_rng(random.getrandbits(32))
    size = (random.randint(240, 480), random.randint(320, 640))
    tint = np.array([random.uniform(0.7, 1.0), random.uniform(0.35, 0.7), random.uniform(0.1, 0.5)], np.float32)
    shades = 0.55 + 0.15 * smooth_noise(rng, size, (7, 9)) + 0.03 * smooth_noise(rng, size, (40, 40))
    values = shades[:, :, None] * tint + 0.02 * rng.standard_normal((*size, 1), dtype=np.float32)
    return Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))


def _wrong_body_part(random: Random) -> Spoilt:
    truth, said = random.choice(((HAND, FRONTAL), (FRONTAL, HAND)))
    return draw(truth, random), said


def _wrong_view(random: Random) -> Spoilt:
    truth, said = random.choice(((LATERAL, FRONTAL), (FRONTAL, LATERAL)))
    return draw(truth, random), said


def _rotated(random: Random) -> Spoilt:
    from PIL import Image

    turn = random.choice((Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270))
    return draw(FRONTAL, random).transpose(turn), FRONTAL


def _mirrored(random: Random) -> Spoilt:
    from PIL import ImageOps

    return ImageOps.mirror(draw(FRONTAL, random)), FRONTAL


def _off_centre(random: Random) -> Spoilt:
    """What was to be seen lies half outside, and the rest is dark."""
    from PIL import Image

    image, kind = _any(random)
    x = random.choice((-1, 1)) * random.uniform(0.36, 0.5)
    y = random.uniform(-0.1, 0.1)
    if random.random() < 0.4:
        x, y = y, x
    moved = Image.new("L", image.size, 0)
    moved.paste(image, (round(x * image.width), round(y * image.height)))
    return moved, kind


PLANT: dict[str, Callable[[Random], Spoilt]] = {
    "constant": _constant,
    "blank": _blank,
    "saturated": _saturated,
    "too_small": _too_small,
    "inverted": _inverted,
    "document": _document,
    "screenshot": _screenshot,
    "wrong_modality": _wrong_modality,
    "wrong_body_part": _wrong_body_part,
    "wrong_view": _wrong_view,
    "rotated": _rotated,
    "mirrored": _mirrored,
    "off_centre": _off_centre,
}

"""Views of an image: the evaluation view, random crops in the loader, the rest of a policy on the device.

No policy mirrors: a mirrored chest film has its heart on the wrong side, and "left" in its report would lie. All
randomness is a pure function of (seed, step or epoch, row, view), so a run that is resumed sees the same views.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

PolicyName = Literal["xray", "slice", "none"]


@dataclass(frozen=True)
class Policy:
    """How far a view may stray from the image; all values are the largest, drawn evenly up to there."""

    crop: float
    """Smallest side of a random crop, as a share of the image's longer side."""
    rotate: float
    """Degrees to either side."""
    shift: float
    """Share of the side."""
    zoom: float
    """Share of the size, larger or smaller."""
    gamma: float
    """Factor on the exponent, up or down."""
    gain: float
    """Share of the brightness, up or down."""


POLICIES: dict[str, Policy] = {
    "xray": Policy(crop=0.8, rotate=7.0, shift=0.03, zoom=0.05, gamma=1.3, gain=0.15),
    "slice": Policy(crop=0.7, rotate=10.0, shift=0.04, zoom=0.08, gamma=1.3, gain=0.15),
    "none": Policy(crop=1.0, rotate=0.0, shift=0.0, zoom=0.0, gamma=1.0, gain=0.0),
}
"""`xray` for radiographs, `slice` for slices of CT and MR."""


WORD, GOLDEN, KEY, LAST = 2**64, 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x5EED
MIX = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Constants of `keyed`: splitmix64's step and two factors, a step between parts of a key, and the part that ends it."""


def whole_view(image: "Image.Image", size: int) -> "Image.Image":
    """The evaluation view: the whole image, its longer side `size`, centred on black.

    A centre crop would cut costophrenic angles. The arithmetic is that of open_clip's `resize_mode: longest` with
    `fill_color: 0` (open_clip/transform.py, ResizeKeepRatio and center_crop_or_pad), so exports see equal pixels.
    """
    from PIL import Image

    ratio = max(image.height, image.width) / size
    height, width = round(image.height / ratio), round(image.width / ratio)
    resized = image.resize((max(width, 1), max(height, 1)), Image.Resampling.BICUBIC)
    if resized.size == (size, size):
        return resized
    canvas = Image.new(image.mode, (size, size))
    canvas.paste(resized, ((size - resized.width) // 2, (size - resized.height) // 2))
    return canvas


def random_crop(image: "Image.Image", size: int, smallest: float, chance: Any) -> "Image.Image":
    """A square cut out of the image's square canvas (the image centred on black), resized to `size`.

    Aspect is kept and nothing is mirrored.

    Args:
        image: grey or colour.
        size: side of the result, pixels.
        smallest: smallest side of the square, as a share of the image's longer side.
        chance: three numbers in [0, 1): side and place of the square.
    """
    from PIL import Image

    long = max(image.height, image.width)
    side = long * (smallest + (1 - smallest) * chance[0])
    # the square's corner, in the image's coordinates
    left = (long - side) * chance[1] - (long - image.width) / 2
    top = (long - side) * chance[2] - (long - image.height) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + side, image.width), min(top + side, image.height))
    scale = size / side
    width, height = round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale)
    width, height = min(max(width, 1), size), min(max(height, 1), size)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    if (width, height) == (size, size):
        return resized
    canvas = Image.new(image.mode, (size, size))
    at = (round((box[0] - left) * scale), round((box[1] - top) * scale))
    canvas.paste(resized, (min(at[0], size - width), min(at[1], size - height)))
    return canvas


def chances(row: int, *key: int, n: int) -> list[float]:
    """Numbers in [0, 1) for a row, a pure function of row and key: those of `keyed`, on the host, for the loader."""
    found = []
    for place in range(1, n + 1):
        x = row + place * GOLDEN
        for part in (*key, LAST):
            x = (x + part * KEY) % WORD
            x = (x ^ x >> 30) * MIX[0] % WORD
            x = (x ^ x >> 27) * MIX[1] % WORD
            x ^= x >> 31
        found.append((x >> 40) / 2**24)
    return found


def keyed(rows: "Tensor", *key: int, n: int) -> "Tensor":
    """[B, n] numbers in [0, 1), a pure function of each row's number and the key; on the rows' device.

    The steps of splitmix64 (Steele et al. 2014, https://doi.org/10.1145/2714064.2660195) in wrapping 64-bit
    arithmetic, so every device and every number of processes draws the same.
    """
    import torch

    place = torch.arange(1, n + 1, device=rows.device)[None, :]  # [1, n]
    x = rows[:, None] + place * _signed(GOLDEN)
    for part in (*key, LAST):
        x = x + _signed(part * KEY)
        x = (x ^ _shift(x, 30)) * _signed(MIX[0])
        x = (x ^ _shift(x, 27)) * _signed(MIX[1])
        x = x ^ _shift(x, 31)
    return _shift(x, 40).float() / 2**24


def device_view(images: "Tensor", rows: "Tensor", policy: Policy, *key: int) -> "Tensor":
    """The rest of a policy on a whole batch: turn, shift, zoom, gamma, gain.

    Args:
        images: [B, C, H, W] uint8.
        rows: [B] numbers of the rows, the key of all that is drawn.
        policy: how far.
        key: seed, step and view.

    Returns:
        [B, C, H, W] float in [0, 1].
    """
    import torch
    import torch.nn.functional as F

    x = images.float().div_(255)
    if policy == POLICIES["none"]:
        return x
    signed = keyed(rows, *key, n=6) * 2 - 1  # [B, 6]
    angle = signed[:, 0] * math.radians(policy.rotate)
    zoom = 1 + signed[:, 1] * policy.zoom
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = signed[:, 2:4] * 2 * policy.shift  # in units of half the side, as affine_grid has them
    matrix = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], dim=1), torch.stack([sin, cos, shift[:, 1]], dim=1)], dim=1
    )  # [B, 2, 3]
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    gamma = torch.exp(signed[:, 4] * math.log(policy.gamma)) if policy.gamma > 1 else torch.ones_like(angle)
    gain = 1 + signed[:, 5] * policy.gain
    return (x.clamp(min=1e-6) ** gamma[:, None, None, None] * gain[:, None, None, None]).clamp(0, 1)


def normalise(x: "Tensor", mean: tuple[float, ...], std: tuple[float, ...]) -> "Tensor":
    """[B, 1 or 3, H, W] in [0, 1] -> [B, 3, H, W] as the tower wants it; grey is repeated here, not in the loader."""
    import torch

    centre = torch.tensor(mean, device=x.device)[None, :, None, None]
    spread = torch.tensor(std, device=x.device)[None, :, None, None]
    return (x - centre).div_(spread)  # in place: a batch is large, and a new block for each step of this costs more


def _signed(value: int) -> int:
    value %= WORD
    return value - WORD if value >= WORD // 2 else value


def _shift(x: "Tensor", bits: int) -> "Tensor":
    """Logical shift to the right; torch's is arithmetic on signed numbers."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

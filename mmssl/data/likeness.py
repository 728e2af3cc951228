"""Whether two pictures are one: as a whole, and in nearly every part of it.

Neighbouring slices of one patient, and slices of two patients of one build, share an outline and most of what is bright
in it: at 128 pixels they correlate 0.99 and more. A picture that was coded again, made smaller or shown through another
window is the same in its parts too; a neighbouring slice is not. Letters: S pixels of the side, K parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SIDE = 128
"""Pixels of the square in which pictures are compared."""

PART = 16
"""Pixels of the side of a part."""

_TEXTURE = 6.0  # standard deviation (of 255) below which a part has nothing to compare
_SHARE = 20  # percentile of the parts: a fifth may differ, for an arrow or words that were added
_FEWEST = 4  # parts with texture, without which the whole decides


def compared(image: Image.Image) -> np.ndarray:
    """[S, S] uint8 grey values of a picture, as `correlation` and `agreement` take them."""
    import numpy as np
    from PIL import Image

    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.uint8)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures [S, S] as a whole; 0 where one has a single value."""
    import numpy as np

    a, b = (values.astype(np.float32) - values.mean(dtype=np.float32) for values in (one, other))
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """How far two pictures [S, S] agree in their parts: of those with texture four fifths correlate so much or more."""
    import numpy as np

    a, b = _parts(one), _parts(other)
    spread_a, spread_b = a.std(1), b.std(1)
    textured = np.maximum(spread_a, spread_b) > _TEXTURE
    if textured.sum() < _FEWEST:
        return correlation(one, other)
    found = (a * b).mean(1)[textured] / np.maximum(spread_a * spread_b, 1e-6)[textured]
    return float(np.percentile(found, _SHARE))


def same(one: np.ndarray, other: np.ndarray, *, whole: float = 0.99, parts: float = 0.98) -> bool:
    """Whether two pictures [S, S] are one picture.

    Args:
        one: from `compared`.
        other: likewise.
        whole: least correlation as a whole.
        parts: least agreement in the parts.
    """
    return correlation(one, other) >= whole and agreement(one, other) >= parts


def _parts(values: np.ndarray) -> np.ndarray:
    """[K, PART * PART], each about its own mean."""
    count = SIDE // PART
    parts = values.astype("float32").reshape(count, PART, count, PART).swapaxes(1, 2).reshape(count * count, -1)
    return parts - parts.mean(1, keepdims=True)

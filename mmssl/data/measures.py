"""What is measured of a picture while it is decoded: a few numbers, from which its defects are judged later.

Letters: S pixels of the side of the square that is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

SIDE = 128
"""Pixels of the square in which shapes, lines and words are looked for."""

THUMB = 32
"""Pixels of the side of the small picture that is kept, by which kinds of pictures are compared."""

_COLOURED = 24  # channels that differ by less are grey with the noise of a codec, or tinted by a film
_INK = 40  # steps of grey between neighbours, from which they are an edge
_DARK, _BRIGHT = 2, 253  # grey values at which nothing is to be seen any more


class Measures(NamedTuple):
    """Plain numbers of one picture; shares are of all pixels, grey values from 0 to 255."""

    width: int
    height: int
    """Pixels before it was made smaller."""
    is_constant: bool
    """All pixels have one value."""
    spread: float
    """Standard deviation of the grey values."""
    reach: float
    """How many grey values lie between the darkest and the brightest hundredth of the small picture."""
    grain: float
    """Correlation of neighbours in the small picture: near 0 for noise alone, above .5 for anything else."""
    dark: float
    bright: float
    """Shares at either end of the range."""
    page: float
    """Share near the commonest bright value, as paper is."""
    panels: float
    """Share in areas of one value that is neither black nor white, as programs paint them."""
    colour: float
    """Share of coloured pixels."""
    border: float
    """Median grey of the outermost pixels ..."""
    inside: float
    """... of the middle quarter ..."""
    framed: float
    """... and the share of the outermost that are near their median."""
    lines: int
    """Rows of words: how often rows with many edges and rows with few take turns."""
    edges: float
    """Share of pixels with a strong edge beside them."""
    straight: int
    """Edges that run straight through a quarter of the picture or more, down and across."""
    shutters: int
    """Likewise, between black and white: as at the edge of what a collimator left blank."""
    left: float
    right: float
    top: float
    bottom: float
    """Where what is not background begins and ends, as shares of width and height."""
    thumb: bytes
    """Grey values [THUMB, THUMB], row by row."""


def measure(image: Image.Image, view: Image.Image) -> Measures:
    """Measures a picture, in about a millisecond.

    Args:
        image: as it was decoded, whatever its size and depth.
        view: `images.view8` of it, once it is made smaller: "L", or "RGB" where it is truly coloured.
    """
    import numpy as np
    from PIL import Image

    grey = view if view.mode == "L" else view.convert("L")
    counts = np.asarray(grey.histogram(), dtype=np.float64)
    counts /= counts.sum()
    levels = np.arange(256)
    mean = counts @ levels
    halves = _halves(grey)
    fine = np.asarray(halves)
    small = halves.resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(small)  # [S, S]
    lines, edges = _words(fine)
    border = np.concatenate([values[:2].ravel(), values[-2:].ravel(), values[:, :2].ravel(), values[:, -2:].ravel()])
    middle = float(np.median(border))
    left, right, top, bottom = _extent(small, middle)
    return Measures(
        width=image.width,
        height=image.height,
        is_constant=bool(counts.max() == 1) and (image is view or _is_constant(image)),
        spread=0.0 if _is_flat(image) else float(np.sqrt(counts @ (levels - mean) ** 2)),
        reach=_reach(small),
        grain=_grain(small),
        dark=float(counts[: _DARK + 1].sum()),
        bright=float(counts[_BRIGHT:].sum()),
        page=_page(counts),
        panels=_panels(fine),
        colour=_colour(view),
        border=middle,
        inside=float(np.median(values[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4])),
        framed=float((np.abs(border - middle) <= 12).mean()),
        lines=lines,
        edges=edges,
        straight=_straight(values, 12),
        shutters=_straight(values, 80),
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        thumb=small.resize((THUMB, THUMB), Image.Resampling.BOX).tobytes(),
    )


def _halves(grey: Image.Image) -> Image.Image:
    """The picture with sides of at most 2 S pixels; never enlarged, which would make equal neighbours."""
    from PIL import Image

    factor = min(grey.size) // (2 * SIDE)
    if factor > 1:
        grey = grey.reduce(factor)  # whole factors by averaging, four times faster
    width, height = (max(2, min(side, 2 * SIDE)) for side in grey.size)  # neighbours are compared, so there are two
    return grey.resize((width, height), Image.Resampling.BOX)


def _is_constant(image: Image.Image) -> bool:
    if image.mode.startswith(("I", "F")):
        import numpy as np

        values = np.asarray(image)
        return bool(values.min() == values.max())
    told: Any = image.getextrema()  # a pair, or one for each channel
    return all(low == high for low, high in (told if isinstance(told[0], tuple) else [told]))


def _is_flat(image: Image.Image) -> bool:
    """Whether a picture of more than 8 bits has so few values that only stretching makes something of them."""
    if not image.mode.startswith(("I", "F")):
        return False
    import numpy as np

    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    return high - low <= max(2.0, 1e-4 * abs(high))


def _reach(small: Image.Image) -> float:
    import numpy as np

    below = np.cumsum(small.histogram())
    low, high = np.searchsorted(below, [0.01 * below[-1], 0.99 * below[-1]])
    return float(high - low)


def _grain(small: Image.Image) -> float:
    """Correlation of horizontal and of vertical neighbours among 64 x 64 means; 1 where there is no spread at all."""
    import numpy as np
    from PIL import Image

    values = np.asarray(small.resize((SIDE // 2, SIDE // 2), Image.Resampling.BOX), dtype=np.float32)
    values = values - values.mean()
    power = float((values * values).mean())
    if power < 1e-3:
        return 1.0
    across, down = float((values[:, 1:] * values[:, :-1]).mean()), float((values[1:] * values[:-1]).mean())
    return (across + down) / 2 / power


def _page(counts: np.ndarray) -> float:
    """Share of pixels within 12 grey values of the commonest one of those above 180."""
    peak = 180 + int(counts[180:].argmax())
    return float(counts[max(0, peak - 12) : peak + 13].sum())


def _panels(values: np.ndarray) -> float:
    """Share of pixels that equal those to the right and below, black and white left out."""
    first = values[:-1, :-1]
    equal = (first == values[1:, :-1]) & (first == values[:-1, 1:]) & (first > _DARK) & (first < _BRIGHT)
    return float(equal.mean())


def _colour(view: Image.Image) -> float:
    """Share of pixels whose channels differ widely."""
    if view.mode != "RGB":
        return 0.0
    import numpy as np
    from PIL import Image

    values = np.asarray(view.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.int16)
    return float((values.max(2) - values.min(2) > _COLOURED).mean())


def _words(values: np.ndarray) -> tuple[int, float]:
    """(rows of words, share of edges): words are many short steps side by side, with empty rows between the lines."""
    import numpy as np

    steps = np.abs(np.diff(values.astype(np.int16), axis=1)) > _INK
    rows = steps.mean(1)
    full, empty = rows > 0.06, rows < 0.02
    state = np.where(full, 1, np.where(empty, -1, 0))
    state = state[state != 0]
    return int((np.diff(state) > 0).sum()), float(steps.mean())


def _straight(values: np.ndarray, height: int) -> int:
    """How many rows and columns differ from the next by more than `height`, one way, along a quarter of them."""
    import numpy as np

    found = 0
    for one in (values, values.T):
        steps = np.diff(one.astype(np.int16), axis=0)
        for sign in (steps > height, steps < -height):
            parts = sign.reshape(len(sign), 8, -1).mean(2)  # eighths of a row
            pairs = np.minimum(parts[:, 1:], parts[:, :-1]).max(1) > 0.9
            found += int((pairs[1:] & ~pairs[:-1]).sum() + pairs[0])
    return found


def _extent(small: Image.Image, ground: float) -> tuple[float, float, float, float]:
    """Where rows and columns have something besides the background: black, or the grey of a bright border."""
    import numpy as np

    values, below = np.asarray(small), np.cumsum(small.histogram())
    ground = ground if ground > 90 else float(min(ground, np.searchsorted(below, 0.05 * below[-1])))
    apart = np.abs(values.astype(np.int16) - int(ground)) > 20
    across, down = np.flatnonzero(apart.mean(0) > 0.04), np.flatnonzero(apart.mean(1) > 0.04)
    if not len(across) or not len(down):
        return 0.0, 1.0, 0.0, 1.0
    return (
        float(across[0]) / SIDE,
        float(across[-1] + 1) / SIDE,
        float(down[0]) / SIDE,
        float(down[-1] + 1) / SIDE,
    )

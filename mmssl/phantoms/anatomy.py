"""Draws chest films: a body with lungs, heart and ribs, what is wrong with it, and one exposure of it.

Lengths are in units of half the film's longer side. x grows to the film's right, which is the patient's LEFT
(radiological convention), y grows downwards. Letters: H rows, W columns of the film.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Any, Literal, NamedTuple

import numpy as np

from .findings import Finding, Side, Trait

Field = np.ndarray[Any, np.dtype[Any]]  # [H, W] float32


class Body(NamedTuple):
    """What is a patient's own and the same in every exposure. Pairs are (right, left) of the patient."""

    breasts: bool
    shape: tuple[float, ...]  # random numbers in 0..1 that `_measure` turns into measures
    seed: int  # of vessels and texture


class Exposure(NamedTuple):
    """What differs between two films of one patient."""

    view: Literal["PA", "AP"]
    rows: int
    columns: int
    scanner: Literal["crisp", "soft"]  # the looks of the two sites
    marker: Literal["L", "R", ""]
    collimated: bool
    leads: bool  # ECG electrodes lie on the chest
    seed: int


class Shape(NamedTuple):
    """Measures of the chest as one exposure shows it."""

    width: float  # midline to the lungs' lateral wall
    apex: float
    bases: tuple[float, float]  # y of the domes, right and left
    angles: float  # how far the costophrenic angles reach below the domes
    crown: float  # how square the lung's upper contour is
    middle: float  # half width of the mediastinum
    heart: tuple[float, float, float, float]  # centre x, y, half width, half height
    heart_tilt: float
    knob: float  # radius of the aortic knob
    rib_gap: float
    rib_start: float
    rib_thickness: float
    rib_slope: float
    rib_contrast: float
    air: float  # contrast of lung against soft tissue
    markings: float
    belly: float
    shoulders: float
    bend: float  # of the spine, scoliosis
    stomach: float


def sample_body(random: Random, *, breasts: bool) -> Body:
    return Body(breasts, tuple(random.random() for _ in range(25)), random.getrandbits(32))


def sample_exposure(
    random: Random, *, scanner: Literal["crisp", "soft"], view: Literal["PA", "AP"], leads: bool
) -> Exposure:
    longer = random.randint(316, 384)
    shorter = random.randint(288, longer)
    rows, columns = (longer, shorter) if random.random() < 0.6 else (shorter, longer)
    return Exposure(
        view=view,
        rows=rows,
        columns=columns,
        scanner=scanner,
        marker=random.choices(("L", "R", ""), (0.45, 0.35, 0.2))[0],
        collimated=random.random() < 0.5,
        leads=leads,
        seed=random.getrandbits(32),
    )


def traits(body: Body, exposure: Exposure) -> list[Trait]:
    """What a reader would mention of this film although it is no finding."""
    r = body.shape
    seen: dict[Trait, bool] = {
        "low volumes": r[1] + (0.5 if exposure.view == "AP" else 0.0) > 1.05,
        "prominent aorta": r[13] > 0.8,
        "scoliosis": abs(r[23] - 0.5) > 0.4,
        "leads": exposure.leads,
        "breast shadows": body.breasts and r[21] > 0.6,
    }
    return [trait for trait, there in seen.items() if there]


def _measure(body: Body, exposure: Exposure, findings: list[Finding], jitter: Field) -> Shape:
    r = body.shape
    portable = exposure.view == "AP"
    width = 0.60 + 0.16 * r[0] - 0.02 * portable
    breath = 0.12 * r[1] + 0.05 * float(jitter[0]) + (0.08 if portable else 0.0)  # less air lifts the diaphragm
    base = 0.60 - breath
    big = next((finding for finding in findings if finding.kind == "cardiomegaly"), None)
    ratio = 0.40 + 0.07 * r[2] + 0.02 * portable  # cardiothoracic ratio
    if big:
        ratio = 0.535 + 0.06 * big.size + 0.07 * big.contrast
    half = ratio * width
    push = 0.0  # a large pneumothorax or effusion moves the heart away
    for finding in findings:
        if finding.kind in ("pneumothorax", "effusion") and finding.size > 0.7:
            push += (0.10 if finding.side == "right" else -0.10) * (finding.size - 0.7) / 0.3
    centre = half * (0.20 + 0.22 * r[3]) + push
    return Shape(
        width=width,
        apex=-0.74 + 0.10 * r[4],
        bases=(base - 0.03 - 0.05 * r[5], base + 0.03 * r[6]),
        angles=0.14 + 0.14 * r[7],
        crown=1.7 + 0.8 * r[8],
        middle=0.09 + 0.04 * r[9] + 0.02 * portable,
        heart=(centre, base - 0.14 + 0.06 * r[10], half, half * (0.85 + 0.30 * r[11])),
        heart_tilt=0.25 + 0.5 * r[12],
        knob=0.055 + 0.05 * r[13],
        rib_gap=0.115 + 0.045 * r[14],
        rib_start=-0.72 + 0.1 * r[15],
        rib_thickness=0.016 + 0.012 * r[16],
        rib_slope=0.30 + 0.35 * r[17],
        rib_contrast=0.045 + 0.06 * r[18],
        air=0.34 + 0.10 * r[19],
        markings=0.08 + 0.08 * r[20],
        belly=r[21],
        shoulders=r[22],
        bend=0.16 * (r[23] - 0.5),
        stomach=r[24],
    )


def edge(distance: Field, softness: float) -> Field:
    """A smooth step from 0 to 1 where `distance` passes 0, `softness` wide to either side."""
    t = np.clip(distance * np.float32(0.5 / softness) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Field:
    """Noise with `cells` bumps down and across and unit variance at their tops."""
    nodes = rng.standard_normal(cells, dtype=np.float32)
    # Not a product of matrices: its threads make small ones slow, and may round otherwise on another machine.
    low, t = _between(size[0], cells[0])
    nodes = nodes[low] + t[:, None] * (nodes[low + 1] - nodes[low])
    low, t = _between(size[1], cells[1])
    left = nodes[:, low]
    return left + t * (nodes[:, low + 1] - left)


def _between(size: int, cells: int) -> tuple[Any, Field]:
    """For each of `size` points the node before it and the eased share of the way to the next."""
    at = np.linspace(0, cells - 1.001, size, dtype=np.float32)
    low = at.astype(np.int64)
    t = at - low
    return low, (t * t * (3 - 2 * t)).astype(np.float32)


class Canvas:
    """The fields [H, W] of one film while it is drawn: the lesions change them, `develop` adds them up."""

    x: Field  # the body's own axes
    y: Field
    u: Field  # distance from the midline
    v: Field  # 0 at the lung's apex .. 1 at the costophrenic angle
    wall: Field  # u of the lung's lateral border at this height
    floor: Field  # y of the diaphragm
    lung: Field  # 1 inside the lungs, whatever fills them
    air: Field  # what of it is air and dark
    vessels: Field
    dense: Field  # what adds to the attenuation: bone, metal, calcium

    def __init__(self, body: Body, exposure: Exposure, findings: list[Finding]) -> None:
        self.rng = np.random.default_rng(exposure.seed)
        self.body = body
        self.exposure = exposure
        jitter = self.rng.random(8, dtype=np.float32)
        self.shape = _measure(body, exposure, findings, jitter)
        self._place(jitter)
        self._lungs()
        self._heart()
        self.vessels = self._vessels()
        self.dense = np.zeros_like(self.x)

    def _place(self, jitter: Field) -> None:
        """Lay the body's axes over the film: shifted, turned and scaled a little, each time anew."""
        rows, columns = self.exposure.rows, self.exposure.columns
        self.half = max(rows, columns) / 2
        self.scale = (0.95 + 0.16 * float(jitter[1])) * min(rows, columns) / max(rows, columns)
        self.turn = float(np.deg2rad(9 * float(jitter[2] - 0.5)))
        self.shift = (0.10 * float(jitter[3] - 0.5), 0.10 * float(jitter[4] - 0.5))
        self.pixel = 1 / (self.half * self.scale)  # one pixel in units of the body
        # The patient turned on his own axis: the mediastinum moves, the wall does not.
        self.rotated = 0.08 * float(jitter[5] - 0.5)
        down = (np.arange(rows, dtype=np.float32) - np.float32(rows / 2)) / np.float32(self.half)
        across = (np.arange(columns, dtype=np.float32) - np.float32(columns / 2)) / np.float32(self.half)
        y = ((down - np.float32(self.shift[1])) / np.float32(self.scale))[:, None]
        x = ((across - np.float32(self.shift[0])) / np.float32(self.scale))[None, :]
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        self.y = cos * y - sin * x
        self.x = cos * x + sin * y + np.float32(self.shape.bend) * (self.y * self.y - np.float32(0.2))
        self.right: Any = self.x < 0  # the patient's right
        self.u = np.abs(self.x)

    def pixel_of(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of a point given on the body's axes."""
        x = x - self.shape.bend * (y * y - 0.2)
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        across, down = cos * x - sin * y, cos * y + sin * x
        row = (down * self.scale + self.shift[1]) * self.half + self.exposure.rows / 2
        column = (across * self.scale + self.shift[0]) * self.half + self.exposure.columns / 2
        return round(row), round(column)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The part of the film within `reach` of a point: what is small is drawn there only."""
        row, column = self.pixel_of(x, y)
        pixels = int(reach / self.pixel) + 2
        return (
            slice(max(0, row - pixels), max(0, row + pixels + 1)),
            slice(max(0, column - pixels), max(0, column + pixels + 1)),
        )

    def side_sign(self, side: Side) -> int:
        return 1 if side == "left" else -1

    def half_of(self, side: Side) -> Any:
        return self.right if side == "right" else ~self.right

    def wall_at(self, v: Any, width: float) -> Any:
        crown = self.shape.crown
        return np.float32(width) * (1 - (1 - v) ** np.float32(crown + 0.6)) ** np.float32(1 / crown)

    def _lungs(self) -> None:
        shape, u, y = self.shape, self.u, self.y
        bottom = shape.bases[1] + shape.angles
        self.v = np.clip((y - np.float32(shape.apex)) / np.float32(bottom - shape.apex), 0, 1)
        self.wall = self.wall_at(self.v, shape.width)
        dome = np.where(self.right, np.float32(shape.bases[0]), np.float32(shape.bases[1]))
        aside = (u - np.float32(0.5 * shape.width)) / np.float32(0.5 * shape.width)
        aside = aside * aside * np.where(aside > 0, np.float32(shape.angles), np.float32(0.4 * shape.angles))
        self.floor = dome + aside
        middle = np.float32(shape.middle) + np.float32(0.06) * (1 - self.v)
        inner = u - middle - np.where(self.right, np.float32(-self.rotated), np.float32(self.rotated))
        self.lung = edge(self.wall - u, 0.025) * edge(inner, 0.025) * edge(self.floor - y, 0.02)
        self.lung *= edge(y - np.float32(shape.apex), 0.05)
        self.air = self.lung.copy()

    def _heart(self) -> None:
        shape = self.shape
        cx, cy, half, height = shape.heart
        x, y = self.x - np.float32(cx + self.rotated), self.y - np.float32(cy)
        x, y = x + np.float32(0.3 * shape.heart_tilt) * y, y - np.float32(0.35 * shape.heart_tilt) * x
        x, y = x / np.float32(half), y / np.float32(height)
        self.heart = edge(1 - np.sqrt(x * x + y * y), 0.07)
        knob = edge(np.float32(shape.knob) - self.distance(shape.middle + self.rotated + 0.03, shape.apex + 0.42), 0.02)
        self.air *= (1 - np.float32(0.93) * self.heart) * (1 - np.float32(0.8) * knob)

    def _vessels(self) -> Field:
        """Branches that run outwards from the hila: noise that is long along the radius and short across it."""
        y = self.y + np.float32(0.02)
        u = self.u - np.float32(0.10)
        radius = np.sqrt(u * u + y * y)
        turn = np.arctan2(y, u)
        table = smooth_noise(np.random.default_rng(self.body.seed), (512, 128), (75, 9))  # 256 rows for each lung
        rows = ((turn + np.float32(np.pi)) * np.float32(254 / (2 * np.pi))).astype(np.int32) + 256 * self.right
        columns = np.clip(radius * np.float32(110), 0, 127).astype(np.int32)
        ridge = np.clip(1 - 2.4 * np.abs(table), 0, 1)[rows, columns]
        trunk = np.float32(0.9) * np.exp(-(radius * radius) * np.float32(90))  # the hilum itself
        return (ridge * np.clip(radius * 9, 0, 1) * np.exp(np.float32(-2.4) * radius) + trunk) * self.lung

    def spot(self, side: Side, across: float, down: float) -> tuple[float, float]:
        """The point (x, y) of a lung at a share of the way to its wall and to its base."""
        shape = self.shape
        base = shape.bases[0 if side == "right" else 1]
        y = shape.apex + down * (base - shape.apex)
        v = np.float32((y - shape.apex) / (shape.bases[1] + shape.angles - shape.apex))
        inner = shape.middle + self.side_sign(side) * self.rotated
        u = inner + across * (float(self.wall_at(v, shape.width)) - inner)
        return self.side_sign(side) * u, y

    def distance(self, x: float, y: float, stretch: float = 1.0) -> Field:
        dx, dy = self.x - np.float32(x), (self.y - np.float32(y)) * np.float32(stretch)
        return np.sqrt(dx * dx + dy * dy)

    def noise(self, cells: int, *, of: int) -> Field:
        """Smooth noise of the patient's own; `of` tells one use from another."""
        rng = np.random.default_rng((self.body.seed, of))
        return smooth_noise(rng, (self.exposure.rows, self.exposure.columns), (cells, cells))

    def line(self, points: list[tuple[float, float]], radius: float, value: float) -> None:
        """Draw a thin dense line, such as a wire, through points on the body's axes."""
        mask = np.zeros_like(self.x)
        dots = np.asarray(points, np.float32)
        for (x0, y0), (x1, y1) in itertools.pairwise(dots):
            reach = float(np.hypot(x1 - x0, y1 - y0)) / 2 + 2 * radius
            near = self.window(float(x0 + x1) / 2, float(y0 + y1) / 2, reach)
            dx, dy = self.x[near] - x0, self.y[near] - y0
            length = max(float((x1 - x0) ** 2 + (y1 - y0) ** 2), 1e-9)
            t = np.clip((dx * (x1 - x0) + dy * (y1 - y0)) / np.float32(length), 0, 1)
            away = np.hypot(dx - t * (x1 - x0), dy - t * (y1 - y0))
            mask[near] = np.maximum(mask[near], edge(np.float32(radius) - away, max(0.6 * radius, 0.6 * self.pixel)))
        self.dense += np.float32(value) * mask

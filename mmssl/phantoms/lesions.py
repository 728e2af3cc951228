"""Draws each kind of finding into a chest that is being drawn; one function a kind."""

from __future__ import annotations

import numpy as np

from .anatomy import Canvas, edge
from .findings import Finding

# Where a lobe's consolidation lies: ranges of the share across (0 midline .. 1 wall) and down (0 apex .. 1 base).
ZONES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "RUL": ((0.35, 0.75), (0.16, 0.40)),
    "RML": ((0.10, 0.40), (0.62, 0.76)),
    "RLL": ((0.45, 0.80), (0.78, 0.96)),
    "LUL": ((0.35, 0.75), (0.16, 0.46)),
    "LLL": ((0.40, 0.80), (0.76, 0.96)),
}


def effusion(canvas: Canvas, finding: Finding) -> None:
    """Fluid at the base: a level that climbs the lateral wall (meniscus) and hides the diaphragm and the angle."""
    shape = canvas.shape
    base = shape.bases[0 if finding.side == "right" else 1]
    height = 0.12 + 0.58 * finding.size**1.2
    aside = np.clip(canvas.u / canvas.wall.clip(0.05), 0, 1.2)
    level = np.float32(base + shape.angles - 0.05 - height) + np.float32(0.20 + 0.12 * finding.size) * (
        1 - aside * aside
    )
    fluid = edge(canvas.y - level, 0.03 + 0.03 * (1 - finding.contrast)) * canvas.half_of(finding.side)
    canvas.air *= 1 - np.float32(0.72 + 0.25 * finding.contrast) * fluid
    canvas.vessels *= 1 - fluid


def pneumothorax(canvas: Canvas, finding: Finding) -> None:
    """Air outside the lung: no vessels beyond a thin line that runs along the shrunken lung."""
    shape = canvas.shape
    fall = 0.10 + 0.38 * finding.size  # of the apex
    width = shape.width * (1 - 0.09 - 0.40 * finding.size)
    y = canvas.y - np.float32(shape.apex + fall)
    v = np.clip(y / np.float32(shape.bases[1] + shape.angles - shape.apex - fall), 0, 1)
    inside = np.minimum(canvas.wall_at(v, width) - canvas.u, y)
    kept = edge(inside, 0.012)
    free = (1 - kept) * canvas.half_of(finding.side)
    canvas.vessels *= 1 - free
    canvas.air *= 1 + np.float32(0.22 + 0.20 * finding.contrast) * free
    collapsed = kept * canvas.half_of(finding.side) * canvas.lung
    canvas.air *= 1 - np.float32(0.06 + 0.28 * finding.size) * collapsed
    rim = np.exp(-((inside * np.float32(1 / 0.011)) ** 2)) * canvas.lung * canvas.half_of(finding.side)
    canvas.dense += np.float32(0.05 + 0.07 * finding.contrast) * rim


def consolidation(canvas: Canvas, finding: Finding) -> None:
    """A cloudy patch in one lobe that silhouettes what it touches."""
    (left, right), (top, bottom) = ZONES[finding.lobe]
    x, y = canvas.spot(
        finding.side,
        left + (right - left) * (finding.across - 0.35) / 0.5,
        top + (bottom - top) * (finding.down - 0.15) / 0.7,
    )
    radius = 0.13 + 0.11 * finding.size
    cloud = np.exp(-((canvas.distance(x, y, 1.25) / np.float32(radius)) ** 2) * np.float32(0.7))
    of = 1 + list(ZONES).index(finding.lobe)
    ragged = np.float32(0.16) * canvas.noise(16, of=of) + np.float32(0.09) * canvas.noise(40, of=10 + of)
    cloud = edge(cloud + ragged - np.float32(0.48), 0.22)
    canvas.air *= 1 - np.float32(0.50 + 0.42 * finding.contrast) * cloud * canvas.half_of(finding.side)


def nodule(canvas: Canvas, finding: Finding) -> None:
    """A round spot: small and very dense when calcified, larger and softer when not."""
    x, y = canvas.spot(finding.side, finding.across, finding.down)
    radius = 0.034 + 0.026 * finding.size if finding.calcified else 0.060 + 0.055 * finding.size
    depth = 0.34 + 0.22 * finding.contrast if finding.calcified else 0.15 + 0.15 * finding.contrast
    near = canvas.window(x, y, 2 * radius)
    dx, dy = canvas.x[near] - np.float32(x), canvas.y[near] - np.float32(y)
    lobed = 1 + 0.06 * np.sin(3 * np.arctan2(dy, dx) + 6 * finding.across)
    softness = 0.010 if finding.calcified else 0.018
    canvas.dense[near] += np.float32(depth) * edge(np.float32(radius) * lobed - np.hypot(dx, dy), softness)


def edema(canvas: Canvas, finding: Finding) -> None:
    """Water in both lungs: haze about the hila, wide vessels, short lines at the lateral bases."""
    u, y = canvas.u - np.float32(0.24), canvas.y - np.float32(0.04)
    wing = np.exp(-(u * u * np.float32(9) + y * y * np.float32(6.5)))
    haze = wing * np.clip(1 + np.float32(0.35) * canvas.noise(24, of=20), 0, 2)
    canvas.air *= 1 - np.clip(np.float32(0.30 + 0.16 * finding.size + 0.20 * finding.contrast) * haze, 0, 0.9)
    canvas.vessels *= np.float32(1.5 + 0.8 * finding.contrast)
    lines = edge(np.sin(canvas.y * np.float32(170)) - np.float32(0.4), 0.5) * edge(
        np.float32(0.09) - (canvas.wall - canvas.u), 0.02
    )
    canvas.dense += (
        np.float32(0.02 + 0.03 * finding.contrast) * lines * canvas.lung * edge(canvas.y - np.float32(0.1), 0.1)
    )


def hernia(canvas: Canvas, finding: Finding) -> None:
    """Stomach behind the heart: a round density with an air bubble above a fluid level."""
    radius = 0.13 + 0.09 * finding.size
    x = 0.02 + 0.14 * (finding.across - 0.35) / 0.5 + canvas.rotated
    y = canvas.shape.bases[1] - 0.6 * radius - 0.05
    away = canvas.distance(x, y)
    sac = edge(np.float32(radius) - away, 0.02)
    canvas.dense += np.float32(0.10 + 0.06 * finding.contrast) * sac
    bubble = edge(np.float32(0.86 * radius) - away, 0.015) * edge(np.float32(y - 0.15 * radius) - canvas.y, 0.01)
    canvas.dense -= np.float32(0.24 + 0.14 * finding.contrast) * bubble


def pacemaker(canvas: Canvas, finding: Finding) -> None:
    """A generator under the clavicle and one or two leads that run through the great vein into the heart."""
    sign = canvas.side_sign(finding.side)
    x = sign * canvas.shape.width * (0.62 + 0.24 * (finding.across - 0.35) / 0.5)
    y = canvas.shape.apex + 0.16 + 0.16 * finding.down
    size = 0.075 + 0.03 * finding.size
    turn = np.float32(1.2 * (finding.contrast - 0.5))
    near = canvas.window(x, y, 2.2 * size)
    dx, dy = canvas.x[near] - np.float32(x), canvas.y[near] - np.float32(y)
    dx, dy = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    can = edge(1 - ((dx / np.float32(size)) ** 4 + (dy / np.float32(0.8 * size)) ** 4) ** 0.25, 0.08)
    battery = edge(np.float32(0.4 * size) - np.abs(dx - np.float32(0.3 * size)), 0.006)
    canvas.dense[near] += can * (np.float32(0.45) + np.float32(0.14) * battery)
    cx, cy, half, height = canvas.shape.heart
    for tip in [(cx + 0.45 * half, cy + 0.45 * height), (cx - 0.45 * half, cy - 0.25 * height)][
        : 1 + (finding.size > 0.4)
    ]:
        canvas.line(_lead((x, y), (-0.07, canvas.shape.apex + 0.35), tip, sign), 0.007, 0.30)


def _lead(
    start: tuple[float, float], vein: tuple[float, float], tip: tuple[float, float], sign: int
) -> list[tuple[float, float]]:
    """A curve from the generator to the superior vena cava and down to the tip."""
    t = np.linspace(0, 1, 14)[:, None]
    a, b, c = np.array(start), np.array(vein), np.array(tip)
    bow = np.array([sign * 0.22, start[1] - 0.04])
    first = (1 - t) ** 2 * a + 2 * t * (1 - t) * bow + t**2 * b
    low = np.array([vein[0] - 0.03, tip[1] + 0.08])
    second = (1 - t) ** 2 * b + 2 * t * (1 - t) * low + t**2 * c
    return [tuple(point) for point in np.concatenate([first, second[1:]])]


def ribs(canvas: Canvas, fractures: list[Finding]) -> None:
    """Posterior ribs that fall outwards, anterior ones that fall inwards; a broken one is stepped, open and bulging."""
    shape, u = canvas.shape, canvas.u
    gap = np.float32(shape.rib_gap)
    arch = np.float32(shape.rib_slope) * u * u - np.float32(0.10) * u
    broken = [(finding, *_break(canvas, finding)) for finding in fractures]
    for finding, first, last, at in broken:
        number = np.round((canvas.y - arch - np.float32(shape.rib_start)) / gap)
        part = (number >= first) & (number <= last) & canvas.half_of(finding.side)
        step = np.float32((0.022 + 0.016 * finding.contrast) * (1 if finding.size > 0.5 else -1))
        arch = arch + step * edge(u - np.float32(at), 0.01) * part
    away = canvas.y - arch - np.float32(shape.rib_start)
    number = np.round(away / gap)
    away = np.abs(away - number * gap)
    there = (number >= 0) & (number <= 10)
    inside = edge(canvas.wall + np.float32(0.05) - u, 0.03) * edge(u - np.float32(0.05), 0.03)
    bone = edge(np.float32(shape.rib_thickness) - away, 0.010) * inside * there
    for finding, first, last, at in broken:
        part = (number >= first) & (number <= last) & canvas.half_of(finding.side)
        along = np.abs(u - np.float32(at))
        bone = bone * (1 - edge(np.float32(0.018 + 0.012 * finding.contrast) - along, 0.008) * part)
        callus = edge(np.float32(0.062) - np.hypot(along - np.float32(0.052), np.float32(1.7) * away), 0.016) * part
        bone = bone + np.float32(2.4 + 1.4 * finding.contrast) * callus
    front = np.float32(-0.55 * shape.rib_slope) * u * u + np.float32(0.50) * (np.float32(shape.width) - u)
    away = canvas.y + front - np.float32(shape.rib_start + 0.36)
    away = np.abs(away - np.round(away / gap / np.float32(1.15)) * gap * np.float32(1.15))
    faint = edge(np.float32(1.2 * shape.rib_thickness) - away, 0.014) * edge(u - np.float32(0.45 * shape.width), 0.12)
    faint = faint * edge(np.float32(0.35) - canvas.y, 0.15) * inside
    canvas.dense += np.float32(shape.rib_contrast) * (bone + np.float32(0.5) * faint)


def _break(canvas: Canvas, finding: Finding) -> tuple[int, int, float]:
    """The first and the last broken rib, and how far out they broke."""
    shape = canvas.shape
    at = shape.width * (0.42 + 0.40 * (finding.across - 0.35) / 0.5)
    height = (shape.bases[0] - 0.30 - shape.rib_start) / shape.rib_gap
    first = 2 + int((finding.down - 0.15) / 0.7 * max(1.0, height - 2))
    return first, first + int(2.9 * finding.size), at


def electrodes(canvas: Canvas) -> None:
    """ECG stickers with their wires: what lies on a patient and is no finding."""
    for _ in range(int(canvas.rng.integers(2, 4))):
        x, y = float(canvas.rng.uniform(-0.7, 0.7)), float(canvas.rng.uniform(-0.55, 0.45))
        near = canvas.window(x, y, 0.1)
        away = np.hypot(canvas.x[near] - np.float32(x), canvas.y[near] - np.float32(y))
        canvas.dense[near] += 0.22 * edge(np.float32(0.012) - np.abs(away - np.float32(0.030)), 0.006)
        end = (x + float(canvas.rng.uniform(-0.5, 0.5)), 1.3)
        bow = (x + float(canvas.rng.uniform(-0.3, 0.3)), y + 0.4)
        t = np.linspace(0, 1, 10)
        points = [
            tuple((1 - s) ** 2 * np.array([x, y]) + 2 * s * (1 - s) * np.array(bow) + s * s * np.array(end)) for s in t
        ]
        canvas.line(points, 0.005, 0.10)


DRAW = {
    "effusion": effusion,
    "pneumothorax": pneumothorax,
    "consolidation": consolidation,
    "nodule": nodule,
    "edema": edema,
    "hernia": hernia,
    "pacemaker": pacemaker,
}

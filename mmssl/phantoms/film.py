"""From a body and its findings to the film a scanner delivers: `draw` gives values in 0..1, bright where dense."""

from __future__ import annotations

import numpy as np

from . import lesions
from .anatomy import Body, Canvas, Exposure, Field, edge
from .findings import Finding

_LETTERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}
_ORDER = ("edema", "consolidation", "effusion", "pneumothorax", "hernia", "nodule", "pacemaker")  # from deep to shallow


def draw(body: Body, findings: list[Finding], exposure: Exposure) -> Field:
    """Draw one exposure, [H, W] float32 in 0..1."""
    canvas = Canvas(body, exposure, findings)
    for finding in sorted((f for f in findings if f.kind in _ORDER), key=lambda f: _ORDER.index(f.kind)):
        lesions.DRAW[finding.kind](canvas, finding)
    lesions.ribs(canvas, [finding for finding in findings if finding.kind == "fracture"])
    _spine_and_clavicles(canvas)
    if exposure.leads:
        lesions.electrodes(canvas)
    return _finish(canvas, _expose(canvas, _attenuation(canvas)))


def _spine_and_clavicles(canvas: Canvas) -> None:
    shape = canvas.shape
    column = edge(np.float32(0.075) - canvas.u, 0.03)
    discs = 0.75 + 0.25 * np.sin(canvas.y * np.float32(2 * np.pi / (0.95 * shape.rib_gap)))
    canvas.dense += np.float32(0.05) * column * discs
    trachea = edge(np.float32(0.035) - np.abs(canvas.x - np.float32(0.6 * canvas.rotated)), 0.02) * edge(
        np.float32(-0.18) - canvas.y, 0.1
    )
    canvas.dense -= np.float32(0.07) * trachea
    height = np.float32(shape.apex + 0.13) - np.float32(0.14 + 0.1 * shape.shoulders) * (canvas.u - np.float32(0.1))
    bone = edge(np.float32(0.024) - np.abs(canvas.y - height), 0.012) * edge(canvas.u - np.float32(0.09), 0.02)
    canvas.dense += np.float32(0.8 * shape.rib_contrast) * bone * edge(np.float32(0.75) - canvas.u, 0.03)


def _attenuation(canvas: Canvas) -> Field:
    """Add up what the beam passes through."""
    shape, u, y = canvas.shape, canvas.u, canvas.y
    flank = np.float32(shape.width + 0.13 + 0.06 * shape.belly)
    shoulder = np.float32(0.55) * edge(np.float32(-0.48 + 0.08 * shape.shoulders) - y, 0.35)
    torso = edge(flank + shoulder - u, 0.04) * edge(
        y - np.float32(-1.02) + np.float32(0.9) * (np.float32(0.30) - u).clip(-0.5, 0), 0.06
    )
    tissue = np.float32(0.66) + np.float32(0.10) * edge(y - canvas.floor, 0.25) * np.float32(0.6 + 0.8 * shape.belly)
    tissue = tissue + np.float32(0.05) * canvas.noise(5, of=30)
    if canvas.body.breasts:
        x0, y0 = 0.58 * shape.width, shape.bases[1] - 0.16 + 0.1 * shape.belly
        dx, dy = u - np.float32(x0), y - np.float32(y0)
        breast = edge(1 - np.sqrt(dx * dx / np.float32(0.07) + dy * dy / np.float32(0.055)), 0.22)
        tissue = tissue + np.float32(0.05 + 0.05 * shape.belly) * breast
    if shape.stomach > 0.45:
        bubble = edge(
            np.float32(0.05 + 0.09 * (shape.stomach - 0.45)) - canvas.distance(0.30, shape.bases[1] + 0.10, 1.3), 0.02
        )
        tissue = tissue - np.float32(0.16) * bubble
    lung = np.float32(shape.air) * canvas.air - np.float32(shape.markings) * canvas.vessels
    scapula = edge(u - np.float32(shape.width * (1.0 if canvas.exposure.view == "PA" else 0.82)), 0.05) * edge(
        np.float32(-0.05) - y, 0.15
    )
    return torso * (tissue - lung + canvas.dense + np.float32(0.035) * scapula)


def _expose(canvas: Canvas, attenuation: Field) -> Field:
    """The scanner's look: contrast, scatter, sharpness and noise."""
    rng, exposure = canvas.rng, canvas.exposure
    crisp = exposure.scanner == "crisp"
    level = float(rng.uniform(-0.06, 0.06))
    contrast = float(rng.uniform(0.85, 1.15)) * (1.08 if crisp else 0.94)
    film = (attenuation - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5 + level)
    film = (
        film
        + np.float32(float(rng.uniform(-0.05, 0.05))) * canvas.x
        + np.float32(float(rng.uniform(-0.05, 0.05))) * canvas.y
    )
    grain = rng.standard_normal(film.shape, dtype=np.float32)
    film = film + grain * np.float32(float(rng.uniform(0.008, 0.016)) * (1.0 if crisp else 1.6))
    soft = film.copy()
    soft[1:-1, 1:-1] = (film[:-2, 1:-1] + film[2:, 1:-1] + film[1:-1, :-2] + film[1:-1, 2:] + film[1:-1, 1:-1]) / 5
    film = film + np.float32(0.5) * (film - soft) if crisp else soft
    return np.clip(film, 0.0, 1.0) ** np.float32(float(rng.uniform(0.85, 1.2)))


def _finish(canvas: Canvas, film: Field) -> Field:
    """Blacken what the collimator shuts out and set the side marker."""
    rng, exposure = canvas.rng, canvas.exposure
    rows, columns = film.shape
    if exposure.marker:
        size = int(rng.integers(2, 4))
        letter = (
            np.array([[cell == "1" for cell in line] for line in _LETTERS[exposure.marker]])
            .repeat(size, 0)
            .repeat(size, 1)
        )
        top = int(rng.integers(10, 60))
        inset = int(rng.integers(8, 40))
        left = columns - inset - letter.shape[1] if exposure.marker == "L" else inset
        place = (slice(top, top + letter.shape[0]), slice(left, left + letter.shape[1]))
        film[place] = np.where(letter, np.float32(0.97), film[place])
    if exposure.collimated:
        top, bottom, left, right = (
            int(part) for part in rng.integers(0, [rows // 14, rows // 14, columns // 12, columns // 12])
        )
        film[:top], film[rows - bottom :], film[:, :left], film[:, columns - right :] = 0.02, 0.02, 0.02, 0.02
    return film

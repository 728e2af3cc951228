"""From similarities to probabilities that can be believed, fitted on labelled rows and kept beside a checkpoint.

For several labels one scale for all and one bias each (Platt scaling with a common slope: Platt 1999); for one of
several classes one temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599). One temperature alone does harm
where labels are rare: a bias is what moves probabilities to their prevalence.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmssl import console, files
from mmssl.errors import CannotDo

Floats = NDArray[np.float64]

FORMAT = 1
FEWEST = 10
"""A label needs so many positives and so many negatives to be calibrated."""
SCALES = (1e-2, 1e4)
"""Bounds of the scale; where labels are perfectly separated the best one would be infinite."""


@dataclass(frozen=True)
class Calibration:
    """What turns cosines into calibrated probabilities, for one checkpoint and one set of prompts."""

    checkpoint: str
    """Hash of the checkpoint it was fitted for."""
    prompts: str
    """Hash of the prompt set."""
    task: str
    scale: float
    """Factor on the cosines (or on the difference of a pair of them), in place of the learned one."""
    biases: dict[str, float] = field(default_factory=dict)
    """Of each calibrated label; empty for multi_class."""
    uncalibrated: dict[str, str] = field(default_factory=dict)
    """Labels left as they are, with the reason."""
    prevalence: dict[str, float] = field(default_factory=dict)
    """Share of positives among the rows of the fit; probabilities are right where it is the same."""
    fitted_on: dict[str, Any] = field(default_factory=dict)
    """Store, split and rows of the fit."""
    results: dict[str, Any] = field(default_factory=dict)
    """ECE of each label and mean negative log likelihood before and after, on the rows of the fit."""

    def of_labels(self, margins: Floats, names: tuple[str, ...]) -> Floats:
        """Calibrated probabilities of cos⁺ - cos⁻, [N, L]; NaN for labels that stayed uncalibrated."""
        fitted = [i for i, name in enumerate(names) if name in self.biases]
        bias = np.array([self.biases[names[i]] for i in fitted])
        found = np.full(margins.shape, np.nan)
        found[:, fitted] = sigmoid(self.scale * margins[:, fitted] + bias)
        return found

    def of_classes(self, cosines: Floats) -> Floats:
        """Calibrated probabilities of one of several classes, [N, C]."""
        return softmax(self.scale * cosines)


def fit_labels(margins: Floats, truth: Floats, *, start: float) -> tuple[float, Floats]:
    """The scale and the biases with the least negative log likelihood of `sigmoid(scale * margin + bias)`.

    Args:
        margins: cos⁺ - cos⁻, [N, L].
        truth: 1, 0, or NaN (left out), [N, L]; each label needs both.
        start: first value of the scale.

    Returns:
        scale, biases [L]. The problem is convex; the scale stays within `SCALES`.
    """
    from scipy.optimize import minimize

    known = ~np.isnan(truth)
    target = np.where(known, truth, 0.0)
    spread = float(margins[known].std()) or 1.0  # margins of unit spread make the problem well conditioned
    x = margins / spread

    def loss(values: Floats) -> tuple[float, Floats]:
        z = values[0] * x + values[1:]
        error = np.where(known, sigmoid(z) - target, 0.0)
        total = np.where(known, np.logaddexp(0.0, z) - target * z, 0.0).sum()
        count = known.sum()
        return total / count, np.concatenate([[(error * x).sum()], error.sum(axis=0)]) / count

    bounds = [(SCALES[0] * spread, SCALES[1] * spread), *[(None, None)] * truth.shape[1]]
    first = np.zeros(1 + truth.shape[1])
    first[0] = np.clip(start * spread, *bounds[0])
    found = minimize(
        loss, first, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    return float(found.x[0] / spread), found.x[1:]


def fit_classes(cosines: Floats, truth: NDArray[np.int64]) -> float:
    """The scale (one over the temperature) with the least negative log likelihood of `softmax(scale * cosines)`.

    Args:
        cosines: [N, C].
        truth: number of the class, [N].
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(log_scale: float) -> float:
        z = np.exp(log_scale) * cosines
        return float((np.logaddexp.reduce(z, axis=1) - z[rows, truth]).mean())

    found: Any = minimize_scalar(loss, bounds=np.log(SCALES), method="bounded", options={"xatol": 1e-9})
    return float(np.exp(found.x))


def sigmoid(z: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -z))


def softmax(z: Floats) -> Floats:
    """Over the last axis."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_loss(probability: Floats, truth: NDArray[Any]) -> float:
    """Mean negative log likelihood of labels ([N, L], NaN left out) or of classes ([N] numbers, -1 left out)."""
    if truth.ndim == 1:
        rows = np.flatnonzero(truth >= 0)
        likelihood = probability[rows, truth[rows].astype(np.int64)]
    else:
        known = ~np.isnan(truth) & ~np.isnan(probability)
        likelihood = np.where(truth == 1, probability, 1 - probability)[known]
    return float(-np.log(np.maximum(likelihood, 1e-300)).mean())


def remark(scale: float, loss: float) -> str | None:
    """What there is to say of a fit with this scale and this mean negative log likelihood."""
    if scale <= SCALES[0] * 1.001:
        return "the similarities tell nothing about these labels: calibrated probabilities are close to the prevalence"
    if loss < 1e-3:
        return "the labels are perfectly separated on these rows: calibrated probabilities are close to 0 and 1"
    return None


def file_of(checkpoint: Path, prompts: str) -> Path:
    return Path(checkpoint) / "calibration" / f"{prompts}.json"


def write(folder: Path, calibration: Calibration) -> Path:
    """Writes the calibration beside the checkpoint in `folder`, outside its hash."""
    path = file_of(folder, calibration.prompts)
    files.write_json(path, {"format": FORMAT} | asdict(calibration))
    return path


def read(folder: Path, *, checkpoint: str, prompts: str) -> Calibration | None:
    """The calibration of a checkpoint for a set of prompts; None where there is none, or one for other weights.

    Raises:
        CannotDo: where the file is damaged or from a newer version.
    """
    path = file_of(folder, prompts)
    if not path.exists():
        return None
    try:
        held: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if held["format"] > FORMAT:
            raise CannotDo(f"{path} is of format {held['format']}, this mmssl reads up to {FORMAT}: use a newer one")
        found = Calibration(**{key: value for key, value in held.items() if key != "format"})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotDo(f"{path} is damaged ({error}): remove it, and run `mmssl calibrate` again") from None
    if found.checkpoint != checkpoint or found.prompts != prompts:
        console.say(f"{path} was fitted for other weights and is not used; run `mmssl calibrate` again")
        return None
    return found

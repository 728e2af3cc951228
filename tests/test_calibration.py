"""Fits of probabilities against an independent optimiser, and where they are kept."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as reference_log_loss

from mmssl import calibration, console, metrics
from mmssl.calibration import Calibration
from mmssl.errors import CannotDo


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console, "quiet", True)


def drawn(rows=900, labels=4, seed=0):
    generator = np.random.default_rng(seed)
    margins = 0.08 * generator.normal(size=(rows, labels)) + 0.05
    truth = (generator.random((rows, labels)) < expit(25 * margins - np.linspace(1, 4, labels))).astype(float)
    truth[generator.random((rows, labels)) < 0.1] = np.nan
    return margins, truth


def test_one_label_is_logistic_regression():
    margins, truth = drawn(labels=1)
    known = ~np.isnan(truth[:, 0])
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(margins[known], truth[known, 0])
    scale, biases = calibration.fit_labels(margins, truth, start=10)
    assert scale == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert biases[0] == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_labels_share_the_scale_and_reach_the_least_loss():
    margins, truth = drawn()
    known = ~np.isnan(truth)

    def loss(values):  # the negative log likelihood as it is written, without a gradient
        p = expit(values[0] * margins + values[1:])[known]
        y = truth[known]
        return -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))

    reference = minimize(
        loss, [25.0, -1, -2, -3, -4], method="Nelder-Mead", options={"maxiter": 20_000, "fatol": 1e-13}
    )
    scale, biases = calibration.fit_labels(margins, truth, start=14.3)
    assert loss([scale, *biases]) <= reference.fun + 1e-9
    assert scale == pytest.approx(reference.x[0], rel=1e-2)
    p = np.where(known, expit(scale * margins + biases), np.nan)
    assert np.nanmean(p, axis=0) == pytest.approx(np.nanmean(truth, axis=0), abs=1e-5)  # what a bias does


def test_a_temperature_alone_does_harm_where_labels_are_rare_and_a_bias_helps():
    """The finding the fit rests on: at 5 % prevalence a pair's probability needs a bias."""
    generator = np.random.default_rng(4)
    truth = (generator.random((4000, 1)) < 0.05).astype(float)
    margins = 0.04 * truth + 0.03 * generator.normal(size=truth.shape)

    def error(p):
        return metrics.expected_calibration_error(truth[:, 0], p[:, 0])

    scale, biases = calibration.fit_labels(margins, truth, start=10)
    temperature = min(
        np.geomspace(0.01, 100, 400), key=lambda s: -np.mean(np.log(expit(s * margins * (2 * truth - 1))))
    )
    assert error(expit(temperature * margins)) > 0.2
    assert error(expit(scale * margins + biases)) < 0.01


def test_separated_and_meaningless_labels_stay_finite_and_are_said():
    def fit(margins, truth):
        scale, biases = calibration.fit_labels(margins, truth, start=10)
        loss = calibration.log_loss(expit(scale * margins + biases), truth)
        return scale, biases, calibration.remark(scale, loss)

    truth = np.array([[0.0]] * 20 + [[1.0]] * 20)
    scale, biases, said = fit(truth * 0.2 - 0.1, truth)
    assert np.isfinite([scale, *biases]).all()
    assert "perfectly separated" in said
    scale, biases, said = fit(-(truth * 0.2 - 0.1), truth)
    assert scale == calibration.SCALES[0]  # a turned label is not turned back
    assert "tell nothing" in said
    assert expit(biases) == pytest.approx([0.5], abs=1e-3)
    scale, biases, said = fit(np.zeros((40, 1)), np.array([[1.0]] * 10 + [[0.0]] * 30))
    assert expit(biases) == pytest.approx([0.25], abs=1e-6)
    assert said is None


def test_log_loss_is_scikit_learns():
    margins, truth = drawn()
    p = expit(margins)
    p[:, 2] = np.nan  # a label that stayed uncalibrated
    known = ~np.isnan(truth[:, [0, 1, 3]])
    wanted = reference_log_loss(truth[:, [0, 1, 3]][known], p[:, [0, 1, 3]][known])
    assert calibration.log_loss(p, truth) == pytest.approx(wanted)
    classes = np.random.default_rng(1).dirichlet([1, 1, 1], 30)
    number = np.arange(30) % 3
    assert calibration.log_loss(classes, number) == pytest.approx(reference_log_loss(number, classes))
    assert calibration.log_loss(classes, np.where(number == 2, -1, number)) == pytest.approx(
        reference_log_loss(number[number < 2], classes[number < 2], labels=[0, 1, 2])
    )
    assert calibration.log_loss(np.array([[0.0]]), np.array([[1.0]])) < math.inf


def test_temperature_is_the_best_of_a_grid():
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 4, 500)
    cosines = 0.1 * np.eye(4)[truth] + 0.07 * generator.normal(size=(500, 4))

    def loss(scale):
        return -log_softmax(scale * cosines, axis=1)[np.arange(500), truth].mean()

    best = min(np.geomspace(0.5, 500, 4000), key=loss)
    assert calibration.fit_classes(cosines, truth) == pytest.approx(best, rel=3e-3)


def test_probabilities_and_uncalibrated_labels():
    fitted = Calibration("c", "p", "multi_label", 2.0, biases={"A": -1.0})
    margins = np.array([[0.5, 0.1], [-1.0, 0.3]])
    found = fitted.of_labels(margins, ("A", "B"))
    assert found[:, 0] == pytest.approx(expit(2 * margins[:, 0] - 1))
    assert np.isnan(found[:, 1]).all()
    assert fitted.of_classes(margins).sum(axis=1) == pytest.approx([1, 1])
    assert calibration.sigmoid(np.array([-800.0, 0.0, 800.0])).tolist() == [0, 0.5, 1]


def test_kept_beside_the_checkpoint_under_the_hash_of_the_prompts(tmp_path):
    fitted = Calibration("c", "p", "multi_label", 2.0, biases={"A": -1.0}, prevalence={"A": 0.1})
    path = calibration.write(tmp_path, fitted)
    assert path == tmp_path / "calibration" / "p.json"
    assert json.loads(path.read_text())["format"] == 1
    assert calibration.read(tmp_path, checkpoint="c", prompts="p") == fitted
    assert calibration.read(tmp_path, checkpoint="c", prompts="q") is None
    assert calibration.read(tmp_path, checkpoint="other weights", prompts="p") is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1, "strange": 2}'])
def test_damage_and_newer_formats_are_said(tmp_path, text):
    path = calibration.file_of(tmp_path, "p")
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(CannotDo, match=r"p.json is damaged .*: remove it, and run `mmssl calibrate` again"):
        calibration.read(tmp_path, checkpoint="c", prompts="p")
    path.write_text('{"format": 2}')
    with pytest.raises(CannotDo, match="is of format 2, this mmssl reads up to 1: use a newer one"):
        calibration.read(tmp_path, checkpoint="c", prompts="p")

"""Every metric against scikit-learn, a loop over the definition, or a case worked out by hand."""

import itertools
import math
import time

import numpy as np
import pytest
from sklearn import metrics as reference

from mmssl import metrics

SHAPES = list(itertools.product((7, 50, 333), (None, 1, 0)))  # rows, decimals kept (few: many ties)


def drawn(rows, decimals, seed=0):
    generator = np.random.default_rng(seed + rows)
    truth = (generator.random(rows) < 0.4).astype(float)
    truth[:2] = 0, 1
    score = generator.normal(size=rows) + truth
    return truth, score if decimals is None else score.round(decimals)


@pytest.mark.parametrize(("rows", "decimals"), SHAPES)
def test_ranking_metrics_are_scikit_learns_also_with_ties(rows, decimals):
    truth, score = drawn(rows, decimals)
    assert metrics.auroc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score), abs=1e-12)
    assert metrics.auprc(truth, score) == pytest.approx(reference.average_precision_score(truth, score), abs=1e-12)


def test_all_scores_equal():
    assert metrics.auroc([1, 0, 0, 1, 0], [0.3] * 5) == 0.5
    assert metrics.auprc([1, 0, 0, 1, 0], [0.3] * 5) == pytest.approx(0.4)


@pytest.mark.parametrize("truth", [[1, 1, 1], [0, 0, 0], [math.nan] * 3, [1, math.nan, math.nan]])
def test_a_single_class_has_no_value(truth):
    score = [0.1, 0.2, 0.3]
    for metric in (metrics.auroc, metrics.auprc, metrics.balanced_accuracy, metrics.best_threshold):
        assert math.isnan(metric(truth, score))
    assert metrics.roc(truth, score)[0].size == 0


def test_unknown_truth_is_left_out_and_odd_values_are_refused():
    truth, score = drawn(50, None)
    gaps = truth.copy()
    gaps[::3] = np.nan
    known = ~np.isnan(gaps)
    assert metrics.auroc(gaps, score) == pytest.approx(reference.roc_auc_score(truth[known], score[known]))
    assert metrics.expected_calibration_error(gaps, truth) == 0
    with pytest.raises(ValueError, match=r"1, 0 or NaN, got \[-1.0\]"):
        metrics.auroc([1, 0, -1], [1, 2, 3])
    with pytest.raises(ValueError, match="1 of 3 are not"):
        metrics.auroc([1, 0, 1], [1, 2, np.nan])
    with pytest.raises(ValueError, match="equally long"):
        metrics.auroc([1, 0, 1], [1, 2])


def test_roc_curve_has_the_area_and_is_thinned():
    truth, score = drawn(5000, 2)
    false, true = metrics.roc(truth, score, points=10_000)
    assert np.trapezoid(true, false) == pytest.approx(metrics.auroc(truth, score), abs=1e-9)
    false, true = metrics.roc(truth, score, points=100)
    assert len(false) <= 101
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(metrics.auroc(truth, score), abs=2e-3)


@pytest.mark.parametrize(("rows", "decimals"), SHAPES)
def test_decisions_are_scikit_learns(rows, decimals):
    truth, score = drawn(rows, decimals)
    for threshold in (-0.5, 0.0, 0.7, 100.0):
        decided = score >= threshold
        assert metrics.balanced_accuracy(truth, decided) == pytest.approx(
            reference.balanced_accuracy_score(truth, decided)
        )
        assert metrics.f1(truth, decided) == pytest.approx(reference.f1_score(truth, decided, zero_division=0))
        assert metrics.f1_at(truth, score, threshold) == metrics.f1(truth, decided)


@pytest.mark.parametrize(("rows", "decimals"), SHAPES)
def test_the_best_threshold_is_the_best_of_all(rows, decimals):
    truth, score = drawn(rows, decimals)
    best = max(reference.f1_score(truth, score >= t) for t in [*score, -math.inf])
    assert metrics.f1_at(truth, score, metrics.best_threshold(truth, score)) == pytest.approx(best)
    assert metrics.best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.8]) == pytest.approx(0.4)  # half-way


@pytest.mark.parametrize(("rows", "decimals"), [(7, 1), (50, 1), (301, 6)])
def test_matthews_correlation_and_its_best_threshold_are_those_of_all_thresholds(rows, decimals):
    generator = np.random.default_rng(rows)
    for _ in range(1 + 100 // rows):
        truth, score = generator.random(rows) < 0.4, generator.random(rows).round(decimals)
        truth[:2] = (True, False)
        values = {limit: reference.matthews_corrcoef(truth, score >= limit) for limit in sorted(set(score))}
        for limit, value in values.items():
            assert metrics.mcc(truth, score >= limit) == pytest.approx(value, abs=1e-12)
        best = metrics.best_mcc_threshold(truth, score)
        assert best == min(limit for limit, value in values.items() if value > max(values.values()) - 1e-12)


def test_matthews_correlation_where_it_is_not_defined_and_of_weights():
    assert metrics.mcc([1, 0, 1], [1, 1, 1]) == 0
    assert math.isnan(metrics.mcc([1, 1], [1, 0]))
    assert math.isnan(metrics.best_mcc_threshold([0, 0], [0.1, 0.2]))
    truth, score = np.array([1, 0, 1, np.nan, 0]), np.array([0.9, 0.2, 0.4, 0.5, 0.6])
    times = np.array([[2, 1, 0, 5, 3], [1, 1, 1, 1, 1]])
    found = metrics.mcc_at(truth, score, 0.5)(times.astype(float))
    for draw, value in zip(times, found, strict=True):
        rows = [row for row in np.repeat(np.arange(5), draw) if row != 3]
        assert value == pytest.approx(reference.matthews_corrcoef(truth[rows], score[rows] >= 0.5))


def test_classes_are_scikit_learns():
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 4, 200)
    truth[truth == 2] = 3  # a class that is only ever predicted
    decided = np.where(generator.random(200) < 0.5, truth, generator.integers(0, 4, 200))
    ours = metrics.balanced_accuracy_of_classes(truth, decided)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert ours == pytest.approx(reference.balanced_accuracy_score(truth, decided))
    assert math.isnan(metrics.balanced_accuracy_of_classes([], []))


def test_calibration_error_by_hand():
    # Bin (.0, .1]: mean .075, none positive; bin (.9, 1]: mean .95, half positive.
    truth, probability = [0, 0, 1, 0], [0.05, 0.1, 0.9 + 1e-9, 1.0]
    assert metrics.expected_calibration_error(truth, probability, bins=10) == pytest.approx(0.5 * 0.075 + 0.5 * 0.45)
    mean, share, count = metrics.reliability(truth, probability, bins=10)
    assert mean == pytest.approx([0.075, 0.95])
    assert share.tolist() == [0, 0.5]
    assert count.tolist() == [2, 2]
    assert metrics.expected_calibration_error([0, 1], [0.0, 1.0]) == 0
    assert metrics.expected_calibration_error([1, 0], [0.0, 1.0]) == 1
    assert math.isnan(metrics.expected_calibration_error([], []))


def test_calibration_error_by_a_loop():
    generator = np.random.default_rng(2)
    probability = generator.random(500)
    truth = (generator.random(500) < probability**2).astype(float)
    total = 0.0
    for i in range(15):
        inside = (probability > i / 15) & (probability <= (i + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(truth[inside].mean() - probability[inside].mean())
    assert metrics.expected_calibration_error(truth, probability) == pytest.approx(total)


def test_bootstrap_draws_whole_patients():
    patients = ["a", "a", "a", "b", "c", "c"]
    drawn_weights = metrics.bootstrap(lambda w: w, patients, draws=200, seed=3)
    assert drawn_weights.shape == (200, 6)
    assert (drawn_weights[:, 0] == drawn_weights[:, 2]).all()
    assert (drawn_weights[:, 4] == drawn_weights[:, 5]).all()
    assert (drawn_weights[:, [0, 3, 4]].sum(axis=1) == 3).all()
    assert drawn_weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)
    again = metrics.bootstrap(lambda w: w, patients, draws=200, seed=3)
    assert (again == drawn_weights).all()
    assert (metrics.bootstrap(lambda w: w, patients, draws=200, seed=4) != drawn_weights).any()


def test_weights_are_repetitions():
    """A row that weighs three is a row that is there three times; the reference repeats rows."""
    truth, score = drawn(60, 1)
    weights = np.random.default_rng(5).integers(0, 4, (20, 60))
    ours = metrics.ranked(truth, score)(weights.astype(float))
    decided = metrics.decided_at(truth, score, 0.4)(weights.astype(float))
    for w, (area, average), (balanced, f) in zip(weights, ours, decided, strict=True):
        y, s = np.repeat(truth, w), np.repeat(score, w)
        assert area == pytest.approx(reference.roc_auc_score(y, s))
        assert average == pytest.approx(reference.average_precision_score(y, s))
        assert balanced == pytest.approx(reference.balanced_accuracy_score(y, s >= 0.4))
        assert f == pytest.approx(reference.f1_score(y, s >= 0.4))


def test_interval_is_that_of_hanley_and_mcneil_for_independent_rows():
    truth, score = drawn(400, None, seed=6)
    low, high = metrics.interval(metrics.bootstrap(metrics.ranked(truth, score), range(400))[:, 0])
    area, p, n = metrics.auroc(truth, score), truth.sum(), (1 - truth).sum()
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = math.sqrt((area * (1 - area) + (p - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (p * n))
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert low < area < high


def test_rows_of_one_patient_widen_the_interval():
    truth, score = drawn(100, None)
    truth, score = np.repeat(truth, 8), np.repeat(score, 8)
    statistic = metrics.ranked(truth, score)
    by_row = metrics.interval(metrics.bootstrap(statistic, range(800))[:, 0])
    by_patient = metrics.interval(metrics.bootstrap(statistic, np.arange(800) // 8)[:, 0])
    assert (by_patient[1] - by_patient[0]) > 2 * (by_row[1] - by_row[0])


def test_interval_of_draws_without_value():
    assert metrics.interval([0.1] * 60 + [math.nan] * 40) == pytest.approx([0.1, 0.1])
    assert metrics.interval([0.1] * 40 + [math.nan] * 60) is None
    assert metrics.interval([]) is None
    assert metrics.mean_of_known(np.array([[1, np.nan, 3], [np.nan] * 3]))[0] == 2
    assert np.isnan(metrics.mean_of_known(np.array([np.nan, np.nan])))


def test_fourteen_labels_a_thousand_rows_a_thousand_draws_take_seconds():
    generator = np.random.default_rng(7)
    truth = (generator.random((1000, 14)) < 0.2).astype(float)
    score = generator.normal(size=(1000, 14)) + truth
    labels = [metrics.ranked(truth[:, i], score[:, i]) for i in range(14)]
    start = time.perf_counter()
    values = metrics.bootstrap(lambda w: np.stack([label(w) for label in labels], axis=1), np.arange(1000) // 2)
    assert values.shape == (1000, 14, 2)
    assert time.perf_counter() - start < 5


def test_recall_by_hand():
    similarity = np.array([[0.9, 0.5, 0.1], [0.2, 0.9, 0.3], [0.3, 0.2, 0.1]])
    right = np.array([[1, 0, 0], [0, 0, 1], [0, 0, 0]])
    assert metrics.recall_at_k(similarity, right, 1).tolist() == [1, 0, 0]
    assert metrics.recall_at_k(similarity, right, 2).tolist() == [1, 1, 0]
    assert metrics.recall_at_k(similarity, right, 10).tolist() == [1, 1, 0]  # no right answer, no hit


@pytest.mark.parametrize("k", [1, 2, 4, 9])
def test_recall_with_ties_is_the_mean_over_random_orders(k):
    generator = np.random.default_rng(8)
    similarity = generator.integers(0, 3, (6, 7)).astype(float)
    right = generator.random((6, 7)) < 0.3
    hits = np.zeros(6)
    orders = 4000
    for _ in range(orders):
        shuffle = generator.permutation(7)
        order = shuffle[np.argsort(-similarity[:, shuffle], axis=1, kind="stable")]
        hits += np.take_along_axis(right, order, axis=1)[:, :k].any(axis=1)
    assert metrics.recall_at_k(similarity, right, k) == pytest.approx(hits / orders, abs=0.03)


def test_a_collapsed_model_scores_chance():
    right = np.eye(5, 40, dtype=bool)
    right[0, 7:12] = True
    same = np.ones((5, 40))
    chance = metrics.chance_at_k(right.sum(axis=1), 40, 10)
    assert metrics.recall_at_k(same, right, 10) == pytest.approx(chance)
    assert chance[1] == pytest.approx(10 / 40)
    assert chance[0] == pytest.approx(1 - math.comb(34, 10) / math.comb(40, 10))
    assert metrics.chance_at_k(np.array([3]), 5, 10) == pytest.approx([1])


def test_precision_by_hand():
    similarity = np.array([[0.9, 0.8, 0.1, 0.0], [0.1, 0.5, 0.5, 0.5]])
    labels = np.array([[1, np.nan], [0, np.nan], [1, 0], [1, 1]])
    two = metrics.precision_at_k(similarity, labels, 2)
    assert two[0, 0] == 0.5
    assert np.isnan(two[0, 1])  # neither hit is known
    assert two[1, 0] == pytest.approx(2 / 3)  # three tie for two places
    assert metrics.precision_at_k(similarity, labels, 10)[0, 0] == pytest.approx(3 / 4)


def test_precision_by_a_loop_over_random_orders():
    generator = np.random.default_rng(9)
    similarity = generator.integers(0, 4, (5, 8)).astype(float)
    labels = (generator.random((8, 3)) < 0.5).astype(float)
    total = np.zeros((5, 3))
    orders = 4000
    for _ in range(orders):
        shuffle = generator.permutation(8)
        order = shuffle[np.argsort(-similarity[:, shuffle], axis=1, kind="stable")]
        total += labels[order[:, :3]].mean(axis=1)
    assert metrics.precisions_at(similarity, labels, (1, 3))[:, 1] == pytest.approx(total / orders, abs=0.03)


def test_effective_rank_of_known_spectra():
    assert metrics.effective_rank(np.eye(12)) == pytest.approx(12)
    assert metrics.effective_rank(np.ones((30, 8))) == pytest.approx(1, abs=1e-6)
    assert metrics.effective_rank(np.zeros((3, 8))) == 1
    assert metrics.effective_rank(np.diag([3.0, 1.0])) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    )

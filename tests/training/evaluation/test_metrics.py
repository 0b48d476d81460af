from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)

from training.evaluation.figures import expected_calibration_error
from training.evaluation.metrics import METRICS, Estimate, drawn_metrics, draws, estimates, interval, weighted_metrics


def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores in steps of 0.05, so that many are equal, and labels that follow them a little."""
    generator = np.random.default_rng(seed)
    scores = generator.integers(1, 20, rows) / 20
    return scores, (generator.random(rows) < 0.2 + 0.6 * scores).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_metrics_are_scikit_learns_on_weighted_rows(seed: int) -> None:
    scores, targets = sample(200, seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, 200)).astype(np.float64)
    found = weighted_metrics(scores, targets, weights)
    labels = scores >= 0.5
    for row, drawn in enumerate(weights):
        for name, expected in {
            "f1": f1_score(targets, labels, sample_weight=drawn),
            "precision": precision_score(targets, labels, sample_weight=drawn),
            "recall": recall_score(targets, labels, sample_weight=drawn),
            "accuracy": accuracy_score(targets, labels, sample_weight=drawn),
            "mcc": matthews_corrcoef(targets, labels, sample_weight=drawn),
            "roc_auc": roc_auc_score(targets, scores, sample_weight=drawn),
            "pr_auc": average_precision_score(targets, scores, sample_weight=drawn),
            "brier": brier_score_loss(targets, scores, sample_weight=drawn),
            "nll": log_loss(targets, scores, sample_weight=drawn),
        }.items():
            assert found[name][row] == pytest.approx(expected, abs=1e-9), name


def test_weighted_metrics_when_a_row_weighs_two_are_those_of_the_row_twice() -> None:
    scores, targets = sample(60)
    weights = np.ones((1, 60))
    weights[0, :7] = 2
    doubled = np.r_[np.arange(60), np.arange(7)]
    once, twice = (
        weighted_metrics(scores, targets, weights),
        weighted_metrics(scores[doubled], targets[doubled], np.ones((1, 67))),
    )
    for name in set(METRICS) - {"ece_adaptive"}:  # whose bins follow the rows
        assert once[name][0] == pytest.approx(twice[name][0]), name


def test_ece_when_computed_by_hand() -> None:
    # Bins of width 1/15: 0.9 and 0.92 share [13/15, 14/15), 0.1 has [1/15, 2/15), 0.62 has [9/15, 10/15).
    scores, targets = np.array([0.9, 0.92, 0.1, 0.62]), np.array([1, 0, 0, 1])
    found = weighted_metrics(scores, targets, np.ones((1, 4)))
    by_score = (2 * abs(0.91 - 0.5) + 0.1 + 0.38) / 4
    # Confidence of the predicted class puts 0.1 beside the first two, as 0.9.
    by_confidence = (3 * abs((0.9 + 0.92 + 0.9) / 3 - 2 / 3) + 0.38) / 4
    assert found["ece_positive"][0] == pytest.approx(by_score)
    assert found["ece"][0] == pytest.approx(by_confidence)
    # Fewer rows than bins: each row is a bin.
    assert found["ece_adaptive"][0] == pytest.approx((0.1 + 0.92 + 0.1 + 0.38) / 4)


def test_ece_is_the_one_that_training_reports() -> None:
    scores, targets = sample(500)
    found = weighted_metrics(scores, targets, np.ones((1, 500)))["ece"][0]
    assert found == pytest.approx(expected_calibration_error(scores, targets))


def test_ece_adaptive_when_bins_hold_several_rows_averages_within_them() -> None:
    scores = np.linspace(0.01, 0.99, 30)
    targets = np.tile([0, 1], 15)
    pairs = scores.reshape(15, 2).mean(1)
    found = weighted_metrics(scores, targets, np.ones((1, 30)))["ece_adaptive"][0]
    assert found == pytest.approx(np.abs(pairs - 0.5).mean())


def test_estimates_when_one_class_is_missing_has_no_auc() -> None:
    found = estimates(np.array([0.2, 0.7, 0.9]), np.array([1, 1, 1]), np.arange(3), resamples=20)
    assert np.isnan(found["roc_auc"].value)
    assert found["roc_auc"].as_json() == {"value": None, "low": None, "high": None}
    assert found["recall"].value == pytest.approx(2 / 3)


def test_estimates_when_nothing_is_called_a_disaster_is_zero_and_not_undefined() -> None:
    found = estimates(np.array([0.2, 0.3, 0.1]), np.array([1, 0, 1]), np.arange(3), resamples=20)
    assert [found[name].value for name in ("f1", "precision", "mcc")] == [0.0, 0.0, 0.0]


def test_nll_when_a_score_is_zero_and_wrong_is_finite() -> None:
    found = weighted_metrics(np.array([0.0]), np.array([1]), np.ones((1, 1)))["nll"][0]
    assert found == pytest.approx(-np.log(5e-5))


def test_intervals_of_accuracy_are_those_of_a_share() -> None:
    targets = np.ones(2_000, dtype=np.int64)
    scores = np.r_[np.full(1_600, 0.9), np.full(400, 0.1)]
    found = estimates(scores, targets, np.arange(2_000))["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2_000)
    assert (found.low, found.high) == (pytest.approx(0.8 - half, abs=0.003), pytest.approx(0.8 + half, abs=0.003))


def test_draws_give_each_resample_as_many_rows_as_there_are() -> None:
    blocks = list(draws(np.arange(37), 130, seed=3))
    weights = np.concatenate(blocks)
    assert weights.shape == (130, 37)
    assert (weights.sum(1) == 37).all()
    assert len(np.unique(weights, axis=0)) == 130


def test_intervals_when_each_tweet_is_there_four_times_are_as_wide_as_without_the_copies() -> None:
    scores, targets = sample(300)
    alone = estimates(scores, targets, np.arange(300))["accuracy"]
    copies = estimates(np.tile(scores, 4), np.tile(targets, 4), np.tile(np.arange(300), 4))["accuracy"]
    assert (copies.value, copies.low, copies.high) == pytest.approx((alone.value, alone.low, alone.high))
    taken_apart = estimates(np.tile(scores, 4), np.tile(targets, 4), np.arange(1_200))["accuracy"]
    assert taken_apart.high - taken_apart.low < 0.6 * (copies.high - copies.low)


def test_drawn_metrics_when_seeds_are_equal_are_equal() -> None:
    scores, targets = sample(50)
    first, again, other = (drawn_metrics(scores, targets, np.arange(50), 30, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in METRICS)
    assert not np.array_equal(first["brier"], other["brier"])


def test_interval_when_often_undefined_is_undefined() -> None:
    drawn = np.r_[np.full(10, np.nan), np.full(90, 0.5)]
    assert np.isnan(interval(drawn)).all()
    assert interval(drawn[8:]) == (0.5, 0.5)


def test_estimate_as_json_rounds_to_four_decimals() -> None:
    assert Estimate(0.123456, 0.1, float("nan")).as_json() == {"value": 0.1235, "low": 0.1, "high": None}

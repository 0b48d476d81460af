"""Figures against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation.figures import decision_figures, expected_calibration_error, figures

PROBABILITIES = np.array([0.9, 0.8, 0.6, 0.5, 0.3, 0.2])
TARGETS = np.array([1, 0, 1, 1, 0, 1])


def test_figures_of_six_rows_are_those_worked_out_by_hand() -> None:
    found = figures(PROBABILITIES, TARGETS)
    assert found["n"] == 6
    assert found["precision"] == pytest.approx(3 / 4)
    assert found["recall"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(3 / 4)
    assert found["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert found["roc_auc"] == pytest.approx(4 / 8)  # of 8 pairs, .9 beats both; .6 and .5 beat .3; .2 none
    expected = -np.mean(np.log([0.9, 0.2, 0.6, 0.5, 0.7, 0.2]))
    assert found["nll"] == pytest.approx(expected, abs=1e-4)


def test_expected_calibration_error_of_two_bins_is_their_weighted_gap() -> None:
    probabilities = np.array([0.95] * 4 + [0.62] * 6)
    targets = np.array([1, 1, 1, 0, 1, 1, 1, 0, 0, 0])
    assert expected_calibration_error(probabilities, targets) == pytest.approx(0.4 * 0.2 + 0.6 * 0.12)


def test_expected_calibration_error_of_certain_and_right_is_zero() -> None:
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0.0


def test_expected_calibration_error_counts_confidence_in_the_negative_class() -> None:
    assert expected_calibration_error(np.array([0.1, 0.1]), np.array([1, 1])) == pytest.approx(0.9)


def test_decision_figures_of_six_rows_are_those_worked_out_by_hand() -> None:
    assert decision_figures(PROBABILITIES, TARGETS, below=0.25, from_on=0.6) == {
        "decided_share": pytest.approx(4 / 6, abs=1e-4),
        "decided_error_share": 0.5,
        "decided_disaster_error_share": pytest.approx(1 / 3, abs=1e-4),
        "decided_not_disaster_error_share": 1.0,
    }


def test_decision_figures_of_an_open_band_decide_nothing() -> None:
    assert set(decision_figures(PROBABILITIES, TARGETS, below=0.0, from_on=1.0).values()) == {0.0}

"""From logits to score to decision."""

from __future__ import annotations

import numpy as np
import pytest

from tweetclf.bundle import Thresholds
from tweetclf.calibration import decide, scores

LABELS = ("not_disaster", "disaster")


def test_scores_at_temperature_one_are_softmax() -> None:
    logits = np.array([[0.3, -1.2], [2.0, 2.0], [-4.0, 5.0]], dtype=np.float32)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(scores(logits, 1.0), softmax[:, 1], rtol=1e-6)


def test_scores_at_a_higher_temperature_move_towards_one_half() -> None:
    logits = np.array([[0.0, 3.0], [3.0, 0.0]], dtype=np.float32)
    sharp, soft = scores(logits, 1.0), scores(logits, 2.0)
    assert sharp[0] > soft[0] > 0.5 > soft[1] > sharp[1]


def test_scores_of_huge_logits_stay_finite() -> None:
    assert scores(np.array([[-3e38, 3e38], [3e38, -3e38]], dtype=np.float32), 0.01).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.0, "not_disaster"),
        (0.29, "not_disaster"),
        (0.3, "review"),
        (0.69, "review"),
        (0.7, "disaster"),
        (1.0, "disaster"),
    ],
)
def test_decide_at_the_borders_of_the_band(score: float, expected: str) -> None:
    assert decide(score, Thresholds(0.3, 0.7), LABELS) == expected

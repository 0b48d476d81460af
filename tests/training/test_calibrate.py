"""Temperature finds the factor that was applied; thresholds keep their promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from training.calibrate import CONFIDENCE, NEVER, fit_band, fit_temperature
from tweetclf.calibration import scores


def _sample(rows: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose margin, divided by `sharpness`, is the true log-odds, and labels drawn from it."""
    generator = np.random.default_rng(seed)
    margin = generator.normal(0, 2.5, rows)
    targets = (generator.random(rows) < 1 / (1 + np.exp(-margin))).astype(np.int64)
    logits = np.stack([np.zeros(rows), sharpness * margin], axis=1).astype(np.float32)
    return logits, targets


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_fit_temperature_of_sharpened_logits_finds_the_factor(sharpness: float) -> None:
    logits, targets = _sample(20_000, 0, sharpness)
    assert fit_temperature(logits, targets) == pytest.approx(sharpness, rel=0.05)


def test_fit_temperature_lowers_the_loss() -> None:
    logits, targets = _sample(500, 1, 5.0)

    def loss(temperature: float) -> float:
        score = np.clip(scores(logits, temperature), 1e-12, 1 - 1e-12)
        return float(-np.log(np.where(targets == 1, score, 1 - score)).mean())

    found = fit_temperature(logits, targets)
    assert loss(found) <= min(loss(temperature) for temperature in (1.0, 0.9 * found, 1.1 * found))


def test_fit_band_keeps_the_bound_on_each_side_and_cannot_be_wider() -> None:
    logits, targets = _sample(600, 2)
    band = fit_band(logits, targets, 1.0)
    score = scores(logits, 1.0)
    for decided, wrong_label in ((score >= band.disaster_from, 0), (score < band.not_disaster_below, 1)):
        count, errors = int(decided.sum()), int((targets[decided] == wrong_label).sum())
        assert count > 50
        assert beta.ppf(CONFIDENCE, errors + 1, count - errors) <= 0.08
    for wider in np.unique(score[(score >= 0.5) & (score < band.disaster_from)]):
        decided = score >= wider
        errors = int((targets[decided] == 0).sum())
        assert beta.ppf(CONFIDENCE, errors + 1, decided.sum() - errors) > 0.08
    assert 0 < band.coverage < 1
    assert band.error_share <= 0.08


def test_fit_band_of_noise_decides_nothing() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(400, 2)).astype(np.float32)
    band = fit_band(logits, generator.integers(0, 2, 400), 1.0)
    assert (band.not_disaster_below, band.disaster_from) == (0.0, NEVER)
    assert band.coverage == 0.0


def test_fit_band_of_a_perfect_model_decides_everything() -> None:
    logits, targets = _sample(400, 4)
    logits[:, 1] = np.where(targets == 1, 4.0, -4.0) + 0.01 * logits[:, 1]
    band = fit_band(logits, targets, 1.0)
    assert band.coverage == 1.0
    assert band.not_disaster_below <= band.disaster_from


def test_fit_band_of_equal_scores_decides_them_together() -> None:
    # 200 rows with one and the same score, a quarter of them wrong: no threshold may part them.
    logits = np.tile(np.array([[0.0, 2.0]], dtype=np.float32), (200, 1))
    targets = np.ones(200, dtype=np.int64)
    targets[150:] = 0
    assert fit_band(logits, targets, 1.0).disaster_from == NEVER

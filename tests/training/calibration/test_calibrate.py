"""Temperature and bias find what was applied."""

from __future__ import annotations

import numpy as np
import pytest

from training.calibration.calibrate import Scaling, fit_scaling, fit_temperature
from tweetclf.calibration import scores


def _sample(rows: int, seed: int, sharpness: float = 1.0, bias: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose margin / sharpness + bias is the true log-odds, and labels drawn from it."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(0, 2.5, rows)
    targets = (generator.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    logits = np.stack([np.zeros(rows), sharpness * (odds - bias)], axis=1).astype(np.float32)
    return logits, targets


def _loss(logits: np.ndarray, targets: np.ndarray, temperature: float) -> float:
    score = np.clip(scores(logits, temperature), 1e-12, 1 - 1e-12)
    return float(-np.log(np.where(targets == 1, score, 1 - score)).mean())


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_fit_temperature_of_sharpened_logits_finds_the_factor(sharpness: float) -> None:
    logits, targets = _sample(20_000, 0, sharpness)
    assert fit_temperature(logits, targets) == pytest.approx(sharpness, rel=0.05)


def test_fit_temperature_lowers_the_loss() -> None:
    logits, targets = _sample(500, 1, 5.0)
    found = fit_temperature(logits, targets)
    tried = [_loss(logits, targets, temperature) for temperature in (1.0, 0.9 * found, 1.1 * found)]
    assert _loss(logits, targets, found) <= min(tried)


@pytest.mark.parametrize(("sharpness", "bias"), [(1.0, -0.5), (2.0, 0.3), (0.5, 0.0)])
def test_fit_scaling_finds_factor_and_bias(sharpness: float, bias: float) -> None:
    found = fit_scaling(*_sample(20_000, 2, sharpness, bias))
    assert found.temperature == pytest.approx(sharpness, rel=0.06)
    assert found.bias == pytest.approx(bias, abs=0.06)


def test_margin_bias_added_to_the_logit_makes_the_temperature_enough() -> None:
    logits, targets = _sample(5_000, 3, 2.0, -0.6)
    found = fit_scaling(logits, targets)
    moved = logits + np.array([0.0, found.margin_bias], dtype=np.float32)
    assert fit_temperature(moved, targets) == pytest.approx(found.temperature, rel=0.01)
    assert fit_scaling(moved, targets).bias == pytest.approx(0.0, abs=0.01)
    assert Scaling(2.0, -0.25).margin_bias == -0.5

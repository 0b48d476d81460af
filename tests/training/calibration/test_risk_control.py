"""The thresholds keep the promise that is made of them, in the share of draws that is promised."""

from __future__ import annotations

import numpy as np
import pytest

from training.calibration.risk_control import DECIDED, NEVER, RISKS, SCOPES, SIDE, fit_band, risk_table
from training.errors import TrainingError

LIMIT, CONFIDENCE, DRAWS = 0.08, 0.9, 500
# Three standard errors of a share of 0.1 among DRAWS.
TOLERANCE = 3 * (0.1 * 0.9 / DRAWS) ** 0.5
GRID = np.linspace(0.0, 1.0, 20_001)[1:-1]


def _truth(noise: float) -> np.ndarray:
    """Return the true share of disasters at each score of GRID: the score itself, with a share of the labels wrong.

    The noise keeps the errors of the lowest scores close to the limit, as on Kaggle's labels.
    """
    return noise + (1 - 2 * noise) * GRID


def _draw(generator: np.random.Generator, rows: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    score = 1 / (1 + np.exp(-generator.normal(0, 2.5, rows)))
    targets = (generator.random(rows) < noise + (1 - 2 * noise) * score).astype(np.int64)
    return score, targets


def _density() -> np.ndarray:
    odds = np.log(GRID / (1 - GRID))
    density = np.exp(-((odds / 2.5) ** 2) / 2) / (GRID * (1 - GRID))
    return np.asarray(density / density.sum())


def _risks(below: float, from_on: float, noise: float) -> dict[str, float]:
    """Return the true share of errors among all that is decided, and on either side; 0 where nothing is."""
    weights, share = _density(), _truth(noise)
    upper, lower = from_on <= GRID, below > GRID
    wrong = {"upper": (weights * (1 - share))[upper].sum(), "lower": (weights * share)[lower].sum()}
    count = {"upper": weights[upper].sum(), "lower": weights[lower].sum()}
    total = sum(count.values())
    found = {side: wrong[side] / count[side] if count[side] else 0.0 for side in count}
    return {**found, "all": sum(wrong.values()) / total if total else 0.0}


@pytest.mark.parametrize("noise", [0.0, 0.04, 0.07, 0.075])
@pytest.mark.parametrize("scope", SCOPES)
def test_fit_band_of_many_draws_breaks_the_limit_as_seldom_as_promised(scope: str, noise: float) -> None:
    generator = np.random.default_rng(int(noise * 1_000))
    broken = {"all": 0, "upper": 0, "lower": 0}
    for _ in range(DRAWS):
        band = fit_band(*_draw(generator, 600, noise), LIMIT, CONFIDENCE, scope)
        for side, risk in _risks(band.not_disaster_below, band.disaster_from, noise).items():
            broken[side] += risk > LIMIT
    for side in ("all",) if scope == DECIDED else ("upper", "lower"):
        assert broken[side] / DRAWS <= 1 - CONFIDENCE + TOLERANCE, broken


def test_fit_band_with_a_limit_far_below_the_noise_decides_nothing() -> None:
    generator = np.random.default_rng(1)
    band = fit_band(*_draw(generator, 3_000, 0.2), 0.05)
    assert (band.not_disaster_below, band.disaster_from) == NEVER
    assert (band.coverage, band.error_share) == (0.0, 0.0)


def test_fit_band_of_more_rows_decides_more() -> None:
    generator = np.random.default_rng(2)
    coverage = [
        np.mean([fit_band(*_draw(generator, rows, 0.04)).coverage for _ in range(20)]) for rows in (300, 1_000, 4_000)
    ]
    assert coverage == sorted(coverage)
    assert coverage[-1] > coverage[0] + 0.05


@pytest.mark.parametrize("scope", SCOPES)
def test_fit_band_of_a_perfect_model_decides_everything(scope: str) -> None:
    generator = np.random.default_rng(4)
    targets = generator.integers(0, 2, 400)
    scores = np.where(targets == 1, 0.9, 0.1) + 0.05 * generator.random(400)
    band = fit_band(scores, targets, scope=scope)
    assert (band.coverage, band.error_share) == (1.0, 0.0)
    assert band.not_disaster_below <= band.disaster_from


def test_fit_band_of_equal_scores_never_parts_them() -> None:
    # 200 rows with one and the same score, a quarter of them wrong, and 200 clear ones.
    scores = np.r_[np.full(200, 0.88), np.linspace(0.02, 0.05, 200)]
    targets = np.r_[np.ones(150), np.zeros(250)].astype(np.int64)
    band = fit_band(scores, targets, scope=SIDE)
    assert band.disaster_from == NEVER[1]
    assert band.not_disaster_below > 0.049


def test_fit_band_per_side_of_a_pure_disaster_side_decides_that_side_only() -> None:
    generator = np.random.default_rng(5)
    scores = generator.random(2_000)
    targets = np.where(scores > 0.5, 1, generator.random(2_000) < 0.2).astype(np.int64)
    band = fit_band(scores, targets, scope=SIDE)
    assert band.not_disaster_below == NEVER[0]
    assert band.disaster_from == 0.5
    assert band.disaster_error_share == 0.0


def test_fit_band_of_all_scores_on_one_side_does_not_fail() -> None:
    scores, targets = np.linspace(0.6, 0.9, 300), np.ones(300, dtype=np.int64)
    for scope in SCOPES:
        assert fit_band(scores, targets, scope=scope).disaster_from == 0.5
        assert fit_band(1 - scores, 1 - targets, scope=scope).not_disaster_below in (0.0, 0.5)


def test_risk_table_has_each_risk_of_each_scope_and_looser_limits_decide_no_less_on_the_whole() -> None:
    table = risk_table(*_draw(np.random.default_rng(6), 3_000, 0.02))
    assert (table["confidence"], table["n"]) == (CONFIDENCE, 3_000)
    for scope in SCOPES:
        assert tuple(entry["max_error_share"] for entry in table[scope]) == RISKS
        coverages = [entry["coverage"] for entry in table[scope]]
        assert coverages[-1] > coverages[6] > coverages[0]
        assert all(entry["error_share"] <= entry["max_error_share"] for entry in table[scope])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_error_share": 0.0}, "max_error_share is 0.0"),
        ({"max_error_share": 0.5}, "expected a share between 0 and 0.5"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"scope": "both"}, r"scope is 'both'; expected one of \['decided', 'side'\]"),
        ({"targets": np.zeros(3, dtype=np.int64)}, "4 scores and 3 targets"),
    ],
)
def test_fit_band_with_a_wrong_setting_says_what_is_expected(changes: dict[str, object], message: str) -> None:
    arguments = {"scores": np.full(4, 0.5), "targets": np.zeros(4, dtype=np.int64), **changes}
    with pytest.raises(TrainingError, match=message):
        fit_band(**arguments)  # type: ignore[arg-type]

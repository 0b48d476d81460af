"""Choose the thresholds of `decision` so that the share of errors keeps a stated limit, with a guarantee.

Learn-then-Test: a sequence of ever wider bands is laid down before any label is looked at; each band has the null
hypothesis "decides with more errors than the limit", tested with the exact binomial p-value of its errors. Testing
stops at the first band whose hypothesis stands. The probability that the chosen band breaks the limit on new tweets
like the calibration rows is then at most 1 - confidence.

The bands end between ranks of the calibration scores. Given the score at the boundary, the rows beyond it are
independent draws of that side, so their errors are binomial; the sequence keeps its level as long as the share of
errors does not fall while bands get wider. docs/adr/0003 has the reasons, and why not MAPIE's own controller.

Source: Angelopoulos et al. 2021, arXiv:2110.01052, sections 2 and 3 (Learn-then-Test, fixed-sequence testing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from mapie.risk_control import control_fwer
from scipy.stats import binom

from training.errors import TrainingError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

DECIDED, SIDE = "decided", "side"
SCOPES = (DECIDED, SIDE)
MAX_ERROR_SHARE = 0.08
CONFIDENCE = 0.9
# What an operator may ask for without training anew: 2 to 20 %.
RISKS = tuple(round(percent / 100, 2) for percent in range(2, 21))
NEVER = (0.0, 1.0)

# Shares of the calibration rows. A sequence that starts with a handful of rows fails at once, since few rows refute
# nothing. The disaster side comes first: on Kaggle's labels it is the purer one. Chosen on trial models
# (docs/log/2026-11.md#threshold-guarantees);
# another choice costs coverage, never the guarantee.
_STEP = 0.01
_DISASTER_START = 0.1
_DISASTER_ALONE_TO = 0.2
_NOT_DISASTER_START = 0.2
_GRID = 10_000  # thresholds have the four decimals of a served score


@dataclass(frozen=True)
class Band:
    """Thresholds of `decision` with their guarantee, and what they did on the rows that they were chosen on.

    Args:
        not_disaster_below: decided `not_disaster` under it; 0 decides none.
        disaster_from: decided `disaster` from it on; 1 decides none.
        scope: DECIDED limits the errors among all decided tweets; SIDE those of either side by itself.
        max_error_share: the limit that is guaranteed.
        confidence: of the guarantee, for each sequence of tests: one for DECIDED, one a side for SIDE.
        n: calibration rows.
        coverage: share of them that is decided.
        error_share: of the decided ones that is wrong, as observed; below the limit by what the guarantee costs.
        disaster_error_share: the same of those decided `disaster`; 0 when none is.
        not_disaster_error_share: of those decided `not_disaster`.
    """

    not_disaster_below: float
    disaster_from: float
    scope: str
    max_error_share: float
    confidence: float
    n: int
    coverage: float
    error_share: float
    disaster_error_share: float
    not_disaster_error_share: float


def fit_band(
    scores: Floats,
    targets: Labels,
    max_error_share: float = MAX_ERROR_SHARE,
    confidence: float = CONFIDENCE,
    scope: str = DECIDED,
) -> Band:
    """Return the widest band whose share of errors is, with the confidence, at most `max_error_share`.

    Args:
        scores: (rows,) p(disaster) of tweets that were neither trained on nor used for figures.
        targets: (rows,) 0 or 1.
        max_error_share: in (0, 0.5).
        confidence: in (0.5, 1).
        scope: DECIDED or SIDE.

    Raises:
        TrainingError: a setting is out of range, or there is no row.
    """
    _check(scores, targets, max_error_share, confidence, scope)
    if scope == DECIDED:
        below, from_on = _widest(_joint_sequence(scores), scores, targets, max_error_share, confidence)
    else:
        from_on = _widest(_disaster_sequence(scores), scores, targets, max_error_share, confidence)[1]
        below = _widest(_not_disaster_sequence(scores), scores, targets, max_error_share, confidence)[0]
    upper, lower = scores >= from_on, scores < below
    wrong_upper, wrong_lower = int((targets[upper] == 0).sum()), int((targets[lower] == 1).sum())
    decided = int(upper.sum() + lower.sum())
    return Band(
        not_disaster_below=below,
        disaster_from=from_on,
        scope=scope,
        max_error_share=max_error_share,
        confidence=confidence,
        n=len(scores),
        coverage=round(decided / len(scores), 4),
        error_share=_share(wrong_upper + wrong_lower, decided),
        disaster_error_share=_share(wrong_upper, int(upper.sum())),
        not_disaster_error_share=_share(wrong_lower, int(lower.sum())),
    )


def risk_table(scores: Floats, targets: Labels, confidence: float = CONFIDENCE) -> dict[str, Any]:
    """Return, for each of SCOPES and RISKS, the band of `fit_band`: what a bundle carries for its operators.

    Each row has its own guarantee; picking a row after having seen its coverage is picking a limit, which is free.
    """
    table: dict[str, Any] = {"confidence": confidence, "n": len(scores)}
    for scope in SCOPES:
        bands = [fit_band(scores, targets, risk, confidence, scope) for risk in RISKS]
        table[scope] = [
            {
                "max_error_share": band.max_error_share,
                "not_disaster_below": band.not_disaster_below,
                "disaster_from": band.disaster_from,
                "coverage": band.coverage,
                "error_share": band.error_share,
            }
            for band in bands
        ]
    return table


def _widest(
    sequence: Floats, scores: Floats, targets: Labels, max_error_share: float, confidence: float
) -> tuple[float, float]:
    """Return the last band of a sequence (bands, 2) that the tests reach, NEVER when they do not pass the first."""
    upper, lower = scores >= sequence[:, 1:], scores < sequence[:, :1]
    errors = (upper & (targets == 0)).sum(1) + (lower & (targets == 1)).sum(1)
    p_values = binom.cdf(errors, upper.sum(1) + lower.sum(1), max_error_share)
    passed = control_fwer(p_values, 1 - confidence, fwer_method="fixed_sequence")
    if not len(passed):
        return NEVER
    below, from_on = sequence[passed[-1]]
    return float(below), float(from_on)


def _disaster_sequence(scores: Floats, stop: float = 1.0) -> Floats:
    """Return bands that decide `disaster` alone, for a growing share of the rows up to `stop`, never under 0.5."""
    ranked = np.sort(scores)[::-1]
    uppers = [_above(ranked[rank]) for rank in _ranks(len(scores), _DISASTER_START, stop) if ranked[rank] >= 0.5]
    uppers += [0.5] if stop == 1.0 else []
    return np.array([(NEVER[0], upper) for upper in uppers]).reshape(-1, 2)


def _not_disaster_sequence(scores: Floats) -> Floats:
    """Return bands that decide `not_disaster` alone, for a growing share of the rows, never over 0.5."""
    ranked = np.sort(scores)
    lowers = [_under(ranked[rank]) for rank in _ranks(len(scores), _NOT_DISASTER_START, 1.0) if ranked[rank] <= 0.5]
    return np.array([(lower, NEVER[1]) for lower in (*lowers, 0.5)])


def _joint_sequence(scores: Floats) -> Floats:
    """Return bands that decide `disaster` alone first, then both sides in the order of their confidence."""
    alone = _disaster_sequence(scores, _DISASTER_ALONE_TO)
    first = float(alone[-1, 1]) if len(alone) else NEVER[1]
    confidence = np.where(scores >= first, 2.0, np.maximum(scores, 1 - scores))
    ranked = np.sort(confidence)[::-1]
    bands: list[tuple[float, float]] = []
    for rank in _ranks(len(scores), float((confidence == 2.0).mean()) + _STEP, 1.0):
        edge = _above(ranked[rank])
        bands.append((round(1 - edge, 4), min(first, edge)))
    return np.concatenate([alone, np.array([*bands, (0.5, 0.5)])])


def _ranks(count: int, start: float, stop: float) -> list[int]:
    """Return how many rows each band holds, from the share `start` on; the row of that rank is the first left out."""
    shares = np.arange(start, stop + _STEP / 2, _STEP)
    ranks = np.unique(np.round(shares * count).astype(np.int64))
    return [int(rank) for rank in ranks if 0 < rank < count]


def _above(score: float) -> float:
    """Return the lowest threshold on the grid that leaves the score out from below."""
    return float(min(1.0, (np.floor(score * _GRID) + 1) / _GRID))


def _under(score: float) -> float:
    """Return the highest threshold on the grid that leaves the score out from above."""
    return float(np.floor(score * _GRID) / _GRID)


def _share(part: int, whole: int) -> float:
    return round(part / max(1, whole), 4)


def _check(scores: Floats, targets: Labels, max_error_share: float, confidence: float, scope: str) -> None:
    if not 0 < max_error_share < 0.5:
        raise TrainingError(f"max_error_share is {max_error_share}; expected a share between 0 and 0.5")
    if not 0.5 < confidence < 1:
        raise TrainingError(f"confidence is {confidence}; expected a share between 0.5 and 1")
    if scope not in SCOPES:
        raise TrainingError(f"scope is {scope!r}; expected one of {list(SCOPES)}")
    if len(scores) != len(targets) or not len(scores):
        raise TrainingError(f"{len(scores)} scores and {len(targets)} targets; expected as many of both, and some")

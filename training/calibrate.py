"""Fit what turns logits into a trustworthy score: temperature, and the band in which a person must look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import beta

from tweetclf.calibration import scores

MAX_ERROR_SHARE = 0.08
# Of 0.5 to 0.9, the highest at which some 660 rows with labels as noisy as Kaggle's let both sides decide anything
# (docs/log.md): one tweet in fifteen of those that look least like a disaster is labelled as one.
CONFIDENCE = 0.7
_TEMPERATURES = (0.05, 20.0)
NEVER = 1.0


@dataclass(frozen=True)
class Band:
    """Thresholds of `decision` with what they did on the tweets that they were chosen on.

    Args:
        not_disaster_below: decided `not_disaster` under it.
        disaster_from: decided `disaster` from it on.
        coverage: share of the tweets that is decided.
        error_share: of the decided tweets that is wrong, as observed (not the bound).
    """

    not_disaster_below: float
    disaster_from: float
    coverage: float
    error_share: float


def fit_temperature(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Return the temperature that minimises the negative log-likelihood.

    Args:
        logits: (rows, 2) float32 of tweets that were neither trained on nor used for figures.
        targets: (rows,) 0 or 1.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        # The logarithm of a sigmoid, without overflow: -log p = log(1 + exp(-margin)).
        margin = (logits[:, 1] - logits[:, 0]).astype(np.float64) / np.exp(log_temperature)
        return float(np.logaddexp(0.0, np.where(targets == 1, -margin, margin)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def fit_band(
    logits: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    temperature: float,
    max_error_share: float = MAX_ERROR_SHARE,
) -> Band:
    """Return the widest decided sides whose error share is, by a 70 % upper bound, at most `max_error_share`.

    Each side by itself: of the thresholds that lie between the scores, the one that decides most tweets while
    the one-sided Clopper-Pearson bound of its errors stays within the limit. The bound holds for one threshold;
    choosing among many makes it a little too hopeful, so the errors on other tweets belong beside it (`dev` in
    training.json). A side that no threshold satisfies is never decided.

    Args:
        logits: (rows, 2) float32 of tweets that were neither trained on nor used for figures.
        targets: (rows,) 0 or 1.
        temperature: of the scores.
        max_error_share: of the tweets decided on a side.

    Source: Clopper and Pearson 1934.
    """
    score = scores(logits, temperature)
    upper = _side(score, targets == 0, max_error_share)
    lower = 1.0 - _side(1.0 - score, targets == 1, max_error_share)
    decided = (score >= upper) | (score < lower)
    wrong = decided & ((score >= 0.5) != (targets == 1))
    return Band(
        not_disaster_below=round(lower, 4),
        disaster_from=round(upper, 4),
        coverage=round(float(decided.mean()), 4),
        error_share=round(float(wrong.sum() / max(1, decided.sum())), 4),
    )


def _side(score: npt.NDArray[np.float64], is_error: npt.NDArray[np.bool_], limit: float) -> float:
    """Return the lowest threshold >= 0.5 from which on the bound of the errors is within the limit."""
    order = np.argsort(-score, kind="stable")
    ranked, errors = score[order], np.cumsum(is_error[order])
    counts = np.arange(1, len(ranked) + 1)
    bounds = np.where(errors < counts, beta.ppf(CONFIDENCE, errors + 1, np.maximum(counts - errors, 1e-9)), 1.0)
    # A threshold lies between two different scores, so that equal ones are decided together.
    ends = np.append(ranked[:-1] > ranked[1:], True)
    allowed = np.flatnonzero((bounds <= limit) & ends & (ranked >= 0.5))
    if not len(allowed):
        return NEVER
    last = allowed[-1]
    below = ranked[last + 1] if last + 1 < len(ranked) else 0.5
    return float((ranked[last] + max(below, 0.5)) / 2)

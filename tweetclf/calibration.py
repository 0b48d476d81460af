"""Turn logits into a calibrated score and a decision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tweetclf.bundle import Thresholds

REVIEW = "review"
# Float32 sums in another order in another batch, about 1e-7 apart: no digit below says anything of the tweet.
SCORE_DECIMALS = 4


def scores(logits: npt.NDArray[np.float32], temperature: float) -> npt.NDArray[np.float64]:
    """Return the calibrated probability of the last label.

    Args:
        logits: (tweets, 2) float32, order [not_disaster, disaster].
        temperature: > 0, fitted on validation tweets only; 1 changes nothing.

    Returns:
        (tweets,) float64 in [0, 1]. Float64 keeps the order of scores close to 1.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 9 (temperature scaling), for two classes.
    """
    margin = (logits[:, 1].astype(np.float64) - logits[:, 0].astype(np.float64)) / temperature
    # Written with tanh because exp of a large negative margin overflows.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)), dtype=np.float64)


def shown(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return scores as an answer shows them, with SCORE_DECIMALS; label and decision follow from these.

    Args:
        score: (tweets,) float64 in [0, 1].
    """
    return np.round(score, SCORE_DECIMALS)


def decide(score: float, thresholds: Thresholds, labels: tuple[str, ...]) -> str:
    """Return the label that the model takes by itself, or `review` when a person must look.

    Args:
        score: calibrated probability of the last label, as shown: a caller who applies the thresholds to what
            the answer says comes to the same decision.
        thresholds: the band; its ends come from the bundle or from the operator.
        labels: names in logit order.
    """
    if score >= thresholds.disaster_from:
        return labels[-1]
    if score < thresholds.not_disaster_below:
        return labels[0]
    return REVIEW

"""Fit what turns logits into a trustworthy score: a temperature, and a bias where it is wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar

_TEMPERATURES = (0.05, 20.0)
_BIASES = (-5.0, 5.0)


@dataclass(frozen=True)
class Scaling:
    """The score is the logistic function of margin / temperature + bias.

    Args:
        temperature: > 0; above 1 where the model is too sure.
        bias: in log-odds; below 0 where the model says `disaster` too often.
    """

    temperature: float
    bias: float

    @property
    def margin_bias(self) -> float:
        """Return what, added to the logit of `disaster`, does the same as the bias: it can live in the head."""
        return self.bias * self.temperature


def fit_temperature(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Return the temperature that minimises the negative log-likelihood.

    Args:
        logits: (rows, 2) float32 of tweets that were neither trained on nor used for figures.
        targets: (rows,) 0 or 1.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    margin = _margin(logits)
    found = minimize_scalar(
        lambda log_temperature: _loss(margin / np.exp(log_temperature), targets),
        bounds=tuple(np.log(_TEMPERATURES)),
        method="bounded",
    )
    return round(float(np.exp(found.x)), 4)


def fit_scaling(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> Scaling:
    """Return temperature and bias that minimise the negative log-likelihood together.

    A model trained on one row a distinct text, or on a mixture with other collections, meets another share of
    disasters than it will be asked about; a temperature alone cannot mend that.

    Args:
        logits: (rows, 2) float32 of tweets that were neither trained on nor used for figures.
        targets: (rows,) 0 or 1.

    Source: Platt 1999, Probabilistic Outputs for Support Vector Machines, section 2.
    """
    margin = _margin(logits)
    found = minimize(
        lambda values: _loss(margin / np.exp(values[0]) + values[1], targets),
        x0=np.zeros(2),
        bounds=(tuple(np.log(_TEMPERATURES)), _BIASES),
        method="L-BFGS-B",
    )
    return Scaling(round(float(np.exp(found.x[0])), 4), round(float(found.x[1]), 4))


def _margin(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(logits[:, 1].astype(np.float64) - logits[:, 0].astype(np.float64))


def _loss(log_odds: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> float:
    # The logarithm of a sigmoid, without overflow: -log p = log(1 + exp(-margin)).
    return float(np.logaddexp(0.0, np.where(targets == 1, -log_odds, log_odds)).mean())

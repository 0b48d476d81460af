"""Figures of a binary classifier with bootstrap intervals, for many resamples of the rows at once.

A resample is a row of weights (how often each tweet was drawn), so the figure itself is the resample of ones and
both come from the same code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

BINS = 15
RESAMPLES = 1_000
INTERVAL = (2.5, 97.5)  # percentiles
# Served scores have four decimals: 0.0000 stands for anything below half a step, which log() must not read as never.
CLIP = 5e-5
METRICS = (
    "f1", "precision", "recall", "accuracy", "mcc", "roc_auc", "pr_auc",
    "ece", "ece_positive", "ece_adaptive", "brier", "nll",
)  # fmt: skip
_BLOCK = 100  # resamples at once: 14 MB of weights for 17,000 tweets


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: on all rows; NaN where it is not defined (ROC-AUC with one class).
        low, high: ends of the 95 % percentile bootstrap interval.
    """

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """Return value, low and high to four decimals; null for NaN, which JSON does not have."""
        return {
            name: None if np.isnan(number) else round(float(number), 4)
            for name, number in (("value", self.value), ("low", self.low), ("high", self.high))
        }


def estimates(
    scores: Floats, targets: Labels, groups: Labels, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Return each of METRICS with its interval.

    Args:
        scores: (rows,) p(disaster) in [0, 1].
        targets: (rows,) 0 or 1.
        groups: (rows,) numbers; rows of a group are drawn together, since copies of a tweet are no new evidence.
        resamples: of the bootstrap.
        seed: of the draw; equal seeds draw the same rows for every system, so their differences are paired.
    """
    points = weighted_metrics(scores, targets, np.ones((1, len(targets))))
    return with_intervals(points, drawn_metrics(scores, targets, groups, resamples, seed))


def drawn_metrics(
    scores: Floats, targets: Labels, groups: Labels, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Floats]:
    """Return each of METRICS in each resample, (resamples,); see `estimates`."""
    blocks = [weighted_metrics(scores, targets, weights) for weights in draws(groups, resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS}


def with_intervals(points: Mapping[str, Floats], drawn: Mapping[str, Floats]) -> dict[str, Estimate]:
    """Return estimates from figures on all rows, (1,), and in the resamples, (resamples,)."""
    return {name: Estimate(float(points[name][0]), *interval(drawn[name])) for name in points}


def paired_differences(
    left: Mapping[str, Floats],
    right: Mapping[str, Floats],
    drawn_left: Mapping[str, Floats],
    drawn_right: Mapping[str, Floats],
    names: Iterable[str],
) -> dict[str, dict[str, float | None]]:
    """Return left minus right as JSON, from figures on all rows, (1,), and in the same resamples, (resamples,)."""
    return {
        name: Estimate(float(left[name][0] - right[name][0]), *interval(drawn_left[name] - drawn_right[name])).as_json()
        for name in names
    }


def interval(drawn: Floats) -> tuple[float, float]:
    """Return the ends of the 95 % interval; NaN when the figure is undefined in more than 5 % of the resamples.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
    """
    defined = drawn[~np.isnan(drawn)]
    if len(defined) < 0.95 * len(drawn):
        return float("nan"), float("nan")
    low, high = np.percentile(defined, INTERVAL)
    return float(low), float(high)


def draws(groups: Labels, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks (some resamples, rows) of weights: how often each row's group was drawn, with replacement.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8 (cluster bootstrap).
    """
    names, of_row = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        drawn = generator.integers(0, len(names), (size, len(names))) + np.arange(size)[:, None] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=size * len(names)).reshape(size, len(names))
        yield counts[:, of_row].astype(np.float64)


def weighted_metrics(scores: Floats, targets: Labels, weights: Floats) -> dict[str, Floats]:
    """Return each of METRICS for each row of weights.

    Args:
        scores: (rows,) p(disaster) in [0, 1].
        targets: (rows,) 0 or 1.
        weights: (resamples, rows) >= 0.

    Returns:
        name -> (resamples,). `ece`: confidence of the predicted class against accuracy, 15 equal-width bins over
        [0, 1]; `ece_positive`: score against share of disasters, 15 equal-width bins; `ece_adaptive`: the same over
        15 bins of equal count, whose borders are those of all rows. NLL in nats, scores clipped to CLIP.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3 (ECE); Nixon et al. 2019, arXiv:1904.01685, section 3
    (adaptive bins); Matthews 1975 (MCC).
    """
    positive = targets == 1
    predicted = scores >= 0.5
    total = weights.sum(1)
    hits, false_alarms = weights @ (positive & predicted), weights @ (~positive & predicted)
    misses, rests = weights @ (positive & ~predicted), weights @ (~positive & ~predicted)
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    confidence = np.maximum(scores, 1 - scores)
    right = (predicted == positive).astype(np.float64)
    return {
        "f1": _share(2 * hits, 2 * hits + false_alarms + misses, 0.0),
        "precision": _share(hits, hits + false_alarms, 0.0),
        "recall": _share(hits, hits + misses),
        "accuracy": (hits + rests) / total,
        "mcc": _share(
            hits * rests - false_alarms * misses,
            np.sqrt((hits + false_alarms) * (hits + misses) * (rests + false_alarms) * (rests + misses)),
            0.0,
        ),
        **_ranking(scores, positive, weights),
        "ece": _gap(_equal_width(confidence), confidence - right, weights) / total,
        "ece_positive": _gap(_equal_width(scores), scores - positive, weights) / total,
        "ece_adaptive": _gap(_equal_count(scores), scores - positive, weights) / total,
        "brier": weights @ (scores - positive) ** 2 / total,
        "nll": weights @ -np.log(np.where(positive, clipped, 1 - clipped)) / total,
    }


def _share(part: Floats, whole: Floats, undefined: float = float("nan")) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, undefined, dtype=np.float64), where=whole > 0)


def _ranking(scores: Floats, positive: npt.NDArray[np.bool_], weights: Floats) -> dict[str, Floats]:
    """Return ROC-AUC (ties count half) and PR-AUC (average precision, without interpolation).

    Source: scikit-learn's roc_auc_score and average_precision_score with sample_weight.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    drawn = weights[:, order]
    positives = np.add.reduceat(drawn * positive[order], starts, axis=1)
    negatives = np.add.reduceat(drawn * ~positive[order], starts, axis=1)
    above, false_alarms = positives.cumsum(1), negatives.cumsum(1)
    all_positive, all_negative = above[:, -1], false_alarms[:, -1]
    outranked = (negatives * (above - positives / 2)).sum(1)
    precision = _share(above, above + false_alarms, 0.0)
    return {
        "roc_auc": _share(outranked, all_positive * all_negative),
        "pr_auc": _share((positives * precision).sum(1), all_positive),
    }


def _gap(bins: Labels, difference: Floats, weights: Floats) -> Floats:
    """Return the sum over bins of the absolute weighted sum of the differences."""
    columns = np.zeros((len(bins), BINS))
    columns[np.arange(len(bins)), bins] = difference
    return np.asarray(np.abs(weights @ columns).sum(1), dtype=np.float64)


def _equal_width(values: Floats) -> Labels:
    return np.minimum((values * BINS).astype(np.int64), BINS - 1)


def _equal_count(values: Floats) -> Labels:
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks * BINS // len(values)

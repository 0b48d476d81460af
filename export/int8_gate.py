"""Judge an int8 network: may it be served in place of the trained one?

Two measures: how often the label differs, and how far the score moves. A label differs where the trained network is
undecided itself, so a handful of texts says little about the first. The second says much, even on few texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.data.encoding import pad
from tweetclf.calibration import scores
from tweetclf.engines import Engine

LARGEST_DIFFERING_SHARE = 0.015  # of the labels
# Of so many texts the share is taken as it is found. Fewer are judged with an allowance for chance.
LARGE_SAMPLE = 1_000
CONFIDENCE = 0.99  # of the allowance: a network with just the largest share passes so often
# Measured: 0.006 with VNNI and 8 bits, 0.008 to 0.011 on AVX2 with 7 bits. At 0.02 some three labels of a hundred would
# differ.
LARGEST_MEAN_DRIFT = 0.02
GATE_BATCH = 16


@dataclass(frozen=True)
class Fidelity:
    """How close the int8 answers are to the float32 ones.

    Args:
        texts: `real tweets`, or `own-written tweets held out` where there are none.
        n: how many.
        differing: how many have another label.
        mean_score_drift: mean absolute difference of the calibrated score.
        p99_score_drift: its 99th percentile.
        largest_score_drift: its maximum.
    """

    texts: str
    n: int
    differing: int
    mean_score_drift: float
    p99_score_drift: float
    largest_score_drift: float

    @property
    def agreement(self) -> float:
        """Return the share of equal labels, with four decimals."""
        return round(1 - self.differing / self.n, 4)

    @property
    def margin(self) -> int:
        """Return how many more labels may differ; negative where too many do."""
        return allowed_differences(self.n) - self.differing

    @property
    def passes(self) -> bool:
        """Tell whether the network may be served."""
        return self.margin >= 0 and self.mean_score_drift <= LARGEST_MEAN_DRIFT

    def summary(self) -> str:
        """Return what was found, what is needed, and what is left between them, in one line."""
        needed = 1 - allowed_differences(self.n) / self.n
        return (
            f"agreement {self.agreement:.4f} of {needed:.4f} needed, margin {self.margin} of {self.n:,} {self.texts}; "
            f"mean score drift {self.mean_score_drift:.4f} of at most {LARGEST_MEAN_DRIFT}, "
            f"largest {self.largest_score_drift:.4f}"
        )


def allowed_differences(n: int) -> int:
    """Return how many labels of `n` may differ.

    Of a large sample, LARGEST_DIFFERING_SHARE. Of a small one, as many as a network with just that share exceeds in one
    of a hundred draws: 67 texts allow 4, where the share alone would allow 1 and refuse such a network every fourth
    time.
    """
    if n >= LARGE_SAMPLE:
        return int(n * LARGEST_DIFFERING_SHARE + 1e-9)
    share, below, allowed = LARGEST_DIFFERING_SHARE, 0.0, -1
    while below < CONFIDENCE:
        allowed += 1
        below += comb(n, allowed) * share**allowed * (1 - share) ** (n - allowed)
    return allowed


def measure_fidelity(
    classifier: nn.Module, engine: Engine, encoded: Sequence[Sequence[int]], temperature: float, kind: str
) -> Fidelity:
    """Compare an engine with the eager model.

    Args:
        classifier: eager, float32.
        engine: the one under test.
        encoded: token ids of each text.
        temperature: of the calibrated score.
        kind: name of the texts.
    """
    expected = np.empty((len(encoded), 2), dtype=np.float32)
    found = np.empty_like(expected)
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    for start in range(0, len(order), GATE_BATCH):
        rows = order[start : start + GATE_BATCH]
        batch = [encoded[row] for row in rows]
        expected[rows] = _eager_logits(classifier, batch)
        found[rows] = engine.logits(batch)
    drift = np.abs(scores(found, temperature) - scores(expected, temperature))
    differing = int(np.sum(found.argmax(1) != expected.argmax(1)))
    figures = (drift.mean(), np.quantile(drift, 0.99), drift.max())
    return Fidelity(kind, len(encoded), differing, *(round(float(figure), 4) for figure in figures))


def _eager_logits(classifier: nn.Module, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(classifier(*pad(batch)).numpy(), dtype=np.float32)

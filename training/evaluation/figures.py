"""Figures of a binary classifier, from probabilities and labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score, roc_auc_score

ECE_BINS = 15
Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def figures(probabilities: Floats, targets: Labels) -> dict[str, float | int]:
    """Return F1, precision and recall of `disaster`, accuracy, ROC-AUC, NLL (nats) and ECE (15 bins) at 0.5.

    Args:
        probabilities: (rows,) p(disaster).
        targets: (rows,) 0 or 1, both present.
    """
    labels = (probabilities >= 0.5).astype(np.int64)
    return {
        "n": len(targets),
        "f1": round(float(f1_score(targets, labels)), 4),
        "accuracy": round(float(accuracy_score(targets, labels)), 4),
        "precision": round(float(precision_score(targets, labels, zero_division=0.0)), 4),
        "recall": round(float(recall_score(targets, labels)), 4),
        "roc_auc": round(float(roc_auc_score(targets, probabilities)), 4),
        "nll": round(float(log_loss(targets, probabilities, labels=[0, 1])), 4),
        "ece_15_bins": round(expected_calibration_error(probabilities, targets), 4),
    }


def decision_figures(probabilities: Floats, targets: Labels, below: float, from_on: float) -> dict[str, float]:
    """Return what the band of `review` leaves to the model, and how often it is wrong there.

    Args:
        probabilities: (rows,) p(disaster), calibrated.
        targets: (rows,) 0 or 1.
        below: decided `not_disaster` under it.
        from_on: decided `disaster` from it on.

    Returns:
        Shares in [0, 1]: of all rows that is decided; wrong of the decided, and of those on either side (0 when
        none is).
    """
    sides = {"disaster": (probabilities >= from_on, 0), "not_disaster": (probabilities < below, 1)}
    wrong = {name: int((targets[decided] == other).sum()) for name, (decided, other) in sides.items()}
    count = {name: int(decided.sum()) for name, (decided, _) in sides.items()}
    total = sum(count.values())
    return {
        "decided_share": round(total / len(targets), 4),
        "decided_error_share": round(sum(wrong.values()) / max(1, total), 4),
        **{f"decided_{name}_error_share": round(wrong[name] / max(1, count[name]), 4) for name in sides},
    }


def expected_calibration_error(probabilities: Floats, targets: Labels, bins: int = ECE_BINS) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence, in [0, 1].

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3; confidence is that of the predicted class.
    """
    confidence = np.maximum(probabilities, 1 - probabilities)
    right = (probabilities >= 0.5) == (targets == 1)
    position = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    error = 0.0
    for index in np.unique(position):
        inside = position == index
        error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)

"""Put figures of one model and its baselines together: the content of report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import beta

from training.calibration.risk_control import MAX_ERROR_SHARE, SCOPES
from training.data.labels import KAGGLE
from training.evaluation.answer_sources import Answers
from training.evaluation.evaluation_rows import SPLITS, T26_UNSEEN, EvaluationRows
from training.evaluation.metrics import (
    BINS,
    CLIP,
    RESAMPLES,
    Estimate,
    Floats,
    drawn_metrics,
    estimates,
    paired_differences,
    weighted_metrics,
    with_intervals,
)
from training.evaluation.slices import slices
from training.model.model import LABELS
from tweetclf.calibration import REVIEW

MODEL = "model"
MIN_SLICE_ROWS = 20
# Differences to a baseline are told for figures that a reader would rank systems by.
COMPARED = ("f1", "accuracy", "roc_auc")
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Scored:
    """All evaluated rows with what each system says of them.

    Args:
        rows: each once, with column id.
        answers: of the model, same order.
        baselines: name -> (rows,) p(disaster), same order.
    """

    rows: pd.DataFrame
    answers: Answers
    baselines: Mapping[str, Floats]

    def positions(self, part: pd.DataFrame) -> npt.NDArray[np.int64]:
        """Return where the rows of a part stand among all rows."""
        index = pd.Index(self.rows["id"])
        return np.asarray(index.get_indexer(part["id"]), dtype=np.int64)


def splits_report(
    rows: EvaluationRows,
    scored: Scored,
    resamples: int = RESAMPLES,
    seed: int = 0,
    risks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return `splits` and `t26_events` of the report.

    Args:
        rows: what is evaluated.
        scored: the answers.
        resamples: of the bootstrap.
        seed: of its draw.
        risks: thresholds of other limits of errors than the model's own, verified here; None leaves that out.
    """
    keywords = rows.train.loc[rows.train["source"] == KAGGLE, "keyword"].unique().tolist()
    found = {}
    for name, part in rows.splits.items():
        found[name] = {"what": SPLITS[name], **_counts(part), "disputed_share": _disputed(part)}
        found[name] |= _systems(part, scored, resamples, seed)
        found[name]["decision"] = decision_report(part, scored)
        if risks is not None:
            found[name]["risks"] = risks_report(part, scored, risks)
        found[name]["slices"] = _slices(part, scored, keywords, resamples, seed)
    events = {}
    for event, part in rows.t26_events.items() if T26_UNSEEN in rows.splits else ():
        events[event] = {"trained_event": event in rows.trained_events, **_counts(part)}
        events[event]["systems"] = {
            system: {
                name: estimate.as_json()
                for name, estimate in estimates(score, _targets(part), _groups(part), resamples, seed).items()
            }
            for system, score in system_scores(part, scored).items()
        }
    return {"splits": found, "t26_events": events}


def method_report(resamples: int, seed: int) -> dict[str, Any]:
    """Return how the figures were made."""
    return {
        "positive_class": LABELS[1],
        "threshold": 0.5,
        "interval": "95 %, percentile bootstrap; the rows of a near-duplicate group are drawn together",
        "resamples": resamples,
        "bootstrap_seed": seed,
        "ece": f"confidence of the predicted class against accuracy, {BINS} equal-width bins over [0, 1]",
        "ece_positive": f"score against share of disasters, {BINS} equal-width bins over [0, 1]",
        "ece_adaptive": f"score against share of disasters, {BINS} bins of equal count",
        "ece_note": "an ECE is never below 0 by chance: resamples lie above the value, few rows raise both",
        "nll": f"nats; scores clipped to [{CLIP}, {1 - CLIP}], half a step of the served four decimals",
        "pr_auc": "average precision of disaster, without interpolation",
        "error_share_interval": f"{_CONFIDENCE * 100:.0f} %, exact (Clopper and Pearson)",
    }


def decision_report(part: pd.DataFrame, scored: Scored) -> dict[str, Any]:
    """Return what the model decided by itself: share, errors, and both again for each side.

    Intervals of error shares are exact ones of a share. `hindsight` is the largest share that thresholds chosen on
    these very rows could decide with at most MAX_ERROR_SHARE observed errors, all together in the order of their
    confidence, and on each side by itself: what the scores allow, no promise.

    Source: Clopper and Pearson 1934.
    """
    positions = scored.positions(part)
    decisions = np.array(scored.answers.decisions)[positions]
    targets = _targets(part)
    decided = decisions != REVIEW
    wrong = decided & ((decisions == LABELS[1]) != (targets == 1))
    sides = {label: _risk(decisions == label, wrong) for label in LABELS}
    scores = scored.answers.scores[positions]
    together = _reachable(np.maximum(scores, 1 - scores), (scores >= 0.5) != (targets == 1))
    each = _reachable(scores, targets == 0) + _reachable(1 - scores, targets == 1)
    return {
        **_risk(decided, wrong),
        "sides": sides,
        "hindsight": {
            "max_error_share": MAX_ERROR_SHARE,
            "share": round(together / len(targets), 4),
            "share_per_side": round(each / len(targets), 4),
        },
    }


def risks_report(part: pd.DataFrame, scored: Scored, risks: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the thresholds of each limit of errors would have decided here, and how often wrong.

    Args:
        part: rows of a split.
        scored: the answers.
        risks: table of `training.calibration.risk_control.risk_table`, chosen on the calibration rows.
    """
    scores, targets = scored.answers.scores[scored.positions(part)], _targets(part)
    found: dict[str, Any] = {}
    for scope in SCOPES:
        found[scope] = []
        for entry in risks[scope]:
            upper, lower = scores >= entry["disaster_from"], scores < entry["not_disaster_below"]
            wrong = (upper & (targets == 0)) | (lower & (targets == 1))
            sides = {LABELS[0]: _risk(lower, wrong), LABELS[1]: _risk(upper, wrong)}
            risk = {"max_error_share": entry["max_error_share"], **_risk(upper | lower, wrong), "sides": sides}
            found[scope].append(risk)
    return found


def system_scores(part: pd.DataFrame, scored: Scored) -> dict[str, Floats]:
    """Return system -> (rows,) p(disaster) of the rows of a part; the model first."""
    positions = scored.positions(part)
    return {MODEL: scored.answers.scores[positions]} | {
        name: scores[positions] for name, scores in scored.baselines.items()
    }


def _risk(decided: npt.NDArray[np.bool_], wrong: npt.NDArray[np.bool_]) -> dict[str, Any]:
    count, errors = int(decided.sum()), int((decided & wrong).sum())
    result: dict[str, Any] = {"n": count, "share": round(count / len(decided), 4), "errors": errors}
    if not count:
        return {**result, "error_share": None}
    tail = (1 - _CONFIDENCE) / 2
    low = beta.ppf(tail, errors, count - errors + 1) if errors else 0.0
    high = beta.ppf(1 - tail, errors + 1, count - errors) if errors < count else 1.0
    return {**result, "error_share": Estimate(errors / count, float(low), float(high)).as_json()}


def _reachable(scores: Floats, is_error: npt.NDArray[np.bool_]) -> int:
    """Return how many rows lie on the largest side, scores from some threshold >= 0.5 on, with few enough errors."""
    order = np.argsort(-scores, kind="stable")
    ranked, errors = scores[order], is_error[order].cumsum()
    # A threshold lies between two different scores, so that equal ones are decided together.
    ends = np.append(ranked[:-1] > ranked[1:], True)
    counts = np.arange(1, len(ranked) + 1)
    allowed = counts[ends & (ranked >= 0.5) & (errors <= MAX_ERROR_SHARE * counts)]
    return int(allowed.max(initial=0))


def _systems(part: pd.DataFrame, scored: Scored, resamples: int, seed: int) -> dict[str, Any]:
    targets = _targets(part)
    systems, drawn, points = {}, {}, {}
    for name, score in system_scores(part, scored).items():
        drawn[name] = drawn_metrics(score, targets, _groups(part), resamples, seed)
        points[name] = weighted_metrics(score, targets, np.ones((1, len(targets))))
        found = with_intervals(points[name], drawn[name])
        systems[name] = {metric: estimate.as_json() for metric, estimate in found.items()}
    gains = {
        name: paired_differences(points[MODEL], points[name], drawn[MODEL], drawn[name], COMPARED)
        for name in scored.baselines
    }
    return {"systems": systems, "model_minus_baseline": gains}


def _slices(part: pd.DataFrame, scored: Scored, keywords: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    positions, targets, groups = scored.positions(part), _targets(part), _groups(part)
    found = {}
    for name, mask in slices(part, keywords).items():
        entry: dict[str, Any] = _counts(part[mask])
        if mask.sum() >= MIN_SLICE_ROWS:
            values = estimates(scored.answers.scores[positions[mask]], targets[mask], groups[mask], resamples, seed)
            entry["model"] = {metric: values[metric].as_json() for metric in (*COMPARED, "ece")}
        found[name] = entry
    return found


def _targets(part: pd.DataFrame) -> npt.NDArray[np.int64]:
    return np.asarray(part["target"], dtype=np.int64)


def _groups(part: pd.DataFrame) -> npt.NDArray[np.int64]:
    return np.asarray(pd.factorize(part["group"])[0], dtype=np.int64)


def _disputed(part: pd.DataFrame) -> float | None:
    """Return the share of rows whose crowd was not of one mind, of those whose agreement is known; None for none."""
    known = part["agreement"].dropna()
    return round(float((known < 1).mean()), 4) if len(known) else None


def _counts(part: pd.DataFrame) -> dict[str, Any]:
    share = round(float(part["target"].mean()), 4) if len(part) else None
    return {"rows": len(part), "positive_share": share}

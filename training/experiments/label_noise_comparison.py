"""Does leaving listed rows out help? TF-IDF with logistic regression, trained with and without them, tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from training.data.labels import KAGGLE
from training.data.splits import CALIBRATION, DEV, TRAIN, SplitSettings, split, to_learn_from
from training.evaluation.baselines import TfIdf
from training.evaluation.metrics import RESAMPLES, drawn_metrics, paired_differences, weighted_metrics

Floats = npt.NDArray[np.float64]
COMPARED = ("f1", "accuracy", "roc_auc", "nll")
DIVISIONS = 5
_SYSTEMS = ("all", "cleaned")


def learnt_rows(table: pd.DataFrame, division: SplitSettings) -> pd.DataFrame:
    """Return Kaggle's rows of the training part, one a text: only these may be left out."""
    rows = to_learn_from(split(table, division)[TRAIN])
    return rows[rows["source"] == KAGGLE].reset_index(drop=True)


def compare_divisions(
    table: pd.DataFrame,
    division: SplitSettings,
    find: Callable[[pd.DataFrame], Collection[str]],
    divisions: int = DIVISIONS,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Compare over divisions of other seeds, each with rows found in its own training part and judged on its dev part.

    Args:
        table: prepared rows.
        division: sizes; its seed is the first of `divisions`.
        find: training rows -> ids to leave out.
        divisions: how many.
        resamples: of the bootstrap of the pooled dev parts, paired, near-duplicate groups drawn together.

    Returns:
        Figures with and without the listed rows by division, and the gain on all judged rows pooled with a 95 %
        interval; every judged row has its label as it is.
    """
    seeds = tqdm(range(division.seed, division.seed + divisions), desc="divisions", unit="division", disable=None)
    settings = (SplitSettings(seed, division.dev_share, division.calibration_share) for seed in seeds)
    return _compared(table, settings, find, (DEV,), resamples)


def compare_list(
    table: pd.DataFrame, division: SplitSettings, listed: Collection[str], resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Compare with one list, in the one division whose training part it is of; see `compare_divisions`.

    The list's scores may be of models that have read any row of that training part, so other divisions, whose dev parts
    hold some of these, would not be fair. Judged are the dev and calibration parts, which neither has read.
    """
    return _compared(table, [division], lambda rows: listed, (DEV, CALIBRATION), resamples)


def _compared(
    table: pd.DataFrame,
    divisions: Iterable[SplitSettings],
    find: Callable[[pd.DataFrame], Collection[str]],
    judged: Collection[str],
    resamples: int,
) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    pooled: dict[str, list[Any]] = {"targets": [], "groups": [], "all": [], "cleaned": []}
    for division in divisions:
        rows, parts = learnt_rows(table, division), split(table, division)
        unread = pd.concat([parts[name][parts[name]["source"] == KAGGLE] for name in judged])
        listed = set(find(rows))
        kept = rows[~rows["id"].astype(str).isin(listed)]
        systems = {"all": TfIdf().fit(rows).scores(unread), "cleaned": TfIdf().fit(kept).scores(unread)}
        targets = unread["target"].to_numpy(dtype=np.int64)
        found.append(
            {"split_seed": division.seed, "excluded": len(rows) - len(kept)}
            | {name: _rounded(_points(scores, targets)) for name, scores in systems.items()}
        )
        pooled["targets"].append(targets)
        pooled["groups"] += unread["group"].tolist()
        for name, scores in systems.items():
            pooled[name].append(scores)
    targets, groups = np.concatenate(pooled["targets"]), np.asarray(pd.factorize(np.array(pooled["groups"]))[0])
    scored = {name: np.concatenate(pooled[name]) for name in _SYSTEMS}
    drawn = {name: drawn_metrics(scored[name], targets, groups, resamples) for name in _SYSTEMS}
    points = {name: _points(scored[name], targets) for name in _SYSTEMS}
    whole = {name: _rounded(points[name]) for name in _SYSTEMS}
    gain = paired_differences(points["cleaned"], points["all"], drawn["cleaned"], drawn["all"], COMPARED)
    about = {"system": "TF-IDF + LR", "judged": list(judged), "judged_rows": len(targets)}
    return {**about, "divisions": found, **whole, "gain": gain}


def _points(scores: Floats, targets: npt.NDArray[np.int64]) -> Mapping[str, Floats]:
    return weighted_metrics(scores, targets, np.ones((1, len(targets))))


def _rounded(values: Mapping[str, Floats]) -> dict[str, float]:
    return {metric: round(float(values[metric][0]), 4) for metric in COMPARED}

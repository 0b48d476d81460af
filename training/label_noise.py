"""Find training rows whose label contradicts what other rows teach: `python -m training.label_noise`.

Confident learning on out-of-fold probabilities: a row is listed when its own label is less probable than the noise of
its class allows. The scores come from a file (id -> p(disaster) by models that have not read the row), or from TF-IDF
with logistic regression, cross-fitted here. With `--compare` the TF-IDF model is trained with and without such rows and
judged on tweets that were in neither: a list is worth using only if those figures say so.

Source: Northcutt et al. 2021, Confident Learning, arXiv:1911.00068; cleanlab 2.9 implements it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from tqdm import tqdm

from training.baselines import TfIdf
from training.data_lock import LOCK_FILE, read_lock
from training.datamodule import read_table
from training.errors import DatasetError, TrainingError
from training.labels import KAGGLE
from training.metrics import RESAMPLES, Estimate, drawn_metrics, interval, weighted_metrics
from training.model import LABELS
from training.recipe_settings import compose
from training.splits import DEV, TRAIN, SplitSettings, position_of, split, to_learn_from
from tweetclf.bundle import sha256_of

Floats = npt.NDArray[np.float64]
FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given")
COMPARED = ("f1", "accuracy", "roc_auc", "nll")
FOLDS = 5
DIVISIONS = 5
_FOLD_SEED = 98  # of the folds alone, so that they are no part of any other division

EXAMPLE = """examples:
  python -m training.label_noise --output training/exclusions/tfidf.json --compare
  python -m training.label_noise --scores oof.json --filter both --output training/exclusions/teachers.json
  python -m training.train data.exclusions=training/exclusions/teachers.json model_dir=runs/cleaned

--scores: JSON {"id": p}, or npz with arrays `ids` and `p`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a file of exclusions; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    try:
        division = compose().data.split
        table = read_table(options.data_dir)
        rows = learnt_rows(table, division)
        scores, origin = _scores(options.scores, rows)
        listed = exclusions(rows, scores, options.filter)
        content: dict[str, Any] = {
            "scores": origin,
            "cleanlab": version("cleanlab"),
            "filter": options.filter,
            "data": read_lock(options.data_dir / LOCK_FILE),
            "rows": len(rows),
            "excluded_share": round(len(listed) / len(rows), 4),
        }
        if options.compare:
            content["comparison"] = compare(table, division, options.filter, options.divisions, options.resamples)
    except TrainingError as error:
        print(f"label noise refused: {error}", file=sys.stderr)
        return 1
    content["excluded"] = listed
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{options.output}: {len(listed)} of {len(rows)} rows, scored by {origin}")
    for metric, gain in content.get("comparison", {}).get("gain", {}).items():
        print(f"  {metric}: without the listed rows {gain['value']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})")
    return 0


def learnt_rows(table: pd.DataFrame, division: SplitSettings) -> pd.DataFrame:
    """Return Kaggle's rows of the training part, one a text: only these may be left out."""
    rows = to_learn_from(split(table, division)[TRAIN])
    return rows[rows["source"] == KAGGLE].reset_index(drop=True)


def cross_fitted(rows: pd.DataFrame, folds: int = FOLDS) -> Floats:
    """Return p(disaster), (rows,), each by TF-IDF with logistic regression that has not read the row's group."""
    fold = (rows["group"].map(lambda group: position_of(group, _FOLD_SEED)) * folds).astype(int).to_numpy()
    scores = np.full(len(rows), np.nan)
    for number in range(folds):
        unread = fold == number
        if unread.any():
            scores[unread] = TfIdf().fit(rows[~unread]).scores(rows[unread])
    return scores


def exclusions(rows: pd.DataFrame, scores: Floats, filter_by: str = FILTERS[0]) -> list[dict[str, Any]]:
    """Return the rows to leave out, the worst first, each with its id and the reason.

    Args:
        rows: with columns id and target.
        scores: (rows,) out-of-fold p(disaster).
        filter_by: one of FILTERS, as cleanlab explains them.
    """
    targets = rows["target"].to_numpy(dtype=np.int64)
    probabilities = np.stack([1 - scores, scores], axis=1)
    quality = get_label_quality_scores(targets, probabilities)
    found = find_label_issues(
        targets, probabilities, return_indices_ranked_by="self_confidence", filter_by=filter_by, n_jobs=1
    )
    return [
        {
            "id": str(rows["id"].iloc[row]),
            "reason": f"labelled {LABELS[targets[row]]}, out-of-fold p(disaster) {scores[row]:.3f}, "
            f"label quality {quality[row]:.3f}",
        }
        for row in found
    ]


def compare(
    table: pd.DataFrame, division: SplitSettings, filter_by: str, divisions: int = DIVISIONS, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return what leaving rows out does to TF-IDF with logistic regression, over divisions of other seeds.

    In each division the rows are found in its own training part and the dev part is judged with every label as it is.

    Args:
        table: prepared rows.
        division: sizes; its seed is the first of `divisions`.
        filter_by: one of FILTERS.
        divisions: how many.
        resamples: of the bootstrap of the pooled dev parts, paired, near-duplicate groups drawn together.

    Returns:
        Figures with and without the listed rows by division, and the gain on all dev parts pooled with a 95 % interval.
    """
    found: list[dict[str, Any]] = []
    pooled: dict[str, list[Any]] = {"targets": [], "groups": [], "all": [], "cleaned": []}
    for seed in tqdm(range(division.seed, division.seed + divisions), desc="divisions", unit="division", disable=None):
        parts = split(table, SplitSettings(seed, division.dev_share, division.calibration_share))
        rows = to_learn_from(parts[TRAIN])
        rows = rows[rows["source"] == KAGGLE].reset_index(drop=True)
        dev = parts[DEV][parts[DEV]["source"] == KAGGLE]
        listed = {entry["id"] for entry in exclusions(rows, cross_fitted(rows), filter_by)}
        kept = rows[~rows["id"].astype(str).isin(listed)]
        systems = {"all": TfIdf().fit(rows).scores(dev), "cleaned": TfIdf().fit(kept).scores(dev)}
        targets = dev["target"].to_numpy(dtype=np.int64)
        found.append(
            {"split_seed": seed, "excluded": len(listed)}
            | {name: _figures(scores, targets) for name, scores in systems.items()}
        )
        pooled["targets"].append(targets)
        pooled["groups"] += dev["group"].tolist()
        for name, scores in systems.items():
            pooled[name].append(scores)
    targets, groups = np.concatenate(pooled["targets"]), np.asarray(pd.factorize(np.array(pooled["groups"]))[0])
    drawn = {
        name: drawn_metrics(np.concatenate(pooled[name]), targets, groups, resamples) for name in ("all", "cleaned")
    }
    whole = {name: _figures(np.concatenate(pooled[name]), targets) for name in ("all", "cleaned")}
    gain = {
        metric: Estimate(
            whole["cleaned"][metric] - whole["all"][metric], *interval(drawn["cleaned"][metric] - drawn["all"][metric])
        ).as_json()
        for metric in COMPARED
    }
    return {"system": "TF-IDF + LR", "divisions": found, "dev_rows": len(targets), **whole, "gain": gain}


def read_scores(path: Path) -> dict[str, float]:
    """Return id -> p(disaster) of a file.

    Raises:
        DatasetError: it is missing, has another form, or a value is no probability.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as content:
                found = dict(zip(content["ids"].astype(str).tolist(), content["p"].astype(float).tolist(), strict=True))
        else:
            found = {str(name): float(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} has no scores ({type(error).__name__}: {error}); expected JSON id -> p(disaster), or npz with ids "
            "and p"
        ) from error
    if wrong := [name for name, value in found.items() if not 0 <= value <= 1]:
        raise DatasetError(f"{path}: the score of {wrong[0]} is {found[wrong[0]]}; expected a probability")
    return found


def _scores(path: Path | None, rows: pd.DataFrame) -> tuple[Floats, str]:
    if path is None:
        return cross_fitted(rows), f"TF-IDF + LR, cross-fitted in {FOLDS} folds"
    given = read_scores(path)
    scores = np.array([given.get(str(name), np.nan) for name in rows["id"]])
    if np.isnan(scores).any():
        missing = np.flatnonzero(np.isnan(scores))
        raise DatasetError(
            f"{path} lacks {len(missing)} of the {len(rows)} training rows, first {rows['id'].iloc[missing[0]]}; "
            "expected one out-of-fold score for each; were they made with this division?"
        )
    return scores, f"{path.name}, sha256 {sha256_of(path)}"


def _figures(scores: Floats, targets: npt.NDArray[np.int64]) -> dict[str, float]:
    values: Mapping[str, Floats] = weighted_metrics(scores, targets, np.ones((1, len(targets))))
    return {metric: round(float(values[metric][0]), 4) for metric in COMPARED}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.label_noise",
        description="List training rows whose label contradicts what other rows teach: ids and reasons, no text.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = Path("data/processed")
    parser.add_argument("--data-dir", type=Path, default=data, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="out-of-fold scores (default: TF-IDF + LR)")
    parser.add_argument("--filter", choices=FILTERS, default=FILTERS[0], help="of cleanlab (default: %(default)s)")
    parser.add_argument("--compare", action="store_true", help="train TF-IDF + LR with and without the listed rows")
    parser.add_argument("--divisions", type=int, default=DIVISIONS, help="of --compare (default: %(default)s)")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help="of --compare (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())

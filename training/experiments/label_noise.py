"""Find training rows whose label contradicts what other rows teach: `python -m training.experiments.label_noise`.

Confident learning on out-of-fold probabilities: a row is listed when its own label is less probable than the noise of
its class allows. The scores come from a file or a training's folder of teachers (id -> p(disaster) by models that have
not read the row), or from TF-IDF with logistic regression, cross-fitted here. With `--compare` the TF-IDF model is
trained with and without such rows and judged on tweets that were in neither: a list is worth using only if those
figures say so.

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
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from training.arguments import add_resamples, command, positive
from training.calibration.oof_scores import origin_of, read_scores
from training.data.data_lock import LOCK_FILE, read_lock
from training.data.datamodule import read_table
from training.data.splits import SplitSettings, position_of
from training.errors import DatasetError, TrainingError
from training.evaluation.baselines import TfIdf
from training.experiments.label_noise_comparison import DIVISIONS, Floats, compare_divisions, compare_list, learnt_rows
from training.learning.recipe_settings import compose
from training.model.model import LABELS

FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning", "predicted_neq_given")
FOLDS = 5
_FOLD_SEED = 98  # of the folds alone, so that they are no part of any other division

EXAMPLE = """examples:
  python -m training.experiments.label_noise --output training/exclusions/tfidf.json --compare
  python -m training.experiments.label_noise --compare --output training/exclusions/teachers.json \\
      --scores data/processed/teachers/KEY
  python -m training.experiments.label_noise --scores oof.json --filter both --output training/exclusions/other.json
  python -m training.train data.exclusions=training/exclusions/teachers.json model_dir=runs/cleaned

--scores: JSON {"id": p}, npz with arrays `ids` and `p`, or a folder of fold-*-seed-*.json, as `training.train` keeps
its teachers' scores; they are joined, and the mean over their seeds is taken. Such a list is compared in its own
division only, on dev and calibration rows; without --scores the rows are found anew in each of --divisions.
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
            content["comparison"] = _compare(options, table, division, listed)
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


def _compare(
    options: argparse.Namespace, table: pd.DataFrame, division: SplitSettings, listed: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    if options.scores:
        return compare_list(table, division, [entry["id"] for entry in listed], options.resamples)

    def find(rows: pd.DataFrame) -> list[str]:
        return [entry["id"] for entry in exclusions(rows, cross_fitted(rows), options.filter)]

    return compare_divisions(table, division, find, options.divisions, options.resamples)


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
    return scores, origin_of(path)


def _parser() -> argparse.ArgumentParser:
    about = "List training rows whose label contradicts what other rows teach: ids and reasons, no text."
    parser = command("label_noise", about, EXAMPLE)
    data = Path("data/processed")
    parser.add_argument("--data-dir", type=Path, default=data, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--scores", type=Path, metavar="PATH", help="out-of-fold scores (default: TF-IDF + LR)")
    parser.add_argument("--filter", choices=FILTERS, default=FILTERS[0], help="of cleanlab (default: %(default)s)")
    parser.add_argument("--compare", action="store_true", help="train TF-IDF + LR with and without the listed rows")
    parser.add_argument(
        "--divisions", type=positive, default=DIVISIONS, help="of --compare without --scores (default: %(default)s)"
    )
    add_resamples(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())

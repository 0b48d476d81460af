"""What int8 costs: figures of a bundle's float32 and int8 networks on the same unseen tweets, and their difference.

The rows are those of `python -m training.evaluate`: none was trained or calibrated on. The difference is paired: both
networks answer the same rows, and each resample of the bootstrap draws the same ones for both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.arguments import add_resamples, command, count
from training.data.data_lock import LOCK_FILE, read_lock
from training.data.whole_files import written_whole
from training.errors import TrainingError
from training.evaluate import DATA_DEFAULT, DATA_VARIABLE
from training.evaluation.answer_sources import AnswerError, Answers, ask, open_bundle
from training.evaluation.evaluation_report import method_report
from training.evaluation.evaluation_rows import (
    KAGGLE_DISTINCT,
    KAGGLE_RANDOM,
    SPLITS,
    T6_DEV,
    check_same_data,
    data_settings,
    evaluation_rows,
    prepared_folder,
)
from training.evaluation.metrics import drawn_metrics, paired_differences, weighted_metrics, with_intervals
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder
from training.model.model import FACTS_FILE
from tweetclf.bundle import load_bundle
from tweetclf.errors import TweetClfError

FLOAT32, INT8 = "torchscript", "openvino"
TOLD = ("f1", "accuracy", "precision", "recall", "roc_auc", "ece", "nll")
DEFAULT_SPLITS = (KAGGLE_RANDOM, KAGGLE_DISTINCT, T6_DEV)
EXAMPLE = """examples:
  python -m training.evaluation.served                                 build/bundle, as `make archive` leaves it
  python -m training.evaluation.served --splits kaggle_random --limit 200 --output reports/served.json
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the two networks; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        report = compare(options)
        with written_whole(options.output) as path:
            path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except (TrainingError, TweetClfError, BaseEncoderError) as error:
        print(f"comparison refused: {error}", file=sys.stderr)
        return 1
    for name, split in report["splits"].items():
        print(_line(name, split))
    print(options.output)
    return 0


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Return the report.

    Raises:
        TrainingError: the bundle has no int8 network or no known training, or the data cannot be used.
        BundleError: a file of the bundle is damaged, or int8 cannot run here.
    """
    bundle = load_bundle(options.bundle)
    if bundle.int8_path is None:
        raise TrainingError(
            f"{options.bundle} has no int8 network; expected one to compare; export it: python -m export (without "
            "--no-int8)"
        )
    facts = _facts(options.facts, bundle.model_version)
    table_dir = prepared_folder(options.data, [options.prepared], options.work / "processed")
    check_same_data(facts, table_dir)
    settings, seed = data_settings(facts)
    tokenizer = resolve_base_encoder() / TOKENIZER_FILE
    rows = evaluation_rows(table_dir, tokenizer, settings, seed, options.splits, options.limit)
    asked = pd.concat(rows.splits.values()).drop_duplicates("id").reset_index(drop=True)
    answers = {engine: _ask(options.bundle, engine, asked) for engine in (FLOAT32, INT8)}
    index = pd.Index(asked["id"])
    return {
        "model_version": bundle.model_version,
        "networks": {"float32": FLOAT32, "int8": INT8, "int8_weight_bits": bundle.int8_weight_bits},
        "asked_tweets": len(asked),
        "limit": options.limit,
        "method": {
            **{key: method_report(options.resamples, options.seed)[key] for key in ("threshold", "interval", "ece")},
            "resamples": options.resamples,
            "bootstrap_seed": options.seed,
            "difference": "int8 minus float32, paired: the same rows, and the same ones in each resample",
        },
        "data": read_lock(table_dir / LOCK_FILE),
        "splits": {
            name: {"what": SPLITS[name], **split_report(part, answers, index.get_indexer(part["id"]), options)}
            for name, part in rows.splits.items()
        },
    }


def split_report(
    part: pd.DataFrame, answers: Mapping[str, Answers], positions: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """Return figures of both networks on the rows of a split, and their difference.

    Args:
        part: rows with `target` and `group`.
        answers: of FLOAT32 and INT8, to all rows asked.
        positions: (rows,) where the split's rows stand among those.
        options: `resamples` and `seed`.
    """
    targets = np.asarray(part["target"], dtype=np.int64)
    groups = np.asarray(pd.factorize(part["group"])[0], dtype=np.int64)
    scores = {engine: answers[engine].scores[positions] for engine in (FLOAT32, INT8)}
    points = {
        engine: weighted_metrics(values, targets, np.ones((1, len(targets)))) for engine, values in scores.items()
    }
    drawn = {
        engine: drawn_metrics(values, targets, groups, options.resamples, options.seed)
        for engine, values in scores.items()
    }
    figures = {}
    for name, engine in (("float32", FLOAT32), ("int8", INT8)):
        found = with_intervals(points[engine], drawn[engine])
        figures[name] = {metric: found[metric].as_json() for metric in TOLD}
    difference = paired_differences(points[INT8], points[FLOAT32], drawn[INT8], drawn[FLOAT32], TOLD)
    decisions = {engine: np.array(answers[engine].decisions)[positions] for engine in (FLOAT32, INT8)}
    gaps = np.abs(scores[INT8] - scores[FLOAT32])
    return {
        "rows": len(part),
        "positive_share": round(float(targets.mean()), 4),
        **figures,
        "int8_minus_float32": difference,
        "other_label": int(((scores[INT8] >= 0.5) != (scores[FLOAT32] >= 0.5)).sum()),
        "other_decision": int((decisions[INT8] != decisions[FLOAT32]).sum()),
        "score_difference": {"mean": round(float(gaps.mean()), 4), "largest": round(float(gaps.max()), 4)},
    }


def _ask(folder: Path, engine: str, rows: pd.DataFrame) -> Answers:
    source = open_bundle(folder, engine)
    answers = ask(source, rows["text"].tolist())
    missing = np.flatnonzero(np.isnan(answers.scores))
    if len(missing):
        raise AnswerError(
            f"{engine} gave no score for {len(missing)} of {len(rows)} tweets, first {rows['id'][missing[0]]} "
            f"({answers.errors[missing[0]]}); expected one for each"
        )
    return answers


def _facts(folder: Path, version: str) -> dict[str, Any]:
    path = folder / FACTS_FILE
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if facts.get("model_version") != version:
        raise TrainingError(
            f"{path} is of model {facts.get('model_version', '(no such file)')}, the bundle of {version}; expected the "
            "training of the bundle, which tells the unseen rows; name its model folder with --facts, or export again"
        )
    return facts


def _line(name: str, split: Mapping[str, Any]) -> str:
    parts = []
    for metric in ("f1", "accuracy", "roc_auc"):
        gain = split["int8_minus_float32"][metric]
        parts.append(
            f"{metric} {split['float32'][metric]['value']} -> {split['int8'][metric]['value']} "
            f"({gain['value']:+.4f}, 95 % {gain['low']} to {gain['high']})"
        )
    return f"{name}: {split['rows']} rows; {'; '.join(parts)}; {split['other_label']} labels differ"


def _parser() -> argparse.ArgumentParser:
    parser = command("served", __doc__ or "", EXAMPLE)
    parser.add_argument("--bundle", type=Path, default=Path("build/bundle"), help="default: %(default)s")
    parser.add_argument("--facts", type=Path, default=Path("model"), help="its model folder (default: %(default)s)")
    data = Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT))
    parser.add_argument("--data", type=Path, default=data, metavar="FOLDER", help=f"raw tweets (or {DATA_VARIABLE})")
    parser.add_argument(
        "--splits", nargs="+", choices=list(SPLITS), default=list(DEFAULT_SPLITS), help="default: %(default)s"
    )
    parser.add_argument("--limit", type=count, default=0, help="at most so many rows a split (default: all)")
    add_resamples(parser)
    parser.add_argument("--seed", type=count, default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("docs/evaluation/served.json"), help="default: %(default)s")
    parser.add_argument("--prepared", type=Path, default=Path("data/processed"), help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("build/evaluation"), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

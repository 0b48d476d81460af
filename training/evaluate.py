"""Judge a model folder, a bundle or a running server: `python -m training.evaluate --model model`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from training.arguments import add_resamples, add_source, command, count, names
from training.data.data_lock import LOCK_FILE, read_lock
from training.errors import TrainingError
from training.evaluation import answer_sources
from training.evaluation.answer_sources import AnswerError, AnswerSource, ask
from training.evaluation.attached_reports import ATTACHED, read_attached
from training.evaluation.baselines import NAMES, make_baseline
from training.evaluation.evaluation_report import Scored, method_report, splits_report, system_scores
from training.evaluation.evaluation_rows import (
    KAGGLE_RANDOM,
    SPLITS,
    EvaluationRows,
    check_same_data,
    data_settings,
    evaluation_rows,
    prepared_folder,
)
from training.evaluation.submission import write_submission
from training.experiments.seed_spread import seed_spread, spread_table
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder
from training.model.model import FACTS_FILE, AdapterError
from training.reports.model_card import model_card
from training.reports.plots import plot_events, plot_learning_curve, plot_split
from training.reports.report_markdown import report_markdown
from training.reports.report_tables import results_table
from tweetclf.errors import TweetClfError

REPORT_FILE = "report.json"
MARKDOWN_FILE = "report.md"
DATA_VARIABLE = "DISASTER_TWEETS_DATA"
DATA_DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "data"

EXAMPLE = """examples:
  python -m training.evaluate                                       the model of model/, all rows, all baselines
  python -m training.evaluate --bundle build/bundle --baselines none
  python -m training.evaluate --server http://127.0.0.1:8080 --splits kaggle_random --limit 500
  python -m training.evaluate --card docs/model_card.md             and the model card with the figures
  python -m training.evaluate --seeds docs/evaluation/seeds.json    with the deviation over seeds
  python -m training.evaluate --generalisation reports/generalisation/generalisation.json \\
      --behaviour docs/evaluation/behaviour.json --seeds docs/evaluation/seeds.json \\
      --output docs/evaluation --card docs/model_card.md            all of it, as committed
  python -m training.evaluate --spread runs/*/report.json           mean and deviation over trainings of several seeds
  python -m training.evaluate --predict test.csv submission.csv     a Kaggle submission, no evaluation
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, or write a submission; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    # The base encoder is a local file; tokenizers' own threads only fight with torch's.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        if options.predict:
            test, submission = options.predict
            print(f"{submission}: {write_submission(open_source(options), test, submission)}")
            return 0
        if options.spread:
            print(spread_table(seed_spread(options.spread)))
            return 0
        report = evaluate(options)
        print(results_table(report, ("f1", "accuracy", "roc_auc", "ece")))
        print(f"{options.output / MARKDOWN_FILE}")
        if options.card:
            _write_card(options, report)
    except (TrainingError, TweetClfError, AdapterError, BaseEncoderError) as error:
        print(f"evaluation refused: {error}", file=sys.stderr)
        return 1
    return 0


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Write report.json, report.md and plots into the output folder; return the report.

    Raises:
        TrainingError: the data or the source cannot be used.
    """
    base = resolve_base_encoder()
    source = open_source(options)
    facts = training_facts(options, source)
    work = options.work
    table_dir = prepared_folder(options.data, [options.prepared], work / "processed")
    if facts is not None:
        check_same_data(facts, table_dir)
    settings, seed = data_settings(facts)
    rows = evaluation_rows(table_dir, base / TOKENIZER_FILE, settings, seed, options.splits, options.limit)
    _check_places(options, facts, source.model_version)
    data = read_lock(table_dir / LOCK_FILE)
    given = {name: getattr(options, name) for name in ATTACHED}
    attached = read_attached(given, source.model_version, facts, data)
    scored, speed = _score(source, rows, options.baselines, base, work)
    report: dict[str, Any] = {
        "source": {"kind": source.kind, "name": source.name, "model_version": source.model_version}
        | {"engine": source.engine},
        "training_note": _note(facts, source.model_version),
        "asked_tweets": len(scored.rows),
        "tweets_per_second": round(speed, 1),
        "limit": options.limit,
        "baselines": list(options.baselines),
        "method": method_report(options.resamples, options.seed),
        "data": data,
        "t26_rows_left_out_as_near_duplicates": rows.left_out,
        **splits_report(rows, scored, options.resamples, options.seed, (facts or {}).get("risks")),
    }
    report |= attached
    plots = _plot(options.output, rows, scored, report)
    (options.output / REPORT_FILE).write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (options.output / MARKDOWN_FILE).write_text(report_markdown(report, plots), encoding="utf-8")
    return report


def open_source(options: argparse.Namespace) -> AnswerSource:
    """Return what is asked for answers."""
    base = None if options.bundle or options.server else resolve_base_encoder()
    folder = options.model or options.facts
    return answer_sources.open_source(folder, options.bundle, options.server, options.engine, base)


def training_facts(options: argparse.Namespace, source: AnswerSource) -> dict[str, Any] | None:
    """Return the content of training.json of the very model that answers, None when it is not at hand."""
    path = (options.model or options.facts) / FACTS_FILE
    if not path.is_file():
        return None
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts if facts["model_version"] == source.model_version else None


def _check_places(options: argparse.Namespace, facts: Mapping[str, Any] | None, version: str) -> None:
    """Refuse now what could not be written after minutes of work."""
    if options.card and facts is None:
        raise TrainingError(
            f"--card needs the training.json of model {version}; {options.model or options.facts} does not hold it; "
            "give its model folder with --facts"
        )
    if options.card and KAGGLE_RANDOM not in options.splits:
        raise TrainingError(f"--card needs the split {KAGGLE_RANDOM}; it is not among --splits; add it")
    for folder in (options.output, *([options.card.parent] if options.card else [])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{folder} cannot be made ({error.strerror}); expected a folder to write to") from error
        if not os.access(folder, os.W_OK):
            raise TrainingError(f"{folder} cannot be written to; expected a folder to write to; choose another")


def _score(
    source: AnswerSource, rows: EvaluationRows, baselines: Sequence[str], base: Path, work: Path
) -> tuple[Scored, float]:
    every = rows.all_rows()
    started = time.monotonic()
    answers = ask(source, every["text"].tolist())
    speed = len(every) / (time.monotonic() - started)
    missing = np.flatnonzero(np.isnan(answers.scores))
    if len(missing):
        raise AnswerError(
            f"{source.name} gave no score for {len(missing)} of {len(every)} tweets, first {every['id'][missing[0]]} "
            f"({answers.errors[missing[0]]}); expected one for each; DEADLINE is a busy server's: try again"
        )
    found = {}
    for name in tqdm(baselines, desc="baselines", unit="system", disable=None):
        found[name] = make_baseline(name, base, work).fit(rows.train).scores(every)
    return Scored(every, answers, found), speed


def _plot(folder: Path, rows: EvaluationRows, scored: Scored, report: Mapping[str, Any]) -> list[str]:
    written = []
    for split, part in rows.splits.items():
        targets = part["target"].to_numpy(dtype=np.int64)
        written += plot_split(folder, split, system_scores(part, scored), targets, report["splits"][split]["decision"])
    if report["t26_events"]:
        written.append(plot_events(folder, report["t26_events"]))
    if "generalisation" in report:
        written += plot_learning_curve(folder, report["generalisation"]["cases"])
    return written


def _note(facts: Mapping[str, Any] | None, version: str) -> str:
    if facts is None:
        return (
            f"The training of {version} is not at hand: the rows are unseen only if it was trained with the division "
            "of the default recipe."
        )
    return "No row was trained or calibrated on, nor is one a near-duplicate of such a row."


def _write_card(options: argparse.Namespace, report: Mapping[str, Any]) -> None:
    folder = options.model or options.facts
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    text = model_card(report, facts)
    options.card.write_text(text, encoding="utf-8")
    print(options.card)


def _parser() -> argparse.ArgumentParser:
    parser = command(
        "evaluate",
        "Judge a model on tweets that it was not trained on, beside baselines fitted on the same tweets; write "
        "report.json, report.md and plots.",
        EXAMPLE,
    )
    add_source(parser)
    data = Path(os.environ.get(DATA_VARIABLE, DATA_DEFAULT))
    parser.add_argument("--data", type=Path, default=data, metavar="FOLDER", help=f"raw tweets (or {DATA_VARIABLE})")
    parser.add_argument("--output", type=Path, default=Path("reports/evaluation"), help="default: %(default)s")
    parser.add_argument("--splits", type=names(SPLITS), default=list(SPLITS), help=f"of {','.join(SPLITS)}")
    parser.add_argument(
        "--baselines", type=names(NAMES), default=list(NAMES), help=f'of "{",".join(NAMES)}", or none (default: all)'
    )
    parser.add_argument("--limit", type=count, default=0, help="at most so many rows a split (default: all)")
    add_resamples(parser)
    parser.add_argument("--seed", type=count, default=0, help="of the bootstrap (default: %(default)s)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="write the model card too")
    for name in ATTACHED:
        what = f"report of `python -m training.{name}` to include"
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    parser.add_argument("--predict", nargs=2, type=Path, metavar=("TEST", "SUBMISSION"), help="write a submission")
    parser.add_argument("--spread", nargs="+", type=Path, metavar="REPORT", help="compare reports, no evaluation")
    parser.add_argument(
        "--facts",
        type=Path,
        default=Path("model"),
        metavar="FOLDER",
        help="model folder that a bundle or server was made from; tells what was trained on (default: %(default)s)",
    )
    parser.add_argument("--prepared", type=Path, default=Path("data/processed"), help="default: %(default)s")
    parser.add_argument(
        "--work", type=Path, default=Path("build/evaluation"), help="what can be made again (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

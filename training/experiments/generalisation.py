"""Train the recipe on divisions that hold something out, and judge each on it.

`python -m training.experiments.generalisation`

The model that is served has read every event and keyword of its training part; what it does on another kind is told by
its recipe, trained without that kind. Cases:

- `keyword`: no Kaggle search word of the judged tweets was trained on;
- `event:NAME`: the recipe without one of its crises, judged on that crisis;
- `collection:NAME`: Kaggle alone, judged on another collection;
- `curve:SHARE`: a share of the training tweets, judged on Kaggle's dev part.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from training.arguments import add_resamples, command, names
from training.data.data_lock import LOCK_FILE, read_lock
from training.data.datamodule import DataSettings, TweetDataModule, read_table
from training.data.labels import KAGGLE, T6, T26
from training.data.language_guess import looks_english
from training.data.split_kinds import HELD_OUT, collection_split, event_split, keyword_split
from training.data.splits import CALIBRATION, DEV, TRAIN, assert_no_leak, split, to_learn_from
from training.errors import TrainingError
from training.evaluation.answer_sources import Answers, ask, open_model
from training.evaluation.baselines import TfIdf
from training.evaluation.evaluation_report import MODEL, Scored, decision_report
from training.evaluation.metrics import RESAMPLES, estimates
from training.learning.recipe_settings import compose
from training.learning.settings import Settings
from training.model.base_encoder import TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder
from training.model.model import AdapterError
from training.reports.report_tables import generalisation_table
from training.train import train

KINDS = ("keyword", "event", "collection", "curve")
CURVE_SHARES = (0.1, 0.25, 0.5, 1.0)
FILE = "generalisation.json"
_CURVE_SEED = 7  # of the draw of the learning curve, so that a smaller share lies within a larger one
BASELINE = "TF-IDF + LR"

EXAMPLE = """examples:
  python -m training.experiments.generalisation                                   every case of the default recipe
  python -m training.experiments.generalisation --cases keyword,curve data.teacher_weight=0
  python -m training.experiments.generalisation --list                            the cases, without training
  python -m training.evaluate --generalisation reports/generalisation/generalisation.json --card docs/model_card.md

A finished case is kept under --output and not trained again while recipe and data stay the same.
"""

Parts = Mapping[str, pd.DataFrame]
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class HeldOutCase:
    """One training and what it is judged on.

    Args:
        name: kind, or kind:what.
        data: settings of the rows that are trained on.
        divide: table -> parts with what is judged as HELD_OUT or, without that, DEV.
    """

    name: str
    data: DataSettings
    divide: Callable[[pd.DataFrame], Parts]

    @property
    def kind(self) -> str:
        """Return one of KINDS."""
        return self.name.partition(":")[0]

    @property
    def file_name(self) -> str:
        """Return the name without characters that a file system may refuse."""
        return self.name.replace(":", "-")

    def judged(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that are judged: Kaggle's as they came, other collections' one a text, T26's English ones."""
        parts = self.divide(table)
        if HELD_OUT not in parts:
            rows = parts[DEV]
            return rows[rows["source"] == KAGGLE].reset_index(drop=True)
        rows = to_learn_from(parts[HELD_OUT])
        english = [source != T26 or looks_english(text) for source, text in rows[["source", "normalised"]].to_numpy()]
        return rows[np.array(english, dtype=bool)].reset_index(drop=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that are not finished; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        settings = compose(options.overrides)
        chosen = [case for case in cases(settings.data) if case.kind in options.cases]
        if options.list:
            print("\n".join(case.name for case in chosen))
            return 0
        report = generalisation(settings, chosen, options.output, resolve_base_encoder(), options.resamples)
    except (TrainingError, AdapterError, BaseEncoderError) as error:
        print(f"generalisation refused: {error}", file=sys.stderr)
        return 1
    print(generalisation_table(report))
    print(options.output / FILE)
    return 0


def cases(data: DataSettings) -> list[HeldOutCase]:
    """Return every case of a recipe, in the order of KINDS."""
    division = data.split
    found = [HeldOutCase("keyword", data, lambda table: keyword_split(table, division))]
    for event in data.t6_events if data.t6_per_event else ():
        without = dataclasses.replace(data, **_without(data, event))
        divide = _bound(event_split, event, division)
        found.append(HeldOutCase(f"event:{event}", without, divide))
    alone = dataclasses.replace(data, **_alone(data))
    for source in (T6, T26):
        found.append(HeldOutCase(f"collection:{source}", alone, _bound(collection_split, KAGGLE, source, division)))
    for share in CURVE_SHARES:
        less = dataclasses.replace(data, **_scaled(data, share))
        found.append(HeldOutCase(f"curve:{share:g}", less, _part_of_training(division, share)))
    return found


def generalisation(
    settings: Settings, chosen: Sequence[HeldOutCase], output: Path, base: Path, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Train and judge the cases that are not finished, and write all of them as one file.

    Args:
        settings: the recipe; its data directory is read, its output and model directories are not used.
        chosen: what to do, at least one.
        output: a case is kept here, and the whole as FILE.
        base: folder of the base encoder.
        resamples: of the bootstrap.

    Raises:
        TrainingError: the data or the machine do not allow a training.
    """
    table = read_table(Path(settings.data_dir))
    output.mkdir(parents=True, exist_ok=True)
    recipe = _recipe(settings)
    lock = read_lock(Path(settings.data_dir) / LOCK_FILE)
    found = {}
    for case in tqdm(chosen, desc="held-out trainings", unit="training", disable=None):
        path = output / f"{case.file_name}.json"
        key = _key(recipe, lock, case, resamples)
        entry = _finished(path, key)
        if entry is None:
            entry = {"key": key, **_run(settings, case, table, output, base, resamples)}
            _write(path, entry)
        found[case.name] = entry
    report = {"recipe": recipe, "data": lock, "resamples": resamples, "cases": found}
    _write(output / FILE, report)
    return report


def _run(
    settings: Settings, case: HeldOutCase, table: pd.DataFrame, output: Path, base: Path, resamples: int
) -> dict[str, Any]:
    folder = output / case.file_name
    run = dataclasses.replace(
        settings,
        data=case.data,
        output_dir=str(folder / "run"),
        model_dir=str(folder / "model"),
        ckpt_path="",
        version_suffix="held-out",
    )
    judged = case.judged(table)
    module = TweetDataModule(
        Path(settings.data_dir), base / TOKENIZER_FILE, case.data, settings.seed, divide=case.divide
    )
    module.setup()
    trained = module.parts[TRAIN]
    assert_no_leak(used=pd.concat([trained, module.parts[CALIBRATION]]), judged=judged)
    facts = train(run, base, divide=case.divide).facts
    answers = ask(open_model(folder / "model", base), judged["text"].tolist())
    baseline = TfIdf().fit(trained).scores(judged)
    shutil.rmtree(folder / "run", ignore_errors=True)  # checkpoints are large; the model stays
    targets = judged["target"].to_numpy(dtype=np.int64)
    groups = np.asarray(pd.factorize(judged["group"])[0], dtype=np.int64)
    systems = {
        name: {metric: value.as_json() for metric, value in estimates(score, targets, groups, resamples).items()}
        for name, score in ((MODEL, answers.scores), (BASELINE, baseline))
    }
    return {
        "kind": case.kind,
        "rows": len(judged),
        "positive_share": round(float(targets.mean()), 4),
        "trained_rows": {str(name): int(count) for name, count in trained["source"].value_counts().items()},
        "train_seconds": facts["train_seconds"],
        "systems": systems,
        "decision": _decision(judged, answers),
    }


def _decision(judged: pd.DataFrame, answers: Answers) -> dict[str, Any]:
    return decision_report(judged, Scored(judged, answers, {}))


def _bound(function: Callable[..., Parts], *arguments: Any) -> Callable[[pd.DataFrame], Parts]:
    return lambda table: function(table, *arguments)


def _part_of_training(division: Any, share: float) -> Callable[[pd.DataFrame], Parts]:
    """Return a division whose training part keeps a share of its near-duplicate groups; smaller lie within larger."""

    def divide(table: pd.DataFrame) -> Parts:
        parts = split(table, division)
        rows = parts[TRAIN]
        place = rows["group"].map(
            lambda group: int(hashlib.sha256(f"{_CURVE_SEED}:{group}".encode()).hexdigest()[:12], 16) / 16**12
        )
        return {**parts, TRAIN: rows[place < share].reset_index(drop=True)}

    return divide


def _without(data: DataSettings, event: str) -> dict[str, Any]:
    """Return the event settings of a recipe, of every collection, less one crisis."""
    return {
        field.name: tuple(name for name in getattr(data, field.name) if name.lower() != event.lower())
        for field in dataclasses.fields(data)
        if field.name.endswith("_events")
    }


def _alone(data: DataSettings) -> dict[str, Any]:
    return {field.name: 0 for field in dataclasses.fields(data) if field.name.endswith("_per_event")}


def _scaled(data: DataSettings, share: float) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(data) if field.name.endswith("_per_event")]
    # Nine tenths, since a share of the groups of an event need not hold the share of its texts.
    return {name: int(getattr(data, name) * share * (0.9 if share < 1 else 1)) for name in names}


def _recipe(settings: Settings) -> dict[str, Any]:
    content = dataclasses.asdict(settings)
    for other in ("data_dir", "output_dir", "model_dir", "ckpt_path", "logger", "version_suffix"):
        del content[other]
    return json.loads(json.dumps(content))  # tuples as lists, as in a file


def _key(recipe: Mapping[str, Any], lock: Mapping[str, Any], case: HeldOutCase, resamples: int) -> str:
    content = json.dumps([recipe, lock, case.name, dataclasses.asdict(case.data), resamples], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _finished(path: Path, key: str) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return entry if entry.get("key") == key else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # A case appears under its name only when it is whole.
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _parser() -> argparse.ArgumentParser:
    about = "Train the recipe without a kind of tweets and judge it on that kind; and on shares of its tweets."
    parser = command("generalisation", about, EXAMPLE)
    parser.add_argument("overrides", nargs="*", help="of the training, as Hydra takes them")
    parser.add_argument("--cases", type=names(KINDS), default=list(KINDS), help=f"of {','.join(KINDS)} (default: all)")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    output = Path("reports/generalisation")
    parser.add_argument("--output", type=Path, default=output, help="default: %(default)s")
    add_resamples(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())

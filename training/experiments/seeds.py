"""Collect the figures of trainings that differ in their seed alone: `python -m training.experiments.seeds runs/seed*`.

One file for the evaluation report and the model card: mean and sample standard deviation of every figure that the
trainings wrote into their training.json, and the figure of each seed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.arguments import command
from training.data.whole_files import written_whole
from training.errors import TrainingError
from training.experiments.seed_spread import summary
from training.learning.recipe_differences import recipe_differences
from training.model.model import FACTS_FILE
from training.reports.report_tables import HEADINGS, table

LEAST = 5  # fewer say little of a deviation
DEV = "dev"
PARTS: Mapping[str, str] = {
    DEV: "Kaggle, dev part, rows as they came",
    "held_out": "Kaggle, dev and calibration parts (temperature and thresholds were fitted on the latter)",
    "dev_distinct": "Kaggle, distinct texts of the dev part",
    "dev_crisislex_t6": "CrisisLexT6, unseen tweets",
}
SHOWN: Mapping[str, str] = {
    **{name: HEADINGS[name] for name in ("f1", "accuracy", "precision", "recall", "roc_auc", "nll")},
    "ece_15_bins": HEADINGS["ece"],
    "decided_share": "share decided",
    "decided_error_share": "errors among decided",
}

EXAMPLE = """examples:
  python -m training.train seed=3 model_dir=runs/seed3           one of them; teachers' scores are kept and shared
  python -m training.experiments.seeds runs/seed* --output docs/evaluation/seeds.json
  python -m training.evaluate --seeds docs/evaluation/seeds.json --card docs/model_card.md
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and print the table; return the exit status (0 done, 1 refused)."""
    parser = command(
        "seeds", "Mean and deviation of the figures of trainings that differ in their seed alone.", EXAMPLE
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help=f"model folders, at least {LEAST}")
    output = Path("reports/seeds.json")
    parser.add_argument("--output", type=Path, default=output, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        report = collect_seeds(options.folders)
        with written_whole(options.output) as path:
            path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except TrainingError as error:
        print(f"seeds refused: {error}", file=sys.stderr)
        return 1
    print(seeds_table(report))
    print(options.output)
    return 0


def collect_seeds(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the figures over model folders, and by seed.

    Args:
        folders: each with the training.json of one recipe, one data set and another seed.

    Raises:
        TrainingError: there are too few, one cannot be read, or they differ in more than the seed.
    """
    if len(folders) < LEAST:
        raise TrainingError(f"{len(folders)} model folders were given; expected at least {LEAST}, one a seed")
    trainings = sorted((_read(folder) for folder in folders), key=lambda facts: int(facts["seeds"]["training"]))
    seeds = [int(facts["seeds"]["training"]) for facts in trainings]
    if len(set(seeds)) < len(seeds):
        raise TrainingError(f"the folders are of seeds {seeds}; expected each once: repeats hide the deviation")
    first = trainings[0]
    for seed, facts in zip(seeds, trainings, strict=True):
        if different := recipe_differences(first["recipe"], facts["recipe"]):
            raise TrainingError(
                f"seed {seeds[0]} and seed {seed} differ in {'; '.join(different)}; expected the seed alone"
            )
        if facts["data"] != first["data"]:
            raise TrainingError(f"seed {seeds[0]} and seed {seed} have other raw files; expected the same; train again")
    return {
        "trainings": len(seeds),
        "seeds": seeds,
        "model_versions": [facts["model_version"] for facts in trainings],
        "recipe": first["recipe"],
        "data": first["data"],
        "parts": {part: _part(part, trainings) for part in PARTS if all(part in facts for facts in trainings)},
    }


def seeds_table(report: Mapping[str, Any]) -> str:
    """Return one row a part: mean and standard deviation of SHOWN, as Markdown."""
    rows = [
        [PARTS[part], str(found["rows"]), *(_shown(found["figures"].get(name)) for name in SHOWN)]
        for part, found in report["parts"].items()
    ]
    return table(["tweets", "n", *SHOWN.values()], rows)


def seeds_text(report: Mapping[str, Any]) -> str:
    """Return what seeds move, in a sentence."""
    found = report["parts"][DEV]["figures"]
    told = ", ".join(f"{SHOWN[name]} {_shown(found[name])}" for name in ("f1", "accuracy", "roc_auc"))
    return (
        f"{report['trainings']} trainings of this recipe, which differ in their seed alone "
        f"({', '.join(map(str, report['seeds']))}), have on the dev rows {told} (mean ± standard deviation)."
    )


def _part(part: str, trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts = {facts[part]["n"] for facts in trainings}
    if len(counts) > 1:
        raise TrainingError(f"{part} has {sorted(counts)} rows in these trainings; expected the same rows")
    names = [name for name in trainings[0][part] if name != "n"]
    values = {name: [facts[part].get(name) for facts in trainings] for name in names}
    return {
        "rows": counts.pop(),
        "figures": {
            name: {**found, "by_seed": values[name]} if (found := summary(values[name])) else None for name in names
        },
    }


def _read(folder: Path) -> dict[str, Any]:
    path = folder / FACTS_FILE
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        int(facts["seeds"]["training"]), facts["recipe"], facts["data"], facts["model_version"], facts[DEV]["n"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} tells no training ({type(error).__name__}: {error}); expected a model folder that `python -m "
            "training.train` wrote"
        ) from error
    return facts


def _shown(found: Mapping[str, float] | None) -> str:
    return f"{found['mean']:.4f} ± {found['sd']:.4f}" if found else "-"


if __name__ == "__main__":
    sys.exit(main())

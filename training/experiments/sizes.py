"""Train the recipe with fewer and more layers, with and without its teachers: `python -m training.experiments.sizes`.

The served model is the smallest one that is nearly as good as the best. This command finds it: a table and a plot of F1
and ROC-AUC against the arithmetic of one tweet, on all Kaggle rows that no training reads (dev and calibration).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from tqdm import tqdm

from training.arguments import command
from training.data.data_lock import LOCK_FILE, read_lock
from training.data.datamodule import TweetDataModule
from training.data.encoding import TweetEncoder
from training.data.splits import DEV
from training.errors import TrainingError
from training.experiments.seed_spread import summary
from training.learning.recipe_settings import compose
from training.learning.settings import Settings
from training.model.base_encoder import CONFIG_FILE, TOKENIZER_FILE, BaseEncoderError, resolve_base_encoder
from training.model.model import AdapterError
from training.reports.report_tables import table
from training.train import train

FILE, PLOT = "sizes.json", "sizes.png"
LAYERS = (2, 3, 4, 6)
F1_MARGIN, AUC_MARGIN = 0.003, 0.005  # how far from the best a smaller model may be to be preferred
JUDGED_ON = "held_out"  # dev and calibration rows: differences between sizes are smaller than dev alone can show
KEPT = ("dev", JUDGED_ON, "dev_crisislex_t6", "train_seconds")
TEACHING = ("both", "taught", "untaught")
SHOWN = ("f1", "accuracy", "roc_auc", "nll")

EXAMPLE = """examples:
  python -m training.experiments.sizes             2, 3, 4 and 6 layers, each with and without teachers
  python -m training.experiments.sizes --layers 2,3 --seeds 0,1,2 --teaching taught trainer=cpu_bf16
  python -m training.experiments.sizes --output docs/sizes data.t6_per_event=0 data.t26_per_event=0

A finished training is kept under --output and not repeated while recipe and data stay the same.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not finished, write the report; return the exit status (0 done, 1 refused)."""
    options = _parser().parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        report = sizes(
            compose(options.overrides), options.layers, options.seeds, options.output, teaching=options.teaching
        )
    except (TrainingError, AdapterError, BaseEncoderError) as error:
        print(f"sizes refused: {error}", file=sys.stderr)
        return 1
    print(sizes_table(report))
    print(f"smallest within {F1_MARGIN} of the best F1 and {AUC_MARGIN} of the best ROC-AUC: {report['chosen']}")
    print(options.output / FILE)
    return 0


def sizes(
    settings: Settings,
    layers: Sequence[int],
    seeds: Sequence[int],
    output: Path,
    base: Path | None = None,
    teaching: str = "both",
) -> dict[str, Any]:
    """Train each size with and without teachers and write table and plot.

    Args:
        settings: the recipe; a recipe without teachers is trained without them only.
        layers: of the students.
        seeds: of their trainings; figures are means over them.
        output: is made when missing.
        base: folder of the base encoder; None resolves the pinned one.
        teaching: "taught", "untaught" or "both".

    Returns:
        The report: a row a size with its figures on dev and calibration rows and its MFLOP a tweet, and the name of the
        smallest good one.
    """
    base = base or resolve_base_encoder()
    output.mkdir(parents=True, exist_ok=True)
    tokens = mean_tokens(settings, base)
    weights = _weights(settings.data.teacher_weight, teaching)
    turns = [(number, weight, seed) for number in layers for weight in weights for seed in seeds]
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for number, weight, seed in tqdm(turns, desc="sizes", unit="training", disable=None):
        runs.setdefault(_name(number, weight), []).append(_run(settings, number, weight, seed, output, base))
    rows = [
        {
            "name": _name(number, weight),
            "num_hidden_layers": number,
            "teacher_weight": weight,
            "mflop_a_tweet": round(mflop(base, number, tokens), 1),
            **{metric: _mean([run[JUDGED_ON][metric] for run in runs[_name(number, weight)]]) for metric in SHOWN},
            **{
                f"{metric}_spread": _spread([run[JUDGED_ON][metric] for run in runs[_name(number, weight)]])
                for metric in SHOWN
            },
            "train_seconds": _mean([run["train_seconds"] for run in runs[_name(number, weight)]]),
        }
        for number in layers
        for weight in weights
    ]
    report = {
        "judged_on": JUDGED_ON,
        "n": next(iter(runs.values()))[0][JUDGED_ON]["n"],
        "seeds": list(seeds),
        "mean_tokens": round(tokens, 2),
        "recipe": _recipe(settings),
        "rows": rows,
        "chosen": smallest_good(rows),
    }
    (output / FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    plot_sizes(report, output / PLOT)
    return report


def smallest_good(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the row with the least arithmetic whose F1 and ROC-AUC are within the margins of the best."""
    best_f1, best_auc = (max(float(row[metric]) for row in rows) for metric in ("f1", "roc_auc"))
    good = [row for row in rows if row["f1"] >= best_f1 - F1_MARGIN and row["roc_auc"] >= best_auc - AUC_MARGIN]
    if not good:  # the best F1 and the best ROC-AUC are of two models
        good = [max(rows, key=lambda row: float(row["f1"]))]
    return str(min(good, key=lambda row: (float(row["mflop_a_tweet"]), -float(row["f1"])))["name"])


def mflop(base: Path, num_hidden_layers: int, tokens: float) -> float:
    """Return the million floating-point operations of one tweet, without padding.

    A multiplication with its addition counts as two. Linear layers: 2 (4 h^2 + 2 h i) a token and layer; attention: the
    two products of scores and values, 4 h n a token.

    Args:
        base: folder of the base encoder, for its widths h and i.
        num_hidden_layers: of the model.
        tokens: n, of the tweet, special tokens included.
    """
    config = json.loads((base / CONFIG_FILE).read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    a_token = 2 * (4 * hidden**2 + 2 * hidden * inner) + 4 * hidden * tokens
    return float(num_hidden_layers * tokens * a_token / 1e6)


def mean_tokens(settings: Settings, base: Path) -> float:
    """Return the mean length of the dev tweets in tokens."""
    module = TweetDataModule(Path(settings.data_dir), base / TOKENIZER_FILE, settings.data, settings.seed)
    module.setup()
    encoded = TweetEncoder(base / TOKENIZER_FILE, settings.data.max_tokens).encode(
        module.parts[DEV]["normalised"].tolist()
    )
    return sum(map(len, encoded)) / len(encoded)


def sizes_table(report: Mapping[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    rows = [
        [
            row["name"],
            f"{row['mflop_a_tweet']:.0f}",
            *(_shown(row, metric) for metric in SHOWN),
        ]
        for row in report["rows"]
    ]
    return table(["model", "MFLOP a tweet", "F1", "accuracy", "ROC-AUC", "NLL"], rows)


def plot_sizes(report: Mapping[str, Any], path: Path) -> None:
    """Draw F1 and ROC-AUC against the arithmetic of a tweet, a line with and one without teachers."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, metric, heading in zip(axes, ("f1", "roc_auc"), ("F1", "ROC-AUC"), strict=True):
        for weight in sorted({row["teacher_weight"] for row in report["rows"]}):
            rows = [row for row in report["rows"] if row["teacher_weight"] == weight]
            label = "taught" if weight else "not taught"
            axis.plot([row["mflop_a_tweet"] for row in rows], [row[metric] for row in rows], marker="o", label=label)
        for row in report["rows"]:
            axis.annotate(str(row["num_hidden_layers"]), (row["mflop_a_tweet"], row[metric]), fontsize=7)
        axis.set_xlabel("MFLOP a tweet (numbers: layers)")
        axis.set_ylabel(f"{heading} on held-out rows, n = {report['n']}")
    axes[0].legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _run(settings: Settings, layers: int, weight: float, seed: int, output: Path, base: Path) -> dict[str, Any]:
    run = dataclasses.replace(
        settings,
        seed=seed,
        model_dir="",
        ckpt_path="",
        output_dir=str(output / "runs" / f"{_name(layers, weight)}-seed-{seed}".replace(" ", "-")),
        model=dataclasses.replace(settings.model, num_hidden_layers=layers),
        data=dataclasses.replace(settings.data, teacher_weight=weight),
    )
    lock = read_lock(Path(settings.data_dir) / LOCK_FILE)
    content = json.dumps([_recipe(run), lock], sort_keys=True)
    path = output / "runs" / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        facts = train(run, base).facts
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({name: facts[name] for name in KEPT if name in facts}))
        partial.replace(path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _recipe(settings: Settings) -> dict[str, Any]:
    content = dataclasses.asdict(settings)
    for place in ("data_dir", "output_dir", "model_dir", "ckpt_path", "logger", "version_suffix"):
        del content[place]
    return json.loads(json.dumps(content))  # tuples as lists, as in a file


def _name(layers: int, weight: float) -> str:
    return f"{layers} layers{', taught' if weight else ''}"


def _weights(teacher_weight: float, teaching: str) -> list[float]:
    return {"both": sorted({0.0, teacher_weight}), "taught": [teacher_weight], "untaught": [0.0]}[teaching]


def _spread(values: Sequence[float]) -> float | None:
    """Return the deviation over seeds; None of one, which shows none."""
    found = summary(values) if len(values) > 1 else None
    return found["sd"] if found else None


def _shown(row: Mapping[str, Any], metric: str) -> str:
    spread = row[f"{metric}_spread"]
    return f"{row[metric]:.4f}" if spread is None else f"{row[metric]:.4f} ± {spread:.4f}"


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)


def _numbers(value: str) -> list[int]:
    if not all(part.strip().isdecimal() for part in value.split(",")):
        raise argparse.ArgumentTypeError(f"{value!r} is no list of whole numbers; expected such as 2,3")
    return [int(part) for part in value.split(",")]


def _parser() -> argparse.ArgumentParser:
    about = "Train the recipe in several sizes, with and without teachers; plot quality against arithmetic."
    parser = command("sizes", about, EXAMPLE)
    parser.add_argument("overrides", nargs="*", help="of the training, as Hydra takes them")
    parser.add_argument("--layers", type=_numbers, default=list(LAYERS), help="default: 2,3,4,6")
    parser.add_argument("--seeds", type=_numbers, default=[0], help="figures are means over them (default: 0)")
    parser.add_argument("--teaching", choices=TEACHING, default="both", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=Path("reports/sizes"), help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The report of an evaluation for a reader: report.md."""

from __future__ import annotations

from collections.abc import Sequence

from training.evaluation.baselines import DESCRIPTIONS
from training.reports.behaviour_table import behaviour_table, behaviour_text
from training.reports.report_tables import (
    Report,
    calibration_table,
    decision_table,
    events_table,
    gains_table,
    generalisation_table,
    generalisation_text,
    results_table,
    risks_table,
    slices_table,
)
from training.experiments.seeds import seeds_table, seeds_text

ONE_SEED = "One training, one seed: the intervals count chance of the rows only. What a seed moves was not measured."


def report_markdown(report: Report, plots: Sequence[str]) -> str:
    """Return the whole report for a reader."""
    source, method = report["source"], report["method"]
    lines = [
        f"# Evaluation of {source['model_version']}",
        "",
        f"Source: {source['kind']} `{source['name']}`; {report['asked_tweets']} tweets, "
        f"{report['tweets_per_second']:.0f} a second. {report['training_note']}",
        "",
        f"Intervals: {method['interval']}; {method['resamples']} resamples. Labels at {method['threshold']}.",
        "",
        "## Results",
        *(f"- {name}: {found['what']}" for name, found in report["splits"].items()),
        "",
        results_table(report),
        "",
        "Baselines, fitted on the same rows as the model: "
        + "; ".join(f"{name}: {what}" for name, what in DESCRIPTIONS.items() if name in report["baselines"])
        + "."
        if report["baselines"]
        else "No baselines were asked for.",
        "",
        gains_table(report),
        "",
        "## Scores as probabilities",
        f"ECE: {method['ece']}. ECE, score: {method['ece_positive']}. Adaptive: {method['ece_adaptive']}; "
        f"{method['ece_note']}. NLL: {method['nll']}.",
        "",
        calibration_table(report),
        "",
        "## Decisions",
        "Errors among decided tweets with exact (Clopper-Pearson) 95 % intervals. In hindsight: thresholds chosen on "
        "these very rows, with the same limit of errors among all decided; what the scores allow, no promise.",
        "",
        decision_table(report),
    ]
    if risks := risks_table(report):
        lines += [
            "",
            "What other limits (`max_error_share` in handler/model-config.yaml) would have decided here:",
            "",
            risks,
        ]
    if report["t26_events"]:
        lines += ["", "## Events of CrisisLexT26", "", events_table(report)]
    lines += _attached(report)
    for split in report["splits"]:
        lines += ["", f"## Kinds of tweets: {split}", "", slices_table(report, split)]
    if plots:
        lines += ["", "## Plots", "", *(f"![{name.removesuffix('.png')}]({name})" for name in plots)]
    return "\n".join(lines) + "\n"


def _attached(report: Report) -> list[str]:
    """Return the sections of what other commands measured, as far as it was given."""
    lines = ["", "## Other seeds", ""]
    if seeds := report.get("seeds"):
        lines += [seeds_text(seeds), "", seeds_table(seeds)]
    else:
        lines.append(ONE_SEED)
    if held_out := report.get("generalisation"):
        text = generalisation_text(held_out)
        lines += ["", "## Trained without what is judged", "", text, "", generalisation_table(held_out)]
    if behaviour := report.get("behaviour"):
        lines += ["", "## Behaviour", "", behaviour_text(behaviour), "", behaviour_table(behaviour)]
    return lines

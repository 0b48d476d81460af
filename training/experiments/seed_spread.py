"""How far figures lie apart between trainings that differ in their seed only, from their reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import TrainingError
from training.evaluation.evaluation_report import MODEL
from training.evaluation.metrics import METRICS
from training.reports.report_tables import HEADINGS, table

SHOWN = ("f1", "accuracy", "roc_auc", "ece", "nll")


def seed_spread(paths: Sequence[Path]) -> dict[str, Any]:
    """Return mean, sample standard deviation and both ends of the model's figures over the reports, for each split.

    Args:
        paths: report.json of at least two models, evaluated on the same rows.

    Raises:
        TrainingError: a file is no report, two are of one model, or their rows differ.
    """
    if len(paths) < 2:
        raise TrainingError(f"{len(paths)} report has no spread; expected those of at least two trainings")
    reports = [_read(path) for path in paths]
    versions = [report["source"]["model_version"] for report in reports]
    if len(set(versions)) < len(versions):
        raise TrainingError(f"the reports are of models {versions}; expected each once: repeats hide the spread")
    rows = {path: _rows(report) for path, report in zip(paths, reports, strict=True)}
    for path, found in rows.items():
        if found != rows[paths[0]]:
            raise TrainingError(
                f"{path} is of rows {found}, {paths[0]} of {rows[paths[0]]}; expected the same rows; evaluate "
                "all models with the same --data, --splits and --limit"
            )
    splits = {
        split: {
            metric: summary([report["splits"][split]["systems"][MODEL][metric]["value"] for report in reports])
            for metric in METRICS
        }
        for split in reports[0]["splits"]
    }
    return {"model_versions": versions, "splits": splits}


def spread_table(spread: Mapping[str, Any]) -> str:
    """Return one row a split: mean and standard deviation of some figures."""
    rows = []
    for split, figures in spread["splits"].items():
        cells = [
            "-" if figures[name] is None else f"{figures[name]['mean']:.4f} +- {figures[name]['sd']:.4f}"
            for name in SHOWN
        ]
        rows.append([split, str(len(spread["model_versions"])), *cells])
    return table(["rows of", "trainings", *(HEADINGS[name] for name in SHOWN)], rows)


def summary(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return mean, sample standard deviation and both ends; None where a training has no such figure."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return {
        "mean": round(float(np.mean(known)), 4),
        "sd": round(float(np.std(known, ddof=1)), 4),
        "lowest": min(known),
        "highest": max(known),
    }


def _rows(report: Mapping[str, Any]) -> dict[str, Any]:
    files = {name: entry["sha256"][:8] for name, entry in report["data"].items()}
    return {"limit": report["limit"], **{name: found["rows"] for name, found in report["splits"].items()}, **files}


def _read(path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        report["splits"], report["data"], report["limit"], report["source"]["model_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is no report ({type(error).__name__}); expected a report.json of `python -m training.evaluate`"
        ) from error
    return report

"""The tables of an evaluation as Markdown, for report.md and the model card; `training.reports.report_markdown` joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.evaluation_report import MODEL
from training.model.model import LABELS

Report = Mapping[str, Any]
HEADINGS: Mapping[str, str] = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "ece": "ECE",
    "ece_positive": "ECE, score",
    "ece_adaptive": "ECE, adaptive",
    "brier": "Brier",
    "nll": "NLL",
}
RANKING = ("f1", "precision", "recall", "accuracy", "mcc", "roc_auc", "pr_auc")
SHOWN_RISKS = (0.03, 0.05, 0.08, 0.1, 0.15)
SCOPE_NAMES: Mapping[str, str] = {"decided": "all decided", "side": "either side"}
CALIBRATION = ("ece", "ece_positive", "ece_adaptive", "brier", "nll")


def shown(estimate: Mapping[str, float | None] | None, decimals: int = 3) -> str:
    """Return "0.812 (0.790-0.834)", or "-" where there is no figure."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value = f"{estimate['value']:.{decimals}f}"
    if estimate["low"] is None or estimate["high"] is None:
        return value
    return f"{value} ({estimate['low']:.{decimals}f} to {estimate['high']:.{decimals}f})"


def results_table(report: Report, metrics: Sequence[str] = RANKING) -> str:
    """Return one row a split and system."""
    rows = [
        [split, str(found["rows"]), system, *(shown(values[metric]) for metric in metrics)]
        for split, found in report["splits"].items()
        for system, values in found["systems"].items()
    ]
    return table(["rows of", "n", "system", *(HEADINGS[metric] for metric in metrics)], rows)


def calibration_table(report: Report) -> str:
    """Return how far scores can be read as probabilities, one row a split and system."""
    return results_table(report, CALIBRATION)


def gains_table(report: Report) -> str:
    """Return model minus baseline, on the same resampled rows."""
    rows = [
        [split, system, *(shown(values[metric]) for metric in values)]
        for split, found in report["splits"].items()
        for system, values in found["model_minus_baseline"].items()
    ]
    return table(["rows of", "model minus", "F1", "accuracy", "ROC-AUC"], rows) if rows else ""


def events_table(report: Report) -> str:
    """Return one row a CrisisLexT26 event: figures of the model, ROC-AUC of the baselines."""
    events = report["t26_events"]
    if not events:
        return ""
    others = [name for name in next(iter(events.values()))["systems"] if name != MODEL]
    rows = []
    for event, found in events.items():
        model = found["systems"][MODEL]
        name = f"{event} (event also in the training)" if found["trained_event"] else event
        negatives = found["rows"] - round(found["rows"] * found["positive_share"])
        figures = [shown(model[metric]) for metric in ("roc_auc", "f1", "recall", "accuracy")]
        rest = [_value(found["systems"][other]["roc_auc"]) for other in others]
        rows.append([name, str(found["rows"]), str(negatives), *figures, *rest])
    return table(
        ["event", "n", "negatives", "ROC-AUC", "F1", "recall", "accuracy", *(f"ROC-AUC of {name}" for name in others)],
        rows,
    )


def slices_table(report: Report, split: str) -> str:
    """Return one row a kind of tweet of a split."""
    rows = []
    for name, found in report["splits"][split]["slices"].items():
        model = found.get("model")
        share = "-" if found["positive_share"] is None else f"{found['positive_share']:.3f}"
        figures = [shown(model[metric]) if model else "-" for metric in ("f1", "accuracy", "roc_auc", "ece")]
        rows.append([name, str(found["rows"]), share, *figures])
    return table(["tweets", "n", "positive", "F1", "accuracy", "ROC-AUC", "ECE"], rows)


def decision_table(report: Report) -> str:
    """Return what the model decided by itself, one row a split and side."""
    rows = []
    for split, found in report["splits"].items():
        decision = found["decision"]
        for side, risk in (("both", decision), *((label, decision["sides"][label]) for label in LABELS)):
            best = f"{decision['hindsight']['share']:.3f}" if side == "both" else ""
            rows.append([split, side, f"{risk['share']:.3f}", str(risk["errors"]), shown(risk["error_share"]), best])
    head = ["rows of", "decided as", "share decided", "errors", "errors among decided", "share possible in hindsight"]
    return table(head, rows)


def risks_table(report: Report) -> str:
    """Return what the thresholds of other limits would have decided: a row a split, scope and one of SHOWN_RISKS."""
    rows = [
        [
            split,
            SCOPE_NAMES[scope],
            f"{risk['max_error_share']:.0%}",
            f"{risk['share']:.3f}",
            shown(risk["error_share"]),
        ]
        for split, found in report["splits"].items()
        for scope, risks in found.get("risks", {}).items()
        for risk in risks
        if risk["max_error_share"] in SHOWN_RISKS
    ]
    head = ["rows of", "limit is about", "limit of errors", "share decided", "errors among decided"]
    return table(head, rows) if rows else ""


def generalisation_text(report: Report) -> str:
    """Return what the cases are, and in what their recipe differs from the model's where that is known."""
    text = (
        "Other trainings of the recipe, each without what it is judged on. keyword: no Kaggle search word of the "
        "judged tweets was trained on; event: the recipe without that crisis; collection: Kaggle alone; curve: a share "
        "of the training tweets, judged on Kaggle's dev part."
    )
    if different := report.get("recipe_differs"):
        text += f" Their recipe is not the model's; setting: the model's, theirs: {'; '.join(different)}."
    return text


def generalisation_table(report: Report) -> str:
    """Return one row a held-out training and system, from the file of `python -m training.experiments.generalisation`."""
    rows = []
    for case, found in report["cases"].items():
        trained = sum(found["trained_rows"].values())
        for system, values in found["systems"].items():
            decision = found["decision"]
            decided = [f"{decision['share']:.3f}", shown(decision["error_share"])] if system == MODEL else ["", ""]
            figures = [shown(values[metric]) for metric in ("f1", "accuracy", "roc_auc", "ece")]
            rows.append([case, f"{trained:,}", f"{found['rows']:,}", system, *figures, *decided])
    head = ["case", "trained on", "judged", "system", "F1", "accuracy", "ROC-AUC", "ECE", "share decided"]
    return table([*head, "errors among decided"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _value(estimate: Mapping[str, float | None]) -> str:
    return "-" if estimate["value"] is None else f"{estimate['value']:.3f}"

"""Fill the model card: text by hand in model_card_template.md, every number from the evaluation and the training.

A place is `{{path}}` or `{{path|form}}`, the path from `evaluation` (report.json) or `training` (training.json), its
steps divided by "/" since split names may hold dots; `{{table NAME}}` or `{{table NAME SPLIT}}` is a whole table;
`{{sentence NAME}}` is one of training/reports/model_card_sentences.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

from training.reports.behaviour_table import behaviour_table, behaviour_text
from training.errors import TrainingError
from training.reports.model_card_sentences import EVALUATION_SENTENCES, SENTENCES
from training.reports.provenance_table import provenance_table
from training.reports.report_tables import (
    calibration_table,
    decision_table,
    events_table,
    gains_table,
    generalisation_table,
    generalisation_text,
    results_table,
    risks_table,
    shown,
    slices_table,
)
from training.experiments.seeds import seeds_table

TEMPLATE_FILE = "model_card_template.md"
_PLACE = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_NOT_MEASURED = "Not measured for this model."
_TABLES: Mapping[str, Callable[..., str]] = {
    "results": results_table,
    "calibration": calibration_table,
    "gains": gains_table,
    "events": events_table,
    "decisions": decision_table,
    "slices": slices_table,
    "risks": lambda report: risks_table(report) or _NOT_MEASURED,
    "generalisation": lambda report: _optional(generalisation_text, generalisation_table, report, "generalisation"),
    "behaviour": lambda report: _optional(behaviour_text, behaviour_table, report, "behaviour"),
    "seeds": lambda report: seeds_table(report["seeds"]) if "seeds" in report else _NOT_MEASURED,
}
_FORMS: Mapping[str, Callable[[Any], str]] = {
    "text": str,
    "count": lambda value: f"{value:,}",
    "sum": lambda value: f"{sum(value.values()):,}",
    "share": lambda value: f"{value:.1%}",
    "figure": lambda value: f"{value:.3f}",
    "interval": shown,
    "minutes": lambda value: f"{value / 60:.0f}",
    "list": lambda value: ", ".join(str(item) for item in value),
    "pairs": lambda value: ", ".join(f"{name} {item}" for name, item in value.items()),
}


class CardError(TrainingError):
    """The card cannot be filled; names the place of the template."""


def model_card(evaluation: Mapping[str, Any], training: Mapping[str, Any], template: str | None = None) -> str:
    """Return the card as Markdown.

    Args:
        evaluation: content of report.json.
        training: content of training.json, of the same model.
        template: None takes the package's.

    Raises:
        CardError: the two are of different models, or a place names what neither holds.
    """
    evaluated, trained = evaluation["source"]["model_version"], training["model_version"]
    if evaluated != trained:
        raise CardError(
            f"the evaluation is of model {evaluated}, training.json of {trained}; expected one model; evaluate again"
        )
    if template is None:
        template = (files("training.reports") / TEMPLATE_FILE).read_text(encoding="utf-8")
    tables: dict[str, Callable[..., str]] = {name: partial(table, evaluation) for name, table in _TABLES.items()}
    tables["provenance"] = partial(provenance_table, training)
    return fill_template(template, {"evaluation": evaluation, "training": training}, tables)


def fill_template(
    template: str, facts: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Callable[..., str]]
) -> str:
    """Return a template with every place filled, see the module's head.

    Args:
        template: Markdown.
        facts: first step of a path -> what it leads into.
        tables: name -> function that returns the table, of a split where the place names one.

    Raises:
        CardError: a place names what is not there.
    """
    return _PLACE.sub(lambda place: _fill(place.group(1), facts, tables), template)


def _fill(place: str, facts: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Callable[..., str]]) -> str:
    if place.startswith("table "):
        _, name, *split = place.split()
        try:
            return tables[name](*split)
        except KeyError as error:
            raise CardError(
                f"{{{{{place}}}}}: {error} is not there; expected one of {list(tables)} and a split"
            ) from error
    if place.startswith("sentence "):
        return _sentence(place, facts)
    path, _, form = place.partition("|")
    value: Any = facts
    for step in path.strip().split("/"):
        if not isinstance(value, Mapping) or step not in value:
            known = sorted(value) if isinstance(value, Mapping) else "no further step"
            raise CardError(f"{{{{{place}}}}}: there is no {step!r}; expected one of {known}")
        value = value[step]
    try:
        return _FORMS[form.strip() or "text"](value)
    except KeyError as error:
        raise CardError(f"{{{{{place}}}}}: form {error} is unknown; expected one of {list(_FORMS)}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CardError(f"{{{{{place}}}}}: {type(value).__name__} has no form {form.strip()!r}") from error


def _sentence(place: str, facts: Mapping[str, Mapping[str, Any]]) -> str:
    name = place.split(maxsplit=1)[1]
    if name in EVALUATION_SENTENCES:
        return EVALUATION_SENTENCES[name](facts["evaluation"])
    if name not in SENTENCES:
        raise CardError(f"{{{{{place}}}}}: expected one of {[*SENTENCES, *EVALUATION_SENTENCES]}")
    try:
        return SENTENCES[name](facts["training"])
    except KeyError as error:
        raise CardError(f"{{{{{place}}}}}: training.json lacks {error}; train again") from error


def _optional(
    text: Callable[[Mapping[str, Any]], str],
    fill: Callable[[Mapping[str, Any]], str],
    report: Mapping[str, Any],
    part: str,
) -> str:
    return f"{text(report[part])}\n\n{fill(report[part])}" if part in report else _NOT_MEASURED

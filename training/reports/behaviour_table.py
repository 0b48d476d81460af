"""The pass rates of `python -m training.evaluation.behaviour` as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.reports.report_tables import table


def behaviour_text(report: Mapping[str, Any]) -> str:
    """Return what the kinds are, and how many cases of all pass."""
    return (
        "Own-written sentences whose answers are known (tests/behaviour): the label is right; a change that does not "
        f"matter moves the score by at most {report['invariance_tolerance']}; a change that matters moves it the right "
        f"way. {report['passed']} of {report['cases']} cases pass."
    )


def behaviour_table(report: Mapping[str, Any]) -> str:
    """Return one row a kind and capability, as Markdown."""
    rows = []
    for kind, entry in report["kinds"].items():
        rows.append([kind, "all", *_rates(entry)])
        rows += [["", capability, *_rates(counts)] for capability, counts in entry["capabilities"].items()]
    return table(["kind", "capability", "cases", "passed", "pass rate"], rows)


def _rates(counts: Mapping[str, Any]) -> list[str]:
    return [str(counts["cases"]), str(counts["passed"]), f"{counts['pass_rate']:.1%}"]

"""Reports of other commands that stand beside an evaluation: read, and refused when they are of something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.data.data_lock import has_same_rows
from training.errors import TrainingError
from training.learning.recipe_differences import recipe_differences

# Name, which is the command's and the option's -> what such a report holds.
ATTACHED: Mapping[str, tuple[str, ...]] = {
    "generalisation": ("cases", "recipe", "data"),
    "behaviour": ("kinds", "source"),
    "seeds": ("parts", "recipe", "data"),
}


def read_attached(
    paths: Mapping[str, Path | None], version: str, facts: Mapping[str, Any] | None, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return name -> report of those that were given.

    A report of held-out trainings may be of another recipe than the model, such as one without teachers: it says so in
    `recipe_differs`, "setting: the model's, theirs".

    Args:
        paths: name of ATTACHED -> file, or None.
        version: of the model that is evaluated.
        facts: content of its training.json, None when it is not at hand.
        data: lock of the raw files that it is evaluated on.

    Raises:
        TrainingError: one is not there, is no such report, or is of another model, recipe or data.
    """
    found = {name: _read(name, path) for name, path in paths.items() if path is not None}
    if "behaviour" in found:
        other = found["behaviour"]["source"]["model_version"]
        if other != version:
            raise TrainingError(
                f"{paths['behaviour']} is of model {other}, asked is {version}; expected one model; make it again"
            )
    for name in ("generalisation", "seeds"):
        if name in found:
            _check_data(paths[name], found[name]["data"], data)
    if "generalisation" in found and facts is not None:
        found["generalisation"]["recipe_differs"] = recipe_differences(
            facts["recipe"], found["generalisation"]["recipe"]
        )
    if "seeds" in found:
        _check_seeds(paths["seeds"], found["seeds"], version, facts)
    return found


def _read(name: str, path: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for part in ATTACHED[name]:
            report[part]
        if name == "behaviour":
            report["source"]["model_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path} is no report of {name} ({type(error).__name__}); expected the file that "
            f"`python -m training.{name}` writes"
        ) from error
    return report


def _check_data(path: Path | None, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name, entry in theirs.items():
        if name in ours and not has_same_rows(ours[name], entry):
            raise TrainingError(
                f"{path} is of another {name} (sha256 {entry['sha256']}, here {ours[name]['sha256']}); expected the "
                "same rows; make it again"
            )


def _check_seeds(path: Path | None, report: Mapping[str, Any], version: str, facts: Mapping[str, Any] | None) -> None:
    if facts is None:
        if version not in report["model_versions"]:
            raise TrainingError(
                f"{path} is of models {report['model_versions']}, asked is {version}, whose training.json is not at "
                "hand; expected one of them; give its model folder with --facts"
            )
    elif different := recipe_differences(facts["recipe"], report["recipe"]):
        raise TrainingError(
            f"{path} is of another recipe than model {version}: {'; '.join(different)}; expected the same but for the "
            "seed; train the seeds again"
        )

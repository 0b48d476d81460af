"""What a search may change: a tree of bounds and choices in the form of the configuration itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import optuna

from training.errors import TrainingError

_LEAF_KEYS = ({"low", "high"}, {"low", "high", "log"}, {"low", "high", "step"}, {"choices"})


@dataclass(frozen=True)
class Parameter:
    """One setting that a search draws.

    Args:
        path: of the setting, e.g. "model.learning.learning_rate".
        distribution: Optuna's; whole numbers where the setting is one.
    """

    path: str
    distribution: optuna.distributions.BaseDistribution


def read_space(tree: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a tree, in the order of the file.

    Args:
        tree: has the shape of `content`; its leaves are `{low, high}` with `log` or `step`, or `{choices}`.
        content: a whole configuration, to which the drawn values must fit.

    Raises:
        TrainingError: the tree is empty, names no setting, or a leaf makes no sense; names its path.
    """
    found = tuple(
        Parameter(path, _distribution(path, leaf, value_at(content, path))) for path, leaf in _leaves(tree, "")
    )
    if not found:
        raise TrainingError("hpo.space is empty; expected at least one setting with low and high, or choices")
    return found


def value_at(content: Mapping[str, Any], path: str) -> Any:
    """Return the setting at a dotted path.

    Raises:
        TrainingError: there is none.
    """
    found: Any = content
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            raise TrainingError(f"hpo.space has {path}; expected the path of a setting; see training/configs")
        found = found[key]
    return found


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration with other values at some dotted paths."""
    changed = deepcopy(dict(content))
    for path, value in values.items():
        *parents, last = path.split(".")
        group = changed
        for key in parents:
            group = group[key]
        group[last] = value
    return changed


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(tree, Mapping):
        raise TrainingError(f"hpo.space.{path} is {tree!r}; expected low and high, choices, or a group of settings")
    if "low" in tree or "high" in tree or "choices" in tree:
        yield path, tree
        return
    for key, branch in tree.items():
        yield from _leaves(branch, f"{path}.{key}".lstrip("."))


def _distribution(path: str, leaf: Mapping[str, Any], value: Any) -> optuna.distributions.BaseDistribution:
    if set(leaf) not in _LEAF_KEYS:
        raise TrainingError(
            f"hpo.space.{path} has keys {sorted(leaf)}; expected low and high, with log or step, or choices alone"
        )
    if isinstance(value, Mapping):
        raise TrainingError(f"hpo.space.{path} is a group of settings; expected a single one")
    if "choices" in leaf:
        return _choices(path, leaf["choices"], value)
    low, high = leaf["low"], leaf["high"]
    if type(value) not in (int, float):
        raise TrainingError(f"hpo.space.{path} has low and high, but the setting is {value!r}; expected choices")
    if any(type(bound) not in (int, float) or not math.isfinite(bound) for bound in (low, high)) or low >= high:
        raise TrainingError(f"hpo.space.{path} goes from {low!r} to {high!r}; expected two rising numbers")
    log = bool(leaf.get("log", False))
    if log and low <= 0:
        raise TrainingError(f"hpo.space.{path} starts at {low} on a logarithmic scale; expected more than 0")
    if isinstance(value, int):
        if type(low) is not int or type(high) is not int:
            raise TrainingError(f"hpo.space.{path} goes from {low!r} to {high!r}; expected whole numbers")
        return optuna.distributions.IntDistribution(low, high, log=log, step=leaf.get("step", 1))
    return optuna.distributions.FloatDistribution(float(low), float(high), log=log, step=leaf.get("step"))


def _choices(path: str, choices: Any, value: Any) -> optuna.distributions.BaseDistribution:
    if not isinstance(choices, list) or len(choices) < 2:
        raise TrainingError(f"hpo.space.{path}.choices is {choices!r}; expected a list of at least two values")
    wrong = [choice for choice in choices if type(choice) is not type(value)]
    if wrong:
        raise TrainingError(
            f"hpo.space.{path}.choices has {wrong[0]!r}; expected {type(value).__name__} like {value!r}"
        )
    return optuna.distributions.CategoricalDistribution(choices)

"""A search space has the shape of the configuration, and a wrong one is refused by its path."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from training.errors import TrainingError
from training.search.search_space import read_space, with_values

CONTENT: dict[str, Any] = {"seed": 1, "model": {"rate": 0.1, "layers": 6, "attention": "eager", "on": True}}


def test_read_space_of_a_tree_returns_paths_and_distributions_of_the_settings_kind() -> None:
    tree = {
        "model": {
            "rate": {"low": 1e-4, "high": 1, "log": True},
            "layers": {"low": 2, "high": 6, "step": 2},
            "attention": {"choices": ["eager", "sdpa"]},
        }
    }
    found = {parameter.path: parameter.distribution for parameter in read_space(tree, CONTENT)}
    assert found == {
        "model.rate": FloatDistribution(1e-4, 1.0, log=True),
        "model.layers": IntDistribution(2, 6, step=2),
        "model.attention": CategoricalDistribution(["eager", "sdpa"]),
    }


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "hpo.space is empty"),
        ({"model": {}}, "hpo.space is empty"),
        ({"model": 3}, "hpo.space.model is 3; expected low and high"),
        ({"model": {"depth": {"low": 1, "high": 2}}}, r"hpo.space has model\.depth; expected the path of a setting"),
        ({"model": {"choices": [1, 2]}}, "hpo.space.model is a group of settings"),
        ({"seed": {"low": 1}}, r"hpo.space.seed has keys \['low'\]"),
        ({"seed": {"low": 1, "high": 2, "choices": [1, 2]}}, "hpo.space.seed has keys"),
        ({"seed": {"low": 2, "high": 1}}, "hpo.space.seed goes from 2 to 1; expected two rising"),
        ({"seed": {"low": 0.5, "high": 1}}, "hpo.space.seed goes from 0.5 to 1; expected whole numbers"),
        ({"model": {"rate": {"low": 0, "high": 1, "log": True}}}, "starts at 0 on a logarithmic scale"),
        ({"model": {"rate": {"low": 0, "high": float("inf")}}}, "expected two rising numbers"),
        ({"model": {"attention": {"low": 0, "high": 1}}}, "the setting is 'eager'; expected choices"),
        ({"model": {"on": {"low": 0, "high": 1}}}, "the setting is True; expected choices"),
        ({"model": {"layers": {"choices": [6]}}}, "expected a list of at least two values"),
        ({"model": {"layers": {"choices": [6, 3.5]}}}, "choices has 3.5; expected int like 6"),
    ],
)
def test_read_space_of_a_wrong_tree_names_the_path(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_space(tree, CONTENT)


def test_with_values_changes_a_copy() -> None:
    changed = with_values(CONTENT, {"model.rate": 0.5, "seed": 2})
    assert (changed["seed"], changed["model"]["rate"], changed["model"]["layers"]) == (2, 0.5, 6)
    assert CONTENT["model"]["rate"] == 0.1

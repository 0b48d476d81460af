"""Two trainings are of one recipe when all settings but the free ones are the same."""

from __future__ import annotations

from typing import Any

from training.learning.recipe_differences import recipe_differences

RECIPE: dict[str, Any] = {"seed": 0, "data": {"exclusions": "", "batch_size": 32}, "trainer": {"checks_per_epoch": 1}}


def test_recipe_differences_of_two_seeds_are_none() -> None:
    assert recipe_differences(RECIPE, {**RECIPE, "seed": 4}) == []


def test_recipe_differences_name_the_path_and_both_values() -> None:
    assert recipe_differences(RECIPE, {**RECIPE, "trainer": {"checks_per_epoch": 2}}) == [
        "trainer.checks_per_epoch: 1, 2"
    ]


def test_recipe_differences_of_a_training_older_than_a_setting_take_the_value_under_which_it_ran() -> None:
    older = {"seed": 1, "data": {"batch_size": 32}, "trainer": {}}
    assert recipe_differences(RECIPE, older) == []
    excluded = {**RECIPE, "data": {"exclusions": "noise.json", "batch_size": 32}}
    assert recipe_differences(excluded, older) == ["data.exclusions: noise.json, "]

"""Tell in which settings two trainings differ, from the recipes that they wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What may differ between trainings of one recipe.
FREE = ("seed", "version_suffix")
# Settings younger than trainings that are still compared, with the value under which those ran.
ADDED_LATER = {"data.exclusions": "", "trainer.checks_per_epoch": 1}


def recipe_differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return "path: value, value" for each setting that is not the same, FREE left out; empty for one recipe."""
    first, second = ({**ADDED_LATER, **_flat(tree)} for tree in (left, right))
    return [
        f"{path}: {first.get(path, 'not set')}, {second.get(path, 'not set')}"
        for path in sorted({*first, *second})
        if path not in FREE and first.get(path, "not set") != second.get(path, "not set")
    ]


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found

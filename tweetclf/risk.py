"""Look up the thresholds of a stated risk in the table that the training wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tweetclf.bundle import Thresholds
from tweetclf.errors import BundleError

RISKS_FACT = "risks"
SCOPES = ("decided", "side")


def thresholds_at(facts: Mapping[str, Any], max_error_share: float, scope: str) -> Thresholds:
    """Return the thresholds that keep the share of errors at or below a limit, as chosen when the model was trained.

    Args:
        facts: content of bundle.json.
        max_error_share: one of the limits in its table.
        scope: `decided` for the errors among all that the model decides by itself, `side` for each side by itself.

    Raises:
        BundleError: the model has no table, or the table lacks the limit; lists those that it has.
    """
    table = facts.get(RISKS_FACT)
    if not isinstance(table, Mapping) or scope not in table:
        raise BundleError(
            f"model-config.yaml: handler.max_error_share is {max_error_share}, but this model's bundle.json has no "
            f"{RISKS_FACT!r} for {scope!r}; train and export it again, or set not_disaster_below and disaster_from"
        )
    known = []
    for entry in table[scope]:
        if abs(entry["max_error_share"] - max_error_share) < 1e-9:
            return Thresholds(entry["not_disaster_below"], entry["disaster_from"])
        known.append(entry["max_error_share"])
    raise BundleError(
        f"model-config.yaml: handler.max_error_share is {max_error_share}; expected one of {known}, for which this "
        "model's thresholds were chosen; or set not_disaster_below and disaster_from"
    )

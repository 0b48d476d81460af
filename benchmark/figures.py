"""Medians, spreads and percentiles, so that every figure of a report is made in one way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

DIGITS = 4


def rounded(value: float) -> float:
    """Return a figure with `DIGITS` significant digits: more says nothing on a shared machine."""
    return float(f"{value:.{DIGITS}g}")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, smallest and largest of repetitions, and the values themselves in order.

    Args:
        values: at least one.
    """
    return {
        "median": rounded(statistics.median(values)),
        "low": rounded(min(values)),
        "high": rounded(max(values)),
        "values": [rounded(value) for value in values],
    }


def without_nan(value: Any) -> Any:
    """Return JSON values with null where a figure is NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of all values do not exceed.

    Args:
        values: at least one, in any order.
        share: in (0, 1].
    """
    ordered = sorted(values)
    place = max(0, -int(-share * len(ordered) // 1) - 1)
    return ordered[place]


def latencies(values_ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest of latencies in milliseconds; NaN of none."""
    if not values_ms:
        return {name: float("nan") for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
    return {
        "p50_ms": rounded(percentile(values_ms, 0.50)),
        "p95_ms": rounded(percentile(values_ms, 0.95)),
        "p99_ms": rounded(percentile(values_ms, 0.99)),
        "max_ms": rounded(max(values_ms)),
    }

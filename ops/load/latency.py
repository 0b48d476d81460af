"""Latencies of a run of any length in a fixed amount of memory: counts in buckets that widen evenly."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LOWEST_MS = 0.01
GROWTH = 1.02  # each bucket is 2 % wider than the one before, so a percentile is off by 2 % at most
BUCKETS = 1200  # up to some 10^8 ms, more than a day
WINDOWS = 10  # a run is cut into so many for the drift of latency


@dataclass
class Histogram:
    """Latencies in ms; each bucket holds their number and their sum, so that its mean is exact."""

    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sums_ms: list[float] = field(default_factory=lambda: [0.0] * BUCKETS)

    @property
    def total(self) -> int:
        """How many were added."""
        return sum(self.counts)

    def add(self, took_ms: float) -> None:
        """Count one."""
        place = 0 if took_ms <= LOWEST_MS else math.ceil(math.log(took_ms / LOWEST_MS, GROWTH))
        place = min(place, BUCKETS - 1)
        self.counts[place] += 1
        self.sums_ms[place] += took_ms

    def percentile_ms(self, share: float) -> float:
        """Return the latency that a share of all, in percent, does not exceed; 0.0 where there are none."""
        rank, seen = math.floor(self.total * share / 100) + 1, 0
        mean = 0.0
        for count, sum_ms in zip(self.counts, self.sums_ms, strict=True):
            if count:
                seen, mean = seen + count, sum_ms / count
            if seen >= rank:
                break
        return round(mean, 1)


class Latencies:
    """Latencies of a run: all of them, and those of each tenth of its time."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._windows = [Histogram() for _ in range(WINDOWS)]

    def add(self, due_s: float, took_s: float) -> None:
        """Count one.

        Args:
            due_s: when the request was due, from the start of the run.
            took_s: until its answer.
        """
        place = int(due_s / self._length_s * WINDOWS) if self._length_s > 0 else 0
        self._windows[max(0, min(WINDOWS - 1, place))].add(took_s * 1000)

    def whole(self) -> Histogram:
        """Return all of them."""
        parts = self._windows
        return Histogram(
            [sum(counts) for counts in zip(*(part.counts for part in parts), strict=True)],
            [sum(sums) for sums in zip(*(part.sums_ms for part in parts), strict=True)],
        )

    def windows(self) -> list[Histogram]:
        """Return those of each tenth of the run's time in which there were some."""
        return [part for part in self._windows if part.total]

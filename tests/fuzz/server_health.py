"""Watch the processes of a server while it is under fire."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import psutil

from tests.serving.torchserve_process import TorchServeProcess

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Sample:
    """One look at a server: resident bytes and open files of worker and front end, after so many requests."""

    requests: int
    worker_bytes: int
    java_bytes: int
    worker_files: int
    java_files: int


class HealthWatch:
    """Samples of one server, and what they say together."""

    def __init__(self, server: TorchServeProcess) -> None:
        self._server = server
        self._first_pids = server.worker_pids()
        self.samples: list[Sample] = []

    def look(self, requests: int) -> None:
        """Take a sample after so many requests."""
        workers = [psutil.Process(pid) for pid in self._server.worker_pids()]
        java = self._server.java
        self.samples.append(
            Sample(
                requests,
                sum(worker.memory_info().rss for worker in workers),
                java.memory_info().rss,
                sum(worker.num_fds() for worker in workers),
                java.num_fds(),
            )
        )

    @property
    def restarts(self) -> int:
        """How many of the first workers are gone."""
        return len(set(self._first_pids) - set(self._server.worker_pids()))

    def worker_growth_bytes(self) -> float:
        """Return by how much the worker grew: median of the last quarter of samples less that of the second.

        The first quarter is left out: a worker grows until it has seen its largest batch.
        """
        quarter = max(1, len(self.samples) // 4)
        sizes = [sample.worker_bytes for sample in self.samples]
        return statistics.median(sizes[-quarter:]) - statistics.median(sizes[quarter : 2 * quarter] or sizes[:1])

    def facts(self) -> dict[str, Any]:
        """Return the figures for a record."""
        later = self.samples[len(self.samples) // 4 :]
        slope = 0.0
        if len(later) > 1 and later[-1].requests > later[0].requests:
            slope = statistics.linear_regression(
                [sample.requests for sample in later], [sample.worker_bytes for sample in later]
            ).slope
        first, last = self.samples[0], self.samples[-1]
        return {
            "worker_restarts": self.restarts,
            "worker_rss_mb": {
                "first": round(first.worker_bytes / MEGABYTE, 1),
                "last": round(last.worker_bytes / MEGABYTE, 1),
            },
            "worker_rss_mb_course": [
                round(sample.worker_bytes / MEGABYTE) for sample in self.samples[:: max(1, len(self.samples) // 20)]
            ],
            "worker_rss_growth_mb": round(self.worker_growth_bytes() / MEGABYTE, 2),
            "worker_rss_slope_bytes_per_request": round(slope, 1),
            "front_end_rss_mb": {
                "first": round(first.java_bytes / MEGABYTE, 1),
                "last": round(last.java_bytes / MEGABYTE, 1),
            },
            "open_files": {
                "worker": [first.worker_files, last.worker_files],
                "front_end": [first.java_files, last.java_files],
            },
        }

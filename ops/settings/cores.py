"""Count the processor cores that this process may use: its affinity, and the CPU quota of its control groups.

A container with a limit of 2 CPUs on a machine with 64 cores may run on all 64, for a share of the time only: threads
beyond the quota are paused for most of every period.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMBERSHIP = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")
V1_CONTROLLERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def usable_cores(membership: Path = MEMBERSHIP, mount: Path = MOUNT) -> int:
    """Return how many threads can compute at the same time, at least 1.

    Args:
        membership: names the control groups of this process, one hierarchy a line.
        mount: where the control groups are, version 1 or 2.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cfs_quota_us).
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quotas = [math.ceil(quota) for quota in _quotas(membership, mount)]
    return max(1, min([cores, *quotas]))


def _quotas(membership: Path, mount: Path) -> Iterator[float]:
    """Yield every quota that holds for this process, in cores: the one of its group and those of the groups above."""
    for folder in _folders(membership, mount):
        maximum, period = [*_words(folder / "cpu.max"), "", ""][:2]
        if not maximum:
            maximum = "".join(_words(folder / "cpu.cfs_quota_us")[:1])
            period = "".join(_words(folder / "cpu.cfs_period_us")[:1])
        # `max`, or -1 in version 1, is no limit.
        if maximum.isdecimal() and period.isdecimal() and int(maximum) > 0 and int(period) > 0:
            yield int(maximum) / int(period)


def _folders(membership: Path, mount: Path) -> Iterator[Path]:
    for line in _lines(membership):
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            roots = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mount / name for name in V1_CONTROLLERS]
        else:
            continue
        # Inside a container the group may be named as the machine sees it, and its folder is then the mount itself.
        path = PurePosixPath("/", group)
        for root in roots:
            yield from (root / str(one).lstrip("/") for one in (path, *path.parents))


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []

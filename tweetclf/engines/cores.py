"""How many cores this process may use, and how a worker keeps to its share of them."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
TOKENIZER_THREADS_VARIABLE = "RAYON_NUM_THREADS"


def available_cores() -> int:
    """Return the cores that this process may use, at least 1.

    That is the smaller of its processor affinity and the CPU quota of its control groups. `docker run --cpus=2` and a
    Kubernetes limit are such quotas. A part of a core counts as a whole one.
    """
    # macOS has no affinity.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = (quota for folder in _own_folders() for quota in (_quota_v2(folder), _quota_v1(folder)) if quota)
    return max(1, min(affinity, math.ceil(min(quotas, default=affinity))))


def keep_tokenizer_to(threads: int) -> None:
    """Bound the threads of the tokenizers library; to be called before the first text is encoded.

    Without it the tokenizer of every worker takes all cores. An operator who sets the variable keeps his value.

    Args:
        threads: of one worker, >= 1.

    Source: rayon-core, ThreadPoolBuilder::num_threads: the global pool reads the variable when it is first used.
    """
    os.environ.setdefault(TOKENIZER_THREADS_VARIABLE, str(threads))


def _own_folders() -> list[Path]:
    """Return the folders of this process's CPU control groups and of all groups around them.

    A line of OWN_CGROUPS is `number:controllers:path`; version 2 has one line, `0::path`. In a container the path may
    be that of the host, which is not visible inside: the root of the mount is the container's own group then.

    Source: cgroups(7).
    """
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    folders: list[Path] = []
    for controllers, path in (line.split(":", 2)[1:] for line in lines if line.count(":") >= 2):
        if not controllers:
            mounts = [CGROUP_ROOT, CGROUP_ROOT / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [CGROUP_ROOT / controllers, CGROUP_ROOT / "cpu"]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [mount.joinpath(*parts[:depth]) for mount in mounts for depth in range(len(parts) + 1)]
    return folders


def _quota_v2(folder: Path) -> float | None:
    """Return the quota in cores that `cpu.max` sets, such as `200000 100000` for 2; `max` sets none."""
    return _share(_words(folder / "cpu.max"))


def _quota_v1(folder: Path) -> float | None:
    """Return the quota in cores of a group of version 1; -1 microseconds sets none."""
    return _share(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _share(words: list[str]) -> float | None:
    try:
        quota_us, period_us = map(int, words)
    except ValueError:  # `max`, an unknown form, or no such file
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []

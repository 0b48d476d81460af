"""Measure what a run costs: CPU time always, energy where the machine tells it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Intel's and AMD's counters of whole packages, in microjoules; they wrap at max_energy_range_uj.
# Source: Linux kernel documentation, power/powercap/powercap.
POWERCAP = Path("/sys/class/powercap")


@dataclass
class CostMeter:
    """Count from its making on.

    Args:
        powercap: folder of the counters.
    """

    powercap: Path = POWERCAP
    _started: float = field(default_factory=time.monotonic)
    _cpu_started: float = field(default_factory=lambda: _cpu_seconds())

    def __post_init__(self) -> None:
        self._energy_started = _read_counters(self.powercap)

    def cost(self) -> dict[str, Any]:
        """Return wall-clock and CPU seconds of this process and its children, and joules or why there are none.

        Joules are of the whole processor packages, whatever else ran on them meanwhile.
        """
        joules, note = self._joules()
        return {
            "wall_seconds": round(time.monotonic() - self._started, 1),
            "cpu_seconds": round(_cpu_seconds() - self._cpu_started, 1),
            "package_joules": joules,
            "energy_note": note,
        }

    def _joules(self) -> tuple[float | None, str]:
        ended = _read_counters(self.powercap)
        if not self._energy_started or ended.keys() != self._energy_started.keys():
            return None, "not measured: this machine shows no readable RAPL counters"
        total = 0
        for name, (value, wraps_at) in ended.items():
            total += (value - self._energy_started[name][0]) % (wraps_at + 1)
        return round(total / 1e6, 1), f"RAPL counters of {len(ended)} package(s), everything on them counted"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _read_counters(folder: Path) -> dict[str, tuple[int, int]]:
    """Return package -> (microjoules, value at which it wraps); empty when any cannot be read."""
    found = {}
    # Only packages: their parts, such as intel-rapl:0:0, are counted within.
    for path in sorted(folder.glob("*-rapl:*")):
        if path.name.count(":") != 1:
            continue
        try:
            value = int((path / "energy_uj").read_text(encoding="ascii"))
            found[path.name] = (value, int((path / "max_energy_range_uj").read_text(encoding="ascii")))
        except (OSError, ValueError):
            return {}
    return found

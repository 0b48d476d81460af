"""Where the time of a training goes."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

PROFILERS = ("", "simple", "advanced", "pytorch")
# The first steps allocate and are slow; ten more show the rest.
_WAIT, _WARMUP, _ACTIVE = 5, 2, 10


class _OperationProfiler(PyTorchProfiler):
    """Lightning's, which can sort its table by the time of an operation without what it calls."""

    AVAILABLE_SORT_KEYS = PyTorchProfiler.AVAILABLE_SORT_KEYS | {"self_cpu_time_total", "self_cuda_time_total"}


def make_profiler(kind: str, output: Path) -> Profiler | None:
    """Return Lightning's profiler; its table and, of "pytorch", its trace are written to `profile/` of the run.

    Args:
        kind: "simple" times Lightning's hooks, "advanced" Python's functions, "pytorch" the operations of ten steps
            (a trace for chrome://tracing or Perfetto, and a table of the costliest); "" is none.
        output: folder of the run.
    """
    folder = output / "profile"
    if kind == "simple":
        return SimpleProfiler(dirpath=folder, filename="simple")
    if kind == "advanced":
        return AdvancedProfiler(dirpath=folder, filename="advanced")
    if kind == "pytorch":
        return _OperationProfiler(
            dirpath=folder,
            filename="pytorch",
            schedule=torch.profiler.schedule(wait=_WAIT, warmup=_WARMUP, active=_ACTIVE, repeat=1),
            sort_by_key="self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total",
            row_limit=25,
        )
    return None

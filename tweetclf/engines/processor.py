"""What this processor can do, asked without torch: a worker with the int8 engine never imports it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Without one of these, int8 in OpenVINO was slower than float32 in TorchScript, by a third (docs/log.md).
INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
# What OpenVINO's kernels for vectors of 512 bits ask for.
AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")


@cache
def instructions() -> frozenset[str]:
    """Return the names of the processor's instruction sets as the kernel tells them.

    Empty where it does not say (other systems than Linux on x86): then nothing is assumed to be there.
    """
    try:
        lines = CPU_INFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def fast_in_int8() -> bool:
    """Tell whether there are instructions for dot products of 8-bit numbers."""
    return not instructions().isdisjoint(INT8_INSTRUCTIONS)


def length_step() -> int:
    """Return the tokens to whose multiple lengths are padded: the float32 lanes of the widest vectors.

    Source: measured; 8 gave equal bits on an AVX2 CPU, 16 on an AVX-512 one (docs/log.md).
    """
    found = instructions()
    return 8 if "avx2" in found and not found.issuperset(AVX512) else 16

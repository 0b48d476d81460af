"""What this processor can do, asked without torch: a worker with the int8 engine never imports it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
# Names another file in the form of CPU_INFO. Tests use it to be an older processor. It chooses an engine and nothing
# else: the engines ask the processor itself before they use an instruction.
CPU_INFO_VARIABLE = "TWEETCLF_CPU_INFO"
# What OpenVINO's kernels for vectors of 512 bits need.
AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")
# Instructions for dot products of 8-bit numbers, and what OpenVINO's kernels need besides. Without one of these,
# int8 in OpenVINO was slower than float32 in TorchScript, by a third (docs/log/2026-11.md#int8-without-vnni).
# Source: OpenVINO 2026.4, oneDNN cpu_isa_traits.hpp, `mayiuse`.
INT8_INSTRUCTIONS = {
    "avx512_vnni": AVX512,
    "avx_vnni": ("avx2",),
    "amx_int8": (*AVX512, "avx512_vnni", "amx_tile"),
}


@cache
def instructions() -> frozenset[str]:
    """Return the instruction sets that every processor of this machine has, as the kernel names them.

    Empty where the kernel does not name them: other systems than Linux, and Linux on ARM, whose file has `Features`
    in place of `flags`. Nothing is assumed to be there then.
    """
    path = Path(os.environ.get(CPU_INFO_VARIABLE) or CPU_INFO)
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    fields = (line.partition(":") for line in lines)
    of_each = {value for name, _, value in fields if name.strip() == "flags"}
    return frozenset.intersection(*(frozenset(value.split()) for value in of_each)) if of_each else frozenset()


def int8_instructions() -> tuple[str, ...]:
    """Return those of INT8_INSTRUCTIONS that can be used here.

    A virtual machine may name `avx512_vnni` and hide the AVX-512 that it needs.
    """
    found = instructions()
    return tuple(name for name, needs in INT8_INSTRUCTIONS.items() if found.issuperset({name, *needs}))


def fast_in_int8() -> bool:
    """Tell whether there are instructions for dot products of 8-bit numbers."""
    return bool(int8_instructions())


def length_step() -> int:
    """Return the tokens to whose multiple lengths are padded: the float32 lanes of the widest vectors.

    Source: measured; 8 gave equal bits on an AVX2 CPU, 16 on an AVX-512 one
    (docs/log/2026-11.md#int8-independent-of-neighbours).
    """
    found = instructions()
    return 8 if "avx2" in found and not found.issuperset(AVX512) else 16

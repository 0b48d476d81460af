"""How this process's memory allocator treats what is freed between two micro-batches."""

from __future__ import annotations

import ctypes

# Source: glibc, malloc/malloc.h and mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc's maximum
# Far more than all intermediate results of a micro-batch together; the largest one (512 tokens, float32) has 3 MB.
KEPT_FREED_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Let the allocator keep freed blocks up to `KEPT_FREED_BYTES`, from now on and in the whole process.

    By default glibc gives the intermediate results of a network back to the kernel whenever a few megabytes of them
    are free, and the kernel clears every page when the next micro-batch asks for them again: a fourteenth of the time
    of the float32 network (docs/log/2026-11.md#float32-memory-and-copies).

    Returns:
        Whether the C library of this process has the two settings; without them nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_FREED_BYTES))

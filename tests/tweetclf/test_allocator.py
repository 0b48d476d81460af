from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tweetclf.engines import allocator

LOOPS, BLOCKS, BLOCK_BYTES = 40, 8, 3 << 20
# Pages that the kernel had to bring in while the same blocks are taken and freed again and again.
FAULTS = f"""
import ctypes, resource, sys
from tweetclf.engines.allocator import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({LOOPS}):
    blocks = [libc.malloc({BLOCK_BYTES}) for _ in range({BLOCKS})]
    for block in blocks:
        ctypes.memset(block, 1, {BLOCK_BYTES})
    for block in blocks:
        libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_used_again_and_not_brought_in_anew() -> None:
    once = BLOCKS * BLOCK_BYTES // 4096  # pages of all blocks; fewer faults where the kernel brings in several at once
    assert faults("keep") < 2 * once
    assert faults("as it is") > 4 * faults("keep")


def test_a_library_without_the_settings_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not allocator.keep_freed_memory()

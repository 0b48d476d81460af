"""Be a processor with AVX2 and nothing newer: no AVX-512, no VNNI, no bfloat16.

`OLD_PROCESSOR=1 make test` runs the whole suite as on such a machine. Some tests start a process with `ENVIRONMENT`
anyway, so that a machine with a new processor always shows what an old one does.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "OLD_PROCESSOR"
ENVIRONMENT = {
    # Source: oneDNN, "CPU Dispatcher Control"; torch has it inside.
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    # Source: torch, aten/src/ATen/native/DispatchStub.cpp.
    "ATEN_CPU_CAPABILITY": "avx2",
    # Of the oneDNN inside OpenVINO. tests/tweetclf/test_old_processor.py checks that it works.
    "OV_CPU_MAX_ISA": "AVX2",
    # What our own choice of an engine reads. Source: tweetclf/engines/processor.py.
    "TWEETCLF_CPU_INFO": str(Path(__file__).with_name("old_cpuinfo.txt")),
}


def asked() -> bool:
    """Tell whether this run shall be one on an old processor."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def hide_if_asked() -> None:
    """Hide newer instructions from this process and from those that it starts; has no effect once torch is loaded."""
    if asked():
        os.environ.update(ENVIRONMENT)

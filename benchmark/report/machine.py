"""Describe the machine and the software, without which no figure means anything."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from ops.settings.cores import usable_cores

PACKAGES = ("torch", "openvino", "transformers", "tokenizers", "torchserve", "numpy")
# The instructions that decide how fast matrix products can be.
TELLING_FLAGS = re.compile(r"^(avx\w*|amx\w*|fma|f16c)$")


def describe_machine(root: Path) -> dict[str, Any]:
    """Return processor, memory, load and versions; nothing that names the machine itself.

    Args:
        root: the checkout, for its revision.
    """
    model, flags = _processor()
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processor": model,
        "flags": sorted(flag for flag in flags if TELLING_FLAGS.match(flag)),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average_before": [round(value, 2) for value in os.getloadavg()],
        "python": platform.python_version(),
        "java": _first_line(["java", "-version"]),
        "kernel": platform.release(),
        "packages": {name: _version(name) for name in PACKAGES},
        "revision": _first_line(["git", "-C", str(root), "describe", "--always", "--dirty"]),
    }


def _processor() -> tuple[str, list[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), []
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        values.setdefault(name.strip(), value.strip())
    name = values.get("model name", platform.machine())
    family = "/".join(values.get(key, "?") for key in ("cpu family", "model"))
    return f"{name} (family/model {family})", values.get("flags", "").split()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _first_line(command: list[str]) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=False
        )
    except OSError:
        return "not found"
    lines = (result.stdout or result.stderr).splitlines()
    return lines[0] if lines else "unknown"

"""Install with an environment's pip, with one line of progress and one line for a failure.

Runs on the machine's own Python, before anything is installed. The machine's pip configuration stays in force.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|SSLError|"
    r"Connection refused|Connection reset|Connection aborted|Max retries exceeded|name resolution|IncompleteRead|"
    r"(?:5\d\d|429) (?:Server|Client) Error"
)
RETRY_HINT = (
    "check network and proxy, then run the same command again, which keeps finished downloads; "
    "a machine without a network: CONTRIBUTING.md, Offline"
)
LINE_WIDTH = 78
# They would make pip install into, or Python import from, another place than the environment.
ELSEWHERE = (
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_PYTHON",
    "PIP_DRY_RUN",
    "PYTHONHOME",
    "PYTHONPATH",
)


class InstallError(RuntimeError):
    """pip failed; the message is one line that says why and what to do."""


def pip_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for an environment's Python and pip: the machine's, less those that name another place."""
    # A machine's `user = true`, for one, would let pip refuse every installation into a virtual environment.
    return {**{name: value for name, value in environment.items() if name not in ELSEWHERE}, "PIP_USER": "0"}


def install(python: Path, arguments: Sequence[str], what: str, log: Path) -> None:
    """Run `pip install` in an environment.

    Args:
        python: the environment's interpreter.
        arguments: what to give to `pip install`.
        what: for people, in the progress line.
        log: takes everything that pip says, after what it holds already.

    Raises:
        InstallError: pip failed.
    """
    command = [str(python), "-m", "pip", "install", "--progress-bar", "off", "--no-input", *arguments]
    print(f"installing {what} ...", flush=True)
    lines = []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**pip_environment(os.environ), "PYTHONIOENCODING": "utf-8"},
    )
    with log.open("a", encoding="utf-8") as file, process:
        for line in process.stdout or ():
            lines.append(line)
            file.write(line)
            _show(line)
    _clear()
    if process.returncode:
        raise InstallError(f"{explain_failure(lines)} (all of pip's output: {log})")


def explain_failure(lines: Sequence[str]) -> str:
    """Return one line for people from what a failed pip printed: what failed, why, what to do."""
    output = "".join(lines)
    package = _package(output)
    if "No space left on device" in output:
        return f"the disk is full while installing {package}; free some space and run the same command again"
    if "DO NOT MATCH THE HASHES" in output:
        wrong = re.search(r"^\s+(\S+) from .+:\s*$", output, re.MULTILINE)
        return (
            f"{wrong.group(1) if wrong else package} does not have the hash of requirements/lock: a broken download or "
            "a changed file; run `pip cache purge` and try again, and install nothing if it stays so"
        )
    trouble = NO_NETWORK.search(output)
    if trouble:
        return f"downloading {package} failed ({trouble.group(0)}); {RETRY_HINT}"
    if "No matching distribution found" in output:
        return (
            f"pip's package index has no file of {package} for this Python and this machine; expected CPython "
            f"3.10-3.12 on 64-bit Linux with glibc, and an index that can be reached; {RETRY_HINT}"
        )
    errors = [line.strip() for line in lines if line.startswith("ERROR:")]
    return f"installing {package} failed: {errors[-1] if errors else output.strip()[-200:]}"


def _package(output: str) -> str:
    for pattern in (
        r"No matching distribution found for (\S+)",
        r"satisfies the requirement (\S+)",
        r"connection broken by .*/simple/([^/']+)/",
    ):
        named: list[str] = re.findall(pattern, output)
        if named:
            return named[-1]
    collected: list[str] = re.findall(r"^\s*Collecting (\S+)", output, re.MULTILINE)
    return collected[-1] if collected else "a package"


def _show(line: str) -> None:
    step = re.match(r"\s*(Collecting|Downloading|Building wheel for|Installing collected packages)[ :](\S*)", line)
    if step and sys.stdout.isatty():
        name = step.group(2).rsplit("/", 1)[-1]
        sys.stdout.write(f"\r\033[K  {step.group(1).lower()} {name}"[: LINE_WIDTH + 4])
        sys.stdout.flush()


def _clear() -> None:
    if sys.stdout.isatty():
        sys.stdout.write("\r\033[K")
        sys.stdout.flush()

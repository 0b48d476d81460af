"""Find the Java that TorchServe's launcher would run, and tell whether it is new enough.

Runs on the machine's own Python, before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

LOWEST_JAVA = 11  # Source: TorchServe 0.12, README.md, "Install dependencies"
ANSWER_TIMEOUT_S = 30


class JavaError(RuntimeError):
    """The Java that TorchServe would run is no use; the message says what to change."""


def java_version(executable: Path) -> int | None:
    """Return the major version of a Java, or None where it does not run."""
    try:
        result = subprocess.run(
            [str(executable), "-version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(found.group(1)) if found else None


def find_java(environment: Mapping[str, str]) -> Path | None:
    """Return the machine's Java, chosen as TorchServe's launcher chooses it, or None where it has none.

    Args:
        environment: JAVA_HOME and PATH are read from it.

    Raises:
        JavaError: JAVA_HOME is set, so the launcher takes nothing else, and holds no Java of 11 or later.

    Source: TorchServe 0.12, ts/model_server.py, start().
    """
    home = environment.get("JAVA_HOME")
    if home:
        version = java_version(Path(home, "bin", "java"))
        if version is None or version < LOWEST_JAVA:
            holds = "no Java that runs" if version is None else f"Java {version}"
            raise JavaError(
                f"JAVA_HOME={home} holds {holds}; TorchServe looks nowhere else then and needs {LOWEST_JAVA} or later; "
                "correct JAVA_HOME or unset it"
            )
        return Path(home, "bin", "java")
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path is None or (java_version(Path(on_path)) or 0) < LOWEST_JAVA:
        return None
    return Path(on_path)


def link_java(target: Path, link: Path) -> None:
    """Point a link in an environment's bin folder to a Java inside that environment."""
    if link.is_symlink() or link.exists():
        link.unlink()
    link.symlink_to(os.path.relpath(target, link.parent))

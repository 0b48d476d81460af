"""Compile frontend/src to frontend/classes, against the installed TorchServe.

The classes are committed: a server needs a Java runtime, not a compiler. Run this after a change of a source:
    python frontend/build.py
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

FRONTEND = Path(__file__).resolve().parent
SOURCES = FRONTEND / "src"
CLASSES = FRONTEND / "classes"
RELEASE = "11"  # the oldest Java that TorchServe 0.12 runs on
SUPPORTED_TORCHSERVE = "0.12.0"  # the classes take the place of this release's own


class FrontendBuildError(Exception):
    """The classes cannot be compiled here; the message says what to do."""


def torchserve_jar() -> Path:
    """Return the jar of the installed TorchServe.

    Raises:
        FrontendBuildError: TorchServe is not installed, or another release than the classes are written for.
    """
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise FrontendBuildError("TorchServe is not installed; expected it beside this interpreter: make setup")
    package = Path(spec.origin).parent
    found = (package / "version.txt").read_text(encoding="utf-8").strip()
    if found != SUPPORTED_TORCHSERVE:
        raise FrontendBuildError(
            f"TorchServe {found} is installed; expected {SUPPORTED_TORCHSERVE}: read docs/adr/0002 before a change"
        )
    return package / "frontend" / "model-server.jar"


def compile_classes(target: Path) -> list[Path]:
    """Compile every source into a folder that takes only these classes.

    Args:
        target: is emptied first.

    Returns:
        The class files, sorted.

    Raises:
        FrontendBuildError: no compiler, or it refuses a source.
    """
    compiler = shutil.which("javac")
    if compiler is None:
        raise FrontendBuildError("javac is not on the path; expected a JDK >= 11 (Debian: apt-get install default-jdk)")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    sources = [str(path) for path in sorted(SOURCES.rglob("*.java"))]
    command = [compiler, "--release", RELEASE, "-Xlint:all", "-Werror", "-cp", str(torchserve_jar()), "-d", str(target)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FrontendBuildError(f"javac refused a source:\n{done.stdout}{done.stderr}")
    return sorted(target.rglob("*.class"))


def main() -> int:
    """Compile and say what was written."""
    parser = argparse.ArgumentParser(
        description="Compile the Java classes that mend TorchServe's front end.",
        epilog="example: python frontend/build.py && git status frontend/classes",
    )
    parser.parse_args()
    try:
        for path in compile_classes(CLASSES):
            print(f"{path.relative_to(FRONTEND.parent)}  {path.stat().st_size} bytes")
    except FrontendBuildError as error:
        print(f"frontend: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compile frontend/src to frontend/classes, against the installed TorchServe.

The classes are committed: a server needs a Java runtime, not a compiler. Run this after a change of a source:
    python frontend/build.py
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

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
        raise FrontendBuildError(
            "TorchServe is not installed; expected it in the environment of this interpreter: make setup"
        )
    package = Path(spec.origin).parent
    found = (package / "version.txt").read_text(encoding="utf-8").strip()
    if found != SUPPORTED_TORCHSERVE:
        raise FrontendBuildError(
            f"TorchServe {found} is installed; expected {SUPPORTED_TORCHSERVE}: read docs/adr/0002 before a change"
        )
    return package / "frontend" / "model-server.jar"


def compile_classes(target: Path) -> list[Path]:
    """Compile every source into a folder that then holds these classes and nothing else.

    Args:
        target: is replaced once every source is compiled; until then, and after a failure, it is as it was.

    Returns:
        The class files, sorted.

    Raises:
        FrontendBuildError: no compiler, or it refuses a source.
        OSError: the classes cannot be written.
    """
    compiler = shutil.which("javac")
    if compiler is None:
        raise FrontendBuildError("javac is not on the path; expected a JDK >= 11 (Debian: apt-get install default-jdk)")
    sources = [str(path) for path in sorted(SOURCES.rglob("*.java"))]
    if not sources:
        raise FrontendBuildError(f"there is no source in {SOURCES}; restore it: git checkout frontend/src")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".compiling-") as work:
        new = Path(work, "new")
        new.mkdir()
        options = ["--release", RELEASE, "-Xlint:all", "-Werror", "-cp", str(torchserve_jar()), "-d", str(new)]
        # In the C locale javac finds no file below a folder with a non-ASCII letter.
        variables = {**os.environ, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [compiler, *options, *sources],
            env=variables,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise FrontendBuildError(f"javac refused a source:\n{done.stdout}{done.stderr}")
        _swap(new, target, Path(work, "old"))
    return sorted(target.rglob("*.class"))


def _swap(new: Path, target: Path, old: Path) -> None:
    """Replace a folder by another; the old one is restored when that fails."""
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise


def main() -> int:
    """Compile and say what was written."""
    parser = argparse.ArgumentParser(
        description="Compile the Java classes that fix TorchServe's front end.",
        epilog="example: python frontend/build.py && git status frontend/classes",
    )
    parser.parse_args()
    try:
        for path in compile_classes(CLASSES):
            print(f"{path.relative_to(FRONTEND.parent)}  {path.stat().st_size} bytes")
    except (FrontendBuildError, OSError) as error:
        print(f"frontend: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

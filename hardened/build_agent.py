"""Compile hardened/java into src/torchserve_hardened/agent.jar, against the installed TorchServe.

The jar is committed: a server needs a Java runtime, not a compiler. Run this after a change of a source:
    python hardened/build_agent.py
The same sources and compiler give the same bytes: entries are sorted and have no time of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

HARDENED = Path(__file__).resolve().parent
SOURCES = HARDENED / "java"
JAR = HARDENED / "src" / "torchserve_hardened" / "agent.jar"
AGENT_MODULE = JAR.with_name("agent.py")  # holds the hash
COMPILER = 17  # JDK of the committed jar (Debian's); another lays the same code out otherwise
RELEASE = "11"  # the oldest Java that TorchServe 0.12 runs on
SUPPORTED_TORCHSERVE = "0.12.0"  # the classes take the place of this release's own
MANIFEST = "Manifest-Version: 1.0\r\nPremain-Class: torchserve_hardened.Agent\r\n\r\n"
NO_TIME = (1980, 1, 1, 0, 0, 0)


class AgentBuildError(Exception):
    """The jar cannot be made here; the message says what to do."""


def torchserve_jar() -> Path:
    """Return the jar of the installed TorchServe.

    Raises:
        AgentBuildError: TorchServe is not installed, or another release than the classes are written for.
    """
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise AgentBuildError(
            "TorchServe is not installed; expected it in the environment of this interpreter: make setup"
        )
    package = Path(spec.origin).parent
    found = (package / "version.txt").read_text(encoding="utf-8").strip()
    if found != SUPPORTED_TORCHSERVE:
        raise AgentBuildError(
            f"TorchServe {found} is installed; expected {SUPPORTED_TORCHSERVE}: read docs/adr/0002 before a change"
        )
    return package / "frontend" / "model-server.jar"


def compile_sources(target: Path) -> dict[str, bytes]:
    """Compile every source into an empty folder; return name in the jar -> content of each class.

    Raises:
        AgentBuildError: no compiler, or it refuses a source.
    """
    compiler = shutil.which("javac")
    if compiler is None:
        raise AgentBuildError("javac is not on the path; expected a JDK >= 11 (Debian: apt-get install default-jdk)")
    sources = [str(path) for path in sorted(SOURCES.rglob("*.java"))]
    options = ["--release", RELEASE, "-Xlint:all", "-Werror", "-cp", str(torchserve_jar()), "-d", str(target)]
    done = subprocess.run(
        [compiler, *options, *sources],
        # In the C locale javac finds no file below a folder with a non-ASCII letter.
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise AgentBuildError(f"javac refused a source:\n{done.stdout}{done.stderr}")
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in sorted(target.rglob("*.class"))}


def replaced(classes: dict[str, bytes]) -> str:
    """Return the lines `NAME SHA256` of TorchServe's own classes that are replaced."""
    with zipfile.ZipFile(torchserve_jar()) as jar:
        there = set(jar.namelist()) & classes.keys()
        hashes = {name: hashlib.sha256(jar.read(name)).hexdigest() for name in sorted(there)}
    return "\n".join(f"{name.removesuffix('.class')} {digest}" for name, digest in hashes.items())


def write_jar(target: Path) -> None:
    """Write the jar at once, or not at all."""
    with TemporaryDirectory(dir=target.parent, prefix=".building-") as work:
        classes = compile_sources(Path(work, "classes"))
        entries = {
            "META-INF/MANIFEST.MF": MANIFEST.encode(),
            "META-INF/replaced": replaced(classes).encode(),
            **classes,
        }
        new = Path(work, "agent.jar")
        with zipfile.ZipFile(new, "w") as jar:
            for name, content in entries.items():  # stored: zlib's bytes differ between its builds
                entry = zipfile.ZipInfo(name, NO_TIME)
                entry.create_system = 3  # the same on every machine
                jar.writestr(entry, content)
        new.rename(target)


def main() -> int:
    """Build, and say what was written."""
    parser = argparse.ArgumentParser(
        description="Compile the Java agent that fixes TorchServe's front end.",
        epilog="example: python hardened/build_agent.py && git status hardened",
    )
    parser.parse_args()
    try:
        write_jar(JAR)
    except (AgentBuildError, OSError) as error:
        print(f"build_agent: {error}", file=sys.stderr)
        return 1
    digest = hashlib.sha256(JAR.read_bytes()).hexdigest()
    AGENT_MODULE.write_text(
        re.sub(r'(?m)^SHA256 = ".*?"', f'SHA256 = "{digest}"', AGENT_MODULE.read_text(encoding="utf-8")),
        encoding="utf-8",
    )
    print(f"{JAR}  {JAR.stat().st_size} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The committed agent is what its sources say, and replaces classes of the installed TorchServe."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hardened import build_agent as build
from torchserve_hardened.agent import JAR, SHA256, protected_environment

MAX_BYTES = 60_000
needs_jdk = pytest.mark.skipif(
    shutil.which("javac") is None, reason="no javac; the committed agent stays unproven here"
)


def compiler_release() -> int:
    printed = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=True)
    return int(re.findall(r"\d+", printed.stdout + printed.stderr)[0])


@needs_jdk
def test_agent_when_built_again_then_the_same_bytes(tmp_path: Path) -> None:
    if compiler_release() != build.COMPILER:
        pytest.skip(f"JDK {compiler_release()} lays classes out otherwise than JDK {build.COMPILER}, which built it")
    build.write_jar(tmp_path / "agent.jar")
    assert hashlib.sha256((tmp_path / "agent.jar").read_bytes()).hexdigest() == SHA256


def test_agent_when_committed_then_small_whole_and_without_loose_classes() -> None:
    assert build.JAR == JAR
    assert JAR.stat().st_size <= MAX_BYTES
    assert hashlib.sha256(JAR.read_bytes()).hexdigest() == SHA256
    assert not list(build.HARDENED.rglob("*.class"))


def test_agent_when_opened_then_names_the_classes_of_the_installed_torchserve() -> None:
    with zipfile.ZipFile(JAR) as agent, zipfile.ZipFile(build.torchserve_jar()) as server:
        lines = dict(line.split() for line in agent.read("META-INF/replaced").decode().splitlines())
        sources = {path.relative_to(build.SOURCES).with_suffix("").as_posix() for path in build.SOURCES.rglob("*.java")}
        assert sources - {"torchserve_hardened/Agent"} <= set(lines)
        for name, digest in lines.items():
            assert hashlib.sha256(server.read(f"{name}.class")).hexdigest() == digest, name
            assert f"{name}.class" in agent.namelist()


@pytest.mark.parametrize("known", [True, False])
def test_java_when_a_class_on_its_path_is_another_then_ends_before_anything_runs(known: bool, tmp_path: Path) -> None:
    java = shutil.which("java") or str(Path(sys.executable).with_name("java"))
    with zipfile.ZipFile(JAR) as agent, zipfile.ZipFile(build.torchserve_jar()) as server:
        for line in agent.read("META-INF/replaced").decode().splitlines():
            file = f"{line.split()[0]}.class"
            folder = tmp_path / file.replace("/", ".")
            (folder / file).parent.mkdir(parents=True)
            (folder / file).write_bytes(server.read(file) if known else b"another")
            # Java prints its version after the agents have run; no class of TorchServe is loaded here.
            command = [java, "-cp", f"{folder}:{build.torchserve_jar()}", "-version"]
            done = subprocess.run(command, env=protected_environment(os.environ), capture_output=True, text=True)
            said = [line for line in done.stderr.splitlines() if line.startswith("torchserve-hardened: ")]
            assert (done.returncode, len(said)) == ((0, 0) if known else (1, 1)), done.stderr
            assert known or file.removesuffix(".class") in said[0]


def test_compiler_when_missing_then_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.AgentBuildError, match="expected a JDK >= 11"):
        build.compile_sources(tmp_path)


@needs_jdk
def test_source_when_broken_then_the_compilers_words_and_the_jar_of_before_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "Broken.java").write_text("class Broken { int x = ; }", encoding="utf-8")
    (tmp_path / "agent.jar").write_bytes(b"before")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "src")
    monkeypatch.setattr(build, "JAR", tmp_path / "agent.jar")
    monkeypatch.setattr("sys.argv", ["build_agent.py"])
    assert build.main() == 1
    assert "Broken.java" in capsys.readouterr().err
    assert {path.name: path.is_file() for path in tmp_path.iterdir()} == {"src": False, "agent.jar": True}
    assert (tmp_path / "agent.jar").read_bytes() == b"before"

"""The command `torchserve` of torchserve-hardened: it protects, or it starts nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from torchserve_hardened import agent, launcher
from torchserve_hardened.agent import ACTIVE, JAR, JAVA_OPTIONS, AgentError, protected_environment, require_agent
from torchserve_hardened.check import find_fault
from torchserve_hardened.check import main as check

COMMAND = Path(sys.executable).with_name("torchserve")


def replace_start(monkeypatch: pytest.MonkeyPatch, start: Callable[[], object]) -> None:
    monkeypatch.setitem(sys.modules, "ts.model_server", SimpleNamespace(start=start))


def test_environment_when_protected_then_java_reads_the_agent_and_the_callers_own_options() -> None:
    changed = protected_environment({JAVA_OPTIONS: "-Xmx1g", "LANG": "en_US.UTF-8"})
    assert changed[JAVA_OPTIONS] == f'-Xmx1g "-javaagent:{JAR}"'
    assert changed[ACTIVE] == "1"
    assert protected_environment(changed) == changed


@pytest.mark.parametrize("folder", ["with a blank", "prüfung", 'quote"d', "back\\slash"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_java_when_the_folder_has_an_odd_name_then_loads_the_agent(tmp_path: Path, folder: str, locale: str) -> None:
    java = shutil.which("java") or str(COMMAND.with_name("java"))
    jar = tmp_path / folder / "agent.jar"
    jar.parent.mkdir()
    shutil.copyfile(JAR, jar)
    variables = protected_environment({"PATH": os.environ["PATH"], "LC_ALL": locale}, jar)
    done = subprocess.run([java, "-version"], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    jar.unlink()  # closed without it
    assert subprocess.run([java, "-version"], env=variables, capture_output=True).returncode != 0


@pytest.mark.parametrize("content", [None, b"another"])
def test_launcher_when_the_agent_is_not_whole_then_starts_nothing(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jar = tmp_path / "agent.jar"
    if content:
        jar.write_bytes(content)
    monkeypatch.setattr(launcher, "protect_this_process", lambda: require_agent(jar))
    replace_start(monkeypatch, lambda: pytest.fail("was started"))
    assert launcher.main() == 1
    said = capsys.readouterr().err
    assert "install torchserve-hardened again. Nothing was started." in said
    assert said.count("\n") == 1


def test_launcher_when_the_agent_is_whole_then_torchserves_own_start_with_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(os, "environ", dict(os.environ))
    replace_start(monkeypatch, lambda: seen.append(os.environ[JAVA_OPTIONS]))
    assert launcher.main() == 0
    assert str(JAR) in seen[0]


def test_command_of_this_environment_when_asked_then_is_the_protected_one_and_knows_torchserves_options() -> None:
    assert find_fault(COMMAND) is None
    done = subprocess.run([COMMAND, "--version"], capture_output=True, text=True)
    assert "TorchServe Version is 0.12.0" in done.stdout
    assert "--model-store" in subprocess.run([COMMAND, "--help"], capture_output=True, text=True).stdout


def test_check_when_the_command_is_torchserves_own_or_missing_then_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "torchserve"
    own.write_text("#!/usr/bin/python3\nfrom ts.model_server import start\nstart()\n")
    assert check([str(own)]) == 1
    assert "TorchServe's own, without protection" in capsys.readouterr().err
    assert check([str(tmp_path / "nothing")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert check([]) == 1
    assert "there is no command torchserve" in capsys.readouterr().err
    assert check([str(COMMAND)]) == 0
    monkeypatch.setattr(agent, "SHA256", "0")
    assert check([str(COMMAND)]) == 1
    with pytest.raises(AgentError, match="expected 0"):
        require_agent()

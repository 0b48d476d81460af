"""The one command: what it knows, what it hands on, how it ends."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops import cli
from tests.conftest import ROOT


def test_help_when_asked_or_without_a_command_then_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"], ["-h"]):
        assert cli.main(words) == 0
        told = capsys.readouterr().out
        assert "example:" in told
        assert all(f"  {name} " in told for name in cli.COMMANDS)


def test_unknown_command_when_given_then_2_and_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sevre"]) == 2
    assert "no command 'sevre'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_command_when_asked_for_help_then_shows_an_example_under_its_own_name(name: str) -> None:
    result = subprocess.run([sys.executable, "-m", "ops.cli", name, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert f"usage: disaster-tweets {name}" in result.stdout
    assert "disaster-tweets " in result.stdout.partition("usage: ")[2].partition("\n")[2]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_command_when_it_is_ended_by_a_signal_then_130_and_one_line(end: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef main(_):\n    print('on', flush=True)\n    time.sleep(60)\n")
    code = "from ops import cli; import sys; cli.COMMANDS['slow'] = ('slow', (), ''); sys.exit(cli.main(['slow']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(end)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.count("\n") == 1


def test_modules_of_the_commands_when_named_then_are_there() -> None:
    for module, _, _ in cli.COMMANDS.values():
        assert callable(importlib.import_module(module).main)

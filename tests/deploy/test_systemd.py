"""The units for hosts: systemd takes them, and what they start is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ops import cli
from ops.torchserve.instance import SUPERVISOR_STOP_TIMEOUT_S
from tests.conftest import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
HOME = "/srv/disaster-tweets"
TIMEOUT_S = 60


def values(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_when_systemd_reads_it_then_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        assert os.environ.get("REQUIRE_DEBIAN") != "1", "systemd-analyze is missing: apt-get install systemd"
        pytest.skip("no systemd-analyze")
    # It looks whether what a unit starts can be run.
    home = tmp_path / "home"
    command = home / ".venv" / "bin" / "disaster-tweets"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for other in UNITS:
        text = other.read_text(encoding="utf-8").replace(HOME, str(home))
        (tmp_path / other.name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_when_it_starts_then_a_command_of_ours_without_rights(unit: Path) -> None:
    for command in (*values(unit, "ExecStart"), *values(unit, "ExecReload"), *values(unit, "ExecStop")):
        program, word = command.split()[:2]
        assert program == f"{HOME}/.venv/bin/disaster-tweets"
        assert word in cli.COMMANDS
    assert values(unit, "User") == ["disaster-tweets"]
    assert values(unit, "CapabilityBoundingSet") == [""]
    assert values(unit, "NoNewPrivileges") == ["yes"]


def test_unit_of_the_supervisor_when_stopped_then_waits_as_long_as_it_may_take() -> None:
    (unit,) = [unit for unit in UNITS if unit.stem == "disaster-tweets"]
    assert values(unit, "TimeoutStopSec") == [f"{SUPERVISOR_STOP_TIMEOUT_S:.0f}s"]

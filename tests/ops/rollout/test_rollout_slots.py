"""The start of a slot's server, over a stand-in for its supervisor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ops.rollout import slots as rollout_slots
from ops.rollout.slots import Slot
from ops.torchserve.golden import Workers
from ops.torchserve.instance import ServerError


def make_slot(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Slot, Path]:
    """Return a slot, and a folder whose `python` is a shell script. No program is found by its command line."""
    bin_dir = folder / "bin"
    bin_dir.mkdir()
    (bin_dir / "python").write_text(f"#!/bin/sh\n{program}\n", encoding="utf-8")
    (bin_dir / "python").chmod(0o755)
    (folder / "config.properties").write_text("", encoding="utf-8")
    monkeypatch.setattr(rollout_slots, "servers_of", lambda root: [])
    monkeypatch.setattr(rollout_slots, "supervisors_of", lambda root: [])
    return Slot(folder), bin_dir


def test_start_when_the_new_program_has_no_command_line_yet_then_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, bin_dir = make_slot(tmp_path, "exec sleep 5", monkeypatch)
    started: list[subprocess.Popen[bytes]] = []
    launch = Slot._launch
    monkeypatch.setattr(Slot, "_launch", lambda *args: started.append(launch(*args)) or started[0])
    answers = iter([Workers(), Workers(0, 1), Workers(1, 1)])
    monkeypatch.setattr(rollout_slots, "loaded_workers", lambda management: next(answers))
    slot.start(bin_dir, 5.0)
    assert next(answers, None) is None
    with started[0] as process:  # else Python warns of it when it is forgotten
        process.kill()


def test_start_when_the_program_ends_then_its_last_line_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, bin_dir = make_slot(tmp_path, "echo the reason", monkeypatch)
    monkeypatch.setattr(rollout_slots, "loaded_workers", lambda management: Workers())
    with pytest.raises(ServerError, match=r"does not load its model \(the reason\)"):
        slot.start(bin_dir, 60.0)

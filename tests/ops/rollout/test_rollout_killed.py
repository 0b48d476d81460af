"""A rollout is killed at each of its steps: what the gateway asks goes on running, and the next command settles it.

A step is whatever changes something outside the process: a file, a folder, a program. Python's audit events count
them, so a step that is added later is killed too.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.ops.rollout.rollout_stage import TEXTS, Model, Stage, rest, serving

CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.chmod", "shutil.rmtree")
MOST_STEPS = 200
SILENT = os.devnull


def run_killed(step: int, action: Callable[[], object]) -> bool:
    """Run an action in a process that is killed before its n-th change, from 0; return whether it was."""
    pid = os.fork()
    if pid == 0:
        left = [step]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            is_write = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR) and arguments[0] != SILENT
            if event in CHANGES or is_write:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1

        sys.addaudithook(count)
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def answering(stage: Stage) -> set[str]:
    """Addresses at which a server runs: the old one, which nobody stops, and the slots that are started."""
    return {rest(stage.old), *(rest(stage.models[name]) for name in stage.started())}


PROMOTED_BEFORE = {"first promote": 0, "third promote": 2, "rollback": 2}


@pytest.mark.parametrize("command", PROMOTED_BEFORE)
def test_rollout_when_killed_at_any_step_then_what_is_asked_runs_and_the_next_rollout_works(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Model(TEXTS[0]) for _ in range(4)]
    killed = 0
    with serving(*models):
        for step in range(MOST_STEPS):
            stage = Stage(tmp_path / str(step), monkeypatch, *models)
            for _ in range(PROMOTED_BEFORE[command]):
                stage.rollout.promote(stage.archive)
            before = stage.asked()
            promote = partial(stage.rollout.promote, stage.archive)
            if not run_killed(step, stage.rollout.rollback if command == "rollback" else promote):
                break
            killed += 1
            assert {stage.asked(), stage.served()} <= answering(stage), step
            stage.rollout.status()  # says what it found, and does not fail over half a change
            stage.rollout.promote(stage.archive)
            assert stage.asked() == stage.served() != before or command == "rollback", step
            assert {stage.asked(), stage.served()} <= answering(stage), step
            stage.rollout.rollback()
            assert {stage.asked(), stage.served()} <= answering(stage), step
    assert killed > 10, "the steps are not counted any more"

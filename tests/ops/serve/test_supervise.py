"""The parent that TorchServe lacks: restarts, gives up, leaves nobody behind. Children here are small programs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ops.archive.signature import Verified
from ops.serve import commands as serve
from ops.serve import supervisor as supervise
from ops.serve.supervisor import Limits, Supervisor
from ops.settings.locks import locked
from ops.settings.server import read_settings
from ops.torchserve.instance import SUPERVISOR, ServerError, supervisors_of
from ops.torchserve.temporary import make_private_folder
from tests.ops.doctor.broken_configurations import make_installation
from tests.support.signed_archive import make_signed_folder

PATIENCE_S = 60.0
# Notes its start, gives birth to a child that would outlive it, and waits.
SERVER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with open(sys.argv[1], "a") as file:
    print(child.pid, file=file, flush=True)
{then}
"""

VERIFIED = Verified("1", "builder", "0123456789abcdef", "0" * 64, 4)


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "BACK_OFF_BASE_S", 0.01)


def command(starts: Path, then: str) -> list[str]:
    return [sys.executable, "-c", SERVER.format(then=then), str(starts)]


def pids(starts: Path) -> list[int]:
    return [int(line) for line in starts.read_text().split()] if starts.exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_server_that_always_dies_is_given_up_loudly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    starts = tmp_path / "starts"
    supervisor = Supervisor(command(starts, "sys.exit(3)"), Limits(max_restarts=2), lambda: VERIFIED, folder=tmp_path)
    assert supervisor.run() == 1
    assert len(pids(starts)) == 3
    said = capsys.readouterr().err
    assert "ended with status 3" in said
    assert "restart 2 of 2 in 300 s" in said
    assert "GIVING UP" in said
    wait_until(lambda: all(is_gone(pid) for pid in pids(starts)))


def test_a_server_that_is_killed_is_started_again_without_its_old_children(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    supervisor = Supervisor(command(starts, "time.sleep(300)"), Limits(), lambda: VERIFIED, folder=tmp_path)
    ended: list[int] = []

    def kill_then_stop() -> None:
        wait_until(lambda: len(pids(starts)) == 1)
        os.kill(psutil.Process(pids(starts)[0]).ppid(), signal.SIGKILL)
        wait_until(lambda: len(pids(starts)) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    helper = threading.Thread(target=kill_then_stop)
    helper.start()
    ended.append(supervisor.run())
    helper.join()
    assert ended == [0]
    wait_until(lambda: all(is_gone(pid) for pid in pids(starts)))


def test_a_server_that_lives_and_does_not_serve_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starts = tmp_path / "starts"
    supervisor = Supervisor(
        command(starts, "time.sleep(300)"),
        Limits(max_restarts=1, unready_s=1.0),
        lambda: VERIFIED,
        is_serving=lambda: False,
        folder=tmp_path,
        watch_every_s=0.1,
    )
    assert supervisor.run() == 1
    said = capsys.readouterr().err
    assert said.count("started pid") == 2
    assert "had no loaded model for" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_supervisor_when_told_to_stop_then_stops_its_children_and_ends_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    starts = tmp_path / "starts"
    make_signed_folder(tmp_path)
    arguments = [sys.executable, "-m", "ops.serve.supervisor", "--folder", str(tmp_path)]
    arguments += ["--", *command(starts, "time.sleep(300)")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(pids(starts)) == 1)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        said = process.stderr.read()
        assert said.index("model 1, 5 files as signed by this-machine") < said.index("started pid")
        assert "stopped, as asked" in said
    wait_until(lambda: is_gone(pids(starts)[0]))


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="max_restarts is 0; expected more than 0"):
        Limits(max_restarts=0)
    assert supervise.main(["--unready-s", "0"]) == 2


def test_supervisor_when_a_port_is_taken_then_refuses_to_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = make_installation(tmp_path)
    with socket.create_server(("127.0.0.1", read_settings(place.root).metrics.port)):
        assert supervise.main(["--folder", str(place.root)]) == 2
    assert "is taken by" in capsys.readouterr().err


def test_supervisor_when_torchserve_is_not_the_protected_one_then_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_installation(tmp_path)
    monkeypatch.setattr("ops.doctor.files.find_fault", lambda _: "it is TorchServe's own")
    assert supervise.main(["--folder", str(place.root)]) == 1
    said = capsys.readouterr().err
    assert "POST /workflows is open" in said
    assert "REFUSED: " in said
    assert "started pid" not in said


def test_supervisor_when_open_inference_mode_is_on_then_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_signed_folder(tmp_path)
    monkeypatch.setenv("TS_OPEN_INFERENCE_PROTOCOL", "oip")
    assert supervise.main(["--folder", str(tmp_path)]) == 2
    assert "TS_OPEN_INFERENCE_PROTOCOL=oip; expected it unset" in capsys.readouterr().err


def test_supervisor_when_another_one_runs_in_its_folder_then_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_signed_folder(tmp_path)
    with locked(make_private_folder(tmp_path) / supervise.LOCK):
        assert supervise.main(["--folder", str(tmp_path), "--", "true"]) == 2
    assert f"pid {os.getpid()} holds" in capsys.readouterr().err


def test_serve_when_a_supervisor_runs_here_then_refused_and_an_editor_of_its_file_is_none(tmp_path: Path) -> None:
    """It may wait between two starts, and an editor must not be ended by `make stop`."""
    place = make_installation(tmp_path)
    module = place.root / Path(*SUPERVISOR.split(".")).with_suffix(".py")
    module.parent.mkdir(parents=True)
    module.write_text("import time; time.sleep(60)")
    with contextlib.ExitStack() as stack:
        started = []
        for words in ([sys.executable, "-m", SUPERVISOR], ["tail", "-f", str(module)]):
            process = stack.enter_context(subprocess.Popen(words, cwd=place.root, stdout=subprocess.DEVNULL))
            stack.callback(process.kill)
            started.append(process)
        wait_until(lambda: bool(supervisors_of(place.root)))
        assert [found.pid for found in supervisors_of(place.root)] == [started[0].pid]
        with pytest.raises(ServerError, match=rf"pid {started[0].pid}\b.*make stop"):
            serve.start(place.root, place.bin_dir, read_settings(place.root), 1.0)

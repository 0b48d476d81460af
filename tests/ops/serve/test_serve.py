"""The start, the proof and the stop of the local server, over a stand-in for TorchServe."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ops.serve import commands as serve
from ops.torchserve.instance import RECORD, running_server
from ops.torchserve.temporary import private_path
from tests.conftest import ROOT
from tests.ops.doctor.broken_configurations import make_installation
from tests.support.signed_archive import FILES, seal, write_zip

# The doctor refuses PYTHONPATH.
STARTER = "import os; from pathlib import Path; from ops.serve import commands; del os.environ['PYTHONPATH']; "
FAKE = ROOT / "tests" / "support" / "fake_torchserve.py"


@dataclass
class Folder:
    """A project's root with an archive, settings on free ports, and programs."""

    root: Path
    bin_dir: Path
    ports: list[int]

    def run(self, *arguments: str) -> int:
        return serve.main(arguments, root=self.root, bin_dir=self.bin_dir)

    @property
    def pid(self) -> int:
        return int(json.loads((self.root / RECORD).read_text())["pid"])


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(5)]
        ports = [listener.getsockname()[1] for listener in sockets]
    place = make_installation(tmp_path)
    root, bin_dir, temporary = place.root, place.bin_dir, tmp_path / "tmp"
    temporary.mkdir()
    executable(bin_dir / "torchserve", f"#!/bin/sh\n# torchserve_hardened\nexec '{sys.executable}' '{FAKE}' \"$@\"\n")
    names = ("inference_address", "management_address", "metrics_address")
    lines = [f"{name}=http://127.0.0.1:{port}" for name, port in zip(names, ports, strict=False)]
    lines += [f"grpc_inference_port={ports[3]}", f"grpc_management_port={ports[4]}"]
    (root / "config.properties").write_text("\n".join([*lines, "allowed_urls=^$"]) + "\n")
    golden = [{"text": "levee breach in Marlow", "score": 0.9, "label": "disaster"}] * 3
    (root / "model_store" / "tweets.golden.json").write_text(json.dumps(golden))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("FAKE_TORCHSERVE", "ready")
    for name in ("JAVA_HOME", "TEMP", "TS_CONFIG_FILE", "LOG_LOCATION", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    made = Folder(root, bin_dir, ports)
    yield made
    found = running_server(root)
    if found:
        for process in [*found[1].children(recursive=True), found[1]]:
            process.kill()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_start_when_answers_are_right_then_shows_a_request_its_answer_and_the_stop(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert folder.run("start") == 0
    printed = capfd.readouterr().out
    assert "3 golden tweets answered right" in printed
    assert f"curl -X POST localhost:{folder.ports[0]}/predictions/tweets -d '" in printed
    assert '"score": 0.9' in printed
    assert "make stop" in printed


def test_start_when_the_same_server_runs_then_reuses_it(folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    folder.run("start")
    pid = folder.pid
    assert folder.run("start") == 0
    assert folder.pid == pid
    assert f"already running (pid {pid})" in capfd.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda root: seal(write_zip(root / "model_store/tweets.mar", {**FILES, "new": b""}), root / ".keys"),
        lambda root: (root / "log4j2.xml").write_text("<Configuration/>"),
    ],
    ids=["archive", "settings"],
)
def test_start_when_archive_or_settings_changed_then_restarts(folder: Folder, change: Callable[[Path], object]) -> None:
    folder.run("start")
    pid = folder.pid
    change(folder.root)
    assert folder.run("start") == 0
    assert folder.pid != pid
    assert gone(pid)


def test_start_when_answers_are_wrong_then_says_so_and_leaves_nothing_running(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_TORCHSERVE", "wrong")
    assert folder.run("start") == 1
    error = capfd.readouterr().err
    assert "3 of 3 golden tweets were answered wrongly" in error
    assert "0.1000" in error
    assert "Marlow" not in error
    assert running_server(folder.root) is None
    assert gone(int((folder.root / ".run/worker.pid").read_text()))


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuses", "the model refused to load: bundle.json: another sha256"),
        ("dies", "TorchServe ended while starting: No such model archive"),
        ("dies at once", "TorchServe did not start: Unrecognized option: -Xnonsense"),
    ],
)
def test_start_when_the_server_fails_then_names_the_reason_of_this_start(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], behaviour: str, reason: str
) -> None:
    (folder.root / "logs").mkdir()
    (folder.root / "logs/model_log.log").write_text("x - Failed to load model tweets, exception an older start\n")
    monkeypatch.setenv("FAKE_TORCHSERVE", behaviour)
    assert folder.run("start", "--timeout-s", "20") == 1
    assert reason in capfd.readouterr().err
    assert running_server(folder.root) is None


def test_start_when_the_model_never_loads_then_stops_at_the_limit(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_TORCHSERVE", "silent")
    assert folder.run("start", "--timeout-s", "1") == 1
    assert "not ready in time: no error in" in capfd.readouterr().err
    assert running_server(folder.root) is None


@pytest.mark.parametrize("index", range(5))
def test_start_when_a_port_is_taken_then_names_port_and_holder(
    folder: Folder, capfd: pytest.CaptureFixture[str], index: int
) -> None:
    with socket.create_server(("127.0.0.1", folder.ports[index])):
        assert folder.run("start") == 1
    error = capfd.readouterr().err
    assert f"port {folder.ports[index]} is taken by" in error
    assert f"(pid {os.getpid()}" in error
    assert not (folder.root / RECORD).exists()


def test_start_when_another_torchserve_has_the_ports_then_leaves_it_alone(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.run("start")
    pid = folder.pid
    try:
        elsewhere = Folder(folder.root.parent / "elsewhere", folder.bin_dir, folder.ports)
        shutil.copytree(folder.root, elsewhere.root, ignore=shutil.ignore_patterns(".run"))
        assert elsewhere.run("start") == 1
        assert f"TorchServe (pid {pid}, started in {folder.root}); stop it" in capfd.readouterr().err
        assert elsewhere.run("stop") == 0
        assert "no server runs" in capfd.readouterr().out
        assert not gone(pid)
    finally:
        folder.run("stop")


def test_a_server_started_by_hand_in_this_folder_is_not_started_over_and_is_stopped(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.run("start")
    pid = folder.pid
    (folder.root / RECORD).unlink()
    assert folder.run("start") == 1
    assert "was not started by `make serve`; stop it first: make stop" in capfd.readouterr().err
    assert not gone(pid)
    assert folder.run("stop") == 0
    assert f"stopped {pid}, which was started by hand" in capfd.readouterr().out
    assert gone(pid)


@pytest.mark.parametrize("missing", ["tweets.mar", "tweets.manifest.json", "tweets.golden.json"])
def test_start_when_the_archive_is_incomplete_then_says_how_to_build_it(
    folder: Folder, capfd: pytest.CaptureFixture[str], missing: str
) -> None:
    (folder.root / "model_store" / missing).unlink()
    assert folder.run("start") == 1
    assert "make archive" in capfd.readouterr().err


def test_start_when_there_is_no_java_then_points_to_setup(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder.bin_dir / "java").unlink()
    monkeypatch.setenv("PATH", str(folder.bin_dir))
    assert folder.run("start") == 1
    assert "make setup" in capfd.readouterr().err


def test_start_when_ended_by_a_signal_then_stops_the_half_started_server(folder: Folder) -> None:
    code = STARTER + f"commands.main(['start'], Path({str(folder.root)!r}), Path({str(folder.bin_dir)!r}))"
    environment = {**os.environ, "FAKE_TORCHSERVE": "silent", "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (folder.root / RECORD).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = folder.pid
    time.sleep(0.5)
    program.send_signal(signal.SIGTERM)
    program.wait(timeout=40)
    assert gone(pid)


def test_stop_when_running_then_ends_server_and_worker_and_frees_the_ports(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder.run("start")
    pid, worker = folder.pid, int((folder.root / ".run/worker.pid").read_text())
    assert folder.run("stop") == 0
    assert f"stopped {pid}" in capfd.readouterr().out
    assert gone(pid)
    assert gone(worker)
    assert not (folder.root / RECORD).exists()
    assert not Path(tempfile.gettempdir(), ".model_server.pid").exists()
    for port in folder.ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_stop_when_the_recorded_pid_is_another_program_now_then_leaves_it_alone(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (folder.root / ".run").mkdir()
        record = {"pid": other.pid, "fingerprint": "x"}
        (folder.root / RECORD).write_text(json.dumps(record))
        assert folder.run("stop") == 0
        assert "no server" in capfd.readouterr().out
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_status_when_nothing_runs_then_fails_and_says_how_to_start(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert folder.run("status") == 1
    assert "make serve" in capfd.readouterr().err


def test_status_when_the_server_answers_right_then_succeeds(folder: Folder) -> None:
    folder.run("start")
    assert folder.run("status") == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("inference_address=https://127.0.0.1:8443", "over http"),
        ("metrics_address=http://127.0.0.1:99999", "expected http://ADDRESS:PORT"),
        ("grpc_inference_port=seven", "expected a number"),
    ],
)
def test_start_when_a_setting_is_unusable_then_names_it(
    folder: Folder, capfd: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    with (folder.root / "config.properties").open("a") as file:
        file.write(line + "\n")
    assert folder.run("start") == 1
    error = capfd.readouterr().err
    assert line in error
    assert said in error


def test_start_when_the_archive_was_changed_then_nothing_is_started(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = folder.root / "model_store" / "tweets.mar"
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    assert folder.run("start") == 1
    error = capfd.readouterr().err
    assert "error: model_store/tweets.mar: tweets.mar has" in error
    assert "1 errors, see above; nothing was started" in error
    assert running_server(folder.root) is None


def test_start_when_the_doctor_only_warns_then_starts_and_says_so(
    folder: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    with (folder.root / "config.properties").open("a") as file:
        file.write("default_response_timeout=10\n")
    assert folder.run("start") == 0
    assert "warning: config.properties: default_response_timeout: 10 is ignored" in capfd.readouterr().err


def test_start_when_there_is_no_pid_file_then_leaves_no_java_behind(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_TORCHSERVE", "loses its pid file")
    assert folder.run("start") == 1
    assert "TorchServe did not start: start java frontend failed" in capfd.readouterr().err
    assert gone(int((folder.root / ".run/java.pid").read_text()))


@pytest.mark.parametrize(
    "content", ["{own}", "1", "999999999", "", "x"], ids=["alive", "init", "dead", "empty", "word"]
)
def test_start_when_the_shared_folder_has_a_foreign_pid_file_then_starts_and_leaves_the_file(
    folder: Folder, content: str
) -> None:
    shared = Path(tempfile.gettempdir(), ".model_server.pid")
    shared.write_text(content.format(own=os.getpid()))
    assert folder.run("start") == 0
    assert shared.read_text() == content.format(own=os.getpid())
    assert folder.run("stop") == 0


def test_start_when_the_server_runs_then_its_temporary_folder_is_private_and_goes_with_it(folder: Folder) -> None:
    folder.run("start")
    private = private_path(folder.root)
    variables = psutil.Process(folder.pid).environ()
    assert variables["TMPDIR"] == variables["TEMP"] == str(private)
    assert private.stat().st_mode & 0o777 == 0o700
    folder.run("stop")
    assert not private.exists()


def test_start_when_the_folder_has_a_blank_and_an_umlaut_and_the_locale_is_c_then_java_gets_utf8(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    renamed = folder.root.rename(folder.root.with_name("pr\u00fcfung 1"))
    place = Folder(renamed, folder.bin_dir, folder.ports)
    assert place.run("start") == 0
    assert psutil.Process(place.pid).environ()["LC_ALL"] == "C.UTF-8"
    assert place.run("status") == 0
    assert place.run("stop") == 0
    assert running_server(renamed) is None


@pytest.mark.parametrize("value", ["oip", "OIP", "true", "1"])
def test_start_when_open_inference_mode_is_on_then_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("TS_OPEN_INFERENCE_PROTOCOL", value)
    assert folder.run("start") == 1
    assert f"TS_OPEN_INFERENCE_PROTOCOL={value}; expected it unset" in capfd.readouterr().err
    monkeypatch.delenv("TS_OPEN_INFERENCE_PROTOCOL")
    with (folder.root / "config.properties").open("a") as file:
        file.write(f"ts_open_inference_protocol : {value}\n")
    assert folder.run("start") == 1
    assert f"ts_open_inference_protocol={value}; expected false" in capfd.readouterr().err
    assert running_server(folder.root) is None


def test_two_starts_at_once_then_one_server_and_both_succeed(folder: Folder) -> None:
    words = f"commands.main(['start'], Path({str(folder.root)!r}), Path({str(folder.bin_dir)!r}))"
    words = f"{STARTER}raise SystemExit({words})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    starts = [
        subprocess.Popen([sys.executable, "-c", words], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [start.communicate()[0] for start in starts]
    assert [start.returncode for start in starts] == [0, 0]
    assert sum("already running" in output for output in outputs) == 1


def test_serve_when_not_on_linux_then_one_line(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert folder.run("start") == 1
    assert capfd.readouterr().err.strip().count("\n") == 0

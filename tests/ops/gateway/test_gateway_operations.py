"""What an operator does to a gateway by mistake, and what a machine does to it: it goes on, and says so in one line."""

from __future__ import annotations

import contextlib
import errno
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from ops.gateway import supervisor as gateway_supervisor
from ops.gateway.certificate import make_certificate
from ops.gateway.settings import read_gateway_settings
from ops.gateway.supervisor import Accepted, GatewayError, check_config
from tests.ops.gateway.fake_server import FakeServer, wait_until
from tests.ops.gateway.gateway_process import DEFAULTS, MODULE, REPOSITORY, GatewayProcess
from tests.serving.torchserve_process import Ports


def run_command(gateway: GatewayProcess, *words: str, file: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", MODULE, "--settings", str(file or gateway.file), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def console(gateway: GatewayProcess) -> str:
    return gateway.file.with_name("console.log").read_text()


@pytest.fixture
def own_gateway(fake: FakeServer, fake_gateway: GatewayProcess):
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file) as gateway:
        yield gateway


def test_second_run_when_one_runs_already_then_refused_in_one_line_and_the_first_serves_on(
    own_gateway: GatewayProcess,
) -> None:
    second = run_command(own_gateway, "run")
    assert second.returncode == 1
    lines = [line for line in second.stderr.splitlines() if "runs as root" not in line]
    assert len(lines) == 1
    assert "runs in" in lines[0]
    assert own_gateway.predict("fire").status == 200
    assert run_command(own_gateway, "status").returncode == 0
    assert "already running" in own_gateway.command("start")


def test_start_when_another_gateway_has_the_port_then_no_success(own_gateway: GatewayProcess, tmp_path: Path) -> None:
    values = yaml.safe_load(own_gateway.file.read_text()) | {"run_folder": str(tmp_path / "run"), "grpc_address": None}
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(values))
    result = run_command(own_gateway, "start", file=other)
    assert result.returncode == 1
    assert "did not start" in result.stderr
    assert own_gateway.predict("fire").status == 200


def restart_nginx(gateway: GatewayProcess) -> None:
    """Kill nginx, so that it starts with what is on the disk."""
    master = psutil.Process(int((gateway.settings.run_folder / "nginx.pid").read_text()))
    master.kill()
    assert wait_until(lambda: not master.is_running() or master.status() == psutil.STATUS_ZOMBIE)

    def answered() -> bool:
        with contextlib.suppress(OSError):
            return gateway.predict("fire", timeout_s=5).status == 200
        return False

    assert wait_until(answered, 60)


def test_reload_when_refused_then_a_restarted_program_still_takes_the_old_settings(own_gateway: GatewayProcess) -> None:
    before = own_gateway.file.read_text()
    folder = own_gateway.settings.run_folder
    accepted = Accepted(folder).read()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for changes in (
            {"certificate": str(folder / "none.pem")},  # `nginx -t` refuses it
            {"rest_address": f"127.0.0.1:{taken.getsockname()[1]}"},  # it does not see this
            {"run_folder": str(folder / "other")},
        ):
            said = console(own_gateway).count("the old settings stay")
            own_gateway.change(**changes)
            assert wait_until(lambda said=said: console(own_gateway).count("the old settings stay") > said, 60)
            own_gateway.file.write_text(before)
    assert Accepted(folder).read() == accepted
    own_gateway.file.write_text("deadline_s: x")
    guard = next(
        child for child in psutil.Process(own_gateway.supervisor.pid).children() if "guard" in " ".join(child.cmdline())
    )
    guard.kill()
    assert wait_until(lambda: "guard ended" in console(own_gateway))
    restart_nginx(own_gateway)
    own_gateway.file.write_text(before)
    assert not list(folder.glob("*.new"))


def test_files_when_the_disk_is_full_then_none_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = Accepted(tmp_path)
    old = {accepted.config: "a", accepted.settings: "b"}
    accepted.write(old)
    write_text = Path.write_text

    def full(path: Path, text: str, **options: str) -> int:
        if path.name.startswith("settings"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        accepted.write({accepted.config: "c", accepted.settings: "d"})
    assert accepted.read() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nginx.conf", "settings.yaml"]


def test_reload_when_the_disk_is_full_then_one_line_and_on_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = read_gateway_settings(DEFAULTS, tmp_path)
    supervisor = gateway_supervisor.Supervisor(lambda: settings, REPOSITORY)
    supervisor._run_folder = settings.run_folder
    monkeypatch.setattr(Accepted, "read", full)
    supervisor._reload()
    assert "the old settings stay: [Errno 28] No space left on device" in capsys.readouterr().err


def test_configuration_when_nginx_does_not_end_its_check_then_one_line(
    nginx: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*arguments: object, timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired("nginx", timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(GatewayError, match="does a name of a server resolve"):
        check_config(tmp_path / "nginx.conf")


def test_render_when_asked_for_then_printed_and_nothing_is_written(own_gateway: GatewayProcess) -> None:
    folder = own_gateway.settings.run_folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert "worker_processes 2;" in own_gateway.command("render")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["prüfung 1", "a;b{c}#d'e @workers@"])
def test_folder_when_its_name_has_spaces_and_letters_then_served(
    fake: FakeServer, fake_gateway: GatewayProcess, name: str
) -> None:
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, name=name) as gateway:
        assert gateway.predict("fire").status == 200
        assert gateway.access_lines()
        gateway.change(deadline_s=9)
        assert run_command(gateway, "reload").returncode == 0


def test_access_log_when_moved_away_and_reopened_then_written_again(own_gateway: GatewayProcess) -> None:
    log = own_gateway.settings.access_log
    log.rename(log.with_suffix(".1"))
    own_gateway.command("reopen")
    assert wait_until(log.exists)
    own_gateway.predict("fire")
    assert wait_until(lambda: len(own_gateway.access_lines()) >= 1)


def test_client_certificate_when_asked_for_then_probes_need_none(
    fake: FakeServer, fake_gateway: GatewayProcess, tmp_path: Path
) -> None:
    own = tmp_path / "own.pem"
    make_certificate(own, own.with_suffix(".key"), ["client"])
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, {"client_ca": str(own)}) as gateway:
        for path in ("/live", "/ready"):
            assert gateway.ask("GET", path, key=None).status == 200
        assert "ready" in gateway.command("status")
        answer = gateway.ask("GET", "/openapi.yaml", key=None)
        assert (answer.status, answer.code) == (403, "NO_CERTIFICATE")
        assert gateway.predict("fire").code == "NO_CERTIFICATE"
        assert fake.received == [] or all(one.body != b"fire" for one in fake.received)


def test_address_when_every_ipv6_one_then_started_and_asked_there(
    fake: FakeServer, fake_gateway: GatewayProcess
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file) as gateway:
        gateway.supervisor.terminate()
        gateway.supervisor.wait(60)
        values = yaml.safe_load(gateway.file.read_text()) | {"rest_address": f"[::]:{Ports.free().inference}"}
        gateway.file.write_text(yaml.safe_dump(values))
        assert "gateway on https://[::]" in gateway.command("start")
        assert "ready" in gateway.command("status")
        assert "stopped" in gateway.command("stop")


def test_clients_behind_a_proxy_when_counted_then_each_alone_but_a_64_network_as_one(
    fake: FakeServer, fake_gateway: GatewayProcess
) -> None:
    changes = {"address_requests_per_s": 1, "address_burst": 2, "trusted_proxies": ["127.0.0.1/32"]}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, changes) as gateway:

        def statuses(addresses: list[str]) -> list[int]:
            return [gateway.ask(body=b"x", headers={"X-Forwarded-For": one}).status for one in addresses]

        assert set(statuses([f"10.0.0.{number}" for number in range(1, 13)])) == {200}
        assert set(statuses([f"2001:db8:0:{number}::1" for number in range(1, 13)])) == {200}
        assert 429 in statuses(["10.0.1.1"] * 12)
        assert 429 in statuses([f"2001:db8:1:1::{number}" for number in range(1, 13)])
        # Whatever a client writes in front of what the proxy adds does not count.
        assert 429 in statuses([f"10.9.9.{number}, 10.0.2.1" for number in range(1, 13)])


def test_client_when_no_proxy_is_trusted_then_its_own_word_does_not_count(
    fake: FakeServer, fake_gateway: GatewayProcess
) -> None:
    changes = {"address_requests_per_s": 1, "address_burst": 2}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, changes) as gateway:
        found = [gateway.ask(body=b"x", headers={"X-Forwarded-For": f"10.0.0.{number}"}).status for number in range(12)]
    assert 429 in found


def test_certificate_when_made_then_it_signs_no_other_and_a_half_made_pair_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography import x509

    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make_certificate(certificate, key, ["localhost"])
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert key.stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        make_certificate(certificate, tmp_path / "new.pem", ["localhost"])
    shutil.rmtree(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        make_certificate(certificate, key, ["localhost"])
    assert list(tmp_path.iterdir()) == []

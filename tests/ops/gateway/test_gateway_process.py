"""The running gateway: keys change under it, limits hold, its own programs die, it starts and stops cleanly."""

from __future__ import annotations

import shutil
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from ops.gateway.certificate import make_certificate
from ops.gateway.keys import create_key, revoke_key
from tests.ops.gateway.fake_server import FakeServer, wait_until
from tests.ops.gateway.gateway_process import DEFAULTS, MODULE, REPOSITORY, GatewayProcess
from tests.serving.torchserve_process import is_alive


@pytest.fixture(scope="module")
def changing_gateway(shared_fake: FakeServer, fake_gateway: GatewayProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess.start(shared_fake.ports, fake_gateway.settings.golden_file) as process:
        yield process


@pytest.fixture
def own_gateway(changing_gateway: GatewayProcess, fake: FakeServer) -> GatewayProcess:
    """One that a test may change, when it leaves it as it was."""
    return changing_gateway


def family(gateway: GatewayProcess) -> dict[str, psutil.Process]:
    """The supervisor and its two programs."""
    found = {}
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(gateway.file) in command and command.endswith(" run"):
            found["supervisor"] = process
        elif str(gateway.settings.run_folder) in command and "ops.gateway.guard" in command:
            found["guard"] = process
        elif str(gateway.settings.run_folder) in command and "nginx: master" in command:
            found["nginx"] = process
    return found


def test_key_when_made_or_revoked_then_counts_without_a_restart(own_gateway: GatewayProcess) -> None:
    before = {name: process.pid for name, process in family(own_gateway).items()}
    entry, key = create_key(own_gateway.settings.keys_file, "second")
    assert own_gateway.predict("fire", key=key).status == 200
    revoke_key(own_gateway.settings.keys_file, entry.id)
    answer = own_gateway.predict("fire", key=key)
    assert (answer.status, answer.code) == (403, "KEY_ENDED")
    assert own_gateway.predict("fire").status == 200
    assert {name: process.pid for name, process in family(own_gateway).items()} == before


def test_file_of_keys_when_gone_then_503_for_all_until_it_is_back(own_gateway: GatewayProcess) -> None:
    file = own_gateway.settings.keys_file
    content = file.read_bytes()
    file.unlink()
    answer = own_gateway.predict("fire")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    file.write_bytes(content)
    assert own_gateway.predict("fire").status == 200


def test_rate_of_a_key_when_exceeded_then_429_and_another_key_is_served(
    fake: FakeServer, fake_gateway: GatewayProcess
) -> None:
    changes = {"key_requests_per_s": 1, "key_burst": 2}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, changes) as gateway:
        _, other = create_key(gateway.settings.keys_file, "other")
        answers = [gateway.predict("fire") for _ in range(12)]
        refused = [answer for answer in answers if answer.status == 429]
        assert refused
        assert {(answer.code, answer.headers["retry-after"]) for answer in refused} == {("RATE_LIMIT", "1")}
        assert len(fake.received) == 12 - len(refused) >= 3
        assert gateway.predict("fire", key=other).status == 200


def test_rate_of_an_address_when_exceeded_then_429_before_any_key_is_judged(
    fake: FakeServer, fake_gateway: GatewayProcess
) -> None:
    changes = {"address_requests_per_s": 1, "address_burst": 2}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, changes) as gateway:
        statuses = [gateway.predict("fire", key="guess").status for _ in range(12)]
        assert set(statuses) == {401, 429}
        assert statuses.count(429) >= 4


def test_connections_of_an_address_when_too_many_then_429(fake: FakeServer, fake_gateway: GatewayProcess) -> None:
    changes = {"address_connections": 2, "deadline_s": 20}
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, changes) as gateway:
        fake.plan = ["hang", "hang"]
        clients = [threading.Thread(target=gateway.predict, args=("slow",)) for _ in range(2)]
        for client in clients:
            client.start()
        assert wait_until(lambda: len(fake.received) == 2)
        answer = gateway.predict("one too many")
        assert (answer.status, answer.code) == (429, "RATE_LIMIT")
        fake.ended.set()  # the hung ones end
        for client in clients:
            client.join(60)
        fake.ended.clear()


def test_client_certificate_when_asked_for_then_only_holders_get_in(
    fake: FakeServer, fake_gateway: GatewayProcess, tmp_path: Path
) -> None:
    own, strange = tmp_path / "own.pem", tmp_path / "strange.pem"
    for certificate in (own, strange):
        make_certificate(certificate, certificate.with_suffix(".key"), ["client"])
    with GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file, {"client_ca": str(own)}) as gateway:
        none = gateway.predict("fire")
        assert (none.status, none.code) == (403, "NO_CERTIFICATE")
        for certificate, status in ((own, 200), (strange, 403)):
            tls = gateway.tls
            tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
            assert gateway.predict("fire", tls=tls).status == status
        tls = gateway.tls
        tls.load_cert_chain(own, own.with_suffix(".key"))
        assert gateway.predict("fire", tls=tls, key=None).status == 401  # a certificate is no key


def test_settings_when_reloaded_then_new_ones_count_and_broken_ones_do_not(own_gateway: GatewayProcess) -> None:
    before = family(own_gateway)["nginx"].pid
    own_gateway.change(host_names=["gateway.example"])
    assert wait_until(lambda: own_gateway.predict("fire").status == 421)
    # While nginx changes its processes, one with the old settings may answer.
    assert wait_until(lambda: own_gateway.ask(body=b"fire", headers={"Host": "gateway.example"}).status == 200)
    own_gateway.change(deadline_s="x")
    assert wait_until(lambda: "the old settings stay" in own_gateway.file.with_name("console.log").read_text())
    assert own_gateway.ask(body=b"fire", headers={"Host": "gateway.example"}).status == 200
    own_gateway.file.write_text(yaml.safe_dump({**yaml.safe_load(own_gateway.file.read_text()), "deadline_s": 30}))
    own_gateway.change(host_names=["localhost", "127.0.0.1"])
    assert wait_until(lambda: own_gateway.predict("fire").status == 200)
    assert family(own_gateway)["nginx"].pid == before


@pytest.mark.parametrize("name", ["guard", "nginx"])
def test_program_when_killed_then_started_again(own_gateway: GatewayProcess, name: str) -> None:
    process = family(own_gateway)[name]
    process.send_signal(signal.SIGKILL)

    def answered() -> bool:
        try:
            return own_gateway.predict("fire", timeout_s=5).status == 200
        except OSError:
            return False

    assert wait_until(lambda: not is_alive(process))
    assert wait_until(lambda: name in family(own_gateway), 60)
    assert wait_until(answered, 60)


def test_supervisor_when_killed_then_nothing_is_left_behind(fake: FakeServer, fake_gateway: GatewayProcess) -> None:
    gateway = GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file)
    members = family(gateway)
    assert set(members) == {"supervisor", "guard", "nginx"}
    members["supervisor"].kill()
    assert wait_until(lambda: not any(is_alive(process) for process in members.values()), 60)
    gateway.supervisor.wait()
    assert "gateway on https://" in gateway.command("start")  # on what the killed one left
    assert gateway.predict("fire").status == 200
    assert "already running" in gateway.command("start")
    assert "stopped" in gateway.command("stop")
    assert family(gateway) == {}
    assert "no gateway runs" in gateway.command("stop")
    shutil.rmtree(gateway.file.parent)


def test_requests_when_the_gateway_stops_then_answered_first(fake: FakeServer, fake_gateway: GatewayProcess) -> None:
    gateway = GatewayProcess.start(fake.ports, fake_gateway.settings.golden_file)
    fake.plan = ["hang"]
    statuses: list[int] = []
    client = threading.Thread(target=lambda: statuses.append(gateway.predict("slow").status))
    client.start()
    assert wait_until(lambda: len(fake.received) == 1)
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    assert wait_until(lambda: not listens(gateway))
    fake.ended.set()  # the server drops the connection; the second try answers
    client.join(60)
    stopping.join(90)
    fake.ended.clear()
    assert statuses == [200]


def listens(gateway: GatewayProcess) -> bool:
    try:
        return bool(ssl.get_server_certificate(("127.0.0.1", gateway.settings.rest_address.port), timeout=5))
    except OSError:
        return False


def test_start_when_it_cannot_be_then_one_line_says_why(nginx: None, tmp_path: Path) -> None:
    values = yaml.safe_load(DEFAULTS.read_text())
    values |= {"certificate": str(tmp_path / "none.pem"), "run_folder": str(tmp_path / "run")}
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", MODULE, "--settings", str(file), "start"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "there is no certificate" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_commands_when_used_by_hand_then_key_is_shown_once(own_gateway: GatewayProcess) -> None:
    key = own_gateway.command("key", "create", "control room", "--days", "90").strip()
    assert own_gateway.predict("fire", key=key).status == 200
    listed = own_gateway.command("key", "list")
    assert "control room" in listed
    assert key not in listed
    identity = key.split("_")[1]
    assert identity in own_gateway.command("key", "revoke", identity)
    assert own_gateway.predict("fire", key=key).status == 403
    assert '"status":"ready"' in own_gateway.command("status")
    assert f"{own_gateway.settings.run_folder}/nginx.pid" in own_gateway.command("render")


def test_example_in_help_when_read_then_names_real_commands() -> None:
    result = subprocess.run([sys.executable, "-m", MODULE, "--help"], capture_output=True, text=True, timeout=60)
    assert "examples:" in result.stdout
    assert str(REPOSITORY) in result.stdout  # the defaults are shown

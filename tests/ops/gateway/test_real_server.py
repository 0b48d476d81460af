"""The gateway before a real TorchServe: true answers, and /ready in every state that a start can go wrong in."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from disaster_tweets_client import GrpcClient
from tests.ops.gateway.fake_server import wait_until
from tests.ops.gateway.gateway_process import Answer, GatewayProcess
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

pytestmark = pytest.mark.serving

TWEET = "Flood water is over the bridge in Marlow, families on roofs"


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


@pytest.fixture
def early_gateway(ports: Ports, golden_file: Path) -> Iterator[GatewayProcess]:
    """Started before the server that it stands in front of."""
    changes = {"golden_every_s": 0, "recover_wait_s": 300, "deadline_s": 300, "golden_deadline_s": 60}
    with GatewayProcess.start(ports, golden_file, changes) as process:
        yield process


@contextlib.contextmanager
def watched(gateway: GatewayProcess) -> Iterator[list[Answer]]:
    """Ask /ready all the time, the more often the better to catch a lie."""
    answers: list[Answer] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            answers.append(gateway.ask("GET", "/ready", key=None, timeout_s=120))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield answers
    finally:
        ended.set()
        watcher.join()


def test_prediction_when_asked_over_rest_and_grpc_then_the_same_true_answer(gateway: GatewayProcess) -> None:
    answer = gateway.predict(TWEET)
    assert (answer.status, answer.json()["label"]) == (200, "disaster")
    assert answer.headers["x-model-version"] == answer.json()["model_version"]
    credentials = grpc.ssl_channel_credentials(gateway.settings.certificate.read_bytes())
    with GrpcClient(gateway.grpc_target, api_key=gateway.key, credentials=credentials) as client:
        assert client.predict(TWEET).score == pytest.approx(answer.json()["score"], abs=1e-4)
    assert gateway.ask("GET", "/ready", key=None).status == 200


def test_errors_of_the_handler_when_answered_then_in_its_own_words(gateway: GatewayProcess) -> None:
    empty = gateway.predict(" ")
    assert (empty.status, empty.code) == (400, "EMPTY_TEXT")
    late = gateway.predict(TWEET, headers={"x-deadline-ms": "1"})
    assert (late.status, late.code) == (504, "DEADLINE")
    soon = gateway.predict(TWEET, headers={"x-deadline-ms": "soon"})
    assert (soon.status, soon.code) == (400, "WRONG_TYPE")
    explain = gateway.ask(path="/explanations/tweets", body=TWEET.encode())
    assert (explain.status, explain.code) == (501, "NOT_IMPLEMENTED")


def test_body_when_packed_then_read_as_without_the_gateway(gateway: GatewayProcess) -> None:
    packed = {"body": gzip.compress(TWEET.encode()), "headers": {"Content-Encoding": "gzip"}}
    assert gateway.ask(**packed).json() == gateway.predict(TWEET).json()
    other = gateway.predict(TWEET, headers={"Content-Encoding": "aws-chunked"})
    assert (other.status, other.code) == (415, "UNSUPPORTED_ENCODING")


def test_describe_when_a_client_asks_for_it_by_header_then_only_a_prediction(gateway: GatewayProcess) -> None:
    answer = gateway.predict(TWEET, headers={"describe": "True", "explain": "True"})
    assert set(answer.json()) == {"label", "score", "decision", "model_version"}


def test_server_when_it_loads_and_its_worker_and_itself_die_then_no_request_is_lost_and_ready_never_lies(
    early_gateway: GatewayProcess, ports: Ports, real_archive: Path, tmp_path: Path
) -> None:
    """Requests are sent through a start, a killed worker and a killed server that is started again."""
    root = make_root(tmp_path / "root", ports)
    shutil.copyfile(real_archive, root / "model_store" / "tweets.mar")
    answers: list[Answer] = []

    def ask() -> threading.Thread:
        client = threading.Thread(target=lambda: answers.append(early_gateway.predict(TWEET, timeout_s=400)))
        client.start()
        return client

    clients = [ask()]  # nobody listens yet
    with watched(early_gateway) as ready:
        time.sleep(0.5)
        with TorchServeProcess.start(root, ports, Path("model_store")) as server:
            assert wait_until(lambda: any(one.status == 200 for one in ready), 600)
            assert server.worker_pids()  # it was ready when /ready said so
            for pid in server.worker_pids():
                psutil.Process(pid).kill()
            clients.append(ask())
            server.wait_ready(600)
            # One fault at a time: each has its own tries.
            clients[-1].join(400)
            server.java.kill()
            clients.append(ask())
            assert wait_until(lambda: ready[-1].status == 503 and ready[-1].code == "NO_SERVER", 60)
        with TorchServeProcess.start(root, ports, Path("model_store")):
            for client in clients:
                client.join(400)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len({answer.body for answer in answers}) == 1


def test_archive_when_damaged_then_never_ready(
    early_gateway: GatewayProcess, ports: Ports, real_archive: Path, tmp_path: Path
) -> None:
    root = make_root(tmp_path / "root", ports)
    with zipfile.ZipFile(real_archive) as old, zipfile.ZipFile(root / "model_store" / "tweets.mar", "w") as new:
        for name in old.namelist():
            content = bytearray(old.read(name))
            if name == "bundle/model.pt":
                content[len(content) // 2] ^= 1
            new.writestr(name, bytes(content))
    with TorchServeProcess.start(root, ports, Path("model_store")) as server, watched(early_gateway) as ready:
        assert wait_until(lambda: b"model.pt has sha256" in server.logged_bytes(), 600)
        count = len(ready)
        assert wait_until(lambda: len(ready) > count + 10, 60)
    assert {one.status for one in ready} == {503}


def test_models_when_there_are_none_then_never_ready_though_ping_is_healthy(
    early_gateway: GatewayProcess, ports: Ports, tmp_path: Path
) -> None:
    root = make_root(tmp_path / "root", ports)
    with TorchServeProcess.start(root, ports, Path("model_store"), models="missing.mar"):
        assert wait_until(lambda: early_gateway.ask("GET", "/ready", key=None).code == "NO_MODEL", 600)
        answer = early_gateway.ask("GET", "/ready", key=None)
        assert (answer.status, answer.code) == (503, "NO_MODEL")
        assert early_gateway.ask("GET", "/live", key=None).status == 200

"""What the front end keeps from the model: calls that end a worker, refused bodies, headers that are commands."""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.serving.settings_server import ask, build_echo_archive, request_bytes
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

pytestmark = pytest.mark.serving

OPEN_INFERENCE = "/org.pytorch.serve.grpc.openinference.GRPCInferenceService"
NAME = b"\x0a\x06tweets"  # field 1, in each message of Open Inference the name of the model
MAX_REQUEST_BYTES = 6_553_500
SMUGGLED = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREDICT = "/predictions/tweets"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("front-end") / "root", ports)
    build_echo_archive(root / "model_store", "echo")
    environment = {"TS_OPEN_INFERENCE_PROTOCOL": "oip"}
    with TorchServeProcess.start(root, ports, Path("model_store"), environment=environment) as process:
        process.wait_ready()
        yield process


@pytest.mark.parametrize(
    "call", ["ModelInfer", "ModelReady", "ModelMetadata", "ServerLive", "ServerReady", "ServerMetadata"]
)
def test_open_inference_over_grpc_when_torchserve_offers_it_is_refused_and_the_worker_lives(
    server: TorchServeProcess, call: str
) -> None:
    before = server.worker_pids()
    with grpc.insecure_channel(server.grpc_target) as channel:
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(f"{OPEN_INFERENCE}/{call}")(NAME, timeout=20)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    for path in (PREDICT, "/v2/models/tweets/infer"):
        assert ask(server.ports.inference, "POST", path, b"Dam breaks above the town").received() == (
            b"Dam breaks above the town"
        )
    assert server.worker_pids() == before


def answers_until_closed(port: int, *parts: bytes) -> bytes:
    """Send each part after an answer to the one before, and return all that comes until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for part in parts:
            with contextlib.suppress(ConnectionError):
                connection.sendall(part)
                received += connection.recv(65536)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(65536):
                received += piece
    return received


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Expect: 100-continue\r\nContent-Length: %d\r\n" % (MAX_REQUEST_BYTES + 1), b"413"),
        (b"Expect: 200-maybe\r\nContent-Length: %d\r\n" % len(SMUGGLED), b"417"),
    ],
)
@pytest.mark.parametrize("waits", [True, False], ids=["body-after-the-answer", "body-at-once"])
@pytest.mark.parametrize("port", ["inference", "management", "metrics"])
def test_body_when_it_comes_after_a_refused_expectation_is_no_second_request(
    server: TorchServeProcess, headers: bytes, status: bytes, waits: bool, port: str
) -> None:
    head = b"POST /predictions/tweets HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n"
    parts = [head, SMUGGLED] if waits else [head + SMUGGLED]
    received = answers_until_closed(getattr(server.ports, port), *parts)
    assert received.startswith(b"HTTP/1.1 " + status)
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in received.lower()


def test_body_when_too_large_is_no_second_request_and_the_connection_lives(server: TorchServeProcess) -> None:
    body = SMUGGLED * (MAX_REQUEST_BYTES // len(SMUGGLED) + 1)
    received = b""
    with socket.create_connection(("127.0.0.1", server.ports.inference), timeout=30) as connection:
        connection.sendall(request_bytes(PREDICT, body) + request_bytes(PREDICT, b"the next"))
        while base64.b64encode(b"the next") not in received:
            received += connection.recv(65536)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.count(b"HTTP/1.1 ") == 2


@pytest.mark.parametrize("name", ["describe", "Describe", "explain", "EXPLAIN"])
def test_header_of_a_caller_when_it_is_a_command_of_torchserve_never_reaches_the_model(
    server: TorchServeProcess, name: str
) -> None:
    answer = ask(server.ports.inference, "POST", PREDICT, b"x", {name: "True", "X-Other": "kept"})
    headers = {key.lower(): value for key, value in answer.json()["headers"].items()}
    assert headers["x-other"] == "kept"
    assert headers.get("explain") == "False"  # TorchServe's own
    assert "describe" not in headers


def test_explanation_when_asked_for_by_its_path_still_reaches_the_model_as_such(server: TorchServeProcess) -> None:
    answer = ask(server.ports.inference, "POST", "/explanations/tweets", b"x", {"explain": "False"})
    assert answer.json()["headers"]["explain"] == "True"

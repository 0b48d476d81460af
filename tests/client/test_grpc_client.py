"""What is peculiar to gRPC."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from disaster_tweets_client import DisasterTweetsError, GrpcClient, Prediction, RequestError, ServerUnavailableError
from disaster_tweets_client.stubs import inference_pb2_grpc
from tests.client.conftest import free_port
from tests.client.stub_server import Scripted, StubServer, _Servicer, prediction

FLOOD = "Flood water is over the bridge in Marlow"
# As TorchServe 0.12 words them.
NO_WORKER = (
    'Model "tweets" has no worker to serve inference request. Please use scale workers API to add workers. If this is '
    "a sequence inference, please check if it is closed, or expired\nInternalServerException.()"
)
NOT_FOUND = "Model not found: cats\norg.pytorch.serve.archive.model.ModelNotFoundException"


@pytest.fixture
def client(stub: StubServer) -> Iterator[GrpcClient]:
    with GrpcClient(stub.grpc_target, timeout_s=10) as client:
        yield client


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "going away"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams"),
        (grpc.StatusCode.INTERNAL, NO_WORKER),
        (grpc.StatusCode.INTERNAL, "Worker died.\nInternalServerException.()"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "the patience of a gateway"),
    ],
)
def test_predict_when_two_attempts_fail_answers_at_the_third(
    client: GrpcClient, stub: StubServer, code: grpc.StatusCode, details: str
) -> None:
    stub.script = [Scripted(code=code, details=details)] * 2
    assert isinstance(client.predict(FLOOD), Prediction)
    assert len(stub.received) == 3


@pytest.mark.parametrize(
    ("code", "details", "word"),
    [
        (grpc.StatusCode.INTERNAL, NOT_FOUND, "ModelNotFoundException"),
        (grpc.StatusCode.INTERNAL, "Prediction failed\nInternalServerException.()", "InternalServerException"),
        (grpc.StatusCode.PERMISSION_DENIED, "Token Authorization failed", "PERMISSION_DENIED"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Sent message larger than max (5 vs. 4)", "RESOURCE_EXHAUSTED"),
        (grpc.StatusCode.UNKNOWN, "", "UNKNOWN"),
    ],
)
def test_predict_when_refused_for_good_raises_at_once(
    client: GrpcClient, stub: StubServer, code: grpc.StatusCode, details: str, word: str
) -> None:
    stub.script = [Scripted(code=code, details=details)]
    with pytest.raises(RequestError, match=f"^{word}: ") as caught:
        client.predict(FLOOD)
    assert (caught.value.status, caught.value.code, caught.value.message) == (None, word, details)
    assert len(stub.received) == 1


@pytest.mark.parametrize("header", [{"grpc-retry-pushback-ms": "1000"}, {"retry-after": "1"}])
def test_predict_when_the_server_says_when_to_come_again_comes_no_sooner(
    client: GrpcClient, stub: StubServer, header: dict[str, str]
) -> None:
    stub.script = [Scripted(code=grpc.StatusCode.UNAVAILABLE, details="too many", headers=header)]
    client.predict(FLOOD)
    first, second = stub.received
    assert second.at_s - first.at_s >= 1.0


def test_predict_of_answers_beyond_four_megabytes_takes_them(client: GrpcClient, stub: StubServer) -> None:
    stub.script = [Scripted(body=json.dumps({"predictions": [prediction(FLOOD)] * 50_000}).encode())]
    assert len(stub.script[0].body) > 4 * 1024 * 1024
    with pytest.raises(Exception, match="50000 answers; expected 1"):
        client.predict([FLOOD])


def test_predict_when_nothing_listens_gives_up_after_its_attempts() -> None:
    with (
        GrpcClient(f"127.0.0.1:{free_port()}", retries=1) as client,
        pytest.raises(ServerUnavailableError, match=r"UNAVAILABLE.*after 2 attempts"),
    ):
        client.predict(FLOOD)


def test_predict_on_this_machine_goes_past_a_proxy_of_the_environment(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with GrpcClient(stub.grpc_target, retries=0) as client:
        assert isinstance(client.predict(FLOOD), Prediction)


def test_predict_over_tls_when_the_server_has_none_gives_up(stub: StubServer) -> None:
    credentials = grpc.ssl_channel_credentials()
    with (
        GrpcClient(stub.grpc_target, retries=0, timeout_s=5, credentials=credentials) as client,
        pytest.raises(ServerUnavailableError, match="UNAVAILABLE"),
    ):
        client.predict(FLOOD)


@pytest.mark.parametrize("target", ["http://127.0.0.1:7070", ""])
def test_a_client_for_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="expected host and port"):
        GrpcClient(target)


def test_predict_when_the_channel_was_closed_by_another_thread_says_so(stub: StubServer) -> None:
    client = GrpcClient(stub.grpc_target)
    stub.script = [Scripted(delay_s=1)]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.predict, FLOOD)
        while not stub.received:
            time.sleep(0.01)
        client.close()
        with pytest.raises(DisasterTweetsError, match="closed"):
            asked.result()
    client._is_closed = False  # as for a thread that looked just before
    with pytest.raises(DisasterTweetsError, match="cannot be asked"):
        client.predict(FLOOD)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_predict_on_this_machine_by_any_name_passes_every_proxy_of_the_environment(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with GrpcClient(f"{host}:{stub.grpc_port}", retries=0) as client:
        assert isinstance(client.predict(FLOOD), Prediction)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: no certificate can be made")
def test_predict_over_tls_of_an_own_authority_sends_the_key(stub: StubServer, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    server = grpc.server(ThreadPoolExecutor(1))
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(_Servicer(stub), server)
    pair = (key.read_bytes(), certificate.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        with GrpcClient(f"localhost:{port}", api_key="secret", ca_file=str(certificate)) as client:
            assert isinstance(client.predict(FLOOD), Prediction)
        with (
            GrpcClient(f"localhost:{port}", api_key="secret", tls=True, retries=0) as client,
            pytest.raises(ServerUnavailableError),
        ):
            client.predict(FLOOD)
    finally:
        server.stop(None).wait()
    assert [request.headers["authorization"] for request in stub.received] == ["Bearer secret"]

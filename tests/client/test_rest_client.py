"""What is peculiar to HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from disaster_tweets_client import Prediction, RequestError, RestClient, ServerUnavailableError

from tests.client.conftest import free_port
from tests.client.stub_server import Scripted, StubServer

FLOOD = "Flood water is over the bridge in Marlow"
NO_WORKER = b'{"code": 503, "type": "ServiceUnavailableException", "message": "Model \\"tweets\\" has no worker"}'
WORKER_DIED = b'{"code": 500, "type": "InternalServerException", "message": "Worker died."}'


@pytest.fixture
def client(stub: StubServer) -> Iterator[RestClient]:
    with RestClient(stub.rest_url, timeout_s=10) as client:
        yield client


@pytest.mark.parametrize(
    "failure",
    [
        Scripted(503, NO_WORKER),
        Scripted(429, b""),
        Scripted(408, b""),
        Scripted(502, b"<html>bad gateway</html>"),
        Scripted(504, b"<html>gateway timeout</html>"),
        Scripted(500, WORKER_DIED),
        Scripted(drop=True),
        Scripted(200, b'{"label"', {"Content-Length": "500", "Connection": "close"}),  # ends too early
    ],
)
def test_predict_when_two_attempts_fail_answers_at_the_third(
    client: RestClient, stub: StubServer, failure: Scripted
) -> None:
    stub.script = [failure, failure]
    assert isinstance(client.predict(FLOOD), Prediction)
    assert len(stub.received) == 3


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (
            404,
            b'{"code": 404, "type": "ModelNotFoundException", "message": "Model not found: cats"}',
            "ModelNotFoundException",
        ),
        (
            400,
            b'{"code": 400, "type": "InvalidKeyException", "message": "Token Authentication failed"}',
            "InvalidKeyException",
        ),
        (413, b"", "NOT_JSON"),
        (405, b"[1]", "UNKNOWN"),
        (
            500,
            b'{"code": 500, "type": "InternalServerException", "message": "number of batch response mismatched"}',
            "InternalServerException",
        ),
        (301, b"{}", "UNKNOWN"),
    ],
)
@pytest.mark.parametrize("tweets", [FLOOD, [FLOOD]])
def test_predict_when_refused_for_good_raises_at_once(
    client: RestClient, stub: StubServer, status: int, body: bytes, code: str, tweets: str | list[str]
) -> None:
    stub.script = [Scripted(status, body, {"Location": "/elsewhere"})]
    with pytest.raises(RequestError, match=f"^HTTP {status}, {code}: ") as caught:
        client.predict(tweets)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(stub.received) == 1


def test_predict_when_a_gateway_lost_its_patience_and_we_have_not_asks_again(
    client: RestClient, stub: StubServer
) -> None:
    too_late = b'{"error": {"code": "DEADLINE", "message": "no answer within 1 s"}}'
    stub.script = [Scripted(504, too_late, delay_s=1.1)]
    assert isinstance(client.predict(FLOOD), Prediction)
    assert len(stub.received) == 2


def test_predict_when_the_server_says_when_to_come_again_comes_no_sooner(client: RestClient, stub: StubServer) -> None:
    stub.script = [Scripted(503, NO_WORKER, {"Retry-After": "1"})]
    client.predict(FLOOD)
    first, second = stub.received
    assert second.at_s - first.at_s >= 1.0


def test_predict_when_the_server_stays_overloaded_gives_up(stub: StubServer) -> None:
    stub.script = [Scripted(503, NO_WORKER) for _ in range(9)]
    with RestClient(stub.rest_url, retries=1) as client, pytest.raises(ServerUnavailableError, match="HTTP 503"):
        client.predict(FLOOD)
    assert len(stub.received) == 2


def test_predict_tells_the_server_its_deadline(client: RestClient, stub: StubServer) -> None:
    client.predict(FLOOD, timeout_s=5)
    left_s = int(stub.received[0].headers["x-deadline-ms"]) / 1000 - time.time()
    assert 0 < left_s <= 5


def test_predict_without_agreeing_clocks_sends_no_deadline(stub: StubServer) -> None:
    with RestClient(stub.rest_url, send_deadline=False) as client:
        client.predict(FLOOD)
    assert "x-deadline-ms" not in stub.received[0].headers


def test_predict_when_nothing_listens_says_what_to_check() -> None:
    with (
        RestClient(f"http://127.0.0.1:{free_port()}", retries=0) as client,
        pytest.raises(ServerUnavailableError, match=r"Connection refused.*is the server running\?.*after one attempt"),
    ):
        client.predict(FLOOD)


def test_predict_over_tls_when_the_server_has_none_is_not_repeated(stub: StubServer) -> None:
    url = stub.rest_url.replace("http:", "https:")
    with (
        RestClient(url, retries=3) as client,
        pytest.raises(ServerUnavailableError, match="no TLS that can be trusted"),
    ):
        client.predict(FLOOD)


def test_predict_over_tls_when_the_connection_is_closed_is_repeated() -> None:
    closed = 0

    def close_each(listener: socket.socket) -> None:
        nonlocal closed
        while closed < 3:
            connection, _ = listener.accept()
            connection.recv(65536)  # with bytes left unread, closing would reset
            connection.close()
            closed += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        closer = threading.Thread(target=close_each, args=(listener,), daemon=True)
        closer.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with RestClient(url, retries=2) as client, pytest.raises(ServerUnavailableError, match="3 attempts"):
            client.predict(FLOOD)
        closer.join(10)
    assert closed == 3


def test_predict_on_this_machine_goes_past_a_proxy_of_the_environment(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with RestClient(stub.rest_url, retries=0) as client:
        assert isinstance(client.predict(FLOOD), Prediction)


def test_predict_keeps_no_cookie_between_requests(client: RestClient, stub: StubServer) -> None:
    stub.script = [Scripted(headers={"Set-Cookie": "session=1"})]
    client.predict(FLOOD)
    client.predict(FLOOD)
    assert "cookie" not in stub.received[1].headers


def test_predict_behind_a_path_puts_the_endpoint_after_it(stub: StubServer) -> None:
    with RestClient(f"{stub.rest_url}/gateway/", "my model") as client:
        client.predict(FLOOD)
    assert stub.received[0].path == "/gateway/predictions/my%20model"


@pytest.mark.parametrize("base_url", ["127.0.0.1:8080", "ftp://example.org", "http://", ""])
def test_a_client_for_what_is_no_address_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="expected an address such as"):
        RestClient(base_url)

"""What is peculiar to HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
from requests.adapters import HTTPAdapter

from disaster_tweets_client import (
    DisasterTweetsError,
    Prediction,
    RequestError,
    RestClient,
    ServerUnavailableError,
    UnexpectedAnswerError,
)
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


@pytest.mark.parametrize("line", ["machine 127.0.0.1 login alice password wonderland", "default login a password b"])
@pytest.mark.parametrize("api_key", ["THEKEY", None])
def test_predict_when_a_netrc_names_the_host_never_sends_its_credentials(
    stub: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, api_key: str | None
) -> None:
    (tmp_path / "netrc").write_text(line + "\n", encoding="ascii")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with RestClient(stub.rest_url, api_key=api_key) as client:
        client._session.trust_env = True  # as for another machine
        client.predict(FLOOD)
    assert stub.received[0].headers.get("authorization") == (api_key and f"Bearer {api_key}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_predict_when_redirected_sends_no_key_and_no_tweet_elsewhere(stub: StubServer, status: int) -> None:
    with StubServer() as elsewhere, RestClient(stub.rest_url, api_key="THEKEY") as client:
        stub.script = [Scripted(status, b"", {"Location": f"{elsewhere.rest_url}/predictions/tweets"})]
        with pytest.raises(RequestError, match=f"HTTP {status}"):
            client.predict(FLOOD)
        assert elsewhere.received == []
    assert len(stub.received) == 1


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "127.1"])
def test_predict_on_this_machine_by_any_name_passes_every_proxy_of_the_environment(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with RestClient(f"http://{host}:{stub.http_port}", retries=0) as client:
        assert isinstance(client.predict(FLOOD), Prediction)


def test_predict_for_another_machine_uses_the_proxy_of_the_environment(
    stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", stub.rest_url)
    monkeypatch.delenv("no_proxy", raising=False)
    with RestClient("http://other.example", retries=0) as client:
        assert isinstance(client.predict(FLOOD), Prediction)
    assert stub.received[0].path == "http://other.example/predictions/tweets"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_predict_when_the_answer_cannot_be_unpacked_says_so(
    client: RestClient, stub: StubServer, encoding: str
) -> None:
    stub.script = [Scripted(200, b"\xff no such stream", {"Content-Encoding": encoding})]
    with pytest.raises(UnexpectedAnswerError, match="cannot be unpacked"):
        client.predict(FLOOD)


@pytest.mark.parametrize("proxy", ["http://a..b:1", "http://127.0.0.1:99999", "nonsense://x", "http://[::1"])
def test_predict_when_the_proxy_of_the_environment_cannot_be_used_raises_an_error_of_the_client(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with RestClient("http://other.example", retries=0) as client, pytest.raises(DisasterTweetsError):
        client.predict(FLOOD)


def test_predict_allows_connecting_and_reading_together_as_long_as_the_call(
    client: RestClient, stub: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = []
    send = HTTPAdapter.send

    def noted(self: HTTPAdapter, *args: object, **settings: object) -> object:
        allowed.append(settings["timeout"])
        return send(self, *args, **settings)

    monkeypatch.setattr(HTTPAdapter, "send", noted)
    client.predict(FLOOD, timeout_s=7)
    assert isinstance(allowed[0], urllib3.Timeout)
    assert 6 < allowed[0].total <= 7

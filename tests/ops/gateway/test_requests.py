"""What passes the gateway, and in which shape it arrives at the server."""

from __future__ import annotations

import time

import pytest

from tests.ops.gateway.fake_server import ANSWER, TEXT, FakeServer, wait_until
from tests.ops.gateway.gateway_process import PREDICT, GatewayProcess

ROUTES = (
    PREDICT,
    "/explanations/tweets",
    "/v1/models/tweets:predict",
    "/v1/models/tweets:explain",
    "/v2/models/tweets/infer",
)
HIDDEN = (
    *("/", "/ping", "/models", "/models/tweets", "/models?url=http://example.org/evil.mar", "/workflows", "/token"),
    *("/metrics", "/api-description", "/invocations", "/predictions", "/predictions/tweets/1.0", "/predictions/other"),
    *("/predictions/tweets/", "/v1/models", "/v1/models/tweets", "/v2/models/tweets", "/v2/health/ready", "/_auth"),
    *(
        "/_errors/400",
        "/_recovered",
        "/busy",
        "/auth",
        "/wfpredict/x",
        "/v1/models/other:predict",
        "/predictions/tweets%2f1.0",
    ),
    *("/predictions/..%2fmodels", "/predictions/../models", "/PREDICTIONS/tweets", "/predictions/tweets;x=1"),
)


@pytest.mark.parametrize("path", ROUTES)
def test_published_address_when_asked_with_key_then_server_answers(
    fake_gateway: GatewayProcess, fake: FakeServer, path: str
) -> None:
    answer = fake_gateway.ask(path=path, body=TEXT.encode())
    assert (answer.status, answer.json()) == (200, ANSWER)
    assert [(one.method, one.path, one.body) for one in fake.received] == [("POST", path, TEXT.encode())]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_anything_else_when_asked_with_key_then_404_and_server_hears_nothing(
    fake_gateway: GatewayProcess, fake: FakeServer, method: str
) -> None:
    for path in HIDDEN:
        answer = fake_gateway.ask(method, path, b"" if method == "POST" else None)
        assert (answer.status, answer.code) == (404, "NOT_FOUND"), path
    assert fake.received == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FLOODED", "CONNECT"])
def test_published_address_when_asked_by_another_method_then_405(
    fake_gateway: GatewayProcess, fake: FakeServer, method: str
) -> None:
    raw = f"{method} {PREDICT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    raw += f"Authorization: Bearer {fake_gateway.key}\r\n\r\n"
    status = int(fake_gateway.send_raw(raw.encode()).split(b" ")[1])
    assert status in ((400, 405) if method in ("TRACE", "CONNECT") else (405,))  # nginx knows no CONNECT, forbids TRACE
    assert fake.received == []


def test_refused_method_when_answered_then_allow_names_the_right_one(fake_gateway: GatewayProcess) -> None:
    assert fake_gateway.ask("GET", PREDICT).headers["allow"] == "POST"
    assert fake_gateway.ask("POST", "/ready", b"").headers["allow"] == "GET"


def test_headers_when_sent_then_only_the_named_ones_arrive(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    sent = {"describe": "True", "explain": "True", "X-Key-Id": "00000000", "Cookie": "a=b", "Forwarded": "for=x"}
    sent |= {"Content-Type": "text/plain", "X-Forwarded-For": "10.0.0.1", "User-Agent": "x", "Expect": "100-continue"}
    assert fake_gateway.ask(path=f"{PREDICT}?describe=true&text=flood", body=b"fire", headers=sent).status == 200
    (one,) = fake.received
    assert one.path == PREDICT
    assert set(one.headers) == {"host", "content-length", "content-type", "x-request-id", "x-deadline-ms"}
    assert (one.headers["host"], one.headers["content-type"]) == ("localhost", "text/plain")


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-encoding", "gzip"), ("content-encoding", "aws-chunked"), ("inference-header-content-length", "12")],
)
def test_header_when_it_says_how_the_body_is_to_be_read_then_the_server_gets_it(
    fake_gateway: GatewayProcess, fake: FakeServer, name: str, value: str
) -> None:
    """Without it the server would score something else than the tweet, and say 200."""
    assert fake_gateway.ask(body=b"fire", headers={name: value}).status == 200
    assert fake.received[0].headers[name] == value


def test_request_id_when_sent_then_server_answer_and_log_carry_it(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    answer = fake_gateway.ask(body=b"fire", headers={"X-Request-Id": "incident-7.a_B"})
    assert answer.headers["x-request-id"] == fake.received[0].headers["x-request-id"] == "incident-7.a_B"
    assert wait_until(lambda: any(line["request_id"] == "incident-7.a_B" for line in fake_gateway.access_lines()))
    (line,) = [line for line in fake_gateway.access_lines() if line["request_id"] == "incident-7.a_B"]
    assert (line["route"], line["method"], line["status"]) == ("predict", "POST", 200)
    assert line["server_request_id"] == "id-of-the-server"
    assert line["key"] == fake_gateway.key.split("_")[1]


@pytest.mark.parametrize("given", ["x" * 65, 'a"b', "a b", "\u00e9", "", "a\tb"])
def test_request_id_when_malformed_then_replaced(fake_gateway: GatewayProcess, fake: FakeServer, given: str) -> None:
    answer = fake_gateway.ask(body=b"fire", headers={"X-Request-Id": given})
    assert len(answer.headers["x-request-id"]) == 32
    assert fake.received[0].headers["x-request-id"] == answer.headers["x-request-id"]


def test_error_when_written_by_the_gateway_then_body_has_the_request_id(fake_gateway: GatewayProcess) -> None:
    answer = fake_gateway.ask(path="/nothing", body=b"fire", headers={"X-Request-Id": "id-1"})
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == "id-1"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("asked_s", "expected_s"), [(None, 3), (1, 1), (3600, 3)])
def test_deadline_when_asked_for_then_server_gets_the_sooner_of_two(
    fake_gateway: GatewayProcess, fake: FakeServer, asked_s: float | None, expected_s: float
) -> None:
    now = time.time()
    headers = {} if asked_s is None else {"x-deadline-ms": str(int((now + asked_s) * 1000))}
    fake_gateway.ask(body=b"fire", headers=headers)
    assert float(fake.received[0].headers["x-deadline-ms"]) / 1000 - now == pytest.approx(expected_s, abs=2)


def test_deadline_when_no_number_then_handler_gets_it_as_it_is(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    fake_gateway.ask(body=b"fire", headers={"x-deadline-ms": "soon"})
    assert fake.received[0].headers["x-deadline-ms"] == "soon"


@pytest.mark.parametrize("status", [400, 413, 501, 504])
def test_error_of_the_handler_when_answered_then_passes_untouched(
    fake_gateway: GatewayProcess, fake: FakeServer, status: int
) -> None:
    body = {"error": {"code": "EMPTY_TEXT", "message": "the handler's own words"}, "predictions": [{}]}
    fake.plan = [(status, body)]
    answer = fake_gateway.ask(body=b"fire")
    assert (answer.status, answer.json()) == (status, body)
    assert len(fake.received) == 1

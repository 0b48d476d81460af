"""Stands where TorchServe would: answers right, or in one of TorchServe's own bad ways, as a test wants it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc

from tests.serving.torchserve_process import Ports

ANSWER = {"label": "disaster", "score": 0.9, "decision": "disaster", "model_version": "fake"}
TEXT = "Flood water is over the bridge in Marlow"
# What TorchServe 0.12 says by itself. Source: NettyUtils.java sendError, Model.java addJob, WorkerThread.java
TORCHSERVE_SAYS = {
    404: ("ModelNotFoundException", "Model not found: tweets"),
    500: ("InternalServerException", "Worker died."),
    503: ("ServiceUnavailableException", 'Model "tweets" has no worker to serve inference request.'),
    507: ("InternalServerException", "Worker died."),
}


@dataclass(frozen=True)
class Received:
    """One request as it reached the server; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeServer:
    """A server on the ports of a TorchServe.

    Args:
        ports: inference, management and gRPC inference are used.
        plan: what the next inference requests get: "ok", "die" (the connection ends without an answer), "hang",
            a status of `TORCHSERVE_SAYS`, or (status, body); after the last one all get "ok".
        workers: id -> pid of those that are READY; None: no model.
        received: every inference request.
    """

    ports: Ports
    plan: list[Any] = field(default_factory=list)
    workers: dict[str, int] | None = field(default_factory=lambda: {"9000": 1})
    received: list[Received] = field(default_factory=list)
    grpc_code: grpc.StatusCode | None = None
    grpc_metadata: list[dict[str, str]] = field(default_factory=list)
    score: float = ANSWER["score"]  # type: ignore[assignment]
    ended: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[FakeServer]:
        """Listen until the end of the block."""
        with self.http_running(), self.grpc_running():
            yield self

    @contextlib.contextmanager
    def http_running(self) -> Iterator[None]:
        self.ended.clear()
        servers = []
        for port, handler in ((self.ports.inference, self._inference()), (self.ports.management, self._management())):
            server = ThreadingHTTPServer(("127.0.0.1", port), handler)
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            servers.append(server)
        try:
            yield
        finally:
            for server in servers:
                server.shutdown()
                server.server_close()
            self.ended.set()  # requests under way end last, when no port answers any more: a server dies as a whole

    @contextlib.contextmanager
    def grpc_running(self) -> Iterator[None]:
        server = grpc.server(ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(self._grpc_predict)
        name = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, {"Predictions": handler})])
        server.add_insecure_port(f"127.0.0.1:{self.ports.grpc_inference}")
        server.start()
        try:
            yield
        finally:
            server.stop(None)

    def _grpc_predict(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.grpc_metadata.append({str(name): str(value) for name, value in context.invocation_metadata()})
        if self.grpc_code is not None:
            context.abort(self.grpc_code, "no worker")
        body = json.dumps(ANSWER).encode()
        return b"\x0a" + bytes([len(body)]) + body  # field 1, bytes

    def _inference(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(_Quiet):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.command, self.path, headers, body)
                fake.received.append(request)
                step = fake.plan.pop(0) if fake.plan else "ok"
                if step == "hang":
                    fake.ended.wait(60)
                if step in ("die", "hang"):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                elif step == "ok":
                    self.reply(200, fake.predict(request))
                elif isinstance(step, int):
                    kind, message = TORCHSERVE_SAYS[step]
                    self.reply(step, {"code": step, "type": kind, "message": message})
                else:
                    self.reply(*step)

            do_GET = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_PATCH = do_POST  # noqa: N815 - all are seen

        return Handler

    def predict(self, request: Received) -> Any:
        """Answer as the handler does."""
        one = {**ANSWER, "score": self.score}
        with contextlib.suppress(ValueError):
            tweets = json.loads(request.body)
            if isinstance(tweets, list):
                return {"predictions": [one] * len(tweets)}
        return one

    def _management(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(_Quiet):
            def do_GET(self) -> None:
                if fake.workers is None:
                    self.reply(405, {"code": 405, "type": "MethodNotAllowedException"})
                    return
                workers = [{"id": name, "pid": pid, "status": "READY"} for name, pid in fake.workers.items()]
                self.reply(200, [{"modelName": "tweets", "workers": workers}])

        return Handler


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def reply(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", "id-of-the-server")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def write_golden(folder: Path) -> Path:
    """Write the golden answers of the fake server."""
    file = folder / "tweets.golden.json"
    file.write_text(json.dumps([{"text": TEXT, "score": ANSWER["score"], "label": ANSWER["label"]}]), encoding="utf-8")
    return file


def wait_until(condition: Any, timeout_s: float = 30) -> bool:
    """Wait for something to become true; tell whether it did."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True

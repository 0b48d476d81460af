"""A server that speaks the wire contract over REST and gRPC, and misbehaves on request."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc

MODEL_VERSION = "2026.01.01-stub"


def prediction(text: str) -> dict[str, Any]:
    """The stub's answer for a text: any score will do, as long as it tells texts apart."""
    score = sum(text.encode("utf-8", "surrogatepass")) % 1000 / 1000
    label = "disaster" if score >= 0.5 else "not_disaster"
    answer = {"label": label, "score": score, "decision": "review", "model_version": MODEL_VERSION}
    return {**answer, "truncated": True} if len(text) > 280 else answer


def answer_item(item: Any, index: int | None) -> dict[str, Any]:
    mark = {"id": item["id"]} if isinstance(item, dict) and "id" in item else {}
    text = item if isinstance(item, str) else item.get("text")
    place = {} if index is None else {"index": index}
    if not isinstance(text, str):
        return {**mark, "error": {"code": "WRONG_TYPE", "message": "expected a string", **place}}
    if not text.strip():
        return {**mark, "error": {"code": "EMPTY_TEXT", "message": "nothing to read", **place}}
    return {**mark, **prediction(text)}


def answer_body(body: bytes) -> tuple[int, dict[str, Any]]:
    """Return status and body as the handler of the project gives them."""
    value = json.loads(body)
    if not isinstance(value, list):
        single = answer_item(value, None)
        return (400 if "error" in single else 200), single
    answers = [answer_item(item, index) for index, item in enumerate(value)]
    if answers and all("error" in one for one in answers):
        return 400, {"error": answers[0]["error"], "predictions": answers}
    return 200, {"predictions": answers}


@dataclass
class Scripted:
    """One reply that takes the place of the usual one; over gRPC, `code` fails the call."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    code: grpc.StatusCode | None = None
    details: str = ""


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


class StubServer:
    """Both protocols on free ports of 127.0.0.1; `script` is served first, then true answers.

    Args:
        always: served whenever the script is empty, instead of true answers.
    """

    def __init__(self, always: Scripted | None = None, http_port: int = 0, grpc_port: int = 0) -> None:
        self.script: list[Scripted] = []
        self.received: list[Received] = []
        self._always = always
        self._http = _HttpServer(("127.0.0.1", http_port), _HttpHandler)
        self._http.stub = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._pool = ThreadPoolExecutor(8)
        self._grpc = grpc.server(self._pool)
        inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(_Servicer(self), self._grpc)
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{grpc_port}")
        self.http_port = self._http.server_address[1]
        self.rest_url = f"http://127.0.0.1:{self.http_port}"
        self.grpc_target = f"127.0.0.1:{self.grpc_port}"

    def __enter__(self) -> StubServer:
        self.start()
        return self

    def start(self) -> None:
        self._thread.start()
        self._grpc.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and cut the open connections; a second call does nothing."""
        if not self._thread.is_alive():
            return
        self._http.shutdown()
        self._thread.join()
        self._http.cut_connections()
        self._http.server_close()
        self._grpc.stop(None).wait()
        self._pool.shutdown()

    def next_reply(self, path: str, headers: dict[str, str], body: bytes) -> Scripted:
        self.received.append(Received(path, headers, body, time.monotonic()))
        reply = self.script.pop(0) if self.script else (self._always or Scripted())
        time.sleep(reply.delay_s)
        return reply


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    stub: StubServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def cut_connections(self) -> None:
        """End the threads that wait for a next request on an open connection."""
        for connection in self._connections:
            with contextlib.suppress(OSError):  # the other side was first
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that gives up early is part of the tests."""


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.stub.next_reply(self.path, headers, body)
        if reply.drop:
            self.close_connection = True
            return
        status, content = reply.status, reply.body
        if content is None:
            usual, answer = answer_body(body)
            status, content = (usual if status == 200 else status), json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


class _Servicer(inference_pb2_grpc.InferenceAPIsServiceServicer):
    def __init__(self, stub: StubServer) -> None:
        self._stub = stub

    def Predictions(self, request: Any, context: grpc.ServicerContext) -> Any:
        body = request.input["data"]
        headers = dict(context.invocation_metadata())
        reply = self._stub.next_reply(request.model_name, headers, body)
        if reply.headers:
            context.set_trailing_metadata(tuple(reply.headers.items()))
        if reply.code is not None:
            context.abort(reply.code, reply.details)
        content = reply.body if reply.body is not None else json.dumps(answer_body(body)[1]).encode()
        return inference_pb2.PredictionResponse(prediction=content)

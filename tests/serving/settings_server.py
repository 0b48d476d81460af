"""The repository's own settings around the echo model, and the ways a test talks to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from tests.serving.echo_handler import ANSWER_FILE

MODEL_CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 8\nmaxBatchDelay: 1\n"


def build_echo_archive(model_store: Path, answer: str) -> None:
    """Put tweets.mar with the echo handler into a model store, over one that is there."""
    staging = model_store.parent / "staging"
    staging.mkdir(exist_ok=True)
    (staging / ANSWER_FILE).write_text(answer, encoding="utf-8")
    (staging / "model-config.yaml").write_text(MODEL_CONFIG, encoding="utf-8")
    command = [
        str(Path(sys.executable).with_name("torch-model-archiver")),
        "--model-name",
        "tweets",
        "--version",
        "1.0",
    ]
    command += [
        "--handler",
        str(Path(__file__).with_name("echo_handler.py")),
        "--extra-files",
        str(staging / ANSWER_FILE),
    ]
    command += ["--config-file", str(staging / "model-config.yaml"), "--export-path", str(model_store), "--force"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def received(self) -> bytes:
        """Return the bytes that reached the handler as the parameter `body`."""
        return base64.b64decode(self.json()["parameters"]["body"]["base64"])


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 20,
) -> Answer:
    """Send one request on a connection of its own; header names of the answer come in lower case."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def send_raw(port: int, data: bytes, half_close: bool = False, timeout_s: float = 3) -> int | None:
    """Send bytes that need not be HTTP.

    Args:
        port: on 127.0.0.1.
        data: all that is sent.
        half_close: whether the sender says that no more will come.
        timeout_s: how long to wait for an answer.

    Returns:
        The status, or None where the server just closed the connection or is still waiting for more.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while b"\r\n" not in received and (piece := connection.recv(65536)):
                received += piece
    return int(received.split(b" ")[1]) if received.startswith(b"HTTP/1.1 ") else None


def request_bytes(path: str, body: bytes, *headers: bytes, method: str = "POST") -> bytes:
    """Write one request down, wrong or not."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: localhost", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def grpc_predict(target: str, model_name: str, inputs: Mapping[str, bytes], timeout_s: float = 10) -> grpc.StatusCode:
    """Call Predictions without stubs and return its status."""
    message = _field(1, model_name.encode())
    for name, value in inputs.items():
        message += _field(3, _field(1, name.encode()) + _field(2, value))
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")
        try:
            call(message, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def _field(number: int, value: bytes) -> bytes:
    """Write a length-delimited protobuf field. Source: protobuf, "Encoding", wire type 2."""
    length, rest = b"", len(value)
    while rest > 0x7F:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + value

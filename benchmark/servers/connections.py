"""One connection to a server under load, HTTP/1.1 (with TLS or without) or gRPC, with one request on its way at a time.

Written down to the bytes, since the load generator shares the cores with the server that it measures: grpcio and
aiohttp cost a request 100 to 300 microseconds of a core, this 20 to 40. Both protocols cost the generator the same.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import Protocol

RECEIVE_BYTES = 1 << 18
MODEL = "tweets"

# HTTP/2 frame types and flags. Source: RFC 9113, section 6
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
FRAME_HEAD_BYTES = 9
LARGEST_WINDOW = (1 << 31) - 1
SEND_TIMEOUT_S = 30.0
INITIAL_WINDOW_SIZE = 0x4  # identifier of the setting
GRPC_PATH = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


class Connection(Protocol):
    """What the load loop needs of a connection.

    Args:
        socket: connected.
        closes: whether the server said with its last answer that it will close the connection.
    """

    socket: socket.socket
    closes: bool

    def send(self, body: bytes) -> None:
        """Send one request; the one before must have been answered."""
        ...

    def receive(self) -> bytes | None:
        """Read what has come; return the answer's body when it is complete, else None.

        Raises:
            ConnectionError: the server closed the connection or answered with an error.
        """
        ...


def open_socket(host: str, port: int) -> socket.socket:
    """Return a connected socket without delay of small packets."""
    connection = socket.create_connection((host, port), timeout=SEND_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class HttpConnection:
    """HTTP/1.1 with keep-alive.

    Args:
        host: address of the server.
        port: its port.
        path: where to post.
        content_type: of every body.
        key: API key, sent with every request; "" sends none.
    """

    def __init__(
        self, host: str, port: int, path: str = f"/predictions/{MODEL}", content_type: str = "", key: str = ""
    ) -> None:
        self.socket = open_socket(host, port)
        self.closes = False
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{port}"]
        lines += [f"Authorization: Bearer {key}"] if key else []
        lines += [f"Content-Type: {content_type or 'text/plain; charset=utf-8'}", "Content-Length: "]
        self._head = "\r\n".join(lines).encode()
        self._received = b""

    def send(self, body: bytes) -> None:
        """Send one request."""
        self._write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def _write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _read(self) -> bytes | None:
        """Return what has come, b"" at the end of the connection, None when there is nothing for us yet."""
        return self.socket.recv(RECEIVE_BYTES)

    def receive(self) -> bytes | None:
        """Read what has come; see `Connection`."""
        chunk = self._read()
        if chunk is None:
            return None
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received = self._received + chunk if self._received else chunk
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return None
        head = received[:end].lower()
        place = head.find(b"content-length:")
        if place < 0:
            raise ConnectionError("the answer has no Content-Length")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(received) < end + 4 + length:
            self._received = received
            return None
        self._received = b""
        if head[9:12] != b"200":
            raise ConnectionError(f"HTTP {head[9:12].decode()}")
        # nginx ends a connection after 1,000 requests and says so with the last answer.
        self.closes = b"\r\nconnection: close" in head
        return received[end + 4 :]


class HttpsConnection(HttpConnection):
    """HTTP/1.1 with keep-alive over TLS.

    Args:
        host: address of the server; its certificate must name it.
        port: its port.
        tls: what is trusted.
        content_type: of every body.
        key: as of `HttpConnection`.

    Raises:
        ssl.SSLCertVerificationError: the server's certificate is of nobody that is trusted, or of another host.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, content_type: str = "", key: str = "") -> None:
        super().__init__(host, port, content_type=content_type, key=key)
        self._tls = tls.wrap_socket(self.socket, server_hostname=host)
        # A record of TLS itself wakes the load loop as an answer does; waiting for more there would stop all others.
        self._tls.setblocking(False)
        self.socket = self._tls

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._tls.send(left) :]
            except ssl.SSLWantWriteError:
                if not select.select([], [self._tls], [], SEND_TIMEOUT_S)[1]:
                    raise TimeoutError(f"the server took nothing for {SEND_TIMEOUT_S:.0f} s") from None

    def _read(self) -> bytes | None:
        try:
            chunk = self._tls.recv(RECEIVE_BYTES)
            while self._tls.pending():  # decrypted already, so that no poll tells of it
                chunk += self._tls.recv(RECEIVE_BYTES)
        except ssl.SSLWantReadError:
            return None
        return chunk


class GrpcConnection:
    """gRPC over HTTP/2 without TLS: one stream after the other on one connection.

    Headers are sent without compression and those that come are not read: an answer without a message is an error.

    Args:
        host: address of the server.
        port: its gRPC port.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = open_socket(host, port)
        self.closes = False  # TorchServe never does
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": GRPC_PATH,
            ":authority": f"{host}:{port}",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        self._headers = b"".join(_literal(name, value) for name, value in headers.items())
        self._stream = -1
        self._received = b""
        self._message = b""
        # Windows so wide that no answer of a run has to wait for an update.
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, LARGEST_WINDOW)
        window = struct.pack(">I", LARGEST_WINDOW - 65_535)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.socket.sendall(preface + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, window))

    def send(self, body: bytes) -> None:
        """Send one call whose `data` is the body."""
        self._stream += 2
        message = predictions_request(body)
        data = b"\0" + struct.pack(">I", len(message)) + message
        self.socket.sendall(
            frame(HEADERS, END_HEADERS, self._stream, self._headers) + frame(DATA, END_STREAM, self._stream, data)
        )

    def receive(self) -> bytes | None:
        """Read what has come; see `Connection`. The body is the whole gRPC message."""
        chunk = self.socket.recv(RECEIVE_BYTES)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        received = self._received + chunk
        place, ended = 0, False
        while len(received) - place >= FRAME_HEAD_BYTES:
            length = int.from_bytes(received[place : place + 3], "big")
            start = place + FRAME_HEAD_BYTES
            if len(received) - start < length:
                break
            ended |= self._take(received[place + 3], received[place + 4], received[start : start + length])
            place = start + length
        self._received = received[place:]
        if not ended:
            return None
        message, self._message = self._message, b""
        if not message:
            raise ConnectionError("the call was answered without a message")
        return message

    def _take(self, kind: int, flags: int, payload: bytes) -> bool:
        """Handle one frame; return whether it ends the stream."""
        if kind == DATA:
            self._message += payload
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in (RST_STREAM, GOAWAY):
            raise ConnectionError(f"HTTP/2 frame of type {kind}")
        return kind in (DATA, HEADERS) and bool(flags & END_STREAM)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def predictions_request(body: bytes) -> bytes:
    """Return TorchServe's message PredictionsRequest with one input named `data`.

    Source: TorchServe 0.12, inference.proto: model_name = 1, map<string, bytes> input = 3.
    """
    entry = _field(1, b"data") + _field(2, body)
    return _field(1, MODEL.encode()) + _field(3, entry)


def _field(number: int, value: bytes) -> bytes:
    """Return a length-delimited field of a protobuf message."""
    return bytes(((number << 3) | 2,)) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    pieces = bytearray()
    while number > 0x7F:
        pieces.append(number & 0x7F | 0x80)
        number >>= 7
    pieces.append(number)
    return bytes(pieces)


def _literal(name: str, value: str) -> bytes:
    """Return a header field that neither uses nor changes HPACK's tables. Source: RFC 7541, section 6.2.2."""
    return b"\0" + b"".join(_hpack_string(text.encode()) for text in (name, value))


def _hpack_string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    return b"\x7f" + _varint(len(text) - 127) + text

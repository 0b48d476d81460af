"""Write HTTP/2 requests that no client library would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Source: RFC 9113, section 6
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name: str, value: str) -> bytes:
    """Return one header field as it is, neither indexed nor compressed. Source: RFC 7541, section 6.2.2."""
    return b"\x00" + b"".join(_length(len(text)) + text for text in (name.encode("latin-1"), value.encode("latin-1")))


def _length(number: int) -> bytes:
    if number < 127:
        return bytes([number])
    rest, out = number - 127, b"\x7f"
    while rest >= 128:
        out, rest = out + bytes([rest % 128 + 128]), rest // 128
    return out + bytes([rest])


@dataclass
class Http2:
    """One connection, for one request."""

    socket: ssl.SSLSocket

    @classmethod
    @contextlib.contextmanager
    def connect(cls, port: int, tls: ssl.SSLContext) -> Iterator[Http2]:
        """Connect to a port of this machine."""
        tls.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
            yield cls(connection)

    def send(self, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a request."""
        block = b"".join(literal(name, value) for name, value in headers)
        self.socket.sendall(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, body))

    def is_answered_by_server(self, words: bytes) -> bool:
        """Read to the end of the request; tell whether something of the server's own answer is in it."""
        received = b""
        with contextlib.suppress(OSError):
            while not _is_over(received):
                piece = self.socket.recv(65536)
                if not piece:
                    break
                received += piece
        return words in received


def _is_over(received: bytes) -> bool:
    """Tell whether the stream or the connection has ended."""
    while len(received) >= 9:
        length = int.from_bytes(received[:3], "big")
        kind, flags = received[3], received[4]
        if len(received) < 9 + length:
            return False
        if kind in (RST_STREAM, GOAWAY) or (kind in (DATA, HEADERS) and flags & END_STREAM):
            return True
        received = received[9 + length :]
    return False

"""A folder served on loopback with ranges and ETags, as a static host does, and with its troubles on request."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FileServer:
    """Serve `folder` at `url` until `close`.

    Args:
        folder: what is served.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.cut_after_bytes: int | None = None  # of a body; then the connection is closed
        self.weak_etags = False
        self.shifted_range = False  # answer another range than was asked for
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def etag(self, content: bytes) -> str:
        strong = f'"{hashlib.sha256(content).hexdigest()}"'
        return f"W/{strong}" if self.weak_etags else strong

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                path = server.folder / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content = path.read_bytes()
                asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                same = self.headers.get("If-Range", server.etag(content)) == server.etag(content)
                start = int(asked[1]) if asked and same else 0
                if start and start >= len(content):
                    self.send_error(416)
                    return
                body = content[start:]
                self.send_response(206 if start else 200)
                self.send_header("ETag", server.etag(content))
                self.send_header("Content-Length", str(len(body)))
                if start:
                    first = start + server.shifted_range
                    self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                self.wfile.write(body[: server.cut_after_bytes])
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

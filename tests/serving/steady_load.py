"""A steady, bounded load through the gateway that counts every answer, and tries nothing twice in silence."""

from __future__ import annotations

import collections
import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field

PAUSE_S = 0.02
TIMEOUT_S = 60


@dataclass
class Counts:
    """What came back.

    Args:
        versions: model version -> right answers.
        failures: all that was no right answer, in words; no text.
        reconnected: requests sent again since the server had closed an idle connection before it read a byte.
    """

    versions: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)
    reconnected: int = 0


class SteadyLoad:
    """Threads that ask one tweet after the other until the `with` ends, or `limit_s` is over.

    Args:
        port: of the gateway on 127.0.0.1.
        tls: trusts it.
        key: an API key.
        kept: threads that keep their connection.
        fresh: threads that connect anew for each request.
        limit_s: bound of the whole load.
    """

    def __init__(self, port: int, tls: ssl.SSLContext, key: str, kept: int = 2, fresh: int = 2, limit_s: float = 600):
        self.counts = Counts()
        self._port, self._tls, self._key = port, tls, key
        self._ends_at = time.monotonic() + limit_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number < kept,)) for number in range(kept + fresh)]

    def __enter__(self) -> SteadyLoad:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, version: str, timeout_s: float = 60) -> None:
        """Wait until a version has answered once more."""
        before, deadline = self.counts.versions[version], time.monotonic() + timeout_s
        while self.counts.versions[version] <= before:
            assert time.monotonic() < deadline, f"{version} never answered: {self.counts}"
            time.sleep(0.02)

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=TIMEOUT_S, context=self._tls)

    def _run(self, keeps: bool) -> None:
        connection, is_used = self._connect(), False
        while not self._stop.is_set() and time.monotonic() < self._ends_at:
            try:
                self._ask(connection)
                is_used = True
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
                with self._lock:
                    if is_used:
                        self.counts.reconnected += 1
                    else:
                        self.counts.failures.append(type(error).__name__)
                connection.close()
                connection, is_used = self._connect(), False
                continue
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                with self._lock:
                    self.counts.failures.append(repr(error)[:200])
                connection.close()
                connection, is_used = self._connect(), False
            if not keeps:
                connection.close()
                connection, is_used = self._connect(), False
            time.sleep(PAUSE_S)
        connection.close()

    def _ask(self, connection: http.client.HTTPSConnection) -> None:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "text/plain"}
        connection.request("POST", "/predictions/tweets", b"Flood water is over the bridge in Marlow", headers)
        answer = connection.getresponse()
        body = answer.read()
        with self._lock:
            if answer.status != 200:
                self.counts.failures.append(f"HTTP {answer.status} {body[:120]!r}")
                return
            prediction = json.loads(body)
            if prediction["label"] != "disaster":
                self.counts.failures.append("a wrong answer")
                return
            self.counts.versions[prediction["model_version"]] += 1

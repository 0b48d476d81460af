"""What nginx asks on a socket of its own: is this key good, is the server ready, shall we try again?

One process, one thread for the requests, two for probes of the server. Only nginx reaches the socket, so what comes
is what the generated configuration sends: requests without bodies and with the few headers named there.
"""

from __future__ import annotations

import in_environment  # noqa: F401 (first: it explains what is missing)

import argparse
import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from gateway_keys import KeyFile, KeysError, Verdict
from gateway_readiness import Prober, Readiness
from gateway_settings import GatewaySettings, GatewaySettingsError, read_gateway_settings

EXAMPLE = "example:\n  python scripts/gateway_guard.py --settings deploy/gateway/gateway.yaml --root ."
RECOVER_POLL_S = 0.25
MAX_WAITING = 512  # requests that wait for a server to come back; their bodies lie in nginx
BEARER = "bearer "
REASONS = {
    200: "OK",
    204: "No Content",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
}
REASONS[503] = "Service Unavailable"


@dataclass(frozen=True)
class Answer:
    """What goes back to nginx."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the answer as HTTP/1.1."""
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status != 204:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class Guard:
    """Answers by the present settings; `reload` takes new ones.

    Args:
        load_settings: reads the settings file.
    """

    def __init__(self, load_settings: Callable[[], GatewaySettings]) -> None:
        self._load_settings = load_settings
        # A prober is for one thread at a time; the slow one must not hold up who only asks for the workers' state.
        self._executors = {True: ThreadPoolExecutor(1, "golden"), False: ThreadPoolExecutor(1, "state")}
        self._waiting = 0
        self._routes: dict[str, Callable[[Mapping[str, str]], Awaitable[Answer]]] = {
            "/auth": self._auth,
            "/live": self._live,
            "/ready": self._ready,
            "/busy": self._busy,
            "/recovered": self._recovered,
        }
        self.reload()

    def reload(self) -> None:
        """Read the settings again.

        Raises:
            GatewaySettingsError: they cannot be used; the old ones stay.
        """
        self.settings = self._load_settings()
        self._keys = KeyFile(self.settings.keys_file)
        self._probers = {True: Prober(self.settings), False: Prober(self.settings)}

    async def answer(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Answer one request.

        Args:
            path: as nginx wrote it.
            headers: names in lower case.
        """
        route = self._routes.get(path)
        return Answer(404) if route is None else await route(headers)

    async def _auth(self, headers: Mapping[str, str]) -> Answer:
        presented = headers.get("authorization", "")
        if not presented.lower().startswith(BEARER):
            return Answer(401)
        try:
            key = presented[len(BEARER) :].strip().encode("latin-1")
            verdict, identity = self._keys.judge(key, datetime.now(timezone.utc))
        except KeysError as error:
            print(f"gateway: {error}; nobody is let in", file=sys.stderr, flush=True)
            return Answer(503)
        if verdict is not Verdict.GOOD:
            return Answer(401 if verdict is Verdict.UNKNOWN else 403, headers={"X-Key-Id": identity or "-"})
        return Answer(
            204, headers={"X-Key-Id": identity, "X-Deadline-Ms": self._deadline(headers.get("x-deadline-ms"))}
        )

    def _deadline(self, asked: str | None) -> str:
        """Return until when an answer is of use: the client's moment or the gateway's, whichever comes first.

        What is no number goes on as it is: the handler refuses it in the words of the wire contract.
        """
        own_ms = int((time.time() + self.settings.deadline_s) * 1000)
        try:
            return asked if asked and float(asked) <= own_ms else str(own_ms)
        except ValueError:
            return asked or ""

    async def _live(self, headers: Mapping[str, str]) -> Answer:
        return Answer(200, _json({"status": "live"}))

    async def _ready(self, headers: Mapping[str, str]) -> Answer:
        found = await self._probe(golden=True)
        if found.ready:
            return Answer(200, _json({"status": "ready"}))
        return _error(503, found.code, found.message, headers)

    async def _busy(self, headers: Mapping[str, str]) -> Answer:
        """Say which of two things TorchServe's 503 meant: too many requests wait, or nobody can answer."""
        found = await self._probe(golden=False)
        if found.ready:
            message = "too many requests wait for the model; try again after Retry-After seconds"
            return _error(429, "QUEUE_FULL", message, headers)
        return _error(503, found.code, found.message, headers)

    async def _recovered(self, headers: Mapping[str, str]) -> Answer:
        """Wait until the server can answer again; 403 when it did not come back in time."""
        if self._waiting >= MAX_WAITING:
            return Answer(403)
        self._waiting += 1
        began = time.monotonic()  # the server was seen dead just now: what was known before is no longer true
        try:
            while not (await self._probe(golden=False, since=began)).ready:
                if time.monotonic() > began + self.settings.recover_wait_s:
                    return Answer(403)
                await asyncio.sleep(RECOVER_POLL_S)
        finally:
            self._waiting -= 1
        return Answer(204)

    async def _probe(self, golden: bool, since: float = float("-inf")) -> Readiness:
        prober = self._probers[golden]
        question = prober.ready if golden else functools.partial(prober.workers, since)
        return await asyncio.get_running_loop().run_in_executor(self._executors[golden], question)


async def serve(guard: Guard, socket_path: Path) -> None:
    """Answer on a Unix socket until SIGTERM; SIGHUP reads the settings again."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = (line.partition(":") for line in head[1:] if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in fields}
                writer.write((await guard.answer(head[0].split(" ")[1], headers)).encode())
                await writer.drain()
        writer.close()

    def reload() -> None:
        try:
            guard.reload()
        except GatewaySettingsError as error:
            print(f"gateway: the old settings stay: {error}", file=sys.stderr, flush=True)

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    socket_path.unlink(missing_ok=True)
    os.umask(0o077)
    server = await asyncio.start_unix_server(connection, str(socket_path))
    async with server:
        await ended.wait()
    # Not `wait_closed`: nginx keeps its connections open.


def _error(status: int, code: str, message: str, headers: Mapping[str, str]) -> Answer:
    body = {"error": {"code": code, "message": message, "request_id": headers.get("x-request-id", "")}}
    return Answer(status, _json(body), {"Retry-After": "1" if status == 429 else "2"})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def main() -> int:
    """Serve; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", type=Path, required=True, help="the gateway's settings file")
    parser.add_argument("--root", type=Path, required=True, help="where relative paths of the settings start")
    options = parser.parse_args()
    try:
        guard = Guard(lambda: read_gateway_settings(options.settings, options.root))
    except GatewaySettingsError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    asyncio.run(serve(guard, guard.settings.guard_socket))
    return 0


if __name__ == "__main__":
    sys.exit(main())

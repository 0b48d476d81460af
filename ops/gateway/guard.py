"""Answer the questions of nginx on a Unix socket: is this key good, is the server ready, shall we try again?

One process, one thread for the requests, two for probes of the server. The HTTP parser is aiohttp's. A question has no
body; one that has is refused and its connection closed, so that nothing of it is read as the next question.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

from aiohttp import web

from ops.gateway.keys import KeyFile, KeysError, Verdict
from ops.gateway.readiness import Prober, Readiness
from ops.gateway.settings import GatewaySettings, GatewaySettingsError, read_gateway_settings

EXAMPLE = "example:\n  python -m ops.gateway.guard --settings deploy/gateway/gateway.yaml --root ."
RECOVER_POLL_S = 0.25
MAX_WAITING = 512  # requests that wait for a server to come back; their bodies lie in nginx
BEARER = "bearer "
COMPLAIN_EVERY_S = 60.0
STOP_S = 1.0  # for questions that are still open when the guard ends


class SharedProbe:
    """One pending question to the server for everyone who waits for its answer.

    Args:
        question: takes a moment of the monotonic clock; what was found before it does not count.
        executor: asks it; of one thread, since a prober is for one thread at a time.
    """

    def __init__(self, question: Callable[[float], Readiness], executor: ThreadPoolExecutor) -> None:
        self._question = question
        self._executor = executor
        self._pending: asyncio.Future[Readiness] | None = None
        self._since = float("-inf")  # of the pending question

    async def ask(self, since: float = float("-inf")) -> Readiness:
        """Return a finding that is not older than `since`; join the pending question if it is new enough."""
        # One that is done must not be waited for: that gives nobody else a turn, and would go on for ever.
        while self._pending is not None and not self._pending.done():
            pending, shared = self._pending, self._since >= since
            found = await asyncio.shield(pending)
            if shared:
                return found
        # All who wait by now share this one, so it must be new enough for the last of them.
        self._since = since if since == float("-inf") else time.monotonic()
        pending = asyncio.get_running_loop().run_in_executor(self._executor, self._question, self._since)
        self._pending = pending
        return await asyncio.shield(pending)


class Guard:
    """Answers by the present settings; `reload` takes new ones.

    Args:
        load_settings: reads the settings file.
    """

    def __init__(self, load_settings: Callable[[], GatewaySettings]) -> None:
        self._load_settings = load_settings
        self._waiting = 0
        # Two of them: the slow golden tweets must not hold up a question about the state of the workers.
        self._executors = ThreadPoolExecutor(1, "golden"), ThreadPoolExecutor(1, "state")
        self._complaint = ("", float("-inf"))
        self._routes: dict[str, Callable[[Mapping[str, str]], Awaitable[web.Response]]] = {
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
        golden, state = Prober(self.settings), Prober(self.settings)
        self._golden = SharedProbe(lambda _: golden.ready(), self._executors[0])
        self._state = SharedProbe(state.workers, self._executors[1])

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one question of nginx."""
        if request.body_exists or request.method != "GET":
            refused = web.Response(status=400)
            refused.force_close()
            return refused
        route = self._routes.get(request.path_qs)
        return web.Response(status=404) if route is None else await route(request.headers)

    async def _auth(self, headers: Mapping[str, str]) -> web.Response:
        presented = headers.get("Authorization", "")
        if not presented.lower().startswith(BEARER):
            return web.Response(status=401)
        try:
            key = presented[len(BEARER) :].strip().encode("utf-8", "surrogateescape")
            verdict, identity = self._keys.judge(key, datetime.now(timezone.utc))
        except KeysError as error:
            self._complain(f"gateway: {error}; nobody is let in")
            return web.Response(status=503)
        if verdict is not Verdict.GOOD:
            status = 401 if verdict is Verdict.UNKNOWN else 403
            return web.Response(status=status, headers={"X-Key-Id": identity or "-"})
        deadline = self._deadline(headers.get("X-Deadline-Ms"))
        return web.Response(status=204, headers={"X-Key-Id": identity, "X-Deadline-Ms": deadline})

    def _complain(self, line: str) -> None:
        """Print a line, the same one once a minute at most: each request may find the same fault."""
        now = time.monotonic()
        if line != self._complaint[0] or now - self._complaint[1] > COMPLAIN_EVERY_S:
            self._complaint = (line, now)
            print(line, file=sys.stderr, flush=True)

    def _deadline(self, asked: str | None) -> str:
        """Return until when an answer is of use: the client's moment or the gateway's, whichever comes first.

        What is no number goes on as it is: the handler refuses it in the words of the wire contract.
        """
        own_ms = int((time.time() + self.settings.deadline_s) * 1000)
        try:
            return asked if asked and float(asked) <= own_ms else str(own_ms)
        except ValueError:
            return asked or ""

    async def _live(self, headers: Mapping[str, str]) -> web.Response:
        return _json(200, {"status": "live"})

    async def _ready(self, headers: Mapping[str, str]) -> web.Response:
        found = await self._golden.ask()
        if found.ready:
            return _json(200, {"status": "ready"})
        return _error(503, found.code, found.message, headers)

    async def _busy(self, headers: Mapping[str, str]) -> web.Response:
        """Say which of two things TorchServe's 503 meant: too many requests wait, or nobody can answer."""
        found = await self._state.ask()
        if found.ready:
            message = "too many requests wait for the model; try again after Retry-After seconds"
            return _error(429, "QUEUE_FULL", message, headers)
        return _error(503, found.code, found.message, headers)

    async def _recovered(self, headers: Mapping[str, str]) -> web.Response:
        """Wait until the server can answer again; 403 when it did not come back in time."""
        if self._waiting >= MAX_WAITING:
            return web.Response(status=403)
        self._waiting += 1
        began = time.monotonic()  # the server was seen dead just now: what was known before is no longer true
        try:
            while not (await self._state.ask(began)).ready:
                if time.monotonic() > began + self.settings.recover_wait_s:
                    return web.Response(status=403)
                await asyncio.sleep(RECOVER_POLL_S)
        finally:
            self._waiting -= 1
        return web.Response(status=204)


async def serve(guard: Guard, socket_path: Path) -> None:
    """Answer on a Unix socket until SIGTERM; SIGHUP reads the settings again."""

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
    # No lingering: of a question that is refused nothing more is read.
    runner = web.ServerRunner(web.Server(guard.answer, access_log=None, lingering_time=0))
    await runner.setup()
    await web.UnixSite(runner, str(socket_path)).start()
    await ended.wait()
    # A question may wait for a server that is away; nobody waits for its answer any more.
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(runner.cleanup(), STOP_S)


def _error(status: int, code: str, message: str, headers: Mapping[str, str]) -> web.Response:
    body = {"error": {"code": code, "message": message, "request_id": headers.get("X-Request-Id", "")}}
    response = _json(status, body)
    response.headers["Retry-After"] = "1" if status == 429 else "2"
    return response


def _json(status: int, value: object) -> web.Response:
    body = json.dumps(value, separators=(",", ":")).encode()
    return web.Response(status=status, body=body, content_type="application/json")


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

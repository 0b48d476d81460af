"""Readiness probe: checks the state of the workers and a cached set of golden predictions."""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ops.gateway.settings import GatewaySettings
from ops.torchserve.golden import MODEL, WrongAnswersError, ask, check_golden

STATE_S = 0.25  # how old the state of the workers may be; a probe a millisecond must not become the load
STATE_TIMEOUT_S = 2.0
FAILED_S = 1.0  # how long a "no" is kept: /ready needs no key, and must not become the load on a sick server
# TorchServe 0.12 says 405 of a model that it does not have (yet), while its model API is off.
NO_SUCH_MODEL = (http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED)
CRASHES = 3  # processes that one worker may not lose within CRASH_WINDOW_S
CRASH_WINDOW_S = 60.0


@dataclass(frozen=True)
class Readiness:
    """One finding.

    Args:
        ready: predictions come back right.
        code: READY, or why not, as a stable word.
        message: for people; holds no tweet.
    """

    ready: bool
    code: str
    message: str


class Prober:
    """Ask the workers' state and the golden tweets; not safe for threads, so call it from one at a time.

    Args:
        settings: addresses, golden file, how long and how often.
        clock: monotonic seconds.
    """

    def __init__(self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._state: tuple[Readiness, tuple[tuple[str, int], ...]] | None = None
        self._state_at = float("-inf")
        self._pids: dict[str, int] = {}
        self._crashes: dict[str, deque[float]] = {}
        self._proved_at = float("-inf")
        self._proved_for: object = None
        self._failed_at = float("-inf")
        self._failed_for: object = None
        self._failure = Readiness(True, "READY", "")

    def workers(self, since: float = float("-inf")) -> Readiness:
        """Tell whether a worker has the model loaded and not all of them keep dying; asks no tweet.

        Args:
            since: what was found before this moment of the clock does not count.
        """
        if self._state is None or self._state_at < since or self._clock() - self._state_at >= STATE_S:
            asked_at = self._clock()
            self._state = self._ask_state()
            self._state_at = asked_at
        return self._state[0]

    def ready(self) -> Readiness:
        """Tell whether the golden tweets come back right, by a proof that is not too old."""
        found = self.workers()
        if not found.ready:
            return found
        settings = self._settings
        subject = (self._state[1] if self._state else (), _stamp(settings))
        if subject != self._proved_for or self._clock() - self._proved_at >= settings.golden_every_s:
            if subject == self._failed_for and self._clock() - self._failed_at < FAILED_S:
                return self._failure
            self._proved_for = None
            try:
                check_golden(settings.server_rest, settings.golden_file, settings.golden_deadline_s)
            except WrongAnswersError as error:
                return self._fail(subject, Readiness(False, "WRONG_ANSWERS", str(error)))
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                reason = f"no golden answers within {settings.golden_deadline_s:g} s ({type(error).__name__})"
                return self._fail(subject, Readiness(False, "NO_ANSWERS", reason))
            self._proved_at = self._clock()
            self._proved_for = subject
        return Readiness(True, "READY", "golden tweets are answered right")

    def _fail(self, subject: object, found: Readiness) -> Readiness:
        self._failed_at, self._failed_for, self._failure = self._clock(), subject, found
        return found

    def _ask_state(self) -> tuple[Readiness, tuple[tuple[str, int], ...]]:
        try:
            status, body = ask(self._settings.server_management, f"/models/{MODEL}", timeout_s=STATE_TIMEOUT_S)
            if status in NO_SUCH_MODEL:
                return Readiness(False, "NO_MODEL", "the server has no model: it starts, or refused it"), ()
            workers = json.loads(body)[0]["workers"]
            pids = {str(worker["id"]): int(worker["pid"]) for worker in workers if worker["status"] == "READY"}
        except (OSError, http.client.HTTPException):
            return Readiness(False, "NO_SERVER", "the server does not answer; it is down or starting"), ()
        except (ValueError, LookupError, TypeError):
            return Readiness(False, "NO_SERVER", "the server does not tell the state of its workers"), ()
        now = self._clock()
        counts = [self._count_crashes(str(worker["id"]), pids.get(str(worker["id"])), now) for worker in workers]
        # One that lives among others that do not is enough to serve.
        if counts and min(counts) >= CRASHES:
            reason = f"workers died {sum(counts)} times within {CRASH_WINDOW_S:.0f} s"
            return Readiness(False, "CRASH_LOOP", reason), ()
        if not pids:
            return Readiness(False, "NO_WORKER", "no worker has loaded the model"), ()
        return Readiness(True, "READY", f"{len(pids)} workers have loaded the model"), tuple(sorted(pids.items()))

    def _count_crashes(self, name: str, pid: int | None, now: float) -> int:
        """Return how often a worker, whose process is `pid` when it is READY, lost its process lately."""
        crashes = self._crashes.setdefault(name, deque())
        if pid is not None:
            if self._pids.get(name, pid) != pid:
                crashes.append(now)
            self._pids[name] = pid
        while crashes and now - crashes[0] > CRASH_WINDOW_S:
            crashes.popleft()
        return len(crashes)


def _stamp(settings: GatewaySettings) -> tuple[int, int] | None:
    try:
        status = settings.golden_file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino

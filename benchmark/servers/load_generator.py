"""Put load on a server from a process of its own: closed loop or open loop, HTTP or gRPC.

Closed: each connection sends its next request when the one before is answered. Open: requests are due at random times
of a fixed mean rate whatever the server does, and a latency counts from the time at which the request was due, so that
a server that stalls cannot hide the requests that it kept from being sent.
Source: Tene, "How NOT to Measure Latency": coordinated omission.

`disaster-tweets benchmark` and `disaster-tweets tune` give the settings as JSON on standard input and read the result
as JSON from standard output.
"""

from __future__ import annotations

import contextlib
import json
import random
import select
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmark.servers.connections import Connection, GrpcConnection, HttpConnection, HttpsConnection

DRAIN_S = 60.0
LARGEST_WAIT_S = 0.05


@dataclass(frozen=True)
class Load:
    """What to send.

    Args:
        port: of the server on 127.0.0.1.
        bodies_file: JSON list of strings, sent in turn.
        protocol: `http` or `grpc`.
        content_type: of an HTTP body; "" is plain text.
        connections: open at once; in an open loop the largest number of requests on their way.
        seconds: measured.
        warm_up_s: sent before that and not counted.
        rate: requests a second of an open loop; 0 is a closed loop.
        count: ends a closed loop after so many requests; 0 lets the seconds decide.
        expected: must be in every body that answers.
        answers: how often `expected` must be in it.
        first: index of the first body.
        seed: of the arrival times.
        ca_file: PEM of whom to trust, which makes it HTTPS; "" speaks without TLS.
        key: API key, sent with every HTTP request; "" sends none.
    """

    port: int
    bodies_file: str
    protocol: str = "http"
    content_type: str = ""
    connections: int = 1
    seconds: float = 3.0
    warm_up_s: float = 0.5
    rate: float = 0.0
    count: int = 0
    expected: str = '"label"'
    answers: int = 1
    first: int = 0
    seed: int = 0
    ca_file: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        if self.protocol == "grpc" and (self.ca_file or self.key):
            raise ValueError("gRPC with ca_file or key; expected neither: the generator speaks TLS over HTTP only")


@dataclass
class Measured:
    """What came back.

    Args:
        seconds: measured.
        latencies_ms: of right answers, in order of arrival.
        finished_s: when each of them came, by the machine's monotonic clock, the same in every process.
        errors: reason -> how many requests.
        generator_cpu_s: this process's own, over the measured seconds.
        sent: requests sent in all, warm-up included.
        unanswered: requests that were due and not answered when the run was given up.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    finished_s: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    generator_cpu_s: float = 0.0
    sent: int = 0
    unanswered: int = 0

    def add_error(self, reason: str) -> None:
        """Count a failed request."""
        self.errors[reason] = self.errors.get(reason, 0) + 1


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the due times of a Poisson process in seconds from the start, ascending."""
    drawn = random.Random(seed)  # noqa: S311 (a load, no secret)
    times, now = [], drawn.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += drawn.expovariate(rate)
    return times


class Run:
    """One run of one load.

    Args:
        load: what to send.
        bodies: what `load.bodies_file` holds.
    """

    def __init__(self, load: Load, bodies: Sequence[bytes]) -> None:
        self._load = load
        self._bodies = bodies
        self._tls = ssl.create_default_context(cafile=load.ca_file) if load.ca_file else None
        self._next_body = load.first
        self._expected = load.expected.encode()
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._due: dict[int, float] = {}  # of the request on its way, by file descriptor
        self._idle: deque[int] = deque()
        self._result = Measured()
        self._count_from = 0.0
        self._count_until = 0.0

    def measure(self) -> Measured:
        """Send the load and return what came back."""
        load = self._load
        for _ in range(load.connections):
            self._idle.append(self._connect())
        start = time.perf_counter()
        self._count_from = start + load.warm_up_s
        self._count_until = self._count_from + load.seconds
        cpu_start = time.process_time()
        if load.rate > 0:
            self._open_loop(start)
        else:
            self._closed_loop()
        self._result.seconds = load.seconds
        if load.count:
            self._result.seconds = time.perf_counter() - start
        self._result.generator_cpu_s = time.process_time() - cpu_start
        self._drain()
        for connection in self._open.values():
            connection.socket.close()
        return self._result

    def _closed_loop(self) -> None:
        left = self._load.count or sys.maxsize
        while (now := time.perf_counter()) < self._count_until and (left > 0 or self._due):
            while self._idle and left > 0:
                left -= 1
                self._send(self._idle.popleft(), time.perf_counter())
            self._take(min(LARGEST_WAIT_S, self._count_until - now))

    def _open_loop(self, start: float) -> None:
        load = self._load
        times = deque(start + due for due in arrivals(load.rate, load.warm_up_s + load.seconds, load.seed))
        give_up_at = self._count_until + DRAIN_S
        while times or self._due:
            now = time.perf_counter()
            if now > give_up_at:
                break
            while times and times[0] <= now and self._idle:
                self._send(self._idle.popleft(), times.popleft())
            wait = times[0] - time.perf_counter() if times and self._idle else LARGEST_WAIT_S
            self._take(min(LARGEST_WAIT_S, max(0.0, wait)))
        self._result.unanswered = len(times) + len(self._due)

    def _drain(self) -> None:
        """Wait for what is on its way, so that the server is idle for the next run; it is not counted."""
        give_up_at = time.perf_counter() + DRAIN_S
        while self._due and time.perf_counter() < give_up_at:
            self._take(LARGEST_WAIT_S)

    def _connect(self) -> int:
        load = self._load
        connection: Connection
        if load.protocol == "grpc":
            connection = GrpcConnection("127.0.0.1", load.port)
        elif self._tls:
            connection = HttpsConnection("127.0.0.1", load.port, self._tls, load.content_type, load.key)
        else:
            connection = HttpConnection("127.0.0.1", load.port, content_type=load.content_type, key=load.key)
        number = connection.socket.fileno()
        self._open[number] = connection
        self._poll.register(number, select.EPOLLIN)
        return number

    def _send(self, number: int, due: float) -> None:
        body = self._bodies[self._next_body % len(self._bodies)]
        self._next_body += 1
        self._due[number] = due
        self._result.sent += 1
        try:
            self._open[number].send(body)
        except OSError as error:
            self._fail(number, type(error).__name__)

    def _take(self, wait_s: float) -> None:
        """Wait for answers and take them."""
        # epoll itself counts in milliseconds, which is too coarse for the times of an open loop.
        select.select([self._poll], [], [], wait_s)
        for number, _ in self._poll.poll(0):
            try:
                answer = self._open[number].receive()
            except OSError as error:
                self._fail(number, str(error) if type(error) is ConnectionError else type(error).__name__)
                continue
            if answer is not None and number in self._due:
                self._finish(number, answer)

    def _finish(self, number: int, answer: bytes) -> None:
        now = time.perf_counter()
        due = self._due.pop(number)
        if self._open[number].closes:
            self._replace(number)
        else:
            self._idle.append(number)
        if answer.count(self._expected) != self._load.answers:
            self._result.add_error(f"{answer.count(self._expected)} answers instead of {self._load.answers}")
        elif self._is_counted(due, now):
            self._result.latencies_ms.append((now - due) * 1000)
            self._result.finished_s.append(now)

    def _is_counted(self, due: float, now: float) -> bool:
        """Count by the time of the answer, for a rate; in an open loop by the time when it was due."""
        if self._load.count:
            return True
        return self._count_from <= (due if self._load.rate > 0 else now) < self._count_until

    def _fail(self, number: int, reason: str) -> None:
        """Count a failed request, if one was on its way, and open another connection in its place."""
        if self._due.pop(number, None) is not None:
            self._result.add_error(reason)
        elif number in self._idle:
            self._idle.remove(number)  # the server closed it between two requests
        if sum(self._result.errors.values()) > 10_000:
            raise RuntimeError(f"more than 10,000 requests failed: {self._result.errors}")
        self._replace(number)

    def _replace(self, number: int) -> None:
        """Close a connection and open another one."""
        self._poll.unregister(number)
        self._open.pop(number).socket.close()
        with contextlib.suppress(OSError):
            self._idle.append(self._connect())


def run_load(load: Load, encode: Callable[[str], bytes] = str.encode) -> Measured:
    """Read the bodies and run the load in this process."""
    bodies = [encode(body) for body in json.loads(Path(load.bodies_file).read_text(encoding="utf-8"))]
    return Run(load, bodies).measure()


if __name__ == "__main__":
    print(json.dumps(asdict(run_load(Load(**json.load(sys.stdin))))))

"""Mixed traffic for a soak: every documented way to ask, answers checked, at full speed or at a fixed rate."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from disaster_tweets_client import GrpcClient
from ops.load.latency import Latencies
from ops.paths import ROOT

TWEETS_PATH = ROOT / "scripts" / "loadtest_tweets.txt"
LABELS = ("disaster", "not_disaster")
THREADS = 24
THREAD_NAME = "soak request"
REQUEST_TIMEOUT_S = 60.0
SAMPLE_EVERY_S = 2.0
MOST_SAMPLES = 2000
LIST_ITEMS = 16
KEPT_PROBLEMS = 10
STOPPING_S = 5.0  # for requests under way when a run ends early


class TrafficError(RuntimeError):
    """The server is at fault, so that more requests would tell nothing; the message says how."""


@dataclass(frozen=True)
class Target:
    """Where the server is."""

    host: str
    port: int
    grpc: str


@dataclass(frozen=True)
class Kind:
    """One way to ask.

    Args:
        name: for the counts.
        weight: share of the traffic.
        ask: sends one request made of some tweets and returns what is wrong with the answer, or None.
        tweets: how many it takes.
    """

    name: str
    weight: int
    ask: Callable[[Connections, list[str]], str | None]
    tweets: int = 1


class Connections:
    """One thread's connections, kept open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._http: http.client.HTTPConnection | None = None
        self._grpc = GrpcClient(target.grpc, timeout_s=REQUEST_TIMEOUT_S, retries=0)

    def post(self, path: str, body: bytes, content_type: str) -> tuple[int, Any]:
        """Return status and parsed answer."""
        if self._http is None:
            self._http = http.client.HTTPConnection(self._target.host, self._target.port, timeout=REQUEST_TIMEOUT_S)
        try:
            self._http.request("POST", path, body, {"Content-Type": content_type})
            response = self._http.getresponse()
            answer = json.loads(response.read())
            if response.will_close:
                self.close_http()
            return response.status, answer
        except (OSError, http.client.HTTPException):
            self.close_http()
            raise

    def predict(self, tweet: str) -> str:
        """Return the label that comes over gRPC."""
        return self._grpc.predict(tweet).label

    def close_http(self) -> None:
        """Give up the HTTP connection; the next request makes a new one."""
        if self._http is not None:
            self._http.close()
        self._http = None

    def close(self) -> None:
        """Close everything."""
        self.close_http()
        self._grpc.close()


def _wrong(status: int, answer: Any, labels: Sequence[Any], expected: int) -> str | None:
    if status == http.client.OK and len(labels) == expected and all(label in LABELS for label in labels):
        return None
    return f"HTTP {status}, {len(labels)} labels for {expected} tweets, {str(answer.get('error', ''))[:100]}"


def ask_single(connections: Connections, tweets: list[str]) -> str | None:
    """Send one tweet as curl does."""
    status, answer = connections.post("/predictions/tweets", tweets[0].encode(), "application/x-www-form-urlencoded")
    return _wrong(status, answer, [answer.get("label")], 1)


def ask_list(connections: Connections, tweets: list[str]) -> str | None:
    """Send a JSON list."""
    status, answer = connections.post("/predictions/tweets", json.dumps(tweets).encode(), "application/json")
    return _wrong(status, answer, [one.get("label") for one in answer.get("predictions", ())], len(tweets))


def ask_lines(connections: Connections, tweets: list[str]) -> str | None:
    """Send one tweet a line."""
    status, answer = connections.post("/predictions/tweets", "\n".join(tweets).encode(), "application/x-ndjson")
    return _wrong(status, answer, [one.get("label") for one in answer.get("predictions", ())], len(tweets))


def ask_v1(connections: Connections, tweets: list[str]) -> str | None:
    """Send a KServe v1 request."""
    body = json.dumps({"instances": tweets}).encode()
    status, answer = connections.post("/v1/models/tweets:predict", body, "application/json")
    return _wrong(status, answer, [one.get("label") for one in answer.get("predictions", ())], len(tweets))


def ask_v2(connections: Connections, tweets: list[str]) -> str | None:
    """Send an Open Inference v2 request."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(tweets)], "data": tweets}
    status, answer = connections.post(
        "/v2/models/tweets/infer", json.dumps({"inputs": [tensor]}).encode(), "application/json"
    )
    labels: list[Any] = next((one["data"] for one in answer.get("outputs", ()) if one["name"] == "label"), [])
    return _wrong(status, answer, labels, len(tweets))


def ask_grpc(connections: Connections, tweets: list[str]) -> str | None:
    """Send one tweet over gRPC."""
    return None if connections.predict(tweets[0]) in LABELS else "no label over gRPC"


def ask_badly(connections: Connections, tweets: list[str]) -> str | None:
    """Send what must be refused with 400."""
    body = random.choice((b'{"text": "half', b"\xff\xfe", b"   ", b'{"text": 5}', b"[" * 5000))  # noqa: S311 (no secret)
    status, answer = connections.post("/predictions/tweets", body, "application/json")
    return None if status == http.client.BAD_REQUEST and "error" in answer else f"bad input got HTTP {status}"


KINDS = (
    Kind("REST single", 50, ask_single),
    Kind("REST list", 10, ask_list, LIST_ITEMS),
    Kind("REST lines", 10, ask_lines, LIST_ITEMS),
    Kind("KServe v1", 10, ask_v1, 2),
    Kind("Open Inference v2", 5, ask_v2, 2),
    Kind("gRPC", 10, ask_grpc),
    Kind("bad input", 5, ask_badly),
)


@dataclass
class Tally:
    """What came back; its size does not grow with the run.

    Args:
        length_s: of the run, as planned.
        kinds: kind of request -> how many were answered, rightly or wrongly.
        tweets: in all of them.
        errors: how many were answered wrongly or not at all.
        problems: the first of these.
        ended_early: why the run ended before its time.
    """

    length_s: float
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys((kind.name for kind in KINDS), 0))
    tweets: int = 0
    errors: int = 0
    problems: list[str] = field(default_factory=list)
    ended_early: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.latencies = Latencies(self.length_s)

    @property
    def requests(self) -> int:
        """Answered, rightly or wrongly."""
        return sum(self.kinds.values())

    def note(self, kind: Kind, num_tweets: int, due_s: float, took_s: float, problem: str | None) -> None:
        """Count one answer."""
        with self.lock:
            self.kinds[kind.name] += 1
            self.tweets += num_tweets
            self.latencies.add(due_s, took_s)
            if problem is not None:
                self.errors += 1
                if len(self.problems) < KEPT_PROBLEMS:
                    self.problems.append(f"{kind.name}: {problem}")


def one_request(connections: Connections, kind: Kind, tweets: list[str]) -> str | None:
    """Ask once; return what is wrong with the answer, or None."""
    try:
        return kind.ask(connections, tweets)
    except Exception as error:  # an answer of another form is a wrong one; the thread must go on
        return f"{type(error).__name__}: {error}"


class Traffic:
    """Mixed requests, with a new number in each tweet so that no cache of answers can help."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tweets = TWEETS_PATH.read_text(encoding="utf-8").splitlines()
        self._numbers = itertools.count(random.randrange(10**9))  # noqa: S311 (spreads, guards nothing)

    def draw_kind(self) -> Kind:
        """Return a kind by its weight."""
        (kind,) = random.choices(KINDS, [kind.weight for kind in KINDS])  # noqa: S311
        return kind

    def draw_tweets(self, kind: Kind) -> list[str]:
        """Return as many tweets as a kind takes."""
        return [f"{random.choice(self._tweets)} {next(self._numbers)}" for _ in range(kind.tweets)]  # noqa: S311

    def capacity(self, seconds: float) -> float:
        """Return the requests a second that are answered when all threads ask without a pause.

        Raises:
            TrafficError: an answer was wrong.
        """
        started = time.monotonic()
        tally, end = Tally(seconds), started + seconds

        def ask(connections: Connections, stopping: threading.Event) -> None:
            while time.monotonic() < end and not stopping.is_set():
                self._ask(connections, self.draw_kind(), started, time.monotonic(), tally)

        with self._threads(ask) as threads:
            for thread in threads:
                thread.join()
        if tally.problems:
            raise TrafficError(f"the server is at fault before the soak began: {tally.problems[0]}")
        return tally.requests / (time.monotonic() - started)

    def at_rate(self, rate: float, seconds: float, watch: Callable[[], None]) -> Tally:
        """Send requests evenly at a rate, whether or not answers come.

        Args:
            rate: requests a second.
            seconds: how long.
            watch: called every few seconds; a TrafficError of it ends the run.

        Returns:
            What came back until the end. Ctrl-C, a TrafficError, and a server that falls a minute behind end it
            early, and `ended_early` says which.
        """
        tally = Tally(seconds)
        due_requests: queue.SimpleQueue[tuple[Kind, float] | None] = queue.SimpleQueue()
        started = time.monotonic()

        def ask(connections: Connections, stopping: threading.Event) -> None:
            while (request := due_requests.get()) is not None and not stopping.is_set():
                kind, due = request
                self._ask(connections, kind, started, due, tally)

        try:
            with self._threads(ask, due_requests) as threads:
                for due in self._due_times(started, rate, seconds, watch):
                    if due_requests.qsize() > rate * REQUEST_TIMEOUT_S:
                        raise TrafficError(f"the server is {REQUEST_TIMEOUT_S:.0f} s of requests behind")
                    due_requests.put((self.draw_kind(), due))
                for _ in threads:
                    due_requests.put(None)
                for thread in threads:
                    thread.join()
                watch()
        except TrafficError as error:
            tally.ended_early = f"{error} (after {time.monotonic() - started:.0f} of {seconds:.0f} s)"
        except KeyboardInterrupt:
            tally.ended_early = f"interrupted after {time.monotonic() - started:.0f} of {seconds:.0f} s"
        return tally

    def _due_times(self, started: float, rate: float, seconds: float, watch: Callable[[], None]) -> Iterator[float]:
        """Yield the moment of each request when it comes, and call `watch` in between."""
        watch_every_s, watched_at = max(SAMPLE_EVERY_S, seconds / MOST_SAMPLES), 0.0
        with tqdm(total=round(rate * seconds), unit="request", disable=None) as progress:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                if (pause_s := due - time.monotonic()) > 0:
                    time.sleep(pause_s)
                if time.monotonic() - watched_at >= watch_every_s:
                    watch()
                    watched_at = time.monotonic()
                yield due
                progress.update()

    def _ask(self, connections: Connections, kind: Kind, started: float, due: float, tally: Tally) -> None:
        tweets = self.draw_tweets(kind)
        problem = one_request(connections, kind, tweets)
        tally.note(kind, len(tweets), due - started, time.monotonic() - due, problem)

    @contextlib.contextmanager
    def _threads(
        self,
        ask: Callable[[Connections, threading.Event], None],
        waiting: queue.SimpleQueue[tuple[Kind, float] | None] | None = None,
    ) -> Iterator[list[threading.Thread]]:
        """Run `ask` in every thread; none of them outlives the block, whatever ends it.

        Args:
            ask: gets the thread's own connections, and an event that is set at the end of the block.
            waiting: what the threads wait on; each gets a None in the end.
        """
        stopping = threading.Event()

        def run() -> None:
            connections = Connections(self._target)
            try:
                ask(connections, stopping)
            finally:
                connections.close()

        # Daemons: a request that waits for a hung server must not keep the program alive.
        threads = [threading.Thread(target=run, name=THREAD_NAME, daemon=True) for _ in range(THREADS)]
        try:
            for thread in threads:
                thread.start()
            yield threads
        finally:
            stopping.set()
            for _ in threads if waiting is not None else ():
                waiting.put(None)  # type: ignore[union-attr]  # not None here
            deadline = time.monotonic() + STOPPING_S
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))

"""Mixed traffic for a soak: every documented way to ask, answers checked, at full speed or at a fixed rate."""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

CLIENT_SOURCE = Path(__file__).resolve().parent.parent / "client" / "src"
if CLIENT_SOURCE.is_dir():  # the checkout's own client first, so that it needs no installing and none can be stale
    sys.path.insert(0, str(CLIENT_SOURCE))

from disaster_tweets_client import DisasterTweetsError, GrpcClient  # noqa: E402 (after the path)

TWEETS_PATH = Path(__file__).resolve().with_name("loadtest_tweets.txt")
LABELS = ("disaster", "not_disaster")
THREADS = 24
REQUEST_TIMEOUT_S = 60.0
SAMPLE_EVERY_S = 2.0
LIST_ITEMS = 16


class TrafficError(RuntimeError):
    """The server is at fault before the soak began."""


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
    """What came back."""

    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys((kind.name for kind in KINDS), 0))
    tweets: int = 0
    problems: list[str] = field(default_factory=list)
    latencies: list[tuple[float, float]] = field(default_factory=list)  # (due, seconds)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        """Answered, rightly or wrongly."""
        return sum(self.kinds.values())


def one_request(connections: Connections, kind: Kind, tweets: list[str], due: float, tally: Tally) -> None:
    """Ask once and note what came back; due is the moment from which its latency counts."""
    try:
        problem = kind.ask(connections, tweets)
    except (OSError, ValueError, http.client.HTTPException, DisasterTweetsError) as error:
        problem = f"{type(error).__name__}: {error}"
    took_s = time.monotonic() - due
    with tally.lock:
        tally.kinds[kind.name] += 1
        tally.tweets += len(tweets)
        tally.latencies.append((due, took_s))
        if problem is not None:
            tally.problems.append(f"{kind.name}: {problem}")


class Traffic:
    """Mixed requests, with a new number in each tweet so that no cache of answers can help."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tweets = TWEETS_PATH.read_text(encoding="utf-8").splitlines()
        self._numbers = itertools.count(random.randrange(10**9))  # noqa: S311 (spreads, guards nothing)

    def draw(self) -> tuple[Kind, list[str]]:
        """Return a kind by its weight, and tweets for it."""
        (kind,) = random.choices(KINDS, [kind.weight for kind in KINDS])  # noqa: S311
        return kind, [f"{random.choice(self._tweets)} {next(self._numbers)}" for _ in range(kind.tweets)]  # noqa: S311

    def capacity(self, seconds: float) -> float:
        """Return the requests a second that are answered when all threads ask without a pause."""
        tally, end = Tally(), time.monotonic() + seconds

        def ask() -> None:
            connections = Connections(self._target)
            while time.monotonic() < end:
                one_request(connections, *self.draw(), time.monotonic(), tally)
            connections.close()

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if tally.problems:
            raise TrafficError(f"the server is at fault before the soak began: {tally.problems[0]}")
        return tally.requests / (time.monotonic() - started)

    def at_rate(self, rate: float, seconds: float, watch: Callable[[], None]) -> Tally:
        """Send requests evenly at a rate, whether or not answers come."""
        tally = Tally()
        due_requests: queue.SimpleQueue[tuple[Kind, list[str], float] | None] = queue.SimpleQueue()

        def ask() -> None:
            connections = Connections(self._target)
            while (request := due_requests.get()) is not None:
                one_request(connections, *request, tally)
            connections.close()

        threads = [threading.Thread(target=ask) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        started = time.monotonic()
        watched_at = 0.0
        with tqdm(total=round(rate * seconds), unit="request", disable=None) as progress:
            for number in range(round(rate * seconds)):
                due = started + number / rate
                if (pause_s := due - time.monotonic()) > 0:
                    time.sleep(pause_s)
                due_requests.put((*self.draw(), due))
                progress.update()
                if time.monotonic() - watched_at >= SAMPLE_EVERY_S:
                    watch()
                    watched_at = time.monotonic()
        for _ in threads:
            due_requests.put(None)
        for thread in threads:
            thread.join()
        watch()
        return tally

"""Put load on a running server and judge it: REST one by one, REST in bulk, gRPC, or a mix.

With the web page on http://localhost:8089, then without it, for half a minute:

    locust -f scripts/loadtest.py
    locust -f scripts/loadtest.py --headless -u 32 -t 30s

All users of a headless run start at once (-r brings them one by one). Every answer is checked: status 200, one of
the two labels, a score in 0..1, as many answers as tweets; anything else counts as a failure. The run ends with exit
status 1 when a limit is exceeded, and says which:

    locust -f scripts/loadtest.py --headless -u 32 -t 30s --max-p95-ms 50 --max-error-share 0.001

Users are REST users that send one tweet at a time, as fast as answers come ("closed loop"), unless asked otherwise:

    locust -f scripts/loadtest.py RestBulkUser GrpcUser          these kinds, in equal parts
    locust -f scripts/loadtest.py --mix 6:1:3 --bulk-size 256    single : bulk : gRPC
    locust -f scripts/loadtest.py --rate 5 -u 200                5 requests/s a user, 1,000 in all

With --rate the load does not sink when the server slows down ("open loop"), as long as a request takes less than
1/rate seconds; more users at a lower rate each hold it longer. In a closed loop a slow server slows its own test
down, and its percentiles flatter it.

Tweets are own-written ones (scripts/loadtest_tweets.txt), each with a new number at its end, so that no cache of
answers can help the server; --no-distinct shows what a cache would bring. Headless runs leave an HTML report.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import random
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.experimental.gevent
from locust import FastHttpUser, User, constant_throughput, events, task
from locust.runners import WorkerRunner

CLIENT_SOURCE = Path(__file__).resolve().parent.parent / "client" / "src"
if CLIENT_SOURCE.is_dir():  # the checkout's own client first, so that it needs no installing and none can be stale
    sys.path.insert(0, str(CLIENT_SOURCE))

from disaster_tweets_client import DisasterTweetsError, ItemError  # noqa: E402 (after the path)
from disaster_tweets_client.loopback import is_loopback  # noqa: E402
from disaster_tweets_client.prediction import Reply, decode_many, decode_single, encode_tweet  # noqa: E402
from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc  # noqa: E402

TWEETS_PATH = Path(__file__).resolve().with_name("loadtest_tweets.txt")
PREDICTIONS_PATH = "/predictions/tweets"
JSON_HEADERS = {"Content-Type": "application/json"}
GRPC_TIMEOUT_S = 60.0  # as long as Locust's own HTTP users wait


@functools.cache
def sample_tweets() -> tuple[str, ...]:
    """Return the own-written tweets, one a line of the file."""
    return tuple(TWEETS_PATH.read_text(encoding="utf-8").splitlines())


@functools.cache
def _numbers(process_id: int) -> Iterator[int]:
    """Return numbers from a start of the process' own: drawn ones come twice among some thousand."""
    return itertools.count(random.SystemRandom().randrange(1_000_000, 9_000_000))


def draw_tweet(distinct: bool) -> str:
    """Return a random tweet; `distinct` makes it one that the server has hardly seen before."""
    tweet = random.choice(sample_tweets())  # noqa: S311 (a sample, no secret)
    # A number, since the server folds links and user names, so that those would make no new text.
    return f"{tweet} {next(_numbers(os.getpid()))}" if distinct else tweet


def problem_with(reply: Reply, num_tweets: int | None) -> str | None:
    """Return what is wrong with an answer, or None.

    Args:
        reply: as it came over the wire.
        num_tweets: sent as a list; None for one sent alone.
    """
    try:
        answers = [decode_single(reply)] if num_tweets is None else decode_many(reply, num_tweets)
    except DisasterTweetsError as error:
        return f"{type(error).__name__}: {error}"
    return next((str(answer) for answer in answers if isinstance(answer, ItemError)), None)


def wait_time(user: User) -> float:
    """Return the seconds until a user's next request; Locust calls it as a method."""
    rate = user.environment.parsed_options.rate
    return constant_throughput(rate)(user) if rate > 0 else 0.0


def needs_proxy(grpc_target: str) -> bool:
    """Tell whether gRPC may take the machine's proxy (http_proxy, grpc_proxy): none reaches this machine's loopback."""
    address = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", grpc_target)
    return not is_loopback(address.rpartition(":")[0].strip("[]"))


class RestUser(FastHttpUser):
    """A user over HTTP; Locust's fast client takes no proxy."""

    abstract = True
    host = "http://127.0.0.1:8080"
    wait_time = wait_time

    def send(self, body: bytes, num_tweets: int | None, name: str) -> None:
        """Send one request and report its answer."""
        with self.client.post(
            PREDICTIONS_PATH,
            data=body,  # type: ignore[arg-type]  # takes bytes as well
            headers=JSON_HEADERS,
            name=name,
            catch_response=True,
        ) as response:
            if response.status_code == 0:  # no answer at all: Locust reports the connection's own error
                return
            problem = problem_with(Reply(response.status_code, response.content or b""), num_tweets)
            if problem is None:
                response.success()
            else:
                response.failure(problem)


class RestSingleUser(RestUser):
    """Send one tweet a request."""

    @task
    def predict(self) -> None:
        """Ask for one tweet."""
        self.send(encode_tweet({"text": draw_tweet(self.environment.parsed_options.distinct)}), None, "REST single")


class RestBulkUser(RestUser):
    """Send a list a request."""

    @task
    def predict(self) -> None:
        """Ask for a list of tweets."""
        options = self.environment.parsed_options
        tweets = [encode_tweet(draw_tweet(options.distinct)) for _ in range(options.bulk_size)]
        self.send(b"[" + b",".join(tweets) + b"]", len(tweets), f"REST bulk of {len(tweets)}")


class GrpcUser(User):
    """Send one tweet a call over gRPC, each user on its own connection."""

    host = RestUser.host  # shown by the web page; the calls go to --grpc-target
    wait_time = wait_time

    def on_start(self) -> None:
        """Connect."""
        # Without its own pool, gRPC gives every channel of a process the same connection.
        target = self.environment.parsed_options.grpc_target
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", int(needs_proxy(target)))]
        self._channel = grpc.insecure_channel(target, options)
        self._stub: Any = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def on_stop(self) -> None:
        """Disconnect."""
        self._channel.close()

    @task
    def predict(self) -> None:
        """Ask for one tweet and report the answer to Locust, which knows HTTP only."""
        body = encode_tweet({"text": draw_tweet(self.environment.parsed_options.distinct)})
        request = inference_pb2.PredictionsRequest(model_name="tweets", input={"data": body})
        start_time, started = time.time(), time.perf_counter()
        prediction, failure = b"", None
        try:
            prediction = self._stub.Predictions(request, timeout=GRPC_TIMEOUT_S).prediction
        except grpc.RpcError as error:
            failure = f"{error.code().name}: {error.details()}"
        response_time_ms = (time.perf_counter() - started) * 1000
        failure = failure or problem_with(Reply(None, prediction), None)
        self.environment.events.request.fire(
            request_type="gRPC",
            name="gRPC single",
            response_time=response_time_ms,
            response_length=len(prediction),
            response=prediction,
            context={},
            exception=None if failure is None else DisasterTweetsError(failure),
            start_time=start_time,
            url=self.environment.parsed_options.grpc_target,
        )


USER_KINDS = (RestSingleUser, RestBulkUser, GrpcUser)


def parse_mix(text: str) -> tuple[int, ...]:
    """Return the three weights of --mix."""
    parts = text.split(":")
    if len(parts) != len(USER_KINDS) or not all(part.isdecimal() for part in parts) or not any(map(int, parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is no mix; expected single:bulk:grpc, such as 6:1:3")
    return tuple(map(int, parts))


def _number_from(low: float, high: float, kind: type = float) -> Any:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind.__name__} in {low:g}..{high:g}")
        return value

    return parse


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: Any) -> None:
    """Add our options to Locust's own."""
    # Of these, the web page shows what is added to the parser itself, and not what is in a group.
    parser.add_argument("--grpc-target", default="127.0.0.1:7070", metavar="<host:port>", help="for GrpcUser")
    parser.add_argument("--bulk-size", type=_number_from(1, 10_000, int), default=64, help="tweets a bulk request")
    parser.add_argument("--rate", type=_number_from(0, 1e6), default=0.0, help="requests/s a user; 0: no pause")
    parser.add_argument(
        "--distinct",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="put a new number at the end of each tweet, so that no cache helps (default: on)",
    )
    # These are read before the page is there, or after it was closed.
    group = parser.add_argument_group("disaster-tweets", "examples: head of scripts/loadtest.py")
    group.add_argument(
        "--mix", type=parse_mix, metavar="<single:bulk:grpc>", help="weights of the kinds of users (default: 1:0:0)"
    )
    group.add_argument(
        "--max-error-share", type=_number_from(0, 1), default=0.0, help="more failed requests: exit status 1"
    )
    group.add_argument(
        "--max-p95-ms", type=_number_from(0, 1e9), default=0.0, help="higher 95th percentile: exit status 1; 0: off"
    )
    group.add_argument(
        "--report-dir",
        default="reports",
        metavar="<folder>",
        help="for the HTML report of a headless run, unless --html names a file; empty: none (default: reports)",
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def set_up(environment: Any, **_: Any) -> None:
    """Choose the kinds of users and the report's place; Locust calls this once a process, after any fork."""
    grpc.experimental.gevent.init_gevent()  # or a call blocks every user of the process
    options = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner):  # its master decides, and may name any kind
        return
    mix = options.mix or (None if options.user_classes else (1, 0, 0))
    if mix is not None:
        for kind, weight in zip(USER_KINDS, mix, strict=True):
            kind.weight = weight
        chosen = [kind for kind in environment.user_classes if kind.weight > 0]
        if not chosen:
            raise SystemExit(f"--mix {mix} leaves none of the users named on the command line; drop one of the two")
        environment.user_classes = chosen
    if options.headless and options.spawn_rate is None:
        options.spawn_rate = (
            options.num_users
        )  # all at once; Locust's one a second would fill a short run with its ramp
    if options.headless and options.report_dir and not options.html_file:
        stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        Path(options.report_dir).mkdir(parents=True, exist_ok=True)  # Locust 2.46, for Python 3.10, makes no folder
        options.html_file = str(Path(options.report_dir) / f"loadtest-{stamp}.html")


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Any, **_: Any) -> None:
    """Compare the run with its limits and set the exit status."""
    if isinstance(environment.runner, WorkerRunner):
        return
    options = environment.parsed_options
    problems = exceeded_limits(environment.stats.total, options.max_error_share, options.max_p95_ms)
    if environment.runner.exceptions:
        problems.append(f"the test itself raised {len(environment.runner.exceptions)} kinds of exceptions, shown below")
    if environment.stats.total.num_requests == 0 and not options.headless:
        problems = []  # the web page was opened and closed again
    for problem in problems:
        print(f"loadtest: FAILED: {problem}", file=sys.stderr)
    if options.html_file and Path(options.html_file).is_file():
        print(f"loadtest: report in {options.html_file}", file=sys.stderr)
    environment.process_exit_code = 1 if problems else 0


def exceeded_limits(total: Any, max_error_share: float, max_p95_ms: float) -> list[str]:
    """Return one line for each limit that a run exceeded.

    Args:
        total: Locust's StatsEntry over all requests.
        max_error_share: in [0, 1].
        max_p95_ms: 0 turns the limit off.
    """
    if total.num_requests == 0:
        return ["not one request was answered or refused; expected a server at --host and a longer --run-time"]
    problems = []
    if total.fail_ratio > max_error_share:
        problems.append(
            f"error share is {total.fail_ratio:.4f} ({total.num_failures} of {total.num_requests} requests); "
            f"--max-error-share allows {max_error_share:g}"
        )
    p95_ms = total.get_response_time_percentile(0.95)
    if 0 < max_p95_ms < p95_ms:
        problems.append(f"95th percentile is {p95_ms:g} ms; --max-p95-ms allows {max_p95_ms:g}")
    return problems

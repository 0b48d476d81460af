"""The load test against a stub server: what it sends, what it counts, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.client.conftest import free_port
from tests.client.stub_server import Scripted, StubServer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TWEETS = (SCRIPTS / "loadtest_tweets.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def stub() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


class Run:
    """One finished run of Locust in a folder of its own."""

    def __init__(
        self, folder: Path, stub: StubServer | None, arguments: str, variables: dict[str, str] | None = None
    ) -> None:
        port = free_port()
        host = stub.rest_url if stub else f"http://127.0.0.1:{port}"
        target = stub.grpc_target if stub else f"127.0.0.1:{port}"
        command = [
            *locust(),
            "--headless",
            "--host",
            host,
            "--grpc-target",
            target,
            "--json-file",
            "out",
            *arguments.split(),
        ]
        environment = {**os.environ, **(variables or {})}
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        self.returncode = run.returncode
        self.stderr = run.stderr
        self._folder = folder

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return Locust's own numbers of requests and of failures, by the name of the request."""
        entries = json.loads((self._folder / "out.json").read_text(encoding="utf-8"))
        return {entry["name"]: (entry["num_requests"], entry["num_failures"]) for entry in entries}

    def verdicts(self) -> list[str]:
        return [line for line in self.stderr.splitlines() if line.startswith("loadtest: FAILED")]


def locust() -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(SCRIPTS / "loadtest.py")]


def texts_of(stub: StubServer) -> list[str]:
    bodies = [json.loads(request.body) for request in stub.received]
    items = [item for body in bodies for item in (body if isinstance(body, list) else [body])]
    return [item if isinstance(item, str) else item["text"] for item in items]


def test_loadtest_when_nothing_is_asked_sends_single_tweets_over_rest(stub: StubServer, tmp_path: Path) -> None:
    run = Run(tmp_path, stub, "-u 4 -t 4s")
    assert (run.returncode, run.verdicts()) == (0, [])
    assert set(run.counts()) == {"REST single"}
    assert run.counts()["REST single"][1] == 0
    reports = list((tmp_path / "reports").glob("loadtest-*.html"))
    assert len(reports) == 1
    assert "REST single" in reports[0].read_text(encoding="utf-8")
    texts = texts_of(stub)
    assert len(texts) > 20
    assert len(set(texts)) == len(texts)
    assert {text.rpartition(" ")[0] for text in texts} <= set(TWEETS)


def test_loadtest_with_a_mix_uses_every_kind_of_user(stub: StubServer, tmp_path: Path) -> None:
    run = Run(tmp_path, stub, "-u 6 -t 4s --mix 1:1:1 --bulk-size 5 --no-distinct --html mine.html")
    assert (run.returncode, run.verdicts()) == (0, [])
    assert set(run.counts()) == {"REST single", "REST bulk of 5", "gRPC single"}
    assert set(texts_of(stub)) <= set(TWEETS)
    assert (tmp_path / "mine.html").is_file()
    assert not (tmp_path / "reports").exists()


def test_loadtest_with_a_rate_sends_no_more_than_that(stub: StubServer, tmp_path: Path) -> None:
    run = Run(tmp_path, stub, "RestBulkUser -u 2 -t 4s --rate 5 --report-dir=")
    assert run.returncode == 0
    assert set(run.counts()) == {"REST bulk of 64"}
    assert 2 <= run.counts()["REST bulk of 64"][0] <= 42  # 2 users x 5/s x 4 s, and their first ones
    assert not (tmp_path / "reports").exists()


PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_loadtest_when_the_machine_has_a_proxy_then_loopback_does_not_go_through_it(
    stub: StubServer, tmp_path: Path, case: Callable[[str], str]
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    variables = {case(name): nobody for name in PROXY_VARIABLES}
    variables |= {"no_proxy": "", "NO_PROXY": "", "no_grpc_proxy": ""}
    run = Run(tmp_path, stub, "-u 6 -t 2s --mix 1:1:1 --bulk-size 2 --report-dir=", variables)
    assert (run.returncode, run.verdicts()) == (0, [])
    assert set(run.counts()) == {"REST single", "REST bulk of 2", "gRPC single"}


# Imported by itself, Locust and gevent would change this process.
NEEDS_PROXY = (
    "import sys; sys.path.insert(0, sys.argv[1]); import loadtest; print(*map(loadtest.needs_proxy, sys.argv[2:]))"
)


def test_needs_proxy_when_the_target_is_loopback_then_no() -> None:
    here = ["127.0.0.1:7070", "localhost:7070", "[::1]:7070", "127.9.9.9:1", "dns:///localhost:1", "ipv4:127.0.0.1:1"]
    there = ["gateway.example:8444", "192.0.2.1:7070", "[2001:db8::1]:7070", "dns:///gateway.example:8444"]
    command = [sys.executable, "-c", NEEDS_PROXY, str(SCRIPTS), *here, *there]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert said == ["False"] * len(here) + ["True"] * len(there)


FAILURES = [
    Scripted(503, b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}'),
    Scripted(200, b'{"label": "cat", "score": 0.5, "decision": "review", "model_version": "1"}'),
    Scripted(200, b'{"predictions": []}'),
    Scripted(200, b'{"error": {"code": "EMPTY_TEXT", "message": "nothing to read"}}'),
    Scripted(code=grpc.StatusCode.UNAVAILABLE, details="no worker"),
]


@pytest.mark.parametrize("users", ["RestSingleUser", "RestBulkUser", "GrpcUser"])
def test_loadtest_when_answers_are_wrong_counts_them_and_ends_with_one(users: str, tmp_path: Path) -> None:
    with StubServer() as stub:
        stub.script = [one for one in FAILURES if (one.code is None) == (users != "GrpcUser")]
        wrong = len(stub.script)
        run = Run(tmp_path, stub, f"{users} -u 1 -t 4s --report-dir=")
    assert run.returncode == 1
    ((total, failed),) = run.counts().values()
    assert failed == wrong
    assert len(run.verdicts()) == 1
    assert f"({wrong} of {total} requests); --max-error-share allows 0" in run.verdicts()[0]


def test_loadtest_when_errors_stay_within_their_limit_ends_with_zero(stub: StubServer, tmp_path: Path) -> None:
    stub.script = FAILURES[:1]
    run = Run(tmp_path, stub, "-u 1 -t 4s --max-error-share 0.9 --report-dir=")
    assert run.counts()["REST single"][1] == 1
    assert (run.returncode, run.verdicts()) == (0, [])


def test_loadtest_when_slower_than_its_limit_ends_with_one_and_says_so(tmp_path: Path) -> None:
    with StubServer(always=Scripted(delay_s=0.05)) as stub:
        run = Run(tmp_path, stub, "-u 1 -t 4s --max-p95-ms 20 --report-dir=")
    assert run.returncode == 1
    assert len(run.verdicts()) == 1
    assert "95th percentile is" in run.verdicts()[0]
    assert "--max-p95-ms allows 20" in run.verdicts()[0]


def test_loadtest_when_nothing_listens_ends_with_one(tmp_path: Path) -> None:
    run = Run(tmp_path, None, "-u 1 -t 4s --report-dir=")
    assert run.returncode == 1
    assert "error share is 1.0000" in run.verdicts()[0]


def test_loadtest_when_the_run_is_too_short_for_a_request_ends_with_one(tmp_path: Path) -> None:
    with StubServer(always=Scripted(delay_s=3)) as stub:
        run = Run(tmp_path, stub, "-u 1 -t 1s --report-dir=")
    assert run.returncode == 1
    assert "not one request was answered" in run.verdicts()[0]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--mix 1:2", "expected single:bulk:grpc"),
        ("--mix 0:0:0", "expected single:bulk:grpc"),
        ("--bulk-size 10001", "1..10000"),
        ("--max-error-share 5", "0..1"),
        ("RestBulkUser --mix 1:0:0", "leaves none"),
    ],
)
def test_loadtest_with_an_impossible_option_says_what_is_expected(arguments: str, word: str, tmp_path: Path) -> None:
    run = Run(tmp_path, None, f"-u 1 -t 1s {arguments}")
    assert run.returncode != 0
    assert word in run.stderr


def test_loadtest_without_headless_serves_its_page_with_the_local_server_filled_in(tmp_path: Path) -> None:
    port = free_port()
    command = [*locust(), "--web-host", "127.0.0.1", "--web-port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        page = wait_for_page(f"http://127.0.0.1:{port}/")
        assert '"host": "http://127.0.0.1:8080"' in page
        assert '"bulk_size"' in page
        assert '"mix"' not in page
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"FAILED" not in errors


def wait_for_page(url: str) -> str:
    give_up_s = time.monotonic() + 20
    past_proxies = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < give_up_s:
        with contextlib.suppress(OSError), past_proxies.open(url, timeout=5) as answer:
            return answer.read().decode()
        time.sleep(0.1)
    raise AssertionError(f"{url} gave no page in 20 s")


def test_sample_tweets_are_many_and_varied() -> None:
    assert 140 <= len(TWEETS) == len(set(TWEETS))
    assert all(text == text.strip() and len(text) <= 280 for text in TWEETS)
    assert min(map(len, TWEETS)) < 5
    assert max(map(len, TWEETS)) > 200
    assert sum(not text.isascii() for text in TWEETS) >= 15
    assert sum("http" in text for text in TWEETS) >= 5

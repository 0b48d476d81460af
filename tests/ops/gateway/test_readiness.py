"""/ready tells the truth in every state of the server; /live is another question."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ops.gateway.guard import SharedProbe
from ops.gateway.readiness import CRASHES, FAILED_S, STATE_S, Prober, Readiness
from ops.gateway.settings import read_gateway_settings
from ops.settings.server import Address
from tests.ops.gateway.fake_server import FakeServer, wait_until, write_golden
from tests.ops.gateway.gateway_process import DEFAULTS, REPOSITORY, GatewayProcess
from tests.serving.torchserve_process import Ports


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(Ports.free())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def prober(server: FakeServer, tmp_path: Path, clock: Clock) -> Prober:
    settings = replace(
        read_gateway_settings(DEFAULTS, REPOSITORY),
        server_rest=Address("server_rest", "127.0.0.1", server.ports.inference),
        server_management=Address("server_management", "127.0.0.1", server.ports.management),
        golden_file=write_golden(tmp_path),
        golden_deadline_s=1,
        golden_every_s=5,
    )
    return Prober(settings, clock)


def test_ready_when_golden_tweets_come_back_right_then_true(prober: Prober, server: FakeServer) -> None:
    with server.http_running():
        assert prober.ready().ready


def test_ready_when_nobody_listens_then_false(prober: Prober) -> None:
    assert (prober.ready().ready, prober.ready().code) == (False, "NO_SERVER")


@pytest.mark.parametrize(("workers", "code"), [({}, "NO_WORKER"), (None, "NO_MODEL")])
def test_ready_when_no_worker_is_loaded_then_false_and_no_tweet_is_asked(
    prober: Prober, server: FakeServer, workers: dict[str, int] | None, code: str
) -> None:
    server.workers = workers
    with server.http_running():
        assert (prober.ready().ready, prober.ready().code) == (False, code)
    assert server.received == []


def test_ready_when_answers_are_wrong_then_false(prober: Prober, server: FakeServer) -> None:
    server.score = 0.5
    with server.http_running():
        found = prober.ready()
    assert (found.ready, found.code) == (False, "WRONG_ANSWERS")
    assert "Flood" not in found.message


@pytest.mark.parametrize("step", ["hang", "die"])
def test_ready_when_no_answer_comes_then_false(prober: Prober, server: FakeServer, step: str) -> None:
    server.plan = [step]
    with server.http_running():
        assert prober.ready().code == "NO_ANSWERS"


@pytest.mark.parametrize("content", ["", "[]", "{}", None])
def test_ready_when_the_golden_file_is_of_no_use_then_false(
    prober: Prober, server: FakeServer, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "tweets.golden.json"
    file.unlink() if content is None else file.write_text(content)
    with server.http_running():
        assert not prober.ready().ready


def test_golden_tweets_when_asked_often_then_proved_seldom_and_again_after_each_change(
    prober: Prober, server: FakeServer, clock: Clock, tmp_path: Path
) -> None:
    with server.http_running():
        for _ in range(50):
            assert prober.ready().ready
        assert len(server.received) == 1
        clock.now += 6
        assert prober.ready().ready
        assert len(server.received) == 2  # the proof grew old
        server.workers = {"9000": 2}
        clock.now += STATE_S
        assert prober.ready().ready
        assert len(server.received) == 3  # another process
        file = tmp_path / "tweets.golden.json"
        file.write_text(json.dumps([{"text": "fire", "score": 0.1, "label": "disaster"}]))
        assert prober.ready().code == "WRONG_ANSWERS"  # another archive
        for _ in range(50):
            assert prober.ready().code == "WRONG_ANSWERS"
        assert len(server.received) == 4  # what failed is not asked again for a second
        clock.now += FAILED_S
        assert prober.ready().code == "WRONG_ANSWERS"
        assert len(server.received) == 5


def test_ready_when_the_server_dies_then_false_with_the_next_look_although_the_proof_is_fresh(
    prober: Prober, server: FakeServer, clock: Clock
) -> None:
    with server.http_running():
        assert prober.ready().ready
    clock.now += STATE_S
    assert prober.ready().code == "NO_SERVER"


def test_workers_when_asked_for_news_then_what_was_known_before_does_not_count(
    prober: Prober, server: FakeServer, clock: Clock
) -> None:
    with server.http_running():
        assert prober.workers().ready
    assert prober.workers().ready  # not asked again so soon
    clock.now += STATE_S / 2
    assert prober.workers(since=clock.now).code == "NO_SERVER"


def test_workers_when_they_die_again_and_again_then_crash_loop_until_a_quiet_minute(
    prober: Prober, server: FakeServer, clock: Clock
) -> None:
    with server.http_running():
        assert prober.ready().ready
        for death in range(1, CRASHES + 1):
            clock.now += 5
            server.workers = {"9000": 100 + death}
            assert prober.ready().ready is (death < CRASHES)
        assert prober.ready().code == "CRASH_LOOP"
        clock.now += 61
        assert prober.ready().ready


def test_workers_when_one_of_two_dies_again_and_again_then_ready_until_both_do(
    prober: Prober, server: FakeServer, clock: Clock
) -> None:
    with server.http_running():
        for death in range(2 * CRASHES):
            clock.now += 5
            server.workers = {"9000": 100 + death, "9001": 1}
            assert prober.ready().ready
        for death in range(1, CRASHES + 1):
            clock.now += 1
            server.workers = {"9000": 105, "9001": 1 + death}
            assert prober.ready().ready is (death < CRASHES)
        assert prober.ready().code == "CRASH_LOOP"


def test_workers_when_more_are_added_then_no_crash(prober: Prober, server: FakeServer, clock: Clock) -> None:
    with server.http_running():
        for count in range(1, 9):
            clock.now += 1
            server.workers = {str(9000 + number): number for number in range(count)}
            assert prober.ready().ready


def test_probes_when_sent_through_the_gateway_then_no_key_is_needed_and_live_is_apart(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    fake.workers = {"9000": 4711}
    assert fake_gateway.ask("GET", "/live", key=None).status == 200
    ready = fake_gateway.ask("GET", "/ready", key=None)
    assert (ready.status, ready.json(), ready.headers["cache-control"]) == (200, {"status": "ready"}, "no-store")
    fake.score = 0.2
    fake.workers = {"9000": 4712}  # another process, so that no finding of before counts
    try:
        ready = fake_gateway.ask("GET", "/ready", key=None)
        assert (ready.status, ready.code, ready.headers["retry-after"]) == (503, "WRONG_ANSWERS", "2")
        assert fake_gateway.ask("GET", "/live", key=None).status == 200
    finally:
        fake.score = 0.9
    assert wait_until(lambda: fake_gateway.ask("GET", "/ready", key=None).status == 200)
    assert fake_gateway.ask("HEAD", "/ready", key=None).status == 200


def test_probe_when_hundreds_wait_then_one_question_is_pending_and_none_gets_an_older_answer() -> None:
    asked: list[float] = []
    answered: list[tuple[float, float]] = []
    release = threading.Event()

    def question(since: float) -> Readiness:
        asked.append(time.monotonic())
        assert release.wait(30)
        return Readiness(True, "READY", str(asked[-1]))

    async def waiter(probe: SharedProbe) -> None:
        began = time.monotonic()
        answered.append((began, float((await probe.ask(began)).message)))

    async def ask_all() -> None:
        with ThreadPoolExecutor(1) as executor:
            probe = SharedProbe(question, executor)
            first = asyncio.create_task(probe.ask())
            await asyncio.sleep(0.05)
            waiters = [asyncio.create_task(waiter(probe)) for _ in range(300)]
            await asyncio.sleep(0.05)
            assert len(asked) == 1
            release.set()
            await asyncio.gather(first, *waiters)

    asyncio.run(ask_all())
    assert len(asked) == 2  # one before they came, one for all of them
    assert all(found >= began for began, found in answered)


def test_ready_when_asked_by_many_at_once_while_answers_are_wrong_then_few_tweets_are_asked(
    fake_gateway: GatewayProcess, fake: FakeServer
) -> None:
    fake.score = 0.2
    fake.workers = {"9000": 4713}
    try:
        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda _: fake_gateway.ask("GET", "/ready", key=None).status, range(64)))
        assert set(statuses) == {503}
        assert len(fake.received) < 32  # one a second, and the machine may be slow
    finally:
        fake.score = 0.9
        fake.workers = {"9000": 4714}


def test_question_when_the_last_one_was_answered_in_the_same_turn_of_the_loop_then_a_new_one_is_asked() -> None:
    """A finished question waited for again gives nobody else a turn; in a thread, since nothing could end it."""
    now = Readiness(True, "READY", "now")
    found: list[Readiness] = []

    async def ask() -> None:
        with ThreadPoolExecutor(1) as executor:
            probe = SharedProbe(lambda _: now, executor)
            probe._pending = asyncio.get_running_loop().create_future()
            probe._pending.set_result(Readiness(False, "NO_SERVER", "before"))
            found.append(await probe.ask(time.monotonic()))

    asking = threading.Thread(target=lambda: asyncio.run(ask()), daemon=True)
    asking.start()
    asking.join(20)
    assert found == [now]

"""What clients see when the server behind the gateway fails, and what is tried again."""

from __future__ import annotations

import threading
import time

import pytest

from tests.ops.gateway.fake_server import ANSWER, FakeServer, wait_until, write_golden
from tests.ops.gateway.gateway_process import Answer, GatewayProcess
from tests.serving.torchserve_process import Ports


# TorchServe says 500 or 507 of a worker that died; of two killed together each takes one request with it.
@pytest.mark.parametrize(
    "failures", [[500], ["die"], [507], [500, 500], [500, "die"], [500, 507], [507, 500], [500, 500, 507]]
)
def test_prediction_when_its_first_tries_fail_then_a_later_one_answers(
    fake_gateway: GatewayProcess, fake: FakeServer, failures: list[object]
) -> None:
    fake.plan = list(failures)
    answer = fake_gateway.predict("fire")
    assert (answer.status, answer.json()) == (200, ANSWER)
    assert [one.body for one in fake.received] == [b"fire"] * (len(failures) + 1)
    assert len({one.headers["x-request-id"] for one in fake.received}) == 1


@pytest.mark.parametrize(("failure", "tries"), [(500, 3), (507, 2)])
def test_prediction_when_it_kills_worker_after_worker_then_503_after_a_few_tries(
    fake_gateway: GatewayProcess, fake: FakeServer, failure: int, tries: int
) -> None:
    fake.plan = [failure] * 10
    answer = fake_gateway.predict("fire")
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "UNAVAILABLE", "2")
    assert len(fake.received) == tries


def test_queue_when_full_then_429_at_once_and_no_second_try(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    fake.plan = [503]
    answer = fake_gateway.predict("fire", timeout_s=30)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (429, "QUEUE_FULL", "1")
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert len(fake.received) == 1


@pytest.mark.parametrize(("workers", "code"), [({}, "NO_WORKER"), (None, "NO_MODEL")])
def test_queue_when_refused_for_want_of_workers_then_503_says_so(
    fake_gateway: GatewayProcess, fake: FakeServer, workers: dict[str, int] | None, code: str
) -> None:
    time.sleep(0.3)  # the gateway's own view of the workers is this old at most
    fake.workers, fake.plan = workers, [503]
    answer = fake_gateway.predict("fire")
    assert (answer.status, answer.code) == (503, code)


def test_model_when_missing_then_503_and_not_the_servers_404(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    fake.plan = [404]
    answer = fake_gateway.predict("fire")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")
    assert b"Model" not in answer.body


def test_server_when_it_hangs_then_504_within_the_deadline(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    fake.plan = ["hang"]
    began = time.monotonic()
    answer = fake_gateway.predict("fire")
    assert (answer.status, answer.code) == (504, "DEADLINE")
    assert 2 < time.monotonic() - began < 30
    assert len(fake.received) == 1


def test_server_when_started_again_then_waiting_requests_are_answered(
    nginx: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fake = FakeServer(Ports.free())
    golden = write_golden(tmp_path_factory.mktemp("golden"))
    with GatewayProcess.start(fake.ports, golden, {"recover_wait_s": 60, "deadline_s": 90}) as gateway:
        answers: list[Answer] = []
        clients = [
            threading.Thread(
                target=lambda number=number: answers.append(gateway.predict(f"tweet {number}", timeout_s=120))
            )
            for number in range(8)
        ]
        for client in clients:
            client.start()
        time.sleep(1)
        assert answers == []
        with fake.http_running():
            for client in clients:
                client.join(120)
            assert [answer.json() for answer in answers] == [ANSWER] * 8
            assert sorted(one.body for one in fake.received) == [f"tweet {number}".encode() for number in range(8)]


def test_server_when_it_dies_with_a_request_then_the_next_one_answers_it(
    nginx: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The gateway knew a moment ago that the server was well; that must not lead it to a hasty last try."""
    fake = FakeServer(Ports.free(), plan=["hang"])
    golden = write_golden(tmp_path_factory.mktemp("golden"))
    with GatewayProcess.start(fake.ports, golden, {"recover_wait_s": 60, "deadline_s": 90}) as gateway:
        answers: list[Answer] = []
        client = threading.Thread(target=lambda: answers.append(gateway.predict("fire", timeout_s=120)))
        with fake.http_running():
            client.start()
            assert wait_until(lambda: len(fake.received) == 1)
            fake.plan = [503]
            assert gateway.predict("another").code == "QUEUE_FULL"  # the workers' state is asked for and kept
        time.sleep(0.5)
        assert answers == []
        with fake.http_running():
            client.join(120)
    assert [answer.json() for answer in answers] == [ANSWER]


def test_server_when_it_stays_away_then_503_after_the_wait(fake_gateway: GatewayProcess, fake: FakeServer) -> None:
    ports = Ports.free()  # nobody listens there
    with GatewayProcess.start(ports, fake_gateway.settings.golden_file, {"recover_wait_s": 1}) as gateway:
        answer = gateway.predict("fire")
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")

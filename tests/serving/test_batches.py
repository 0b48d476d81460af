"""A batch of the front end ends where its bodies get large: no single tweet waits for a list of thousands beside it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.serving.batch_handler import RELEASE, held
from tests.serving.torchserve_process import Ports, TorchServeProcess, get_json, make_root
from tests.serving.waiting_handler import wait_for

pytestmark = pytest.mark.serving

TIMEOUT_S = 60
QUEUE = 20
LONG_QUEUE = 250
LIMIT = 32_768  # BatchAggregator.BYTES_A_BATCH
# The front end takes waiting requests into a batch for so many ms and no longer, however many still wait. Where a test
# says what a batch holds, the delay outlasts any pause that a busy machine makes the front end take.
PATIENT_MS = 500
FILLING_MS = 5_000
CONFIG = (
    "minWorkers: {workers}\nmaxWorkers: {workers}\nbatchSize: 8\nmaxBatchDelay: {delay}\nresponseTimeout: 60\n"
    "startupTimeout: 60\njobQueueSize: {queue}\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    with start(tmp_path_factory.mktemp("batches"), workers=1) as started:
        yield started


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    with start(tmp_path_factory.mktemp("batches-of-a-patient-one"), workers=1, delay=PATIENT_MS) as started:
        yield started


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    with start(tmp_path_factory.mktemp("batches-of-two"), workers=2, queue=LONG_QUEUE) as started:
        yield started


@contextlib.contextmanager
def start(folder: Path, workers: int, delay: int = 1, queue: int = QUEUE) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    root = make_root(folder / "root", ports)
    (folder / "model-config.yaml").write_text(
        CONFIG.format(workers=workers, delay=delay, queue=queue), encoding="utf-8"
    )
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", "tweets", "--version", "1"]
    command += ["--handler", str(Path(__file__).with_name("batch_handler.py"))]
    command += ["--config-file", str(folder / "model-config.yaml"), "--export-path", str(root / "model_store")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with TorchServeProcess.start(root, ports, Path("model_store")) as started:
        started.wait_ready(TIMEOUT_S)
        while len(started.worker_pids()) < workers:
            time.sleep(0.1)
        yield started


def post(server: TorchServeProcess, body: bytes) -> Any:
    answer = requests.post(f"{server.rest_url}/predictions/tweets", data=body, timeout=TIMEOUT_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


def waiting(server: TorchServeProcess) -> int:
    status = get_json(f"{server.management_url}/models/tweets")[0]["jobQueueStatus"]
    return int(status["pendingRequests"])


def ask_in_order(server: TorchServeProcess, sizes: Sequence[int], folder: Path) -> list[Any]:
    """Hold the worker, queue bodies of these sizes one after the other, let go, and return the answers."""
    release = folder / "go"
    with ThreadPoolExecutor(len(sizes) + 1) as pool:
        first = pool.submit(post, server, RELEASE + str(release).encode())
        wait_for(held(release))
        answers: list[Future[Any]] = []
        for size in sizes:
            before = waiting(server)
            answers.append(pool.submit(post, server, b"x" * size))
            give_up_at = time.monotonic() + 10
            while waiting(server) == before and time.monotonic() < give_up_at:
                time.sleep(0.01)
        release.touch()
        first.result()
        return [answer.result() for answer in answers]


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [
        ([10, 11, 12], [[10, 11, 12]]),
        ([10, 11, 40_000, 12, 13], [[10, 11], [40_000], [12, 13]]),
        ([40_000, 10], [[40_000], [10]]),
        ([40_000, 50_000, 10], [[40_000], [50_000], [10]]),
        ([20_000, 20_001, 10_000, 10], [[20_000], [20_001, 10_000, 10]]),
        ([LIMIT - 10, 10, 11], [[LIMIT - 10, 10], [11]]),
        ([*range(1, 13)], [[*range(1, 9)], [*range(9, 13)]]),
    ],
)
def test_a_batch_ends_where_its_bodies_get_large_and_keeps_the_order(
    patient: TorchServeProcess, tmp_path: Path, sizes: list[int], batches: list[list[int]]
) -> None:
    expected = [{"batch": batch, "place": place} for batch in batches for place in range(len(batch))]
    assert ask_in_order(patient, sizes, tmp_path) == expected


def test_a_request_whose_worker_dies_before_its_batch_is_full_is_answered_by_the_next(tmp_path: Path) -> None:
    """It was taken from the queue and never sent; TorchServe's own class forgets it."""
    with start(tmp_path, workers=1, delay=FILLING_MS) as server, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(post, server, b"x" * size) for size in (10, 11)]
        time.sleep(1)  # both are in the batch then, which waits for more; if not, they wait in the queue
        (pid,) = server.worker_pids()
        os.kill(pid, signal.SIGKILL)
        found = [answer.result() for answer in answers]
    assert [one["batch"][one["place"]] for one in found] == [10, 11]


def test_no_request_is_lost_or_swapped_where_the_queue_is_full_and_bodies_are_of_all_sizes(
    server: TorchServeProcess,
) -> None:
    sizes = [(index * 7_919) % 60_000 + 1 for index in range(400)]
    with ThreadPoolExecutor(QUEUE) as pool:
        answers = list(pool.map(lambda size: post(server, b"x" * size), sizes))
    for size, answer in zip(sizes, answers, strict=True):
        assert answer["batch"][answer["place"]] == size
        assert len(answer["batch"]) == 1 or sum(answer["batch"]) <= LIMIT


def test_requests_beyond_a_full_queue_are_refused_and_those_in_it_answered(
    server: TorchServeProcess, tmp_path: Path
) -> None:
    release = tmp_path / "go"
    with ThreadPoolExecutor(3 * QUEUE) as pool:
        first = pool.submit(post, server, RELEASE + str(release).encode())
        wait_for(held(release))
        url = f"{server.rest_url}/predictions/tweets"
        answers = [pool.submit(requests.post, url, data=b"x" * 20_000, timeout=TIMEOUT_S) for _ in range(2 * QUEUE)]
        give_up_at = time.monotonic() + 10
        while waiting(server) < QUEUE and time.monotonic() < give_up_at:
            time.sleep(0.01)
        release.touch()
        first.result()
        found = [answer.result() for answer in answers]
    statuses = [answer.status_code for answer in found]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= QUEUE
    for answer in found:
        if answer.status_code == 200:
            assert json.loads(answer.content)["batch"] == [20_000]


def hold(release: Path, size: int) -> bytes:
    """Return a body of so many bytes that holds its worker."""
    return (RELEASE + str(release).encode() + b"\n").ljust(size, b"x")


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < give_up_at, "what the test waits for did not come"
        time.sleep(0.01)


def scale(server: TorchServeProcess, workers: int) -> None:
    url = f"{server.management_url}/models/tweets"
    settings: dict[str, str | int] = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
    requests.put(url, params=settings, timeout=TIMEOUT_S).raise_for_status()


@contextlib.contextmanager
def large_ones_waiting(
    server: TorchServeProcess, folder: Path, large: Sequence[bytes], small: Sequence[bytes] = ()
) -> Iterator[tuple[Future[Any], list[Future[Any]], list[Future[Any]]]]:
    """Hold one of two workers with a large request while others wait, the large ones before the small ones.

    Yields:
        The answers to the one that is computed, to the large ones and to the small ones. The file `busy` in the folder
        lets the busy worker go; it is there at the latest when the block ends.
    """
    busy, other = folder / "busy", folder / "other"
    with ThreadPoolExecutor(len(large) + len(small) + 2) as pool:
        try:
            computed = pool.submit(post, server, hold(busy, 40_000))
            wait_for(held(busy))
            second = pool.submit(post, server, hold(other, 200))
            wait_for(held(other))
            answers = [pool.submit(post, server, body) for body in large]
            wait_until(lambda: waiting(server) == len(large))
            singles = [pool.submit(post, server, body) for body in small]
            wait_until(lambda: waiting(server) == len(large) + len(small))
            other.touch()
            second.result()
            yield computed, answers, singles
        finally:
            busy.touch()
            other.touch()


def test_single_tweets_when_two_hundred_large_requests_wait_before_them_find_the_free_worker(
    two_workers: TorchServeProcess, tmp_path: Path
) -> None:
    large = [b"x" * (40_000 + index) for index in range(200)]
    small = [b"x" * (index + 1) for index in range(20)]
    with large_ones_waiting(two_workers, tmp_path, large, small) as (computed, answers, singles):
        assert sorted(answer.result()["batch"][answer.result()["place"]] for answer in singles) == [*range(1, 21)]
        for size in range(1, 21):
            assert post(two_workers, b"x" * size) == {"batch": [size], "place": 0}
        assert not any(answer.done() for answer in [computed, *answers])
        (tmp_path / "busy").touch()
        assert [answer.result()["batch"] for answer in answers] == [[len(body)] for body in large]


@pytest.mark.skipif(shutil.which("jstack") is None, reason="no jstack: what the threads do cannot be seen")
def test_the_free_worker_when_only_large_requests_wait_sleeps_until_a_request_comes(
    two_workers: TorchServeProcess, tmp_path: Path
) -> None:
    with large_ones_waiting(two_workers, tmp_path, [b"x" * 40_000] * 3) as (_, answers, _):
        wait_until(lambda: waiting(two_workers) == 0)
        for _ in range(5):
            command = ["jstack", str(two_workers.java.pid)]
            dump = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
            threads = [part for part in dump.split("\n\n") if "BatchAggregator.pollBatch" in part]
            assert len(threads) == 1
            assert "LinkedBlockingDeque" in threads[0]
        assert not any(answer.done() for answer in answers)


def test_large_requests_beyond_the_size_of_the_queue_are_refused_and_single_tweets_answered(
    two_workers: TorchServeProcess, tmp_path: Path
) -> None:
    url = f"{two_workers.rest_url}/predictions/tweets"
    with large_ones_waiting(two_workers, tmp_path, [b"x" * 40_000] * LONG_QUEUE) as (_, answers, _):
        wait_until(lambda: waiting(two_workers) == 0)
        for _ in range(5):
            assert requests.post(url, data=b"x" * 40_000, timeout=TIMEOUT_S).status_code == 503
        assert post(two_workers, b"x") == {"batch": [1], "place": 0}
        (tmp_path / "busy").touch()
        assert [answer.result()["batch"] for answer in answers] == [[40_000]] * LONG_QUEUE


def test_large_requests_when_their_worker_dies_are_taken_by_the_one_that_waits(
    two_workers: TorchServeProcess, tmp_path: Path
) -> None:
    following = tmp_path / "following"
    large = [hold(following, 40_000), b"x" * 40_001]
    with large_ones_waiting(two_workers, tmp_path, large) as (computed, answers, _):
        wait_until(lambda: waiting(two_workers) == 0)
        before = set(two_workers.worker_pids())
        dead = int(held(tmp_path / "busy").read_text(encoding="utf-8"))
        os.kill(dead, signal.SIGKILL)
        wait_for(held(following))
        assert int(held(following).read_text(encoding="utf-8")) in before - {dead}
        following.touch()
        assert [answer.result()["batch"] for answer in answers] == [[40_000], [40_001]]
        assert isinstance(computed.exception(), AssertionError)  # "Worker died"
    two_workers.wait_ready(TIMEOUT_S)


def test_large_requests_when_a_worker_is_taken_away_are_answered_by_the_one_that_stays(
    two_workers: TorchServeProcess, tmp_path: Path
) -> None:
    with large_ones_waiting(two_workers, tmp_path, [b"x" * 40_000] * 5) as (_, answers, _):
        wait_until(lambda: waiting(two_workers) == 0)
        scale(two_workers, 1)
        (tmp_path / "busy").touch()
        assert [answer.result()["batch"] for answer in answers] == [[40_000]] * 5
    scale(two_workers, 2)
    two_workers.wait_ready(TIMEOUT_S)


def test_one_of_two_workers_stays_free_of_large_requests(two_workers: TorchServeProcess, tmp_path: Path) -> None:
    go = [tmp_path / f"go{index}" for index in range(3)]
    with ThreadPoolExecutor(8) as pool:
        large = [pool.submit(post, two_workers, hold(release, 40_000)) for release in go]
        wait_for(*map(held, go))
        time.sleep(0.5)  # the other two are in the queue
        for size in range(1, 21):
            assert post(two_workers, b"x" * size) == {"batch": [size], "place": 0}
        assert not any(answer.done() for answer in large)
        # Whichever goes first: with all released they all come, one after the other.
        for release in go:
            release.touch()
        assert [answer.result() for answer in large] == [{"batch": [40_000], "place": 0}] * 3


def test_a_worker_that_died_of_a_large_request_keeps_no_turn(two_workers: TorchServeProcess, tmp_path: Path) -> None:
    release = tmp_path / "go"
    with ThreadPoolExecutor(1) as pool:
        url = f"{two_workers.rest_url}/predictions/tweets"
        lost = pool.submit(requests.post, url, data=hold(release, 40_000), timeout=TIMEOUT_S)
        wait_for(held(release))
        for pid in two_workers.worker_pids():
            os.kill(pid, signal.SIGKILL)
        assert lost.result().status_code >= 500
    release.touch()
    two_workers.wait_ready(TIMEOUT_S)
    assert post(two_workers, hold(release, 40_000))["batch"] == [40_000]
    assert post(two_workers, hold(release, 50_000))["batch"] == [50_000]


def test_small_and_large_requests_of_many_clients_are_all_answered(two_workers: TorchServeProcess) -> None:
    sizes = [(index * 7_919) % 60_000 + 1 for index in range(400)]
    with ThreadPoolExecutor(QUEUE) as pool:
        answers = list(pool.map(lambda size: post(two_workers, b"x" * size), sizes))
    for size, answer in zip(sizes, answers, strict=True):
        assert answer["batch"][answer["place"]] == size

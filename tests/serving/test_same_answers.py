"""The same tweet, the same answer: from a real TorchServe under three loads, whatever arrives beside it.

Cache and folding cannot help: no answer is kept, and within a round each text is sent once.
"""

from __future__ import annotations

import http.client
import itertools
import json
import queue
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, SCORE_STEP
from tests.serving.archive_settings import copy_with_settings
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

pytestmark = [pytest.mark.serving, pytest.mark.slow]

PATH = "/predictions/tweets"
JSON = "application/json"
TIMEOUT_S = 300  # of one request; a busy machine's, no promise
CONNECTIONS = (1, 8, 48)
ROUNDS = 3
TEXTS = {1: 48, 8: 96, 48: 156}  # of one round: a second or so on a quiet machine
# Engine -> how far a score may be from that of the tweet alone.
TOLERANCE = {"openvino": 0.0, "torchscript": SCORE_STEP}


@dataclass(frozen=True, repr=False)
class Served:
    """A server and what it says of each text alone.

    Args:
        server: keeps no answer.
        alone: text -> the number as it stands in the answer.
        tolerance: of a score.
    """

    server: TorchServeProcess
    alone: dict[str, str]
    tolerance: float

    def __repr__(self) -> str:
        return f"a server and {len(self.alone)} texts"


def texts() -> list[str]:
    """Own-written tweets, some of one word and some as long as the model reads."""
    lines = (ROOT / "scripts" / "loadtest_tweets.txt").read_text(encoding="utf-8").splitlines()
    longer = [f"{line} {' '.join(lines[: number % 12])}" for number, line in enumerate(lines)]
    return list(dict.fromkeys(" ".join(text.split()[: 1 + 7 * (number % 20)]) for number, text in enumerate(longer)))


def post(connection: http.client.HTTPConnection, body: object) -> list[str]:
    """Send a tweet or a list, and return the digits of the scores."""
    connection.request("POST", PATH, json.dumps(body).encode(), {"Content-Type": JSON})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content[:200]
    found = json.loads(content, parse_float=str)
    return [one["score"] for one in found.get("predictions", [found])]


def connect(server: TorchServeProcess) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.ports.inference, timeout=TIMEOUT_S)


@pytest.fixture(scope="module", params=list(TOLERANCE))
def served(
    real_archive: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Served]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("same") / "root", ports)
    changes = {"cache_bytes": "0", "engine": request.param}
    if request.param == "torchscript":
        changes["torch_threads"] = "1"  # its two threads wait for each other where a machine is busy
    copy_with_settings(real_archive, root / "model_store" / "tweets.mar", changes)
    with TorchServeProcess.start(root, ports, Path("model_store")) as server:
        server.wait_ready(TIMEOUT_S)
        connection = connect(server)
        alone = {text: post(connection, text)[0] for text in texts()}
        connection.close()
        yield Served(server, alone, TOLERANCE[request.param])


def jobs(order: Sequence[str], sizes: Sequence[int]) -> list[str | list[str]]:
    """Cut texts into single tweets (size 0) and lists."""
    rest = iter(order)
    found: list[str | list[str]] = []
    for size in itertools.cycle(sizes):
        part = list(itertools.islice(rest, max(1, size)))
        if not part:
            return found
        found.append(part[0] if size == 0 else part)
    return found


def send_all(server: TorchServeProcess, wanted: Sequence[str | list[str]], connections: int) -> dict[str, str]:
    """Send all jobs over so many connections at once, and return text -> digits."""
    waiting: queue.SimpleQueue[str | list[str]] = queue.SimpleQueue()
    for job in wanted:
        waiting.put(job)

    def work() -> dict[str, str]:
        connection, found = connect(server), {}
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                connection.close()
                return found
            found |= zip([job] if isinstance(job, str) else job, post(connection, job), strict=True)

    result: dict[str, str] = {}
    with ThreadPoolExecutor(connections) as pool:
        for part in [pool.submit(work) for _ in range(connections)]:
            result |= part.result()
    return result


@pytest.mark.parametrize("connections", CONNECTIONS)
@settings(
    max_examples=ROUNDS,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_score_has_the_digits_of_the_tweet_alone(served: Served, connections: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(list(served.alone)), label="order")[: TEXTS[connections]]
    # Lists beyond 64 are computed by themselves, those below together with the single tweets of the batch.
    sizes = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 3, 20, 70]), min_size=1, max_size=12), label="sizes")
    found = send_all(served.server, jobs(order, sizes), connections)
    assert found.keys() == set(order)
    if served.tolerance == 0:
        assert found == {text: served.alone[text] for text in order}
    else:
        for text, digits in found.items():
            assert float(digits) == pytest.approx(float(served.alone[text]), abs=served.tolerance)

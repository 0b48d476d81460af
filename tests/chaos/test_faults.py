"""Faults under load: through the client no tweet is lost, none is answered wrongly, none twice.

`make chaos` (CHAOS=1) tries every fault on the archive that TRIED_ARCHIVE names; the suite tries one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from disaster_tweets_client import GrpcClient, RestClient
from tests.chaos.faults import FAULTS, Fault, small_disk
from tests.chaos.recorded import PATIENCE_S, RESPONSE_TIMEOUT_S, SETTINGS, TWEETS_AFTER, TWEETS_BEFORE, Recorded, judge
from tests.chaos.stream import Stream
from tests.chaos.supervised_server import SupervisedServer
from tests.run_record import write_record
from tests.serving.archive_settings import copy_with_settings
from tests.serving.settings_server import ask
from tests.serving.torchserve_process import Ports, make_root

pytestmark = pytest.mark.serving

IS_LONG = "CHAOS" in os.environ
QUEUE = 4  # in place of 1,000, so that few clients overflow it


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    found: Recorded = []
    yield found
    if IS_LONG:
        write_record("chaos", {"response_timeout_s": RESPONSE_TIMEOUT_S, "faults": found})


@pytest.fixture(scope="module")
def supervised(tried_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisedServer]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("chaos") / "root", ports)
    copy_with_settings(tried_archive, root / "model_store" / "tweets.mar", SETTINGS)
    with small_disk(root / "logs", 4), SupervisedServer.start(root, ports) as server:
        server.wait_ready()
        yield server


def rest_client(server: SupervisedServer) -> RestClient:
    return RestClient(f"http://127.0.0.1:{server.ports.inference}", timeout_s=PATIENCE_S, retries=None)


def ask_once(server: SupervisedServer) -> int:
    """Ask as a client that does not try again, and return the status."""
    return ask(server.ports.inference, "POST", "/predictions/tweets", b"Dam breaks above the town", timeout_s=20).status


def grpc_client(server: SupervisedServer) -> GrpcClient:
    return GrpcClient(f"127.0.0.1:{server.ports.grpc_inference}", timeout_s=PATIENCE_S, retries=None)


@pytest.mark.parametrize("protocol", ["REST", "gRPC"] if IS_LONG else ["REST"])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.short or IS_LONG], ids=lambda fault: fault.name)
def test_a_fault_under_load_costs_no_tweet_its_answer(
    supervised: SupervisedServer, fault: Fault, protocol: str, recorded: Recorded
) -> None:
    if "disk" in fault.name and not os.path.ismount(supervised.root / "logs"):
        pytest.skip("no small disk: mounting a tmpfs needs root")
    supervised.wait_ready()
    make_client = partial(rest_client if protocol == "REST" else grpc_client, supervised)
    with Stream(make_client, partial(ask_once, supervised)) as stream:
        stream.wait_for(TWEETS_BEFORE)
        fault_at = time.monotonic()
        with fault.inflict(supervised):
            stream.wait_for(TWEETS_AFTER, PATIENCE_S)
    supervised.wait_ready()
    with rest_client(supervised) as client:
        stream.check(client.predict)
    judge(stream, fault.name, fault_at, protocol, recorded)


if IS_LONG:  # a server of its own, for settings of its own

    def test_a_queue_that_overflows_costs_no_tweet_its_answer(
        tried_archive: Path, tmp_path: Path, recorded: Recorded
    ) -> None:
        ports = Ports.free()
        root = make_root(tmp_path / "root", ports)
        settings = {**SETTINGS, "jobQueueSize": str(QUEUE), "batchSize": "1"}
        copy_with_settings(tried_archive, root / "model_store" / "tweets.mar", settings)
        with SupervisedServer.start(root, ports) as server:
            server.wait_ready()
            fault_at = time.monotonic()
            with Stream(partial(rest_client, server), partial(ask_once, server), threads=24, size=64) as stream:
                stream.wait_for(TWEETS_BEFORE + 3 * TWEETS_AFTER, PATIENCE_S)
            with rest_client(server) as client:
                stream.check(client.predict)
        judge(stream, f"queue of {QUEUE} under 25 clients", fault_at, "REST", recorded)
        assert stream.seen["HTTP 503"] + stream.seen["HTTP 200"] == sum(stream.seen.values())


def test_the_supervisor_when_stopped_leaves_no_process_and_ends_with_0(
    supervised: SupervisedServer, tmp_path: Path
) -> None:
    """Last of this file: it stops the server."""
    server = supervised.running()
    family = [server.java.pid, *server.worker_pids()]
    assert supervised.stop() == 0
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]

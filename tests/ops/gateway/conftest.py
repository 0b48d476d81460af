"""Gateways for the tests that do not change them: one before a fake server, one before the session's TorchServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.gateway.fake_server import FakeServer, write_golden
from tests.ops.gateway.gateway_process import GatewayProcess, require_nginx
from tests.serving.torchserve_process import Ports, TorchServeProcess


@pytest.fixture(scope="session")
def nginx() -> None:
    """Skip early where nginx is missing, before a model is exported for nothing."""
    require_nginx()


@pytest.fixture(scope="session")
def shared_fake(nginx: None) -> Iterator[FakeServer]:
    with FakeServer(Ports.free()).running() as fake:
        yield fake


@pytest.fixture
def fake(shared_fake: FakeServer) -> FakeServer:
    """The server behind `fake_gateway`, with no memory of the tests before."""
    shared_fake.plan, shared_fake.workers, shared_fake.grpc_code = [], {"9000": 1}, None
    shared_fake.received, shared_fake.grpc_metadata = [], []
    return shared_fake


@pytest.fixture(scope="session")
def fake_gateway(shared_fake: FakeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Before the fake server; do not stop or reconfigure it."""
    golden = write_golden(tmp_path_factory.mktemp("golden"))
    changes = {"header_timeout_s": 1, "body_timeout_s": 1, "deadline_s": 3, "recover_wait_s": 2, "golden_every_s": 0}
    with GatewayProcess.start(shared_fake.ports, golden, changes) as process:
        yield process


@pytest.fixture(scope="session")
def golden_file(nginx: None, real_build: Path) -> Path:
    """The golden answers of the default model's archive."""
    return real_build / "store" / "tweets.golden.json"


@pytest.fixture(scope="session")
def gateway(nginx: None, server: TorchServeProcess, golden_file: Path) -> Iterator[GatewayProcess]:
    """Before the real TorchServe of the session; do not stop or reconfigure it."""
    # A busy machine is slow, not wrong.
    with GatewayProcess.start(server.ports, golden_file, {"golden_deadline_s": 60}) as process:
        yield process


@pytest.hookimpl
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A TLS connection that the gateway refuses is closed by the collector of whichever test comes next, with a warning.
    unclosed = "ignore:Exception ignored in.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(unclosed))

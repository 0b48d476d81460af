"""A supervised server behind a gateway, for all tests of this folder that need both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.recorded import HEADER_TIMEOUT_S, SETTINGS
from tests.chaos.supervised_server import SupervisedServer
from tests.ops.gateway.gateway_process import GatewayProcess
from tests.serving.archive_settings import copy_with_settings
from tests.serving.torchserve_process import Ports, make_root


@pytest.fixture(scope="package")
def guarded(
    tried_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SupervisedServer, GatewayProcess]]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("guarded") / "root", ports)
    copy_with_settings(tried_archive, root / "model_store" / "tweets.mar", SETTINGS)
    golden = root / "model_store" / "tweets.golden.json"
    golden.write_text("[]", encoding="utf-8")  # /ready is tested elsewhere; here it is only asked for workers
    limits = {"header_timeout_s": HEADER_TIMEOUT_S, "body_timeout_s": HEADER_TIMEOUT_S, "address_connections": 1000}
    with (
        SupervisedServer.start(root, ports) as server,
        GatewayProcess.start(ports, golden, limits) as gateway,
    ):
        server.wait_ready()
        yield server, gateway

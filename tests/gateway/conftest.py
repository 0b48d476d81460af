"""One gateway before the session's TorchServe, for the tests that change neither."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.gateway_process import GatewayProcess, require_nginx
from tests.serving.torchserve_process import TorchServeProcess


@pytest.fixture(scope="session")
def nginx() -> None:
    """Skip early where nginx is missing, before a model is exported for nothing."""
    require_nginx()


@pytest.fixture(scope="session")
def golden_file(nginx: None, real_build: Path) -> Path:
    """The golden answers of the default model's archive."""
    return real_build / "store" / "tweets.golden.json"


@pytest.fixture(scope="session")
def gateway(nginx: None, server: TorchServeProcess, golden_file: Path) -> Iterator[GatewayProcess]:
    """Before the real TorchServe of the session; do not stop or reconfigure it."""
    with GatewayProcess.start(server.ports, golden_file) as process:
        yield process

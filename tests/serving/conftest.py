"""One real TorchServe with the default model, for all tests that only ask it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root


@pytest.fixture(scope="session")
def server(real_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    """Started by the user's bare command; do not stop or reconfigure it."""
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("server") / "root", ports)
    shutil.copyfile(real_archive, root / "model_store" / "tweets.mar")
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=120)
        yield process

"""A server of its own for fuzzing: no cache, so that each good neighbour is classified in its batch each time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.archive_settings import copy_with_settings
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root


@pytest.fixture(scope="package")
def fuzzed_server(tried_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("fuzz") / "root", ports)
    # One thread: two of them wait for each other where a machine is busy.
    settings = {"cache_bytes": "0", "torch_threads": "1"}
    copy_with_settings(tried_archive, root / "model_store" / "tweets.mar", settings)
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=180)
        yield process

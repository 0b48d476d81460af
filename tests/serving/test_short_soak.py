"""Twenty seconds of `make soak` on a real server: every kind of request, each answer right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops.load import soak
from tests.serving.torchserve_process import TorchServeProcess

pytestmark = pytest.mark.serving


def test_a_short_soak_of_mixed_traffic_has_no_error(server: TorchServeProcess, tmp_path: Path) -> None:
    arguments = ["--minutes", "0.25", "--calibrate-s", "4", "--share", "0.5", "--out", str(tmp_path / "soak.json")]
    arguments += ["--rest-url", server.rest_url, "--grpc-target", server.grpc_target, "--pid", str(server.java.pid)]
    # A busy machine stalls, and 15 s are too few to tell a leak from warming up: only answers are judged here.
    loose = ["--max-worker-growth-mb", "1000", "--max-files-growth", "1000", "--max-latency-factor", "1000"]
    assert soak.main([*arguments, *loose]) == 0
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert figures["errors"] == 0
    assert figures["requests"] == sum(figures["kinds"].values()) > 0

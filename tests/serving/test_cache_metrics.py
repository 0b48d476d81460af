"""Hits and misses of the answer cache on the metrics port of a real TorchServe."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.serving.archive_settings import copy_with_settings
from tests.serving.torchserve_process import Ports, TorchServeProcess, get_json, make_root

pytestmark = pytest.mark.serving

PATIENCE_S = 60
SAMPLE = re.compile(r"^tweetclf_answer_cache_(hits|misses)_total\{(.*)\} ([0-9.]+)$", re.MULTILINE)


def scrape(server: TorchServeProcess) -> str:
    return requests.get(f"{server.metrics_url}/metrics", timeout=10).text


def counted(server: TorchServeProcess) -> dict[str, float]:
    return {name: float(value) for name, _, value in SAMPLE.findall(scrape(server))}


def wait_for(server: TorchServeProcess, expected: dict[str, float]) -> None:
    """The front end reads the worker's lines on a thread of its own, so they arrive a moment after the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := counted(server)) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == expected


def ask(server: TorchServeProcess, body: object) -> Any:
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.rest_url}/predictions/tweets", data=data, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200
    return answer.json()


def start(archive: Path, folder: Path, settings: dict[str, str]) -> TorchServeProcess:
    ports = Ports.free()
    root = make_root(folder / "root", ports)
    copy_with_settings(archive, root / "model_store" / "tweets.mar", {"torch_threads": "1", **settings})
    return TorchServeProcess.start(root, ports, Path("model_store"))


def test_hits_and_misses_of_one_worker_are_counted_exactly_and_outlive_it(tiny_archive: Path, tmp_path: Path) -> None:
    with start(tiny_archive, tmp_path, {"minWorkers": "1", "maxWorkers": "1"}) as server:
        server.wait_ready(PATIENCE_S)
        wait_for(server, {"hits": 0, "misses": 0})
        for text in ("fire zqx", "flood zqx", "fire zqx", "storm zqx", "fire zqx"):
            ask(server, text)
        wait_for(server, {"hits": 2, "misses": 3})
        ask(server, ["fire zqx", "quake zqx", "quake zqx", "river zqx"])  # equal texts of a batch are one lookup
        ask(server, "fire zqx")  # and what waited for its turn is told
        wait_for(server, {"hits": 4, "misses": 5})
        (model,) = get_json(f"{server.management_url}/models/tweets?customized=true")
        facts = model["customizedMetadata"]
        assert {name: facts["answer_cache"][name] for name in ("hits", "misses")} == {"hits": 4, "misses": 5}
        text = scrape(server)
        assert "# TYPE tweetclf_answer_cache_hits_total counter" in text
        labels = dict(part.split("=", 1) for part in SAMPLE.findall(text)[0][1].rstrip(",").split(","))
        assert labels.keys() == {"ModelName", "Level", "Hostname"}
        assert labels["ModelName"] == '"tweets"'
        assert "zqx" not in text
        # Java and the pipe are quiet about it: no line of a counter reaches a log.
        assert b"tweetclf_answer_cache" not in server.logged_bytes()

        (pid,) = server.worker_pids()
        assert facts["worker_pid"] == pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while server.worker_pids() in ([], [pid]) and time.monotonic() < deadline:
            time.sleep(0.05)
        server.wait_ready(PATIENCE_S)
        ask(server, "fire zqx")  # the new worker's cache is empty
        wait_for(server, {"hits": 4, "misses": 6})


def test_lookups_of_two_workers_add_up(tiny_archive: Path, tmp_path: Path) -> None:
    with start(tiny_archive, tmp_path, {"minWorkers": "2", "maxWorkers": "2"}) as server:
        server.wait_ready(PATIENCE_S)
        assert len(server.worker_pids()) == 2
        for number in range(40):
            ask(server, f"fire {number % 5}")
        deadline = time.monotonic() + PATIENCE_S
        while sum((found := counted(server)).values()) < 40 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert found["hits"] + found["misses"] == 40
        assert 5 <= found["misses"] <= 10  # each worker meets each text once

"""A damaged archive is never served by a real TorchServe, and the log says which file."""

from __future__ import annotations

import shutil
import time
import zipfile
from pathlib import Path

import pytest
import requests

from tests.serving.torchserve_process import Ports, TorchServeProcess, get_json, make_root

pytestmark = pytest.mark.serving


def test_an_archive_with_a_flipped_bit_is_refused_with_the_files_name(real_archive: Path, tmp_path: Path) -> None:
    ports = Ports.free()
    root = make_root(tmp_path / "root", ports)
    with zipfile.ZipFile(real_archive) as old, zipfile.ZipFile(root / "model_store" / "tweets.mar", "w") as new:
        for name in old.namelist():
            content = bytearray(old.read(name))
            if name == "bundle/model.pt":
                content[len(content) // 2] ^= 1
            new.writestr(name, bytes(content))
    with TorchServeProcess.start(root, ports, Path("model_store")) as server:
        deadline = time.monotonic() + 60
        while b"model.pt has sha256" not in server.logged_bytes() and time.monotonic() < deadline:
            time.sleep(0.2)
        logged = server.logged_bytes()
        assert b"model.pt has sha256" in logged
        assert b"the file is damaged or was replaced; export again" in logged
        (model,) = get_json(f"{server.management_url}/models/tweets")
        assert not [worker for worker in model["workers"] if worker["status"] == "READY"]
        with pytest.raises(requests.RequestException):
            requests.post(f"{server.rest_url}/predictions/tweets", data=b"fire", timeout=1).raise_for_status()


def test_the_bare_command_works_a_second_and_third_time(real_archive: Path, tmp_path: Path) -> None:
    ports = Ports.free()
    root = make_root(tmp_path / "root", ports)
    shutil.copyfile(real_archive, root / "model_store" / "tweets.mar")
    for _ in range(3):
        with TorchServeProcess.start(root, ports, Path("model_store")) as server:
            server.wait_ready(120)
            response = requests.post(
                f"{server.rest_url}/predictions/tweets", data="Dam breaks above the town", timeout=30
            )
            assert response.status_code == 200

"""The files and the command of the server's image, without the image: the Dockerfile's own words, a real TorchServe."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.serve.supervisor import STOP_TIMEOUT_S
from tests.chaos.supervised_server import SupervisedServer
from tests.conftest import ROOT
from tests.serving.canned_archive import build_canned_archive
from tests.serving.settings_server import ask
from tests.serving.torchserve_process import Ports, is_alive, write_config
from tests.support.dockerfile import copy_words, read_dockerfile

pytestmark = pytest.mark.serving

(SERVER,) = [stage for stage in read_dockerfile(ROOT / "Dockerfile") if stage.name == "server"]


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a canned model in `store` and the key that signed it in `keys`; read-only."""
    folder = tmp_path_factory.mktemp("signed")
    build_canned_archive(folder / "store", folder / "keys", "1", "Flood")
    return folder


def fill(root: Path, ports: Ports, signed: Path) -> None:
    """Put into a folder what the last stage puts into /srv; what it takes from other stages is the canned model."""
    for instruction in SERVER.instructions:
        stage, sources, target = copy_words(instruction.text) if instruction.name == "COPY" else ("", [], "")
        for path in (path for source in sources if not stage for path in sorted(ROOT.glob(source))):
            if path.is_dir():
                shutil.copytree(path, root / target)
            else:
                (root / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, root / target)
    (root / "logs").mkdir()
    (root / "logs" / "console.log").touch()  # where TorchServeProcess looks
    write_config(root, ports)
    shutil.copytree(signed / "store", root / "model_store")
    shutil.copytree(signed / "keys" / "trusted", root / ".keys" / "trusted")


def with_own_python(words: list[str]) -> list[str]:
    return [sys.executable if word == "python" else word for word in words]


@pytest.fixture
def started(signed: Path, tmp_path: Path) -> Iterator[SupervisedServer]:
    root, ports = tmp_path / "srv", Ports.free()
    root.mkdir()
    fill(root, ports, signed)
    temp = Path(tempfile.mkdtemp(prefix="ts-"))
    # As in the image: no virtual environment is activated beyond PATH, and a variable of the machine changes nothing.
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(temp),
        "TEMP": str(temp),
        "TS_CONFIG_FILE": str(root / "another.properties"),
    }
    with (root / "console.log").open("wb") as console:
        child = subprocess.Popen(
            with_own_python(SERVER.words("CMD")),
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    with SupervisedServer(root, ports, temp, child) as server:
        server.wait_ready()
        yield server


def test_command_of_the_image_when_it_runs_then_is_healthy_and_ends_with_0_on_sigterm(
    started: SupervisedServer,
) -> None:
    environment = {**os.environ, "TMPDIR": str(started.temp)}
    health = subprocess.run(
        with_own_python(SERVER.words("HEALTHCHECK")[-4:]),
        cwd=started.root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert health.returncode == 0, health.stderr
    assert "answers 3 golden tweets right" in health.stdout
    family = psutil.Process(started.supervisor.pid).children(recursive=True)
    assert len(family) >= 2  # Java and a worker at least
    started.supervisor.terminate()  # what the init passes on
    assert started.supervisor.wait(STOP_TIMEOUT_S + 30) == 0
    assert not [process for process in family if is_alive(process)]
    assert "stopped, as asked" in started.console()


def test_archive_that_is_changed_while_it_is_served_when_java_dies_then_is_refused_with_1(
    started: SupervisedServer,
) -> None:
    archive = started.root / "model_store" / "tweets.mar"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert ask(started.ports.inference, "POST", "/predictions/tweets", b"Flood", timeout_s=60).status == 200
    os.kill(started.running().java.pid, signal.SIGKILL)
    assert started.supervisor.wait(120) == 1
    assert "REFUSED: tweets.mar has" in started.console()
    assert started.console().count("started pid") == 1

"""What somebody who reaches the ports can do: nothing but ask for predictions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run_record import write_record
from tests.serving.attacks import ATTACKS, Attack
from tests.serving.settings_server import build_echo_archive
from tests.serving.torchserve_process import Ports, TorchServeProcess, make_root

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeProcess]:
    ports = Ports.free()
    root = make_root(tmp_path_factory.mktemp("attacks") / "root", ports)
    build_echo_archive(root / "model_store", "echo")
    with TorchServeProcess.start(root, ports, Path("model_store")) as process:
        process.wait_ready(timeout_s=180)
        yield process


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, str]]:
    found: dict[str, str] = {}
    yield found
    write_record("attacks", {"archive": "a handler that echoes", "attacks": found})


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_on_the_ports_fails(attacked: TorchServeProcess, attack: Attack, outcomes: dict[str, str]) -> None:
    outcomes[attack.name] = attack.carry_out(attacked)
    assert attacked.restart_count == 0

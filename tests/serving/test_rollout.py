"""Models change behind the real gateway, with real TorchServes and a steady load: no request is lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.rollout.slots import SLOTS, Slot
from tests.conftest import ROOT
from tests.ops.gateway.gateway_process import GatewayProcess, require_nginx
from tests.serving.canned_archive import build_canned_archive
from tests.serving.steady_load import SteadyLoad
from tests.serving.torchserve_process import Ports, make_root

SWITCHES = 2  # under load: one promote, one rollback
pytestmark = pytest.mark.serving


def test_promote_bad_promotes_and_rollback_when_under_load_then_every_request_is_answered_right(
    tmp_path: Path,
) -> None:
    require_nginx()
    keys = tmp_path / "keys"
    one = build_canned_archive(tmp_path / "one", keys, "one", "Flood")
    two = build_canned_archive(tmp_path / "two", keys, "two", "Flood w")
    wrong = build_canned_archive(tmp_path / "wrong", keys, "wrong", "Flood", golden_word="mixtape")
    broken = Path(shutil.copytree(two.parent, tmp_path / "broken"), two.name)
    broken.write_bytes(broken.read_bytes()[:-1])
    sample = tmp_path / "sample.txt"
    sample.write_text("Flood water on Main Street\nnothing at all\n")

    root = make_root(tmp_path / "root", Ports.free())
    (root / "deploy").symlink_to(ROOT / "deploy")  # the gateway's templates
    # No server yet: the first promote takes the place of none.
    with GatewayProcess.start(Ports.free(), one.with_suffix(".golden.json")) as gateway:

        def rollout(command: str, *words: str) -> subprocess.CompletedProcess[str]:
            options = ["--root", str(root), "--settings", str(gateway.file), "--trusted-keys", str(keys / "trusted")]
            options += ["--shadow", str(sample), "--watch-s", "1", "--start-timeout-s", "300", "--drain-s", "120"]
            program = [sys.executable, "-m", "ops.rollout.commands", *options]
            program += [word for word in words if word.startswith("--")]
            program += [command, *(word for word in words if not word.startswith("--"))]
            return subprocess.run(program, capture_output=True, text=True, timeout=600)

        try:
            first = rollout("promote", str(one), "--no-shadow")
            assert first.returncode == 0, first.stderr + first.stdout
            with SteadyLoad(gateway.settings.rest_address.port, gateway.tls, gateway.key) as load:
                load.wait_for("one")

                second = rollout("promote", str(two))
                assert second.returncode == 0, second.stderr + second.stdout
                assert "2 shadow tweets: 0 with another label (0.0%)" in second.stdout
                assert "the server before was idle and is stopped" in second.stdout
                load.wait_for("two")
                assert running(root) == {"green"}

                refused = rollout("promote", str(broken))
                assert refused.returncode == 1
                assert "its signed manifest says" in refused.stderr

                failed = rollout("promote", str(wrong))
                assert failed.returncode == 1
                assert "golden tweets were answered wrongly" in failed.stderr
                assert running(root) == {"green"}
                load.wait_for("two")

                back = rollout("rollback")
                assert back.returncode == 0, back.stderr + back.stdout
                load.wait_for("one")
                assert running(root) == {"blue"}

            status = rollout("status").stdout
            assert re.search(r"serves: blue on \S+, model one, 3 golden tweets answered right", status)
            assert "before: green" in status
            counts = load.counts
            print(f"answered {dict(counts.versions)}, failed {len(counts.failures)}, reconnected {counts.reconnected}")
            assert counts.failures == [], counts
            assert counts.reconnected <= 2 * SWITCHES  # kept connections that were idle when nginx's workers changed
            assert set(counts.versions) == {"one", "two"}
        finally:
            stop_slots(root)


def running(root: Path) -> set[str]:
    """Names of the slots whose server runs."""
    return {folder.name for folder in (root / SLOTS).iterdir() if Slot(folder.resolve()).process is not None}


def stop_slots(root: Path) -> None:
    if (root / SLOTS).is_dir():
        for folder in (root / SLOTS).iterdir():
            Slot(folder.resolve()).stop()

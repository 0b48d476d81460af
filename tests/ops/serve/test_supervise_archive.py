"""An archive that nobody trusted signed is never served: not at the first start, and not when it was changed since."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.serve import supervisor as supervise
from ops.serve.supervisor import main
from tests.ops.serve.test_supervise import command, is_gone, pids, wait_until
from tests.support.signed_archive import make_signed_folder

Damage = Callable[[Path], None]


def flip_a_bit(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)


def remove_signature(archive: Path) -> None:
    archive.with_suffix(".manifest.sig").unlink()


def remove_archive(archive: Path) -> None:
    archive.unlink()


def distrust_everybody(archive: Path) -> None:
    (archive.parents[1] / ".keys/trusted/this-machine.pem").unlink()


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "BACK_OFF_BASE_S", 0.01)


def run(folder: Path, then: str) -> int:
    return main(["--folder", str(folder), "--", *command(folder / "starts", then)])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_bit, "its signed manifest says"),
        (remove_signature, "tweets.mar is not signed"),
        (remove_archive, "cannot be read"),
        (distrust_everybody, "no trusted key"),
    ],
)
def test_an_archive_that_does_not_verify_when_starting_then_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage, reason: str
) -> None:
    damage(make_signed_folder(tmp_path))
    assert run(tmp_path, "sys.exit(3)") == 1
    said = capsys.readouterr().err
    assert "supervise: REFUSED: " in said
    assert reason in said
    assert "started pid" not in said
    assert pids(tmp_path / "starts") == []


@pytest.mark.parametrize("damage", [flip_a_bit, remove_signature])
def test_an_archive_that_is_changed_while_served_when_the_server_dies_then_is_not_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Damage
) -> None:
    archive, starts = make_signed_folder(tmp_path), tmp_path / "starts"

    def change_then_let_die() -> None:
        wait_until(lambda: len(pids(starts)) == 1)
        damage(archive)
        (tmp_path / "die").touch()

    helper = threading.Thread(target=change_then_let_die)
    helper.start()
    status = run(tmp_path, f"while not pathlib.Path({str(tmp_path / 'die')!r}).exists(): time.sleep(0.05)")
    helper.join()
    said = capsys.readouterr().err
    assert status == 1
    assert said.count("started pid") == 1
    assert said.index("starting it again") < said.index("REFUSED: ")
    assert len(pids(starts)) == 1
    wait_until(lambda: is_gone(pids(starts)[0]))


def test_an_archive_that_stays_as_signed_when_the_server_dies_then_is_verified_and_served_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_signed_folder(tmp_path)
    starts = tmp_path / "starts"
    helper = threading.Thread(
        target=lambda: (wait_until(lambda: len(pids(starts)) == 3), os.kill(os.getpid(), signal.SIGTERM))
    )
    helper.start()
    status = run(tmp_path, f"time.sleep(300 if open({str(starts)!r}).read().count(chr(10)) == 3 else 0)")
    helper.join()
    said = capsys.readouterr().err
    assert status == 0
    assert said.count("model 1, 5 files as signed by this-machine") == said.count("started pid") == 3


def test_a_stop_that_comes_while_verifying_then_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_signed_folder(tmp_path)
    verify = supervise.verify_archive

    def told_to_stop(*arguments: Path) -> supervise.Verified:
        os.kill(os.getpid(), signal.SIGTERM)
        return verify(*arguments)

    monkeypatch.setattr(supervise, "verify_archive", told_to_stop)
    assert run(tmp_path, "time.sleep(300)") == 0
    assert "stopped, as asked" in capsys.readouterr().err
    assert pids(tmp_path / "starts") == []

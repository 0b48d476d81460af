"""A build that fails, is killed or is interrupted leaves the archive of before, with its signature, as it was."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from export import __main__ as command
from export import archive as archive_module
from export import build, verify
from export.archive import last_words, manifest_path
from export.signing import TRUSTED, SigningError, is_signed
from export.torchscript_file import save_torchscript
from export.verify import VerifyError
from ops.archive.contents import ArchiveRefusedError
from ops.archive.signature import verify_archive
from tests.support.signed_archive import FILES, write_zip


class Export:
    """The steps of a build that need a model, in miniature; a test may replace each of them.

    Args:
        folder: everything is written there.
    """

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "store" / "tweets.mar"
        self.bundle = folder / "build" / "bundle"
        self.keys = folder / "keys"

    def run(self) -> dict[str, Any]:
        folder = self.keys.parent
        return build.build(folder, self.bundle, self.archive, self.keys, say=lambda line: None, int8=False)

    def verified(self) -> str:
        """Return the hash of an archive that may be served."""
        return verify_archive(self.archive, self.keys / TRUSTED).archive_sha256

    def contents(self) -> dict[str, bytes]:
        """Return every file that an export writes, by name; the lock is none of them."""
        files = (path for folder in (self.archive.parent, self.bundle.parent) for path in sorted(folder.rglob("*")))
        return {str(path): path.read_bytes() for path in files if path.is_file() and path.name != ".export.lock"}


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    made = iter(range(100))

    def write_bundle(model: Path, folder: Path, *_: object) -> SimpleNamespace:
        folder.mkdir()
        (folder / "bundle.json").write_text(f"build {next(made)}")
        return SimpleNamespace(model_version="1", facts={})

    monkeypatch.setattr(build, "inputs_hash", lambda model: "inputs")
    monkeypatch.setattr(build, "write_bundle", write_bundle)
    monkeypatch.setattr(
        build,
        "write_archive",
        lambda bundle, archive, version: write_zip(
            archive, {**FILES, "bundle/bundle.json": (bundle / "bundle.json").read_bytes()}
        ),
    )
    monkeypatch.setattr(build, "verify", lambda archive: [{"text": "x", "score": 0.5, "label": "disaster"}])
    return Export(tmp_path)


def test_build_when_every_step_succeeds_then_leaves_an_archive_that_verifies(export: Export) -> None:
    manifest = export.run()
    assert export.verified() == manifest["archive_sha256"]
    assert is_signed(manifest_path(export.archive), export.keys)
    assert sorted(path.name for path in export.archive.parent.iterdir()) == [
        *("tweets.golden.json", "tweets.manifest.json", "tweets.manifest.sig", "tweets.mar"),
    ]
    assert [path.name for path in export.bundle.parent.iterdir()] == ["bundle"]
    export.archive.with_suffix(".golden.json").write_text("[]")
    with pytest.raises(ArchiveRefusedError, match="golden"):
        export.verified()


def test_build_when_done_again_then_replaces_archive_and_bundle(export: Export) -> None:
    first = export.run()
    second = export.run()
    assert first["archive_sha256"] != second["archive_sha256"] == export.verified()
    assert (export.bundle / "bundle.json").read_text() == "build 1"


def refuse(*_: object) -> None:
    raise VerifyError("a golden sample was answered wrongly")


def refuse_to_sign(*_: object) -> None:
    raise SigningError("no key")


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "tweets.mar")


def be_interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failure", [refuse, refuse_to_sign, no_space, be_interrupted])
@pytest.mark.parametrize("step", ["write_bundle", "write_archive", "write_manifest", "verify", "sign", "prove"])
def test_build_when_a_step_fails_then_all_files_of_before_stay_and_nothing_else(
    export: Export, monkeypatch: pytest.MonkeyPatch, step: str, failure: Callable[..., None]
) -> None:
    export.run()
    before, good = export.contents(), export.verified()
    with monkeypatch.context() as broken:
        broken.setattr(build, step, failure)
        with pytest.raises((VerifyError, SigningError, OSError, KeyboardInterrupt)):
            export.run()
    assert export.contents() == before
    assert export.verified() == good
    assert not list(export.keys.parent.rglob(".building-*"))


@pytest.mark.parametrize("renames", range(6))
def test_build_when_killed_between_two_renames_then_the_mixture_is_not_served_and_the_next_export_replaces_it(
    export: Export, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    first = export.run()["archive_sha256"]
    done = [0]

    def killed_after(function: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def rename(path: Path, target: Path) -> Path:
            if done[0] == renames:
                raise KeyboardInterrupt  # no code of ours runs after it, but that of the temporary folders
            done[0] += 1
            return function(path, target)

        return rename

    with monkeypatch.context() as killed:
        killed.setattr(Path, "replace", killed_after(Path.replace))
        killed.setattr(Path, "rename", killed_after(Path.rename))
        with pytest.raises(KeyboardInterrupt):
            export.run()
    try:
        assert export.verified() == first
        served = True
    except ArchiveRefusedError:
        served = False
    assert served == (renames <= 3)  # two of the bundle, and the golden answers, which are those of before
    assert export.run()["archive_sha256"] == export.verified()


def test_build_when_the_bundle_folder_holds_something_else_then_refuses_and_deletes_nothing(export: Export) -> None:
    export.bundle.mkdir(parents=True)
    (export.bundle / "thesis.tex").write_text("years of work")
    with pytest.raises(build.ExportError, match=r"holds no bundle\.json; expected an earlier bundle"):
        export.run()
    assert (export.bundle / "thesis.tex").read_text() == "years of work"
    (export.bundle / "thesis.tex").unlink()
    export.run()  # an empty folder is no loss


def test_build_when_the_new_bundle_cannot_be_put_in_place_then_the_old_one_comes_back(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.run()
    before, rename = export.contents(), Path.rename

    def only_the_first(path: Path, target: Path) -> Path:
        if path.name == "bundle" and target == export.bundle and ".building-" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", only_the_first)
    with pytest.raises(OSError, match="Input/output error"):
        export.run()
    assert export.contents() == before


def arguments(export: Export) -> list[str]:
    folders = {"archive": export.archive, "bundle": export.bundle, "keys": export.keys, "model": export.keys.parent}
    return [word for name, folder in folders.items() for word in (f"--{name}", str(folder))]


def test_main_when_the_disk_is_full_then_says_so_and_that_the_archive_is_as_it_was(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export.run()
    monkeypatch.setattr(build, "write_archive", no_space)
    assert command.main(arguments(export)) == 1
    assert capsys.readouterr().err == (
        "export refused: tweets.mar: No space left on device; an archive of before is as it was\n"
    )
    export.verified()


def test_main_when_the_error_names_no_file_then_both_folders_are_named(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(build, "write_bundle", full)
    assert command.main(arguments(export)) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        f"export refused: {export.archive.parent} or {export.bundle.parent}: No space left on device"
    )


def test_main_when_a_killed_export_left_its_folder_then_removes_it(export: Export) -> None:
    left = export.archive.parent / ".building-dead"
    left.mkdir(parents=True)
    (left / "tweets.mar").write_text("half")
    assert command.main(arguments(export)) == 0
    assert not left.exists()


def test_main_when_another_export_is_running_then_says_so_and_waits_for_it(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[bool] = []

    def flock(_: object, operation: int) -> None:
        asked.append(bool(operation & fcntl.LOCK_NB))
        if operation & fcntl.LOCK_NB:
            raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", flock)
    assert command.main(arguments(export)) == 0
    assert asked == [True, False]
    assert f"another export writes to {export.archive.parent}; waiting for it" in capsys.readouterr().out


def test_main_on_a_file_system_without_locks_then_builds_and_says_so(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert command.main(arguments(export)) == 0
    assert "has no file locks (No locks available); start no second export there" in capsys.readouterr().err
    export.verified()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", r"killed by SIGKILL; is there too little memory\?"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import os; os._exit(3)", "exit status 3, without a message"),
        ("raise SystemExit('the last line')", "the handler does not load: the last line"),
        ("import sys; sys.stderr.buffer.write(b'\\xff\\xfe'); sys.exit(1)", "does not load"),
        ("pass", "ended without a result"),
        ("print()", "ended without a result"),
        ("print('no json')", "ended without a result"),
    ],
)
def test_replay_when_its_process_ends_in_any_way_then_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    script = tmp_path / "replay.py"
    script.write_text(code)
    monkeypatch.setattr(verify, "REPLAY_SCRIPT", script)
    with pytest.raises(VerifyError, match=message.replace("the handler", "the archive's handler")):
        verify._replay(str(tmp_path))


def test_replay_when_it_takes_too_long_then_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "replay.py"
    script.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(verify, "REPLAY_SCRIPT", script)
    monkeypatch.setattr(verify, "TIMEOUT_S", 0.2)
    with pytest.raises(VerifyError, match="did not answer its golden samples within"):
        verify._replay(str(tmp_path))


def test_verify_of_a_file_that_is_no_zip_then_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "tweets.mar"
    archive.write_bytes(b"PK")
    manifest_path(archive).write_text('{"files": {}}')
    with pytest.raises(VerifyError, match="is no whole archive"):
        verify.verify(archive)


def test_last_words_of_a_process_that_spoke_and_was_killed_then_hold_both() -> None:
    result = subprocess.CompletedProcess([], -signal.SIGTERM, b"", "grüße".encode("latin-1"))
    assert last_words(result) == "gr\ufffd\ufffde [killed by SIGTERM]"


def test_archiver_when_killed_then_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle").mkdir()
    monkeypatch.setattr(
        archive_module.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -signal.SIGKILL, b"", b"")
    )
    with pytest.raises(archive_module.ArchiveError, match="killed by SIGKILL; is there too little memory"):
        archive_module.write_archive(tmp_path / "bundle", tmp_path / "tweets.mar", "1")


def test_torchscript_file_when_the_disk_is_full_then_raises_and_the_process_lives(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space left on device"):
        save_torchscript(torch.jit.script(torch.nn.Linear(200, 200)), full)
    save_torchscript(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pt")
    assert torch.jit.load(str(tmp_path / "model.pt"))(torch.ones(1, 2)).shape == (1, 2)


def test_main_when_a_folder_cannot_be_copied_then_names_one_file_in_one_line(
    export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: object) -> None:
        raise shutil.Error([("from", f"to-{number}", "[Errno 28] No space left on device") for number in range(30)])

    monkeypatch.setattr(build, "write_archive", no_space)
    assert command.main(arguments(export)) == 1
    assert capsys.readouterr().err == (
        "export refused: to-0: [Errno 28] No space left on device; an archive of before is as it was\n"
    )

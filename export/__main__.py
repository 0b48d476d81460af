"""Build and verify the archive: `python -m export`."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# The base encoder is local and checked by its hash; no library of this step may ask a hub for another.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

EXAMPLE = """example:
  python -m export                      build model_store/tweets.mar from model/
  python -m export --if-stale           the same, only when something changed since the last build
  python -m export --model runs/new --archive /tmp/tweets.mar
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the export step; return the exit status (0 built or current, 1 refused)."""
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Merge the adapter, trace it to TorchScript, pack the TorchServe archive, verify it in a clean "
        "process by replaying its golden samples, and sign its manifest.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=Path("model"), help="folder of the adapter (default: model)")
    parser.add_argument(
        "--archive", type=Path, default=Path("model_store/tweets.mar"), help="file to write (default: %(default)s)"
    )
    parser.add_argument(
        "--bundle", type=Path, default=Path("build/bundle"), help="folder for the bundle (default: %(default)s)"
    )
    parser.add_argument(
        "--keys", type=Path, default=Path(".keys"), help="folder of the key that signs, made at first (default: .keys)"
    )
    parser.add_argument("--if-stale", action="store_true", help="do nothing when the archive is current")
    parser.add_argument(
        "--no-int8", dest="int8", action="store_false", help="leave out the int8 network, which is what a CPU serves"
    )
    options = parser.parse_args(arguments)
    return _export(options)


def _export(options: argparse.Namespace) -> int:
    if options.if_stale and _is_current(options):
        print(f"{options.archive} is current")
        return 0
    try:
        with _only_export(options.archive.parent):
            return _build(options)
    except OSError as error:
        # A full disk does not say which file it was.
        where = error.filename or f"{options.archive.parent} or {options.bundle.parent}"
        why = error.strerror or error
        if isinstance(error, shutil.Error):  # of a folder that was copied: one entry for each file that failed
            _, where, why = error.args[0][0]
        print(f"export refused: {where}: {why}; an archive of before is as it was", file=sys.stderr)
        return 1


def _is_current(options: argparse.Namespace) -> bool:
    from export.archive import is_current, manifest_path
    from export.signing import is_signed

    # The inputs' hash does not know what was asked for: --no-int8 always builds.
    return (
        options.int8
        and is_current(options.archive, options.model)
        and is_signed(manifest_path(options.archive), options.keys)
    )


def _build(options: argparse.Namespace) -> int:
    # Another export may have built it while this one waited.
    if options.if_stale and _is_current(options):
        print(f"{options.archive} is current")
        return 0
    # Seconds of imports, spared when nothing is to be done.
    from export.archive import manifest_path
    from export.build import REFUSALS, build

    started = time.monotonic()
    try:
        manifest = build(options.model, options.bundle, options.archive, options.keys, say=print, int8=options.int8)
    except REFUSALS as error:
        print(f"export refused: {error}", file=sys.stderr)
        return 1
    print(
        f"{options.archive}: {manifest['archive_bytes'] / 1e6:.1f} MB, model {manifest['model_version']}, "
        f"{len(manifest['files'])} files, manifest {manifest_path(options.archive).name}, "
        f"{time.monotonic() - started:.0f} s"
    )
    return 0


@contextmanager
def _only_export(folder: Path) -> Iterator[None]:
    """Let one export at a time write to a folder, and remove what a killed one left there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".export.lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another export writes to {folder}; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            print(f"{folder} has no file locks ({error.strerror}); start no second export there", file=sys.stderr)
            yield
            return
        for left in (*folder.glob(".building-*"), *folder.glob(".verifying-*")):
            shutil.rmtree(left, ignore_errors=True)
        yield


if __name__ == "__main__":
    # As Ctrl-C: the temporary folders are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())

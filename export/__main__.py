"""Build and verify the archive: `python -m export`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
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
    from export.archive import is_current, manifest_path
    from export.signing import is_signed

    # The inputs' hash does not know what was asked for: --no-int8 always builds.
    stale = not options.int8 or not (
        is_current(options.archive, options.model) and is_signed(manifest_path(options.archive), options.keys)
    )
    if options.if_stale and not stale:
        print(f"{options.archive} is current")
        return 0
    # Seconds of imports, spared when nothing is to be done.
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


if __name__ == "__main__":
    sys.exit(main())

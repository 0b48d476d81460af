"""Verify a .mar before it is served: signature, manifest, every file, layout. Needs no network and no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.archive.contents import ArchiveRefusedError
from ops.archive.signature import TRUSTED_KEYS, verify_archive
from ops.paths import ROOT

EXAMPLE = """examples:
  disaster-tweets verify model_store/tweets.mar
  disaster-tweets verify incoming/tweets.mar --trusted-keys /etc/disaster-tweets/trusted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one archive; return the exit status (0 may be served, 1 refused)."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="the .mar; its .manifest.json and .manifest.sig lie beside it")
    parser.add_argument(
        "--trusted-keys", type=Path, default=ROOT / TRUSTED_KEYS, help="folder of public keys (default: .keys/trusted)"
    )
    options = parser.parse_args(arguments)
    try:
        verified = verify_archive(options.archive, options.trusted_keys)
    except ArchiveRefusedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(f"{options.archive}: {verified.summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

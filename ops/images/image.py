"""Build the images of server and gateway, and prove that they serve."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.images import engine
from ops.images.engine import COMPOSE, ENGINES, RUNNERS, ImageError
from ops.paths import ROOT

EXAMPLE = """examples:
  disaster-tweets image build      with docker, podman or buildah
  disaster-tweets image check      build, run both images, ask a tweet through TLS with a key (docker or podman)
  disaster-tweets image base       first, where no registry can be reached: Debian's packages, with mmdebstrap
  disaster-tweets image build --signing-key ~/signing.pem
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("build", "check", "base"))
    parser.add_argument(
        "--signing-key", type=Path, help="private key that signs the archive (default: one made for this build)"
    )
    options = parser.parse_args(arguments)
    try:
        if options.signing_key is not None and not options.signing_key.is_file():
            raise ImageError(f"{options.signing_key} is no file; expected the private key that signs the archive")
        program = engine.find_engine(RUNNERS if options.command == "check" else ENGINES)
        if options.command == "base":
            engine.make_base(program)
            return 0
        names = engine.build(program, ROOT, os.environ, options.signing_key)
        if options.command == "check":
            print(json.dumps(engine.check(program, ROOT, os.environ), indent=1))
    except (ImageError, OSError, subprocess.SubprocessError) as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    print(f"built {' and '.join(names)}; run them: docker compose --file {COMPOSE} up --detach --wait")
    return 0


if __name__ == "__main__":
    sys.exit(main())

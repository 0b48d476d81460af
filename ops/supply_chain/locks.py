"""Write requirements/lock/: every package with version and hashes, from the pinned direct requirements.

torch and its CUDA libraries stay out, so that a machine's own CPU build of torch fits as well as the registry's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ops.paths import ROOT

LOCK_DIR = Path("requirements/lock")
LOWEST_PYTHON = "3.10"
# Lock file -> direct requirements it resolves. The first holds all others and is their constraint, so that a package
# has one version wherever it stands.
USUAL = ("serve", "export", "load", "gateway", "base-encoder")  # as requirements.txt, less our own package
LOCKS = {
    "dev": (*USUAL, "train", "dev"),
    "train": (*USUAL, "train"),
    "requirements": USUAL,
    "serve": ("serve",),
    "java": ("java",),
}
# Never true: takes a package, and what only it needs, out of the resolution.
LEFT_OUT = ('torch ; python_version < "0"', 'sentence-transformers ; python_version < "0"')
EXAMPLE = """examples:
  python -m ops.supply_chain.locks              lock again after a changed pin, keeping all other versions
  python -m ops.supply_chain.locks --upgrade    take the newest versions of everything that is not pinned directly
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Lock every set; return the exit status of the first failure, else 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upgrade", action="store_true", help="do not keep the versions of the present lock files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        overrides = Path(work, "left-out.txt")
        overrides.write_text("\n".join(LEFT_OUT) + "\n", encoding="utf-8")
        for name in LOCKS:
            status = subprocess.run(_command(name, overrides, options.upgrade), cwd=ROOT, check=False).returncode
            if status:
                print(f"locking {name} failed; the lines above say which requirement to change", file=sys.stderr)
                return status
            print(f"wrote {LOCK_DIR / name}.txt")
    return 0


def _command(name: str, overrides: Path, upgrade: bool) -> list[str]:
    inputs = [Path("requirements", f"{source}.txt") for source in LOCKS[name]]
    if name != "java":
        inputs.append(Path("requirements/torch-dependencies.txt"))
    command = [sys.executable, "-m", "uv", "--quiet", "--no-python-downloads", "pip", "compile"]
    command += ["--universal", "--generate-hashes", "--python-version", LOWEST_PYTHON, "--override", str(overrides)]
    # The default header repeats the command with its paths, and annotations double the length of the file.
    command += ["--custom-compile-command", "make lock", "--no-annotate"]
    if upgrade and name == "dev":
        command.append("--upgrade")
    if name not in ("dev", "java"):
        command += ["--constraint", str(LOCK_DIR / "dev.txt")]
    return [*command, "--output-file", str(LOCK_DIR / f"{name}.txt"), *map(str, inputs)]


if __name__ == "__main__":
    sys.exit(main())

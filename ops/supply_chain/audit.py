"""Ask pip-audit about the served packages, and hold what it finds against docs/accepted_risks.yaml."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ops.paths import ROOT

LOCK = Path("requirements/lock/serve.txt")
RISKS = Path("docs/accepted_risks.yaml")
TIMEOUT_S = 600
OFFLINE = 2
EXAMPLE = """examples:
  python -m ops.supply_chain.audit        exit status 0 nothing new, 1 a vulnerability not accepted yet, 2 no data
  python -m ops.supply_chain.audit --service osv
"""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT, program: Sequence[str] | None = None) -> int:
    """Audit and report; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--service", choices=("pypi", "osv"), default="pypi", help="whose data (default: pypi)")
    options = parser.parse_args(arguments)
    accepted = {entry["id"] for entry in yaml.safe_load((root / RISKS).read_text(encoding="utf-8"))["python"]}
    answer = _ask(program or [sys.executable, "-m", "pip_audit"], root / LOCK, options.service)
    if answer is None:
        print(
            "audit: pip-audit reached no data about holes; nothing was checked. Run it where the network is open, "
            "or look through the advisories by hand (docs/accepted_risks.yaml)",
            file=sys.stderr,
        )
        return OFFLINE
    open_holes, found = [], set()
    for package in answer["dependencies"]:
        for hole in package.get("vulns", []):
            names = {hole["id"], *hole.get("aliases", [])}
            found |= names
            if not names & accepted:
                fixed = ", ".join(hole.get("fix_versions", [])) or "no release"
                open_holes.append(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    for line in open_holes:
        print(f"open: {line}")
    for name in sorted(accepted - found):
        print(f"accepted and no longer found, remove it from {RISKS}: {name}")
    print(f"{len(answer['dependencies'])} packages, {len(open_holes)} open holes, {len(accepted & found)} accepted")
    return 1 if open_holes else 0


def _ask(program: Sequence[str], lock: Path, service: str) -> dict[str, Any] | None:
    """Return pip-audit's answer, or None where it could not ask: its exit status does not tell that from a find."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "audit.json")
        command = [*program, "-r", str(lock), "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command += ["-s", service, "-f", "json", "-o", str(out)]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
            answer = json.loads(out.read_text(encoding="utf-8"))
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
    return answer if isinstance(answer, dict) and "dependencies" in answer else None


if __name__ == "__main__":
    sys.exit(main())

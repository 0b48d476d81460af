"""The command line of a rollout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.archive.signature import TRUSTED_KEYS
from ops.paths import ROOT

BIN_DIR = Path(sys.executable).parent
GATEWAY_SETTINGS = Path("deploy/gateway/gateway.yaml")
SAMPLE = Path("scripts/loadtest_tweets.txt")
DESCRIPTION = """Change the model that is served behind the gateway without losing a request, and change it back.

Each archive gets a TorchServe of its own; the gateway is pointed to it when it has proved itself (docs/adr/0006).
Exit status: 0 done, 1 refused or rolled back, 3 done and the old server could not be stopped, 130 interrupted.
"""
EXAMPLE = """examples:
  disaster-tweets rollout promote incoming/tweets.mar
  disaster-tweets rollout promote incoming/tweets.mar --shadow yesterday.txt --max-disagreement 0.02
  disaster-tweets rollout rollback       to the model before; again: forward to the one that was left
  disaster-tweets rollout status
  disaster-tweets rollout start          the server that the gateway names, after a reboot or a stop
  disaster-tweets rollout stop           all servers that rollouts started here
"""


@dataclass(frozen=True)
class Options:
    """How a rollout is done; times in seconds. Without `shadow` nothing is compared: the server before may be dead."""

    root: Path
    gateway_file: Path
    trusted_keys: Path
    bin_dir: Path
    shadow: Path | None
    max_disagreement: float
    start_timeout_s: float
    watch_s: float
    drain_s: float
    keep_hot: bool


def read_options(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Options]:
    """Return the command with its words, and how it is to be done."""
    parsed = _parser().parse_args(arguments)
    root = parsed.root.resolve()
    return parsed, Options(
        root,
        (parsed.settings or root / GATEWAY_SETTINGS).resolve(),
        parsed.trusted_keys or root / TRUSTED_KEYS,
        BIN_DIR,
        None if parsed.no_shadow else parsed.shadow or ROOT / SAMPLE,
        parsed.max_disagreement,
        parsed.start_timeout_s,
        parsed.watch_s,
        parsed.drain_s,
        parsed.keep_hot,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the project (default: %(default)s)")
    parser.add_argument("--settings", type=Path, help="the gateway's settings (default: deploy/gateway/gateway.yaml)")
    parser.add_argument("--trusted-keys", type=Path, help="folder of public keys (default: .keys/trusted)")
    parser.add_argument("--shadow", type=Path, help="tweets to compare, one a line (default: those of the load test)")
    parser.add_argument(
        "--max-disagreement", type=float, default=0.05, help="share of other labels (default: %(default)s)"
    )
    parser.add_argument("--start-timeout-s", type=float, default=120.0, help="default: %(default)s")
    parser.add_argument(
        "--watch-s", type=float, default=5.0, help="golden tweets after the switch (default: %(default)s)"
    )
    parser.add_argument(
        "--drain-s", type=float, default=60.0, help="limit for the old to fall idle (default: %(default)s)"
    )
    parser.add_argument("--keep-hot", action="store_true", help="leave the old server running, for a faster rollback")
    parser.add_argument("--no-shadow", action="store_true", help="compare nothing, where the server before is dead")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("promote", help="serve another archive").add_argument("archive", type=Path)
    commands.add_parser("rollback", help="serve what served before")
    commands.add_parser("start", help="start the server that the gateway names, after a reboot or a stop")
    commands.add_parser("stop", help="stop every server that a rollout started here")
    commands.add_parser("status", help="say what serves and what served before")
    return parser

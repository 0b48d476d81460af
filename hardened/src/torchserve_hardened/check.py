"""Say whether the command `torchserve` is the protected one."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from torchserve_hardened.agent import AgentError, require_agent

LAUNCHER = "torchserve_hardened"


def find_fault(command: Path | None) -> str | None:
    """Return what is wrong with a `torchserve` command in one line, or None where it is protected.

    Args:
        command: the program; None where there is none.
    """
    if command is None:
        return "there is no command torchserve; install torchserve-hardened"
    try:
        require_agent()
        text = command.read_text(encoding="utf-8", errors="replace")
    except AgentError as error:
        return str(error)
    except OSError as error:
        return f"{command} cannot be read ({error.strerror})"
    if LAUNCHER not in text:
        return (
            f"{command} is TorchServe's own, without protection: torchserve was installed after torchserve-hardened; "
            "install that again"
        )
    return None


def main(arguments: list[str] | None = None) -> int:
    """Check one command; return 0 where it is protected, else 1."""
    parser = argparse.ArgumentParser(
        prog="torchserve-hardened", description=__doc__, epilog="example: torchserve-hardened && torchserve --start ..."
    )
    parser.add_argument("command", nargs="?", type=Path, help="the program (default: torchserve as the shell finds it)")
    options = parser.parse_args(arguments)
    found = shutil.which("torchserve")
    command = options.command or (Path(found) if found else None)
    fault = find_fault(command)
    if fault:
        print(f"torchserve-hardened: {fault}", file=sys.stderr)
        return 1
    print(f"{command} is protected")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command `torchserve`: TorchServe's own launcher, with the agent in front of its Java."""

from __future__ import annotations

import sys

from torchserve_hardened.agent import AgentError, protect_this_process


def main() -> int:
    """Do what TorchServe's own command does; return 1, and start nothing, where the agent is not whole."""
    try:
        protect_this_process()
    except AgentError as error:
        print(f"torchserve: {error}. Nothing was started.", file=sys.stderr)
        return 1
    from ts.model_server import start  # after the check

    start()
    return 0


if __name__ == "__main__":
    sys.exit(main())

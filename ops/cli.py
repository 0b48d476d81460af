"""One command for those who run the service: `disaster-tweets COMMAND ...`."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType

# Name -> module with `main`, words that it takes first, what it does. A module is imported when it is asked for.
COMMANDS = {
    "serve": ("ops.serve.commands", ("start",), "start TorchServe with model_store/tweets.mar and check its answers"),
    "stop": ("ops.serve.commands", ("stop",), "stop it"),
    "status": ("ops.serve.commands", ("status",), "exit with 0 when it answers its golden tweets right"),
    "supervise": ("ops.serve.supervisor", (), "start it in the foreground, and again when it dies"),
    "gateway": ("ops.gateway.commands", (), "nginx in front of it: TLS, API keys, limits"),
    "rollout": ("ops.rollout.commands", (), "change the model without a lost request, or take the change back"),
    "doctor": ("ops.doctor.commands", (), "find what is wrong with settings, archive and machine"),
    "verify": ("ops.archive.verify_archive", (), "verify the signature and the files of an archive"),
    "image": ("ops.images.image", (), "build and check the container images"),
    "soak": ("ops.load.soak", (), "put mixed traffic on the running server"),
    "benchmark": ("benchmark.run", (), "measure engines and server against their limits and a baseline"),
    "tune": ("benchmark.tune.tune", (), "find workers, threads and batches for this machine"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, 2 for a command that does not exist."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] not in COMMANDS:
        print(f"disaster-tweets: no command {words[0]!r}\n{_help()}", file=sys.stderr)
        return 2
    module, first, _ = COMMANDS[words[0]]
    sys.argv[0] = f"disaster-tweets {words[0]}"  # argparse shows it in usage and errors
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: int = importlib.import_module(module).main([*first, *words[1:]])
    except KeyboardInterrupt:
        print("interrupted; what this command had started is stopped", file=sys.stderr)
        return 130
    return status


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that no server is left half started and figures are told."""
    raise KeyboardInterrupt


def _help() -> str:
    lines = [f"  {name:<10} {what}" for name, (_, _, what) in COMMANDS.items()]
    example = "example: disaster-tweets serve; disaster-tweets COMMAND --help tells more"
    return "\n".join(["usage: disaster-tweets COMMAND [option ...]", *lines, example])


if __name__ == "__main__":
    sys.exit(main())

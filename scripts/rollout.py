"""Change the model that is served behind the gateway without losing a request, and change it back.

Each archive gets a TorchServe of its own; the gateway is pointed to it when it has proved itself (docs/adr/0012).
"""

from __future__ import annotations

import in_environment  # noqa: F401 (first: it explains what is missing)

import argparse
import http.client
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from archive_signature import TRUSTED_KEYS, verify_archive
from archive_zip import ArchiveRefusedError
from golden_answers import WrongAnswersError, ask, check_golden
from java_runtime import JavaError
from rollout_gateway import ADDRESS_KEYS, Gateway, GatewaySwitchError, Target, wait_until_idle
from rollout_shadow import compare, read_sample
from rollout_slots import SLOTS, Slot, fill_slot
from server_process import ServerError, holder
from server_settings import ARCHIVE, SettingsError, read_settings

ROOT = Path(__file__).resolve().parent.parent
BIN_DIR = Path(sys.executable).parent
GATEWAY_SETTINGS = Path("deploy/gateway/gateway.yaml")
SAMPLE = Path("scripts/loadtest_tweets.txt")
STATE = Path(".run/rollout.json")
NAMES = ("blue", "green", "grey")  # what serves, what served before, and room for the next
REFUSALS = (
    ArchiveRefusedError,
    GatewaySwitchError,
    JavaError,
    ServerError,
    SettingsError,
    WrongAnswersError,
    OSError,
    http.client.HTTPException,
)
EXAMPLE = """examples:
  python scripts/rollout.py promote incoming/tweets.mar
  python scripts/rollout.py promote incoming/tweets.mar --shadow yesterday.txt --max-disagreement 0.02
  python scripts/rollout.py rollback       to the model before; again: forward to the one that was left
  python scripts/rollout.py status
"""


class RolloutError(RuntimeError):
    """The rollout was not done; what served before serves."""


@dataclass(frozen=True)
class Place:
    """A server that the gateway can be pointed to.

    Args:
        target: its addresses and golden answers.
        slot: name of its slot; None for one that was not started here, such as that of `make serve`.
    """

    target: Target
    slot: str | None


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


class Rollout:
    """One project's slots, gateway and record of what served before.

    Args:
        options: how it is done.
        say: takes one line a step.
    """

    def __init__(self, options: Options, say: Callable[[str], None] = print) -> None:
        self._options = options
        self._gateway = Gateway(options.gateway_file, options.root)
        self._say = say

    def promote(self, archive: Path) -> None:
        """Serve another archive.

        Raises:
            RolloutError, or one of `REFUSALS`: nothing has changed for callers.
        """
        options, current, previous = self._options, self._current(), self._previous()
        kept = [place for place in (current, previous) if place is not None]
        name = next(name for name in NAMES if name not in {place.slot for place in kept})
        ports = {place.target.address(key).port for place in kept for key in ADDRESS_KEYS}
        slot, verified = fill_slot(options.root, name, archive, options.trusted_keys, ports)
        self._say(f"{archive}: model {verified.model_version}, as signed by {verified.key_name}; starting it ({name})")
        try:
            slot.start(options.bin_dir, options.start_timeout_s)
            self._prove(slot.settings.inference.port, slot.golden)
            if options.shadow is not None:
                self._shadow(current, slot, read_sample(options.shadow))
            self._move(current, self._place(name))
        except BaseException:
            self._abandon(slot)
            raise

    def rollback(self) -> None:
        """Serve what served before.

        Raises:
            RolloutError, or one of `REFUSALS`: nothing has changed for callers.
        """
        options, previous = self._options, self._previous()
        if previous is None:
            raise RolloutError("nothing served before; expected a promote first")
        slot = self._slot(previous.slot) if previous.slot is not None else None
        try:
            if slot is not None:
                verify_archive(slot.folder / ARCHIVE, options.trusted_keys)
                slot.start(options.bin_dir, options.start_timeout_s)
            self._prove(previous.target.address("server_rest").port, options.root / previous.target.golden_file)
            self._move(self._current(), previous)
        except BaseException:
            if slot is not None:
                self._abandon(slot)
            raise

    def status(self) -> bool:
        """Say what serves and what served before; return whether the first answers right."""
        right = self._describe("serves", self._current())
        previous = self._previous()
        if previous is not None:
            self._describe("before", previous)
        return right

    def _move(self, current: Place, new: Place) -> None:
        """Point the gateway from one server to another, watch the new one, free the old one."""
        before = self._previous()
        # First, so that a rollout which is killed in its middle leaves a way back.
        self._save(current)
        try:
            old_workers = self._gateway.switch(new.target, self._options.drain_s)
            self._say("the gateway asks the new server; watching it")
            self._watch(new)
        except GatewaySwitchError:
            self._save(before)
            raise
        except (WrongAnswersError, OSError, http.client.HTTPException) as error:
            self._gateway.switch(current.target, self._options.drain_s)
            self._save(before)
            raise RolloutError(
                f"the new server failed after the switch ({error}); the gateway asks the old one again"
            ) from error
        self._free(current, old_workers)

    def _abandon(self, slot: Slot) -> None:
        """Stop a server that is not to serve, when what the gateway may have begun with it has ended."""
        if slot.process is not None:
            wait_until_idle([], slot.process, _ports(self._place(slot.folder.name)), self._options.drain_s)
        slot.stop()

    def _watch(self, place: Place) -> None:
        end = time.monotonic() + self._options.watch_s
        while True:
            self._prove(place.target.address("server_rest").port, self._options.root / place.target.golden_file, False)
            if time.monotonic() >= end:
                return
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))

    def _free(self, place: Place, old_workers: list[psutil.Process]) -> None:
        process = holder(place.target.address("server_rest").port)
        idle = wait_until_idle(old_workers, process, _ports(place), self._options.drain_s)
        if place.slot is None:
            self._say("the server before was not started here; it goes on running and a rollback finds it")
        elif not idle:
            self._say(f"the server before still answers after {self._options.drain_s} s; it goes on running")
        elif self._options.keep_hot:
            self._say("the server before is idle and goes on running")
        else:
            self._slot(place.slot).stop()
            self._say(f"the server before was idle and is stopped; its archive stays in {SLOTS / place.slot}")

    def _shadow(self, current: Place, slot: Slot, texts: list[str]) -> None:
        difference = compare(current.target.address("server_rest"), slot.settings.inference, texts)
        self._say(difference.line())
        if difference.share > self._options.max_disagreement:
            raise RolloutError(
                f"{difference.share:.1%} of the shadow tweets get another label; expected at most "
                f"{self._options.max_disagreement:.1%}; look at them, or allow more: --max-disagreement"
            )

    def _prove(self, port: int, golden: Path, aloud: bool = True) -> None:
        address = Target(f"127.0.0.1:{port}", "", "", "").address("server_rest")
        count = check_golden(address, golden)
        if aloud:
            self._say(f"{count} golden tweets answered right")

    def _current(self) -> Place:
        target = self._gateway.target()
        for name in NAMES:
            if (self._slot(name).folder / ARCHIVE).is_file() and self._place(name).target == target:
                return Place(target, name)
        return Place(target, None)

    def _place(self, name: str) -> Place:
        slot = self._slot(name)
        settings = read_settings(slot.folder)
        rest, management, grpc = (
            f"{one.host}:{one.port}" for one in (settings.inference, settings.management, settings.grpc)
        )
        return Place(Target(rest, management, grpc, str(slot.golden)), name)

    def _slot(self, name: str) -> Slot:
        return Slot((self._options.root / SLOTS / name).resolve())

    def _previous(self) -> Place | None:
        try:
            record = json.loads((self._options.root / STATE).read_text(encoding="utf-8"))["previous"]
            return Place(Target(**record["target"]), record["slot"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RolloutError(f"{STATE} is broken ({error}); remove it") from error

    def _save(self, previous: Place | None) -> None:
        path = self._options.root / STATE
        path.parent.mkdir(exist_ok=True)
        if previous is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(json.dumps({"previous": asdict(previous)}, indent=1) + "\n", encoding="utf-8")

    def _describe(self, word: str, place: Place) -> bool:
        where = f"{place.slot or 'a server not started here'} on {place.target.server_rest}"
        try:
            count = check_golden(place.target.address("server_rest"), self._options.root / place.target.golden_file)
            _, body = ask(place.target.address("server_management"), "/models/tweets?customized=true")
            facts = json.loads(body)[0]["customizedMetadata"]
            self._say(f"{word}: {where}, model {facts['model_version']}, {count} golden tweets answered right")
        except (WrongAnswersError, OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            self._say(f"{word}: {where}, does not answer right ({type(error).__name__})")
            return False
        return True


def _ports(place: Place) -> set[int]:
    """Return where predictions are asked for; who looks at state or metrics has no request to lose."""
    return {place.target.address(key).port for key in ("server_rest", "server_grpc")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (0 done, 1 refused or rolled back)."""
    parsed = _parser().parse_args(arguments)
    root = parsed.root.resolve()
    options = Options(
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
    rollout = Rollout(options, lambda line: print(line, flush=True))
    try:
        if parsed.command == "status":
            return 0 if rollout.status() else 1
        if parsed.command == "rollback":
            rollout.rollback()
        else:
            rollout.promote(parsed.archive)
    except (RolloutError, *REFUSALS) as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
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
    commands.add_parser("status", help="say what serves and what served before")
    return parser


if __name__ == "__main__":
    sys.exit(main())

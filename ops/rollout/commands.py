"""Change the model that is served behind the gateway without losing a request, and change it back.

Each archive gets a TorchServe of its own; the gateway is pointed to it when it has proved itself (docs/adr/0006).
"""

from __future__ import annotations

import http.client
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from ops.archive.contents import ArchiveRefusedError
from ops.archive.signature import verify_archive
from ops.rollout.options import Options, read_options
from ops.rollout.record import Change, Place, Record, RolloutError, read_record, write_record
from ops.rollout.shadow import compare, read_sample
from ops.rollout.slots import NAMES, SLOTS, Slot, fill_slot, slot_of
from ops.rollout.switch import Gateway, GatewaySwitchError, GatewayUnsettledError, Target, wait_until_idle
from ops.settings.locks import LockedError, locked
from ops.settings.server import ARCHIVE, SettingsError, read_settings, require_own_protocol
from ops.torchserve.golden import WrongAnswersError, ask, check_golden
from ops.torchserve.instance import ServerError, holder
from ops.torchserve.java import JavaError

LOCK = Path(".run/rollout.lock")
NOT_FREED = 3  # exit status
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REFUSALS = (
    ArchiveRefusedError,
    GatewaySwitchError,
    GatewayUnsettledError,
    JavaError,
    LockedError,
    ServerError,
    SettingsError,
    WrongAnswersError,
    OSError,
    http.client.HTTPException,
)
# What a server does that is not right, or not there.
WRONG = (WrongAnswersError, OSError, http.client.HTTPException, ValueError)


class NotFreedError(RuntimeError):
    """The new server serves; the old one goes on running."""


class Rollout:
    """One project's slots, gateway and record of what served before.

    The switch of the gateway is the point of no return. Until the new server has been watched, any failure goes back to
    the old one; afterwards nothing touches the new one. The server that the gateway's settings name is never stopped.

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
            NotFreedError: it serves, and the old server could not be stopped.
        """
        options = self._options
        with locked(options.root / LOCK):
            self._recover()
            current, previous = self._current(), self._previous()
            kept = [place for place in (current, previous) if place is not None]
            name = self._free_name({place.slot for place in kept})
            self._stop_idle(name)
            ports = {port for place in kept for port in place.target.local_ports()}
            slot, verified = fill_slot(options.root, name, archive, options.trusted_keys, ports)
            self._say(f"{archive}: model {verified.model_version}, signed by {verified.key_name}; starting it ({name})")
            try:
                slot.start(options.bin_dir, options.start_timeout_s)
                new = self._place(name)
                self._prove(new.target)
                if options.shadow is not None:
                    self._shadow(current, new, read_sample(options.shadow))
            except BaseException:
                self._abandon(slot)
                raise
            self._move(current, new, slot)

    def rollback(self) -> None:
        """Serve what served before.

        Raises:
            RolloutError, or one of `REFUSALS`: nothing has changed for callers.
            NotFreedError: it serves, and the other server could not be stopped.
        """
        options = self._options
        with locked(options.root / LOCK):
            self._recover()
            current, previous = self._current(), self._previous()
            if previous is None:
                raise RolloutError("nothing served before; expected a promote first")
            if previous.target == current.target or (previous.slot and previous.slot == current.slot):
                raise RolloutError("what served before serves already")
            slot = self._slot(previous.slot) if previous.slot is not None else None
            try:
                if slot is not None:
                    verify_archive(slot.folder / ARCHIVE, options.trusted_keys)
                    slot.start(options.bin_dir, options.start_timeout_s)
                self._prove(previous.target)
            except BaseException:
                if slot is not None:
                    self._abandon(slot)
                raise
            self._move(current, previous, slot)

    def status(self) -> bool:
        """Say what serves and what served before; return whether the first answers right."""
        right = self._describe("serves", self._current())
        record = read_record(self._options.root)
        if record.change is not None:
            self._say("a rollout runs, or was interrupted; the next promote or rollback settles it")
        if record.previous is not None:
            self._describe("before", record.previous)
        return right

    def start(self) -> None:
        """Start the server that the gateway names, where a rollout made it."""
        with locked(self._options.root / LOCK):
            current = self._current()
            if current.slot is None:
                raise RolloutError(f"{current.target.server_rest} is of no slot here; start it yourself: make serve")
            self._slot(current.slot).start(self._options.bin_dir, self._options.start_timeout_s)
            self._say(f"{current.slot} runs on {current.target.server_rest}")

    def stop(self) -> None:
        """Stop the server of every slot; the gateway's settings stay."""
        with locked(self._options.root / LOCK):
            for name in NAMES:
                slot = self._slot(name)
                if slot.process is not None or slot.supervisors:
                    slot.stop()
                    self._say(f"stopped the server of slot {name}")

    def _recover(self) -> None:
        """Settle a change that was killed in its middle.

        Raises:
            GatewaySwitchError: the gateway does not take its settings; both servers go on running.
        """
        record = read_record(self._options.root)
        change = record.change
        if change is None:
            return
        self._say("an earlier rollout was killed in its middle; settling it")
        # nginx may not have been told of what is written, or not have heard it.
        self._gateway.settle(self._options.drain_s)
        if self._gateway.target() == change.new.target:
            try:
                self._prove(change.new.target)
                record = Record(change.old)
            except WRONG as error:
                self._say(f"its new server does not answer right ({error})")
                record = self._recover_old(record, change)
        write_record(self._options.root, Record(record.previous))

    def _recover_old(self, record: Record, change: Change) -> Record:
        """Go back to the server before a change, where it answers right; return what to remember."""
        try:
            self._prove(change.old.target)
        except WRONG as error:
            self._say(f"neither does the one before ({error}); the gateway stays where it is")
            return Record(change.old)
        self._gateway.switch(change.old.target, self._options.drain_s)
        self._say("the gateway asks the old one again")
        return record

    def _move(self, current: Place, new: Place, slot: Slot | None) -> None:
        """Point the gateway from one server to another, watch the new one, free the old one."""
        before = self._previous()
        try:
            # First, so that a rollout which is killed in its middle leaves a way back.
            write_record(self._options.root, Record(before, Change(current, new)))
            old_workers = self._gateway.switch(new.target, self._options.drain_s)
            self._say("the gateway asks the new server; watching it")
            self._watch(new)
            self._save(current)
        except BaseException as error:
            self._go_back(current, before, slot, error)
        try:
            self._free(current, old_workers)
        except BaseException as error:
            raise NotFreedError(
                f"the new server serves; the one before goes on running ({type(error).__name__}: {error}); "
                "stop it when it has nothing to answer, or go back: rollback"
            ) from error

    def _go_back(self, current: Place, before: Place | None, slot: Slot | None, error: BaseException) -> NoReturn:
        """Undo a switch that failed or was interrupted; raise what is to be told."""
        if isinstance(error, GatewayUnsettledError):
            raise error
        has_switched = self._gateway.target() != current.target
        if has_switched:
            try:
                self._gateway.switch(current.target, self._options.drain_s)
            except (GatewaySwitchError, OSError) as second:
                raise GatewayUnsettledError(f"{error}; then, on the way back: {second}") from error
        if slot is not None:
            self._abandon(slot)
        self._save(before)
        if has_switched and isinstance(error, WRONG):
            raise RolloutError(
                f"the new server failed after the switch ({error}); the gateway asks the old one again"
            ) from error
        raise error

    def _abandon(self, slot: Slot) -> None:
        """Stop a server that is not to serve, when what the gateway may have begun with it has ended."""
        if self._serves(slot):
            self._say("the gateway asks this server; it goes on running")
            return
        place = self._place_or_none(slot.folder.name)
        if place is not None and slot.process is not None:
            wait_until_idle([], slot.process, _ports(place), self._options.drain_s)
        slot.stop()

    def _stop_idle(self, name: str) -> None:
        """Stop what an earlier rollout left in a slot that is needed.

        Raises:
            RolloutError: it is asked for predictions.
        """
        slot = self._slot(name)
        if slot.process is None and not slot.supervisors:
            return
        place = self._place_or_none(name)
        ports = _ports(place) if place else set()
        if not wait_until_idle([], slot.process, ports, self._options.drain_s):
            raise RolloutError(f"the server of slot {name} is asked for predictions; it goes on running: who asks it?")
        slot.stop()

    def _free_name(self, kept: set[str | None]) -> str:
        for name in NAMES:
            if name not in kept and not self._serves(self._slot(name)):
                return name
        raise RolloutError(f"each of the slots {', '.join(NAMES)} is needed; see: disaster-tweets rollout status")

    def _serves(self, slot: Slot) -> bool:
        """Tell whether the gateway's settings name the server of a slot, however they write its address."""
        ports = self._gateway.target().local_ports()
        place = self._place_or_none(slot.folder.name)
        if place is not None and ports & place.target.local_ports():
            return True
        process = slot.process
        return process is not None and any((one := holder(port)) and one.pid == process.pid for port in ports)

    def _watch(self, place: Place) -> None:
        end = time.monotonic() + self._options.watch_s
        while True:
            self._prove(place.target, False)
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

    def _shadow(self, current: Place, new: Place, texts: list[str]) -> None:
        difference = compare(current.target.address("server_rest"), new.target.address("server_rest"), texts)
        self._say(difference.line())
        if difference.share > self._options.max_disagreement:
            raise RolloutError(
                f"{difference.share:.1%} of the shadow tweets get another label; expected at most "
                f"{self._options.max_disagreement:.1%}; look at them, or allow more: --max-disagreement"
            )

    def _prove(self, target: Target, aloud: bool = True) -> None:
        count = check_golden(target.address("server_rest"), self._options.root / target.golden_file)
        if aloud:
            self._say(f"{count} golden tweets answered right")

    def _current(self) -> Place:
        target = self._gateway.target()
        for name in NAMES:
            if self._serves(self._slot(name)):
                return Place(target, name)
        return Place(target, None)

    def _place(self, name: str) -> Place:
        slot = self._slot(name)
        settings = read_settings(slot.folder)
        rest, management, grpc = (
            f"{one.host}:{one.port}" for one in (settings.inference, settings.management, settings.grpc)
        )
        return Place(Target(rest, management, grpc, str(slot.golden)), name)

    def _place_or_none(self, name: str) -> Place | None:
        """Return the place of a slot; None for one that was never filled, or not to its end."""
        try:
            return self._place(name)
        except SettingsError:
            return None

    def _slot(self, name: str) -> Slot:
        return slot_of(self._options.root, name)

    def _previous(self) -> Place | None:
        return read_record(self._options.root).previous

    def _save(self, previous: Place | None) -> None:
        write_record(self._options.root, Record(previous))

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
    """Return where predictions are asked for; state and metrics have no request to lose."""
    return {place.target.address(key).port for key in ("server_rest", "server_grpc")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (0 done, 1 refused or rolled back)."""
    parsed, options = read_options(arguments)
    rollout = Rollout(options, lambda line: print(line, flush=True))
    commands = {"rollback": rollout.rollback, "start": rollout.start, "stop": rollout.stop}
    previous = {number: signal.signal(number, _interrupt_once) for number in INTERRUPTS}
    try:
        if parsed.command in ("promote", "rollback", "start"):
            require_own_protocol({}, options.root)
        if parsed.command == "status":
            return 0 if rollout.status() else 1
        if parsed.command == "promote":
            rollout.promote(parsed.archive)
        else:
            commands[parsed.command]()
    except NotFreedError as error:
        print(f"{parsed.command}: warning: {error}", file=sys.stderr)
        return NOT_FREED
    except GatewayUnsettledError as error:
        print(
            f"{parsed.command}: {error}. The gateway may ask the old server or the new one, and both go on running; "
            "look at the gateway, then: promote or rollback, which settle it",
            file=sys.stderr,
        )
        return 1
    except (RolloutError, *REFUSALS) as error:
        print(f"{parsed.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parsed.command}: interrupted; the gateway asks the server that it asked before", file=sys.stderr)
        return 130
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """Begin to go back; a second signal does not disturb that. A kill is settled by the next command."""
    for other in INTERRUPTS:
        signal.signal(other, signal.SIG_IGN)
    print("interrupted; leaving things in order", file=sys.stderr, flush=True)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

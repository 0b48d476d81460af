"""What a rollout remembers: which server served before, and a change that has begun and not ended."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ops.gateway.settings import TARGET_ADDRESSES
from ops.rollout.slots import NAMES
from ops.rollout.switch import Target
from ops.settings.locks import write_whole

STATE = Path(".run/rollout.json")


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
class Change:
    """A switch of the gateway that has begun.

    Args:
        old: what served when it began.
        new: what is to serve.
    """

    old: Place
    new: Place


@dataclass(frozen=True)
class Record:
    """The content of the state file; `change` is None while no rollout runs."""

    previous: Place | None = None
    change: Change | None = None


def read_record(root: Path) -> Record:
    """Read the state of a project's rollouts.

    Raises:
        RolloutError: the file is broken.
    """
    try:
        values = json.loads((root / STATE).read_text(encoding="utf-8"))
        change = values.get("change")
        return Record(
            _place(values["previous"]) if values["previous"] else None,
            Change(_place(change["old"]), _place(change["new"])) if change else None,
        )
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RolloutError(f"{STATE} is broken ({error}); remove it") from error


def write_record(root: Path, record: Record) -> None:
    """Write the state, whole or not at all."""
    write_whole(root / STATE, json.dumps(asdict(record), indent=1) + "\n")


def _place(values: dict[str, Any]) -> Place:
    target, slot = Target(**values["target"]), values["slot"]
    for key in TARGET_ADDRESSES:
        target.address(key)
    if slot not in (None, *NAMES):
        raise ValueError(f"slot {slot!r}; expected one of {NAMES}")
    return Place(target, slot)

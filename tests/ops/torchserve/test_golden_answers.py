"""How many workers are loaded, read from what TorchServe's management port says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.settings.server import Address
from ops.torchserve import golden as golden_answers
from ops.torchserve.golden import Workers, is_loaded, loaded_workers

MANAGEMENT = Address("management", "127.0.0.1", 1)


def described(wanted: int | None, *states: str) -> bytes:
    model: dict[str, Any] = {"workers": [{"status": state} for state in states]}
    return json.dumps([model if wanted is None else {**model, "minWorkers": wanted}]).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected", "complete"),
    [
        (200, described(2, "READY", "READY"), Workers(2, 2), True),
        (200, described(2, "READY", "UNLOADED"), Workers(1, 2), False),
        (200, described(2, "READY"), Workers(1, 2), False),
        (200, described(2), Workers(0, 2), False),
        (200, described(None, "READY"), Workers(1, 1), True),
        (200, described(0), Workers(0, 1), False),
        (200, b"[]", Workers(), False),
        (200, b"no json", Workers(), False),
        (405, described(1, "READY"), Workers(), False),
    ],
)
def test_loaded_workers_counts_those_that_are_ready(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, expected: Workers, complete: bool
) -> None:
    monkeypatch.setattr(golden_answers, "ask", lambda *_, **__: (status, body))
    found = loaded_workers(MANAGEMENT)
    assert (found, found.is_complete) == (expected, complete)
    assert is_loaded(MANAGEMENT) is (expected.ready > 0)


def test_loaded_workers_of_a_server_that_does_not_answer_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(golden_answers, "ask", refuse)
    assert loaded_workers(MANAGEMENT) == Workers()

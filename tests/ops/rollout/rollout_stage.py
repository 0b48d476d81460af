"""A project with an old model behind a gateway and an archive of a new one, over stand-ins."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.rollout import commands as module
from ops.rollout import slots as rollout_slots
from ops.rollout.commands import Options, Rollout
from ops.rollout.slots import Slot, fill_slot
from ops.rollout.switch import Gateway, GatewaySwitchError, Target
from ops.settings.server import Address
from tests.ops.doctor.broken_configurations import make_installation

TEXTS = ["levee breach in Marlow", "this mixtape is fire", "bridge gone", "quake felt in town"]


class Model(ThreadingHTTPServer):
    """Answers lists of tweets by a rule that a test may change."""

    def __init__(self, *disasters: str) -> None:
        self.disasters = set(disasters)
        self.left_out = 0
        super().__init__(("127.0.0.1", 0), Answers)

    @property
    def address(self) -> Address:
        return Address("model", "127.0.0.1", self.server_address[1])


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        left_out = self.server.left_out  # type: ignore[attr-defined]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = [one if isinstance(one, str) else one["text"] for one in asked]
        content = json.dumps({"predictions": [self._answer(text) for text in texts[left_out:]]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, text: str) -> dict[str, Any]:
        is_disaster = text in self.server.disasters  # type: ignore[attr-defined]
        label = "disaster" if is_disaster else "not_disaster"
        return {"label": label, "score": 0.9 if is_disaster else 0.1, "decision": label}

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def serving(*models: Model) -> Iterator[None]:
    for model in models:
        threading.Thread(target=model.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        for model in models:
            model.shutdown()
            model.server_close()


class NoProcessSlot(Slot):
    """A slot whose server is a stand-in in this process; a file tells whether it was started."""

    @property
    def supervisors(self) -> list[Any]:
        return [None] if (self.folder / "started").exists() else []

    def start(self, bin_dir: Path, timeout_s: float) -> None:
        (self.folder / "started").touch()

    def stop(self) -> None:
        (self.folder / "started").unlink(missing_ok=True)


class NoNginx(Gateway):
    """Writes its settings as the real one does; what nginx would ask is kept in a file."""

    def _reload(self) -> None:
        refused = self._root / "refuse"  # "all", or the new server's settings only
        if refused.exists() and (refused.read_text() == "all" or self._override() is not None):
            raise GatewaySwitchError("nginx refuses its configuration")
        (self._root / "asked").write_text(self.target().server_rest)

    def _workers(self) -> list[Any]:
        return [None]

    def _wait_for_new(self, old: list[Any], timeout_s: float) -> None:
        pass

    def switch(self, target: Target, timeout_s: float) -> list[Any]:
        super().switch(target, timeout_s)
        return []


class Stage:
    """A project with an old model behind the gateway and an archive of a new one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, old: Model, *slots: Model) -> None:
        self.place = make_installation(folder)
        self.root = self.place.root.resolve()
        self.archive = self.root / "model_store" / "tweets.mar"
        self.golden = [{"text": TEXTS[0], "score": 0.9, "label": "disaster"}]
        old_golden = self.root / "old.golden.json"
        old_golden.write_text(json.dumps(self.golden))
        self.archive.with_suffix(".golden.json").write_text(json.dumps(self.golden))
        self.settings = self.root / "gateway.yaml"
        self.settings.write_text(
            f"# kept\nserver_rest: 127.0.0.1:{old.address.port}  # the old\nserver_management: 127.0.0.1:1\n"
            f"server_grpc: 127.0.0.1:2\ngolden_file: {old_golden}\nrun_folder: run\n"
        )
        self.old, self.new = old, slots[0]
        self.models = dict(zip(rollout_slots.NAMES, slots, strict=True))
        sample = self.root / "sample.txt"
        sample.write_text("\n".join(["# a comment", *TEXTS]) + "\n")
        self.options = Options(
            self.root, self.settings, self.root / ".keys/trusted", self.place.bin_dir, sample, 0.3, 5, 0, 1, False
        )
        self.lines: list[str] = []
        monkeypatch.setattr(rollout_slots, "Slot", NoProcessSlot)
        monkeypatch.setattr(module, "Gateway", NoNginx)
        monkeypatch.setattr(module, "fill_slot", self._fill)
        self.rollout = Rollout(self.options, self.lines.append)

    def _fill(self, *arguments: Any) -> Any:
        slot, verified = fill_slot(*arguments)
        config = slot.folder / "config.properties"
        port = self.models[slot.folder.name].address.port
        config.write_text(config.read_text() + f"inference_address=http://127.0.0.1:{port}\n")
        return slot, verified

    def served(self) -> str:
        return self.rollout._gateway.target().server_rest

    def asked(self) -> str:
        """What nginx would ask: what it read at its last reload."""
        file = self.root / "asked"
        return file.read_text() if file.exists() else f"127.0.0.1:{self.old.address.port}"

    def started(self) -> set[str]:
        return {path.parent.name for path in self.root.glob(".run/slots/*/started")}


def rest(model: Model) -> str:
    return f"127.0.0.1:{model.address.port}"

"""The steps of a rollout over stand-ins: what stops it, and what is left then."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import rollout as module
import rollout_slots
from archive_zip import ArchiveRefusedError
from golden_answers import WrongAnswersError
from rollout import Options, Rollout, RolloutError
from rollout_gateway import Gateway, GatewaySwitchError, Target, _with_target
from rollout_shadow import compare, read_sample
from rollout_slots import Slot, fill_slot
from server_settings import Address
from tests.scripts.broken_configurations import make_installation

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
    """A slot whose server is a stand-in in this process."""

    def start(self, bin_dir: Path, timeout_s: float) -> None:
        (self.folder / "started").touch()

    def stop(self) -> None:
        (self.folder / "started").unlink(missing_ok=True)


class RecordingGateway(Gateway):
    """Writes its settings as the real one does and reloads nothing."""

    def switch(self, target: Target, timeout_s: float) -> list[Any]:
        self.switched = [*getattr(self, "switched", []), target.server_rest]
        if (self._root / "refuse").exists():
            raise GatewaySwitchError("nginx refuses its configuration")
        self._write(_with_target(self._file.read_text(), target))
        return []


class Stage:
    """A project with an old model behind the gateway and an archive of a new one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, old: Model, new: Model) -> None:
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
        self.old, self.new = old, new
        sample = self.root / "sample.txt"
        sample.write_text("\n".join(["# a comment", *TEXTS]) + "\n")
        self.options = Options(
            self.root, self.settings, self.root / ".keys/trusted", self.place.bin_dir, sample, 0.3, 5, 0, 5, False
        )
        self.lines: list[str] = []
        monkeypatch.setattr(module, "Slot", NoProcessSlot)
        monkeypatch.setattr(rollout_slots, "Slot", NoProcessSlot)
        monkeypatch.setattr(module, "Gateway", RecordingGateway)
        monkeypatch.setattr(module, "fill_slot", self._fill)
        self.rollout = Rollout(self.options, self.lines.append)

    def _fill(self, *arguments: Any) -> Any:
        slot, verified = fill_slot(*arguments)
        config = slot.folder / "config.properties"
        config.write_text(config.read_text() + f"inference_address=http://127.0.0.1:{self.new.address.port}\n")
        return slot, verified

    def served(self) -> str:
        return self.rollout._gateway.target().server_rest

    def started(self) -> set[str]:
        return {path.parent.name for path in self.root.glob(".run/slots/*/started")}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    old, new = Model(TEXTS[0]), Model(TEXTS[0])
    with serving(old, new):
        yield Stage(tmp_path, monkeypatch, old, new)


def rest(model: Model) -> str:
    return f"127.0.0.1:{model.address.port}"


def test_promote_when_the_new_model_proves_itself_then_the_gateway_asks_it(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    assert stage.served() == rest(stage.new)
    assert stage.settings.read_text().startswith("# kept\nserver_rest: ")
    assert "# the old" in stage.settings.read_text()
    assert any("4 shadow tweets: 0 with another label" in line for line in stage.lines)
    assert any("goes on running and a rollback finds it" in line for line in stage.lines)


def test_rollback_when_promoted_then_the_old_again_and_once_more_the_new(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    stage.rollout.rollback()
    assert stage.served() == rest(stage.old)
    assert stage.started() == set()
    stage.rollout.rollback()
    assert stage.served() == rest(stage.new)
    assert stage.started() == {"blue"}


def test_promote_when_two_were_promoted_then_takes_the_slot_of_neither(stage: Stage) -> None:
    for _ in range(2):
        stage.rollout.promote(stage.archive)
        stage.new.disasters.add("something")  # another answer, the same golden ones
    names = {path.name for path in (stage.root / ".run/slots").iterdir()}
    assert names == {"blue", "green"}


def refused(stage: Stage, error: type[Exception], said: str) -> None:
    before = stage.settings.read_text()
    with pytest.raises(error, match=said):
        stage.rollout.promote(stage.archive)
    assert stage.settings.read_text() == before
    assert stage.started() == set()


def test_promote_when_the_archive_was_changed_then_starts_nothing(stage: Stage) -> None:
    stage.archive.write_bytes(stage.archive.read_bytes() + b"x")
    refused(stage, ArchiveRefusedError, "its signed manifest says")


def test_promote_when_golden_tweets_are_answered_wrongly_then_stops_it(stage: Stage) -> None:
    stage.new.disasters.clear()
    refused(stage, WrongAnswersError, "golden tweets were answered wrongly")


def test_promote_when_too_many_labels_differ_then_stops_it_and_names_lines_not_texts(stage: Stage) -> None:
    stage.new.disasters.update(TEXTS[1:3])
    refused(stage, RolloutError, r"50.0% of the shadow tweets")
    (line,) = [line for line in stage.lines if "shadow tweets" in line]
    assert "first in lines 2, 3" in line
    assert TEXTS[1] not in line


def test_promote_when_the_gateway_refuses_then_stops_the_new_server(stage: Stage) -> None:
    (stage.root / "refuse").touch()
    refused(stage, GatewaySwitchError, "nginx refuses")
    assert not (stage.root / module.STATE).exists()


def test_promote_when_the_new_server_fails_after_the_switch_then_the_gateway_asks_the_old_one_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise WrongAnswersError("it died")

    monkeypatch.setattr(stage.rollout, "_watch", fail)
    with pytest.raises(RolloutError, match="failed after the switch"):
        stage.rollout.promote(stage.archive)
    assert stage.served() == rest(stage.old)
    assert stage.rollout._gateway.switched == [rest(stage.new), rest(stage.old)]  # type: ignore[attr-defined]
    assert stage.started() == set()
    with pytest.raises(RolloutError, match="nothing served before"):
        stage.rollout.rollback()


def test_rollback_when_nothing_served_before_then_says_so(stage: Stage) -> None:
    with pytest.raises(RolloutError, match="nothing served before"):
        stage.rollout.rollback()


def test_rollback_when_the_server_before_does_not_answer_then_the_present_one_stays(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    stage.old.disasters.clear()
    with pytest.raises(WrongAnswersError):
        stage.rollout.rollback()
    assert stage.served() == rest(stage.new)


def test_status_when_the_server_is_wrong_then_says_so(stage: Stage) -> None:
    stage.old.disasters.clear()
    assert not stage.rollout.status()
    assert "does not answer right" in stage.lines[-1]


def test_compare_when_a_server_leaves_tweets_out_then_says_how_many(stage: Stage) -> None:
    stage.new.left_out = 1
    with pytest.raises(WrongAnswersError, match="answered 3 of the shadow tweets from line 1 on"):
        compare(stage.old.address, stage.new.address, TEXTS)


def test_read_sample_when_empty_then_refused(tmp_path: Path) -> None:
    (tmp_path / "sample.txt").write_text("# only a comment\n\n")
    with pytest.raises(WrongAnswersError, match="holds no tweet"):
        read_sample(tmp_path / "sample.txt")


def test_switch_when_no_gateway_runs_then_its_settings_stay(stage: Stage) -> None:
    gateway = Gateway(stage.settings, stage.root)
    before = stage.settings.read_text()
    with pytest.raises(GatewaySwitchError, match="no gateway runs"):
        gateway.switch(Target("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "x"), 1)
    assert stage.settings.read_text() == before


def test_main_when_the_settings_are_missing_then_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["--root", str(tmp_path), "status"]) == 1
    assert "cannot be read" in capsys.readouterr().err

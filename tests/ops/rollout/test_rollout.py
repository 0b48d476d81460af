"""The steps of a rollout over stand-ins: what stops it, and what is left then."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ops.archive.contents import ArchiveRefusedError
from ops.rollout import commands as module
from ops.rollout import slots as rollout_slots
from ops.rollout.commands import NotFreedError, Rollout, RolloutError
from ops.rollout.record import STATE, Place, Record, read_record, write_record
from ops.rollout.shadow import compare, read_sample
from ops.rollout.switch import Gateway, GatewaySwitchError, GatewayUnsettledError, Target
from ops.settings.locks import LockedError, locked
from ops.settings.server import SettingsError
from ops.torchserve.golden import WrongAnswersError
from ops.torchserve.instance import ServerError
from tests.ops.rollout.rollout_stage import TEXTS, Model, Stage, rest, serving


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    models = [Model(TEXTS[0]) for _ in range(4)]
    with serving(*models):
        yield Stage(tmp_path, monkeypatch, *models)


def test_promote_when_the_new_model_proves_itself_then_the_gateway_asks_it(stage: Stage) -> None:
    before = stage.settings.read_text()
    stage.rollout.promote(stage.archive)
    assert stage.served() == rest(stage.new)
    assert stage.settings.read_text() == before  # it may be tracked by git
    assert stage.asked() == rest(stage.new)
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
    with pytest.raises(error, match=said):
        stage.rollout.promote(stage.archive)
    assert stage.served() == stage.asked() == rest(stage.old)
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
    (stage.root / "refuse").write_text("new")
    refused(stage, GatewaySwitchError, "nginx refuses")
    assert read_record(stage.root) == Record()


def test_promote_when_the_new_server_fails_after_the_switch_then_the_gateway_asks_the_old_one_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise WrongAnswersError("it died")

    monkeypatch.setattr(stage.rollout, "_watch", fail)
    with pytest.raises(RolloutError, match="failed after the switch"):
        stage.rollout.promote(stage.archive)
    assert stage.served() == stage.asked() == rest(stage.old)
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
    with pytest.raises(GatewaySwitchError, match="no gateway runs"):
        gateway.switch(Target("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "x"), 1)
    assert gateway.target().server_rest == rest(stage.old)


def test_main_when_the_settings_are_missing_then_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["--root", str(tmp_path), "status"]) == 1
    assert "no settings file" in capsys.readouterr().err


def test_promote_when_the_gateway_refuses_the_old_settings_too_then_both_servers_go_on_running(stage: Stage) -> None:
    (stage.root / "refuse").write_text("all")
    with pytest.raises(GatewayUnsettledError):
        stage.rollout.promote(stage.archive)
    assert stage.started() == {"blue"}
    (stage.root / "refuse").unlink()
    stage.rollout.promote(stage.archive)
    assert stage.asked() in {rest(model) for name, model in stage.models.items() if name in stage.started()}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ServerError, psutil.NoSuchProcess])
def test_promote_when_the_old_server_cannot_be_freed_then_the_new_one_is_not_touched(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def fail(*arguments: Any) -> None:
        raise kind(1)

    with monkeypatch.context() as patch:
        patch.setattr(stage.rollout, "_free", fail)
        with pytest.raises(NotFreedError, match="the new server serves"):
            stage.rollout.promote(stage.archive)
    assert stage.served() == stage.asked() == rest(stage.new)
    assert stage.started() == {"blue"}
    stage.rollout.rollback()
    assert stage.asked() == rest(stage.old)


def test_main_when_the_old_server_cannot_be_freed_then_has_a_status_of_its_own(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: Any) -> None:
        raise ServerError("port 8080 is held by java")

    monkeypatch.setattr(Rollout, "_free", fail)
    words = ["--root", str(stage.root), "--settings", str(stage.settings), "--no-shadow", "--watch-s", "0"]
    assert module.main([*words, "promote", str(stage.archive)]) == module.NOT_FREED
    assert "warning: the new server serves" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_main_when_interrupted_while_watching_then_goes_back_before_it_stops_the_new_server(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupt(rollout: Rollout, place: Place) -> None:
        assert stage.asked() == rest(stage.new)
        signal.raise_signal(number)

    monkeypatch.setattr(Rollout, "_watch", interrupt)
    words = ["--root", str(stage.root), "--settings", str(stage.settings), "--no-shadow", "--drain-s", "1"]
    assert module.main([*words, "promote", str(stage.archive)]) == 130
    assert stage.served() == stage.asked() == rest(stage.old)
    assert stage.started() == set()


def test_promote_when_the_way_back_fails_too_then_nothing_is_stopped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        (stage.root / "refuse").write_text("all")
        raise WrongAnswersError("it died")

    monkeypatch.setattr(stage.rollout, "_watch", fail)
    with pytest.raises(GatewayUnsettledError):
        stage.rollout.promote(stage.archive)
    assert stage.asked() == rest(stage.new)
    assert stage.started() == {"blue"}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "LOCALHOST", "0.0.0.0", "[::1]"])
@pytest.mark.parametrize("golden", ["absolute", "relative"])
def test_promote_when_the_serving_slot_is_written_in_another_way_then_is_not_refilled(
    stage: Stage, host: str, golden: str
) -> None:
    stage.rollout.promote(stage.archive)
    file = stage.root / "run" / "target.json"
    target = json.loads(file.read_text())
    target["server_rest"] = f"{host}:{stage.new.address.port}"
    if golden == "relative":
        target["golden_file"] = os.path.relpath(target["golden_file"], stage.root)
    file.write_text(json.dumps(target))
    assert stage.rollout._current().slot == "blue"
    (stage.root / ".run/rollout.json").unlink()  # nothing else says that blue is needed
    if "::1" not in host:  # the stand-in listens on the other address only
        stage.rollout.promote(stage.archive)
        assert stage.served() == rest(stage.models["green"])
    assert "blue" in {path.name for path in (stage.root / ".run/slots").iterdir()}


def test_promote_when_another_rollout_runs_then_refused(stage: Stage) -> None:
    with locked(stage.root / module.LOCK), pytest.raises(LockedError, match=f"pid {os.getpid()} holds"):
        stage.rollout.promote(stage.archive)
    assert not (stage.root / ".run/slots").exists()


@pytest.mark.parametrize("content", ["", ".", "/", "..", "~", "\0", "/tmp", "ts-x"])
def test_stop_when_a_file_of_the_slot_names_a_folder_then_that_folder_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    checkout = tmp_path / "checkout"
    slot = checkout / ".run/slots/blue"
    slot.mkdir(parents=True)
    (checkout / "README.md").write_text("x")
    (slot / "temporary").write_text(content)
    monkeypatch.chdir(checkout)
    rollout_slots.slot_of(checkout, "blue").stop()
    assert (checkout / "README.md").exists()
    assert slot.exists()


@pytest.mark.parametrize("link", [".run/slots", ".run/slots/blue"])
def test_promote_when_a_slot_is_a_link_then_what_it_points_to_stays(stage: Stage, tmp_path: Path, link: str) -> None:
    other = tmp_path / "other"
    (other / "blue").mkdir(parents=True)
    (other / "blue" / "precious").touch()
    path = stage.root / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(other if link.endswith("slots") else other / "blue")
    with pytest.raises(SettingsError, match="is a link"):
        stage.rollout.promote(stage.archive)
    assert (other / "blue" / "precious").exists()


def test_promote_when_the_archive_is_in_the_slot_to_be_replaced_then_refused(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    stage.rollout.rollback()
    stage.rollout.rollback()
    inside = stage.root / ".run/slots/green/model_store/tweets.mar"
    with pytest.raises(SettingsError, match="is in the slot that would be replaced"):
        stage.rollout.promote(inside)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"previous": {"slot": "../..", "target": {}}}', '{"previous": 5}', '{"previous": "x"}', "\0"],
)
def test_promote_when_the_record_is_broken_then_says_so_and_changes_nothing(stage: Stage, content: str) -> None:
    (stage.root / STATE).parent.mkdir(exist_ok=True)
    (stage.root / STATE).write_text(content)
    refused(stage, RolloutError, "is broken")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"server_rest": "x"}', "\0"])
def test_promote_when_the_target_file_is_broken_then_says_so_and_stops_nothing(stage: Stage, content: str) -> None:
    stage.rollout.promote(stage.archive)
    (stage.root / "run/target.json").write_text(content)
    with pytest.raises(GatewaySwitchError, match="names no server"):
        stage.rollout.promote(stage.archive)
    assert stage.started() == {"blue"}


def test_rollback_when_the_same_server_is_recorded_then_it_is_not_stopped(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    write_record(stage.root, Record(stage.rollout._current()))
    with pytest.raises(RolloutError, match="serves already"):
        stage.rollout.rollback()
    assert stage.started() == {"blue"}


def test_stop_when_slots_run_then_stops_each_and_start_brings_back_what_the_gateway_names(stage: Stage) -> None:
    stage.rollout.promote(stage.archive)
    stage.rollout.stop()
    assert stage.started() == set()
    stage.rollout.start()
    assert stage.started() == {"blue"}


def test_prove_when_the_server_is_on_another_machine_then_that_one_is_asked(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "check_golden", lambda address, golden: asked.append(f"{address.host}:{address.port}"))
    for host in ("192.0.2.7", "[2001:db8::1]"):
        stage.rollout._prove(Target(f"{host}:8080", f"{host}:8081", f"{host}:7070", "golden.json"))
    assert asked == ["192.0.2.7:8080", "2001:db8::1:8080"]

"""Hashes and decisions, no text; bounded; never in the way of an answer."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tweetclf.audit_log import KEPT_FILES, AuditLog, AuditSettings
from tweetclf.classifier import Prediction
from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.handler_settings import HandlerConfig
from tweetclf.request import Item, Shape, TweetRequest

TEXT = "Flood water is over the bridge in Marlow"
KEY = b"k" * 64
DECIDED = Prediction("disaster", 0.9, "disaster", False)


@pytest.fixture
def settings(tmp_path: Path) -> AuditSettings:
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY)
    key_file.chmod(0o400)
    return AuditSettings(tmp_path / "audit.jsonl", key_file, 10_000)


def request_of(*texts: str | None) -> TweetRequest:
    return TweetRequest(Shape.MANY, [Item(text) for text in texts])


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_holds_hash_and_decision_and_no_text(settings: AuditSettings) -> None:
    log = AuditLog(settings)
    wrong = InvalidRequestError("WRONG_TYPE", "a number", 1)
    log.add("request-1", request_of(TEXT, None), [DECIDED, wrong], "v1")
    log.flush()
    first, second = lines(settings.path)
    assert first.pop("time")
    assert first == {
        **{"request_id": "request-1", "index": 0, "key_id": log.key_id, "text_hmac": log.hash_of(TEXT)},
        **{"model_version": "v1", "score": 0.9, "decision": "disaster"},
    }
    assert (second["text_hmac"], second["error"]) == (None, "WRONG_TYPE")
    assert b"Flood" not in settings.path.read_bytes()
    assert settings.path.stat().st_mode & 0o077 == 0


def test_the_hash_depends_on_the_key(settings: AuditSettings) -> None:
    one = AuditLog(settings)
    settings.key_file.chmod(0o600)
    settings.key_file.write_bytes(KEY[::-1] + b"x")
    other = AuditLog(settings)
    assert one.hash_of(TEXT) != other.hash_of(TEXT)
    assert one.key_id != other.key_id
    assert len({one.hash_of("\ud83d"), one.hash_of("")}) == 2


def test_the_files_are_bounded(settings: AuditSettings) -> None:
    log = AuditLog(settings)
    for _ in range(600):
        log.add("r", request_of(TEXT), [DECIDED], "v1")
        log.flush()
    kept = sorted(settings.path.parent.glob("audit.jsonl*"))
    assert [path.suffix for path in kept] == [".jsonl", *(f".{n}" for n in range(1, KEPT_FILES + 1)), ".lock"]
    assert sum(path.stat().st_size for path in kept) < (KEPT_FILES + 1) * (settings.max_bytes + 400)
    assert all(lines(path) for path in kept if path.suffix != ".lock")


def test_writers_that_share_a_file_lose_no_line(settings: AuditSettings) -> None:
    logs = [AuditLog(settings) for _ in range(4)]

    def write(log: AuditLog) -> None:
        for _ in range(40):
            log.add("r", request_of(TEXT), [DECIDED], "v1")
            log.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, logs))
    written = [path for path in settings.path.parent.glob("audit.jsonl*") if path.suffix != ".lock"]
    assert sum(len(lines(path)) for path in written) == 160


def test_a_disk_that_is_full_costs_lines_and_raises_nothing(
    settings: AuditSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(settings)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(3):
        log.add("r", request_of(TEXT, TEXT), [DECIDED, DECIDED], "v1")
        log.flush()
    assert log.lost_lines == 6
    assert caplog.text.count("No space left on device") == 1
    assert "Flood" not in caplog.text


def test_a_disk_that_fills_up_within_a_line_leaves_whole_lines_and_counts_those_lost(
    settings: AuditSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(settings)
    log.add("before", request_of(TEXT), [DECIDED], "v1")
    log.flush()
    write, room = os.write, [250]  # bytes: the first line fits, the second does not

    def write_what_fits(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", write_what_fits)
        log.add("full", request_of(TEXT, TEXT), [DECIDED, DECIDED], "v1")
        log.flush()
    assert room == [0]
    assert log.lost_lines == 2
    log.add("after", request_of(TEXT), [DECIDED], "v1")
    log.flush()
    assert [line["request_id"] for line in lines(settings.path)] == ["before", "after"]
    assert log.lost_lines == 2


def test_a_line_that_a_killed_writer_left_costs_no_other_and_is_counted(settings: AuditSettings) -> None:
    settings.path.write_text('{"request_id":"whole"}\n{"request_id":"cu')
    log = AuditLog(settings)
    assert log.lost_lines == 1
    for _ in range(2):
        log.add("after", request_of(TEXT), [DECIDED], "v1")
        log.flush()
    first, cut, *rest = settings.path.read_text().splitlines()
    assert (first, cut) == ('{"request_id":"whole"}', '{"request_id":"cu')
    assert [json.loads(line)["request_id"] for line in rest] == ["after", "after"]
    assert log.lost_lines == 1


def test_a_key_that_anybody_may_read_is_refused(settings: AuditSettings) -> None:
    settings.key_file.chmod(0o444)
    with pytest.raises(BundleError, match="everybody may read or write"):
        AuditLog(settings)


def test_a_key_that_is_short_or_missing_is_refused(settings: AuditSettings) -> None:
    settings.key_file.chmod(0o600)
    settings.key_file.write_bytes(b"short")
    with pytest.raises(BundleError, match="holds 5 bytes; expected 32"):
        AuditLog(settings)
    settings.key_file.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        AuditLog(settings)


def test_a_file_that_cannot_be_written_is_refused_at_the_start(settings: AuditSettings, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        AuditLog(AuditSettings(tmp_path / "nowhere" / "audit.jsonl", settings.key_file, 10_000))


def test_settings_of_half_an_audit_log_are_refused() -> None:
    assert HandlerConfig().audit_settings() is None
    with pytest.raises(BundleError, match="expected both or none"):
        HandlerConfig(audit_log="/var/log/audit.jsonl")
    with pytest.raises(BundleError, match="expected an absolute path"):
        HandlerConfig(audit_log="audit.jsonl", audit_key_file="/run/key").audit_settings()
    with pytest.raises(BundleError, match="expected a path"):
        HandlerConfig(audit_log=5)  # type: ignore[arg-type]

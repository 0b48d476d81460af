"""API keys: how they are made, kept, judged and revoked."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ops.gateway import keys as gateway_keys
from ops.gateway.keys import KeyFile, KeysError, Verdict, create_key, hash_key, judge, read_keys, revoke_key
from ops.settings.locks import locked_folder

NOW = datetime.now(timezone.utc)


def test_key_when_created_then_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry, key = create_key(file, "control room")
    content = file.read_text()
    assert key not in content
    assert key.rpartition("_")[2] not in content
    assert entry.sha256 == hash_key(key.encode())
    assert key.startswith(f"dtk_{entry.id}_")
    assert len(key.removeprefix(f"dtk_{entry.id}_")) == 43  # 256 bits in base64
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_keys_when_two_are_made_then_they_differ_and_both_are_good(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    (first, one), (second, two) = create_key(file, "a"), create_key(file, "b", days=1)
    keys = read_keys(file)
    assert one != two
    assert judge(one.encode(), keys, NOW) == (Verdict.GOOD, first.id)
    assert judge(two.encode(), keys, NOW) == (Verdict.GOOD, second.id)
    assert judge(two.encode(), keys, NOW + timedelta(days=2)) == (Verdict.ENDED, second.id)


@pytest.mark.parametrize("presented", [b"", b"x", b"\xff" * 10, b"dtk_"])
def test_key_when_unknown_then_no_id(tmp_path: Path, presented: bytes) -> None:
    create_key(tmp_path / "keys.json", "a")
    assert judge(presented, read_keys(tmp_path / "keys.json"), NOW) == (Verdict.UNKNOWN, "")


def test_hash_when_presented_in_place_of_the_key_then_unknown(tmp_path: Path) -> None:
    entry, _ = create_key(tmp_path / "keys.json", "a")
    assert judge(entry.sha256.encode(), [entry], NOW)[0] is Verdict.UNKNOWN


def test_key_when_revoked_then_ended_and_the_first_moment_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry, key = create_key(file, "a")
    revoked = revoke_key(file, entry.id)
    assert judge(key.encode(), read_keys(file), NOW)[0] is Verdict.ENDED
    assert revoke_key(file, entry.id) == revoked
    with pytest.raises(KeysError, match="no key has the id"):
        revoke_key(file, "00000000")


@pytest.mark.parametrize(("name", "days"), [("", None), ("x" * 65, None), ("a\nb", None), ("a", 0), ("a", -1)])
def test_key_when_name_or_days_cannot_be_then_refused(tmp_path: Path, name: str, days: float | None) -> None:
    with pytest.raises(KeysError):
        create_key(tmp_path / "keys.json", name, days)
    assert not (tmp_path / "keys.json").exists()


def test_file_when_changed_then_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry, key = create_key(file, "a")
    keys = KeyFile(file)
    assert keys.judge(key.encode(), NOW)[0] is Verdict.GOOD
    revoke_key(file, entry.id)
    assert keys.judge(key.encode(), NOW)[0] is Verdict.ENDED
    _, other = create_key(file, "b")
    assert keys.judge(other.encode(), NOW)[0] is Verdict.GOOD


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"id": "x"}]', '["a"]', "null", "[{}]", '[{"unknown": 1}]'])
def test_file_when_broken_then_nobody_gets_in_until_it_is_whole(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    _, key = create_key(file, "a")
    whole, keys = file.read_bytes(), KeyFile(file)
    assert keys.judge(key.encode(), NOW)[0] is Verdict.GOOD
    file.write_text(content)
    os.utime(file, ns=(1, 1))
    for _ in range(2):
        if content == "{}":  # an empty mapping reads as an empty list: nobody has a key
            assert keys.judge(key.encode(), NOW)[0] is Verdict.UNKNOWN
        else:
            with pytest.raises(KeysError):
                keys.judge(key.encode(), NOW)
    file.unlink()
    with pytest.raises(KeysError):
        keys.judge(key.encode(), NOW)
    file.write_bytes(whole)
    assert keys.judge(key.encode(), NOW)[0] is Verdict.GOOD


def test_file_when_an_entry_has_a_day_without_time_zone_then_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    create_key(file, "a")
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([{**entry, "expires": "2099-01-01T00:00:00"}]))
    with pytest.raises(KeysError):
        read_keys(file)


def test_file_when_changed_then_mode_and_owner_stay(tmp_path: Path) -> None:
    """The gateway in its container reads the file by its group; root rotates the keys."""
    file = tmp_path / "keys.json"
    entry, _ = create_key(file, "a")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 10_002, 10_003)
    owner = (file.stat().st_uid, file.stat().st_gid)
    for change in (lambda: create_key(file, "b"), lambda: revoke_key(file, entry.id)):
        change()
        assert file.stat().st_mode & 0o777 == 0o640
        assert (file.stat().st_uid, file.stat().st_gid) == owner


def test_file_when_it_cannot_be_given_to_its_owner_then_refused_and_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    create_key(file, "a")
    before = file.read_bytes()

    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", forbidden)
    monkeypatch.setattr(os, "fchmod", forbidden)
    with pytest.raises(KeysError, match="run the command as its owner"):
        create_key(file, "b")
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_file_when_it_is_a_link_then_the_link_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "keys.json", tmp_path / "keys.json"
    link.symlink_to(real)
    create_key(link, "a")
    create_key(link, "b")
    assert link.is_symlink()
    assert len(read_keys(real)) == 2


def test_keys_when_made_and_revoked_at_once_then_no_change_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    leaked = [create_key(file, f"leaked {number}")[0].id for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: create_key(file, f"new {number}"), range(20)))
        made = [pool.submit(create_key, file, f"newer {number}") for number in range(20)]
        revoked = [pool.submit(revoke_key, file, identity) for identity in leaked]
        for job in (*made, *revoked):
            job.result()
    keys = read_keys(file)
    assert len(keys) == 60
    assert {key.id for key in keys if key.revoked} == set(leaked)


def test_file_when_another_process_holds_its_lock_then_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_keys, "LOCK_WAIT_S", 0.0)
    with locked_folder(tmp_path, 0), pytest.raises(KeysError, match="holds the lock"):
        create_key(tmp_path / "keys.json", "a")

"""The gateway's API keys: made, listed, revoked and checked; only their hashes are kept.

A key holds 256 random bits, so a plain SHA-256 of it cannot be searched; slow hashes are for passwords that people
choose (docs/adr/0004).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

from ops.settings.locks import LockedError, locked_folder

KEY_PREFIX = "dtk"  # secret scanners find what has a prefix
KEY_BYTES = 32
LOCK_WAIT_S = 10.0
_NAME = re.compile(r"[\w.@ -]{1,64}")
_ID = re.compile(r"[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class KeysError(RuntimeError):
    """The file of keys cannot be used; the message says what to do and never holds a key."""


class Verdict(Enum):
    """What a presented key is worth."""

    GOOD = "good"
    UNKNOWN = "unknown"
    ENDED = "ended"  # revoked, or past its day


@dataclass(frozen=True)
class ApiKey:
    """One line of the file.

    Args:
        id: public; names the key in the access log and to `revoke`.
        name: whose it is, for people.
        sha256: of the whole key, in hexadecimal.
        created: ISO 8601, UTC.
        expires: the same, or None for never.
        revoked: the same, or None.
    """

    id: str
    name: str
    sha256: str
    created: str
    expires: str | None = None
    revoked: str | None = None

    def __post_init__(self) -> None:
        if not (_ID.fullmatch(self.id) and _SHA256.fullmatch(self.sha256) and _NAME.fullmatch(self.name)):
            raise ValueError("expected 8 hexadecimal digits as id, 64 as sha256, a name of at most 64 characters")
        for moment in (self.created, self.expires, self.revoked):
            if moment is not None and datetime.fromisoformat(moment).tzinfo is None:
                raise ValueError("expected moments with their time zone")

    def has_ended(self, now: datetime) -> bool:
        """Tell whether it was revoked or has expired."""
        return self.revoked is not None or (self.expires is not None and datetime.fromisoformat(self.expires) <= now)


def create_key(file: Path, name: str, days: float | None = None) -> tuple[ApiKey, str]:
    """Add a key to the file, which is made where there is none.

    Args:
        file: JSON list of keys, readable by its owner only.
        name: whose the key is.
        days: until it expires; None is never.

    Returns:
        The line, and the key itself: it is shown now and never again.

    Raises:
        KeysError: a name or a number that cannot be, or a broken file.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(f"name is {name!r}; expected 1 to 64 letters, digits, spaces and .@_-")
    if days is not None and not 0 < days <= 36_500:
        raise KeysError(f"days is {days}; expected more than 0 and at most 36500")
    now = datetime.now(timezone.utc)
    identity = secrets.token_hex(4)
    key = f"{KEY_PREFIX}_{identity}_{secrets.token_urlsafe(KEY_BYTES)}"
    expires = None if days is None else _iso(now + timedelta(days=days))
    entry = ApiKey(identity, name, hash_key(key.encode()), _iso(now), expires)
    with _changing(file):
        keys = read_keys(file) if file.exists() else []
        if any(one.id == identity for one in keys):
            raise KeysError(f"the id {identity} is taken, by one chance in four thousand million; create the key again")
        _write(file, [*keys, entry])
    return entry, key


def revoke_key(file: Path, identity: str) -> ApiKey:
    """Mark a key as revoked; it counts from the next request on.

    Raises:
        KeysError: no such key.
    """
    with _changing(file):
        keys = read_keys(file)
        for index, key in enumerate(keys):
            if key.id == identity:
                keys[index] = replace(key, revoked=key.revoked or _iso(datetime.now(timezone.utc)))
                _write(file, keys)
                return keys[index]
    raise KeysError(f"no key has the id {identity!r}; expected one of {[key.id for key in keys]}")


def read_keys(file: Path) -> list[ApiKey]:
    """Read the file.

    Raises:
        KeysError: no file, or not what `create_key` writes.
    """
    known = {entry.name for entry in fields(ApiKey)}
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        keys = [ApiKey(**entry) for entry in entries if set(entry) <= known]
    except FileNotFoundError:
        raise KeysError(f"no file of keys {file}; make a key: disaster-tweets gateway key create NAME") from None
    except (OSError, ValueError, TypeError, AttributeError):
        raise KeysError(
            f"{file} is no list of keys; restore it from its backup, or remove it and make new keys"
        ) from None
    if len(keys) != len(entries) or len({key.id for key in keys}) != len(keys):
        raise KeysError(f"{file} has an entry with unknown fields or an id twice; restore it from its backup")
    return keys


def hash_key(key: bytes) -> str:
    """Return the hash under which a key is kept."""
    return hashlib.sha256(key).hexdigest()


def judge(presented: bytes, keys: Iterable[ApiKey], now: datetime) -> tuple[Verdict, str]:
    """Compare a presented key with all that there are, in a time that tells nothing of any of them.

    Args:
        presented: what the client sent.
        keys: every key of the file.
        now: with its time zone.

    Returns:
        The verdict, and the id of the key, or "".
    """
    digest = hash_key(presented)
    found: ApiKey | None = None
    for key in keys:  # no early end: the place of a key in the file would show in the time
        if hmac.compare_digest(digest, key.sha256):
            found = key
    if found is None:
        return Verdict.UNKNOWN, ""
    return (Verdict.ENDED if found.has_ended(now) else Verdict.GOOD), found.id


class KeyFile:
    """The keys of a file that may change at any time; a broken or missing file lets nobody in."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._keys: list[ApiKey] = []

    def judge(self, presented: bytes, now: datetime) -> tuple[Verdict, str]:
        """Judge a presented key by the file as it is now.

        Raises:
            KeysError: the file cannot be used.
        """
        try:
            status = self._file.stat()
        except OSError as error:
            self._stamp = None
            raise KeysError(f"no file of keys {self._file}: {error.strerror}") from None
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._stamp = None  # until the new content is read, nothing counts
            self._keys = read_keys(self._file)
            self._stamp = stamp
        return judge(presented, self._keys, now)


@contextlib.contextmanager
def _changing(file: Path) -> Iterator[None]:
    """Let one process at a time read, change and write: a revocation must not be lost to a key made meanwhile."""
    folder = file.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    # The folder, since the file is replaced by each change, and a lock file would have an owner of its own.
    try:
        with locked_folder(folder, LOCK_WAIT_S):
            yield
    except LockedError as error:
        raise KeysError(str(error)) from None


def _write(file: Path, keys: list[ApiKey]) -> None:
    """Replace the file in one step, so that no reader sees half of it; owner, group and mode stay.

    Raises:
        KeysError: the new file could not be given to the owner of the old one.
    """
    file = file.resolve()  # what a link names is replaced, not the link
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=".keys-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as output:
            _as_before(output.fileno(), file)
            json.dump([asdict(key) for key in keys], output, indent=1)
            output.write("\n")
            output.flush()
            os.fsync(output.fileno())
        os.replace(temporary, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # or the old file may be back after a power loss
        finally:
            os.close(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _as_before(descriptor: int, file: Path) -> None:
    """Give a new file the owner and mode of the one that it replaces: the gateway must still be able to read it."""
    if not file.exists():
        return
    old, new = file.stat(), os.fstat(descriptor)
    try:
        if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    except PermissionError:
        raise KeysError(
            f"{file} belongs to user {old.st_uid}, group {old.st_gid}, and you are {os.geteuid()}; nothing is changed; "
            "run the command as its owner or as root"
        ) from None


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")

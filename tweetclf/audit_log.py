"""Keep what was decided about which text, without the text, for those who must answer for a decision later.

A line holds a keyed hash of the text. Who has the text and the key can find its lines; who has the file alone learns
nothing of any text: short texts could be guessed from a plain hash, not from a keyed one.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tweetclf.errors import BundleError, InvalidRequestError
from tweetclf.request import TweetRequest
from tweetclf.response import Outcome

logger = logging.getLogger(__name__)

MIN_KEY_BYTES = 32  # of a hash of 32 bytes. Source: RFC 2104, section 3
KEPT_FILES = 5  # predecessors: PATH.1 is the youngest


@dataclass(frozen=True)
class AuditSettings:
    """Where the lines go and what bounds them.

    Args:
        path: absolute; a worker's working directory is TorchServe's business.
        key_file: absolute; 32 bytes or more, which only the owner and the group may read.
        max_bytes: size at which the file is moved to PATH.1, PATH.1 to PATH.2 and so on; with `KEPT_FILES`
            predecessors the whole takes at most six times as much, and one batch more.
    """

    path: Path
    key_file: Path
    max_bytes: int

    def __post_init__(self) -> None:
        for name in ("path", "key_file"):
            if not getattr(self, name).is_absolute():
                raise BundleError(f"audit log: {name} is {getattr(self, name)}; expected an absolute path")


class AuditLog:
    """Append one line an item; several workers may share a file.

    Args:
        settings: where and how much.

    Raises:
        BundleError: the key cannot be used or the file cannot be written: what was asked to be audited is not served
            unaudited from the start.
    """

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._key = _read_key(settings.key_file)
        # Tells which key a line was made with, after a change of keys; says nothing about the key.
        self.key_id = hmac.new(self._key, b"key id", hashlib.sha256).hexdigest()[:8]
        self._pending: list[str] = []
        self.lost_lines = 0
        try:
            self._append(b"")
        except OSError as error:
            raise BundleError(
                f"audit log {settings.path} cannot be written ({error.strerror}); expected a folder that the worker "
                "may write to; change it, or leave handler.audit_log empty"
            ) from None

    def hash_of(self, text: str) -> str:
        """Return the keyed hash under which a text stands in the file, 64 hexadecimal digits."""
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def add(
        self, request_id: str | None, request: TweetRequest, outcomes: Sequence[Outcome], model_version: str
    ) -> None:
        """Note the outcomes of one request; they are written by `flush`.

        Args:
            request_id: TorchServe's. A REST caller got it in the header x-request-id. A gRPC caller does not get it:
                such a line is found by the hash of its text.
            request: with the texts.
            outcomes: one an item.
            model_version: who decided.
        """
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        for index, (item, outcome) in enumerate(zip(request.items, outcomes, strict=True)):
            line: dict[str, str | int | float | None] = {
                "time": now,
                "request_id": request_id,
                "index": index,
                "key_id": self.key_id,
                "text_hmac": None if item.text is None else self.hash_of(item.text),
                "model_version": model_version,
            }
            if isinstance(outcome, InvalidRequestError):
                line["error"] = outcome.code
            else:
                line |= {"score": outcome.score, "decision": outcome.decision}
            self._pending.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        """Write what was added; a disk that is full costs lines, which are counted, and no answer.

        All lines of a call are written or none, so that `lost_lines` is exact.
        """
        lines, self._pending = self._pending, []
        if not lines:
            return
        try:
            self._append(("\n".join(lines) + "\n").encode("ascii"))
        except OSError as error:
            if not self.lost_lines:
                logger.error("the audit log cannot be written: %s; lines are lost from now on", error.strerror)
            self.lost_lines += len(lines)

    def _append(self, data: bytes) -> None:
        path = self._settings.path
        lock = os.open(f"{path}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_size >= self._settings.max_bytes:
                _shift(path)
            cut = _ends_within_a_line(path)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _write_all_or_nothing(descriptor, b"\n" + data if cut else data)
            finally:
                os.close(descriptor)
            if cut:
                logger.warning("the audit log ended within a line, which is lost")
                self.lost_lines += 1
        finally:
            os.close(lock)  # and with it the lock


def _ends_within_a_line(path: Path) -> bool:
    """Tell whether a writer was killed within a line: the next one would be glued to it."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except (FileNotFoundError, PermissionError):  # none yet, or one that its writer may not read
        return False


def _write_all_or_nothing(descriptor: int, data: bytes) -> None:
    """Append to a file that nobody else writes to meanwhile."""
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _shift(path: Path) -> None:
    for number in range(KEPT_FILES, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        younger = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if younger.exists():
            younger.replace(older)


def _read_key(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        key = file.read_bytes().strip()
    except OSError as error:
        raise BundleError(
            f"audit log: key file {file} cannot be read ({error.strerror}); make one: openssl rand -hex 32"
        ) from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BundleError(f"audit log: everybody may read or write key file {file}; expected mode 0400 or 0440")
    if len(key) < MIN_KEY_BYTES:
        raise BundleError(
            f"audit log: key file {file} holds {len(key)} bytes; expected {MIN_KEY_BYTES} or more; "
            "make one: openssl rand -hex 32"
        )
    return key

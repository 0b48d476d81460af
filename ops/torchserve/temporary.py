"""Give each TorchServe a private temporary folder: pid file, worker sockets and the unpacked model are in it.

Another user of the machine who may write into that folder could exchange the unpacked handler after its signature was
verified. And two TorchServes in one folder mix up pid file and sockets.
Source: TorchServe 0.12, ts/model_server.py (TMPDIR); util/Connector.java, archive/utils/ZipUtils.java (TEMP).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

PREFIX = "ts-"
SHARED = Path("/tmp")  # noqa: S108 - a private folder is made in it
LONGEST_SOCKET = ".ts.sock.99999"
SOCKET_PATH_LIMIT_BYTES = 107  # Linux: sun_path holds 108 with the closing NUL


class ServerError(RuntimeError):
    """The server cannot be started or stopped; the message is one line that says what to do."""


def private_path(root: Path) -> Path:
    """Return where the private temporary folder of a server is; nothing is made.

    The path is computed from the user and the server's folder. It is kept in no file, so a damaged file cannot name
    another one.

    Args:
        root: the folder from which the server is started.

    Raises:
        ServerError: no temporary folder has a path short enough for the sockets of the workers.
    """
    digest = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:12]
    name = f"{PREFIX}{os.geteuid()}-{digest}"
    candidates = [Path(base).resolve() / name for base in (tempfile.gettempdir(), SHARED)]
    for path in candidates:
        if len(os.fsencode(path / LONGEST_SOCKET)) <= SOCKET_PATH_LIMIT_BYTES:
            return path
    raise ServerError(
        f"a socket in {candidates[0]} would have a path of more than {SOCKET_PATH_LIMIT_BYTES} bytes; set TMPDIR to a "
        "folder with a shorter path"
    )


def make_private_folder(root: Path) -> Path:
    """Make the private temporary folder of a server, or return the one that is there.

    Args:
        root: the folder from which the server is started.

    Raises:
        ServerError: it cannot be made, or what is there is a link, of another user, or open to others.
    """
    path = private_path(root)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ServerError(
            f"the temporary folder {path} cannot be made ({error.strerror}); set TMPDIR to a folder that you may write"
        ) from None
    what = _wrong_with(path)
    if what:
        raise ServerError(
            f"the temporary folder {path} {what}; expected a folder of this user with mode 0700; have it removed, or "
            "set TMPDIR to a folder of your own"
        )
    return path


def remove_private_folder(root: Path) -> None:
    """Remove the private temporary folder of a server that has ended; anything that is not ours stays."""
    with contextlib.suppress(ServerError):
        path = private_path(root)
        if not _wrong_with(path):
            shutil.rmtree(path, ignore_errors=True)


def empty_private_folder(root: Path, kept: str) -> None:
    """Remove all but one file from the private temporary folder, for the next server that is started in it."""
    path = private_path(root)
    if _wrong_with(path):
        return
    for entry in path.iterdir():
        if entry.name == kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def with_private_folder(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return variables with which launcher (TMPDIR) and Java (TEMP) use a folder."""
    return {**variables, "TMPDIR": str(folder), "TEMP": str(folder)}


def _wrong_with(path: Path) -> str:
    """Return what makes a path unfit as a private folder; empty where nothing does."""
    try:
        status = path.lstat()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is a link or a file"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"has mode {stat.S_IMODE(status.st_mode):04o}: other users may enter it"
    return ""

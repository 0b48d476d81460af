"""Look at the machine: programs, versions, ports, disk, temporary folder, user."""

from __future__ import annotations

import os
import pwd
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ops.doctor.findings import Finding, error, warning
from ops.settings.server import Address
from ops.torchserve.instance import (
    PID_FILE,
    belongs_to,
    describe,
    describe_holder,
    holder,
    is_free,
    is_torchserve,
    temporary_folder_owner,
)
from ops.torchserve.java import LOWEST_JAVA, JavaError, find_java
from ops.torchserve.temporary import LONGEST_SOCKET, SOCKET_PATH_LIMIT_BYTES

PINS = Path("requirements/serve.txt")
PYTHONS = ((3, 10), (3, 12))
TORCHSERVE = "0.12.0"  # the release that hardened/ is written for
# torch.load runs code even with weights_only before it. Source: CVE-2025-32434
LOWEST_TORCH = (2, 6)
LOGS_BYTES = 200 << 20  # log4j2.xml: five files of 10 MB each of a few logs
JAVA_TEMPORARY_FOLDER = "/tmp"  # noqa: S108 - Java's own, unless it is told TEMP; it reads no TMPDIR
UNPACKED = "models"
PRIVATE_FOLDER = "start with `make serve`, or activate the environment before torchserve: both have a private folder"
OPEN_FILES = 1024
CLOCK_TOLERANCE_S = 3600.0  # another machine's clock may have written the time
UNPACKED_TIMES = 2  # an archive is unpacked, then moved


def check_programs(root: Path, bin_dir: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check Java, Python, TorchServe and torch.

    Args:
        root: holds requirements/serve.txt, where it is a checkout.
        bin_dir: programs of the environment, found first.
        environment: JAVA_HOME and PATH are read from it.
    """
    try:
        java = find_java({**environment, "PATH": os.pathsep.join((str(bin_dir), environment.get("PATH", "")))})
        if java is None:
            expected = f"Java {LOWEST_JAVA} or later"
            yield error("java", "none, or an older one", expected, "run make setup, which brings one")
    except JavaError as wrong:
        yield error("JAVA_HOME", str(wrong), f"Java {LOWEST_JAVA} or later", "correct or unset it")
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        found = ".".join(map(str, sys.version_info[:2]))
        yield error("python", found, "3.10 to 3.12", "make setup PYTHON=/path/to/python3.11")
    pins = _pins(root)
    for name in ("torchserve", "torch"):
        yield from _package(name, pins.get(name))


def check_ports(root: Path, addresses: tuple[Address, ...]) -> Iterator[Finding]:
    """Check that the listeners are free, or held by the server of this folder."""
    for address in addresses:
        process = None if is_free(address) else holder(address.port)
        if is_free(address) or (process is not None and is_torchserve(process) and belongs_to(root, process)):
            continue
        yield error(
            f"port {address.port}",
            f"taken by {describe_holder(address.port)}, or {address.host} is no address of this machine",
            "a free port",
            f"stop it, or change {address.name} in config.properties",
        )


def check_temporary_folder(root: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check that a TorchServe started by hand has a temporary folder of its own; `make serve` and slots have one.

    Its pid file is in Python's (TMPDIR), sockets and unpacked models are in Java's (TEMP).
    Source: TorchServe 0.12, ts/model_server.py; util/Connector.java
    """
    folder = Path(tempfile.gettempdir())
    owner = temporary_folder_owner()
    if owner is not None and not belongs_to(root, owner):
        yield warning("TMPDIR", f"{folder} is used by {describe(owner)}", "one TorchServe a folder", PRIVATE_FOLDER)
    temp = environment.get("TEMP")
    if temp is not None and Path(temp) != folder:
        found = f"{temp}, and TMPDIR is {folder}: sockets in one, the pid in the other"
        yield warning("TEMP", found, "the same folder", "unset TEMP")
    if len(os.fsencode(Path(temp or folder) / LONGEST_SOCKET)) > SOCKET_PATH_LIMIT_BYTES:
        expected = f"a path that leaves room for sockets of {SOCKET_PATH_LIMIT_BYTES} bytes"
        yield warning("TMPDIR", f"{temp or folder} is too long", expected, PRIVATE_FOLDER)


def check_leftovers(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check that no other user's files are where a TorchServe started by hand makes its own.

    It could not start, or would trust them. `make serve` and slots have a private folder.

    The archive is unpacked into a folder of a fixed name that is taken as it is; its owner can exchange the code.
    Source: TorchServe 0.12, archive/utils/ZipUtils.java; ts/model_server.py
    """
    java = Path(environment.get("TEMP") or JAVA_TEMPORARY_FOLDER)
    places = [Path(tempfile.gettempdir(), PID_FILE), java / UNPACKED, *sorted(java.glob(".ts.sock.*"))]
    for path in places:
        try:
            status = path.lstat()
        except OSError:
            continue
        if status.st_uid != os.getuid():
            owner = _user(status.st_uid)
            yield warning(
                f"temporary folder: {path}",
                f"left by the server of another user ({owner}): `torchserve --start` cannot make its own there",
                "a temporary folder that only this user's server uses",
                PRIVATE_FOLDER,
            )


def check_process(archive: Path) -> Iterator[Finding]:
    """Check the rights and limits that a server started from here would have, and the clock.

    Args:
        archive: built in the past.
    """
    if os.geteuid() == 0:
        found = "root: a fault in a program that reads requests would have every right on this machine"
        yield warning("user", found, "an ordinary user", "start as one that owns this folder")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        yield warning("open files", f"at most {soft} (ulimit -n)", f"{OPEN_FILES}: each connection is one", "raise it")
    try:
        built_s = archive.stat().st_mtime
    except OSError:
        return
    if built_s > time.time() + CLOCK_TOLERANCE_S:
        found = f"the clock is before the time at which {archive} was built"
        yield warning("clock", found, "the right time: deadlines, keys and certificates depend on it", "set the clock")


def check_disk(root: Path, environment: Mapping[str, str], archive_bytes: int) -> Iterator[Finding]:
    """Check the room for the unpacked archive and for logs.

    Args:
        root: logs go below it.
        environment: LOG_LOCATION is read from it.
        archive_bytes: size of the archive unpacked.
    """
    needed = {Path(tempfile.gettempdir()): UNPACKED_TIMES * archive_bytes, root: LOGS_BYTES}
    for folder, size in needed.items():
        free = shutil.disk_usage(folder).free
        if free < size:
            yield error(f"disk at {folder}", f"{free >> 20} MB free", f"{size >> 20} MB", "make room")
    logs = root / environment.get("LOG_LOCATION", "logs")
    if not os.access(logs if logs.exists() else root, os.W_OK):
        yield error(f"disk at {logs}", "not writable", "a folder for logs", "start as the user that owns it")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _package(name: str, pinned: str | None) -> Iterator[Finding]:
    try:
        found = version(name)
    except PackageNotFoundError:
        yield error(name, "not installed", "it beside this Python", "make setup")
        return
    # A machine's own CPU build calls itself 2.13.0+cpu.
    plain = found.partition("+")[0]
    if name == "torchserve" and plain != TORCHSERVE:
        yield error(name, found, f"{TORCHSERVE}, for which torchserve-hardened is written", "make setup")
    elif name == "torch" and tuple(map(int, re.findall(r"\d+", plain)[:2])) < LOWEST_TORCH:
        yield error(name, found, "2.6 or later: before, loading a file may run code (CVE-2025-32434)", "make setup")
    elif pinned is not None and plain != pinned:
        yield warning(name, found, f"{pinned}, with which it was tested", "make setup")


def _pins(root: Path) -> dict[str, str]:
    try:
        lines = (root / PINS).read_text(encoding="utf-8").splitlines()
    except OSError:  # an image holds no requirements/
        return {}
    found = (re.match(r"([a-z-]+)==([\w.]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}

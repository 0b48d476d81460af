"""Point the gateway to another server, and know when no request goes to the one before.

nginx reads a changed configuration with new worker processes; the old ones answer what they have begun and end. So the
server before is without work when every old worker has ended and no connection to it is open.
Source: nginx, "Controlling nginx", changing configuration.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from server_settings import Address

RECORD = "gateway.json"  # in the gateway's run folder; scripts/gateway.py writes it
RELOAD_TIMEOUT_S = 120
POLL_S = 0.1
ADDRESS_KEYS = ("server_rest", "server_management", "server_grpc")


class GatewaySwitchError(RuntimeError):
    """The gateway could not be switched; its settings are as before."""


@dataclass(frozen=True)
class Target:
    """What the gateway's settings say of the server behind it.

    Args:
        server_rest: HOST:PORT of predictions.
        server_management: HOST:PORT of the workers' state.
        server_grpc: HOST:PORT.
        golden_file: what the gateway asks to know that the server is right.
    """

    server_rest: str
    server_management: str
    server_grpc: str
    golden_file: str

    def address(self, key: str) -> Address:
        """Return one of the three addresses."""
        host, _, port = str(getattr(self, key)).rpartition(":")
        return Address(key, host, int(port))


class Gateway:
    """The gateway of one settings file.

    Args:
        file: gateway.yaml.
        root: relative paths in it start here.
    """

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root

    def target(self) -> Target:
        """Return the server to which its settings point.

        Raises:
            GatewaySwitchError: the settings cannot be read.
        """
        values = self._values()
        try:
            return Target(*(str(values[key]) for key in (*ADDRESS_KEYS, "golden_file")))
        except KeyError as missing:
            raise GatewaySwitchError(f"{self._file} has no {missing}; expected {ADDRESS_KEYS}, golden_file") from None

    def switch(self, target: Target, timeout_s: float) -> list[psutil.Process]:
        """Write another target into the settings, and return when new workers of nginx have taken over.

        Args:
            target: where requests shall go.
            timeout_s: limit until every worker of before has begun to end.

        Returns:
            The workers of before; they may still answer what they have begun.

        Raises:
            GatewaySwitchError: no gateway runs, or it does not take the settings; the old ones are written back.
        """
        before, old = self._file.read_text(encoding="utf-8"), self._workers()
        if not old:
            raise GatewaySwitchError("no gateway runs with these settings; start it: python scripts/gateway.py start")
        self._write(_with_target(before, target))
        try:
            self._reload()
            self._wait_for_new(old, timeout_s)
        except GatewaySwitchError:
            self._write(before)
            # What it took of the new settings, it gives up for the old ones.
            with contextlib.suppress(GatewaySwitchError):
                self._reload()
            raise
        return old

    def _values(self) -> dict[str, object]:
        try:
            values = yaml.safe_load(self._file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise GatewaySwitchError(f"{self._file} cannot be read ({error})") from None
        if not isinstance(values, dict):
            raise GatewaySwitchError(f"{self._file} holds no keys and values")
        return values

    def _write(self, text: str) -> None:
        # At once, or not: the gateway's supervisor may read it at any time.
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).chmod(self._file.stat().st_mode & 0o777)
        os.replace(file.name, self._file)

    def _reload(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("gateway.py"))]
        command += ["--settings", str(self._file), "--root", str(self._root), "reload"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=RELOAD_TIMEOUT_S, check=False)
        if result.returncode != 0:
            raise GatewaySwitchError(f"the gateway does not take its new settings: {result.stderr.strip()[-500:]}")

    def _workers(self) -> list[psutil.Process]:
        """Return nginx's workers that take new connections."""
        folder = self._root / str(self._values().get("run_folder", ""))
        try:
            supervisor = psutil.Process(json.loads((folder / RECORD).read_text(encoding="utf-8"))["pid"])
            return [child for child in supervisor.children(recursive=True) if _takes_connections(child)]
        except (OSError, ValueError, LookupError, TypeError, psutil.Error):
            return []

    def _wait_for_new(self, old: list[psutil.Process], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while any(_takes_connections(worker) for worker in old) or not self._workers():
            if time.monotonic() > deadline:
                raise GatewaySwitchError(f"nginx has not taken its new settings after {timeout_s} s")
            time.sleep(POLL_S)


def wait_until_idle(
    old_workers: list[psutil.Process], server: psutil.Process | None, ports: set[int], timeout_s: float
) -> bool:
    """Wait until nothing is on its way to a server any more.

    Args:
        old_workers: of nginx, from before the switch.
        server: the front end's process; None where its process is not known here.
        ports: on which it is asked for predictions.
        timeout_s: limit.

    Returns:
        Whether that came within the limit.
    """
    deadline = time.monotonic() + timeout_s
    while any(_is_alive(worker) for worker in old_workers) or (server is not None and _is_asked(server, ports)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _is_asked(server: psutil.Process, ports: set[int]) -> bool:
    """Tell whether somebody is connected to one of a server's listeners."""
    try:
        connections = server.net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports for one in connections)


def _takes_connections(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        title = " ".join(process.cmdline())
        # nginx writes its state into its title. Source: nginx 1.22, src/os/unix/ngx_process_cycle.c
        return _is_alive(process) and "nginx: worker process" in title and "shutting down" not in title
    return False


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _with_target(text: str, target: Target) -> str:
    """Put other values into the lines of four keys, and leave every comment where it is."""
    for key, value in vars(target).items():
        text, count = re.subn(rf"^{key}:[^#\n]*", f"{key}: {value}  ", text, count=1, flags=re.MULTILINE)
        if count != 1:
            raise GatewaySwitchError(f"the gateway's settings have no line that begins with {key}:")
    return text

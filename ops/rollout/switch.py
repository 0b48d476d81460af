"""Point the gateway to another server, and know when no request goes to the one before.

nginx reads a changed configuration with new worker processes; the old ones answer what they have begun and end. So the
server before is without work when every old worker has ended and no connection to it is open.
Source: nginx, "Controlling nginx", changing configuration.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ops.gateway.settings import (
    TARGET_ADDRESSES,
    TARGET_FILE,
    GatewaySettings,
    GatewaySettingsError,
    read_gateway_settings,
)
from ops.settings.locks import write_whole
from ops.settings.server import Address

RECORD = "gateway.json"  # in the gateway's run folder; disaster-tweets gateway writes it
RELOAD_TIMEOUT_S = 120
POLL_S = 0.1


class GatewaySwitchError(RuntimeError):
    """The gateway could not be switched; it asks the server that it asked before."""


class GatewayUnsettledError(RuntimeError):
    """The gateway may ask the old server or the new one: neither may be stopped."""


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
        """Return one of the three addresses.

        Raises:
            ValueError: it is no HOST:PORT.
        """
        host, _, port = str(getattr(self, key)).rpartition(":")
        if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16:
            raise ValueError(f"{key} is {getattr(self, key)!r}; expected HOST:PORT")
        return Address(key, host.strip("[]"), int(port))

    def local_ports(self) -> set[int]:
        """Return the ports of those addresses that this machine answers, however its name is written."""
        found = (self.address(key) for key in TARGET_ADDRESSES)
        return {address.port for address in found if _is_this_machine(address.host)}


class Gateway:
    """The gateway of one settings file.

    Args:
        file: gateway.yaml; it is read and never written.
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
        settings = self._settings
        rest, management, grpc = (
            f"{one.host}:{one.port}" for one in (settings.server_rest, settings.server_management, settings.server_grpc)
        )
        return Target(rest, management, grpc, str(settings.golden_file))

    def switch(self, target: Target, timeout_s: float) -> list[psutil.Process]:
        """Point the gateway to another server, and return when new workers of nginx have taken over.

        Args:
            target: where requests shall go.
            timeout_s: limit until every worker of before has begun to end.

        Returns:
            The workers of before; they may still answer what they have begun.

        Raises:
            GatewaySwitchError: no gateway runs, or it does not take the settings; it asks the old server.
            GatewayUnsettledError: the same, and it could not be told to ask the old server again.
        """
        before, old = self._override(), self._workers()
        if not old:
            raise GatewaySwitchError("no gateway runs with these settings; start it: disaster-tweets gateway start")
        has_reloaded = False
        try:
            self._write(json.dumps(asdict(target), indent=1) + "\n")
            has_reloaded = True
            self._settle(old, timeout_s)
        except BaseException as error:
            try:
                self._write(before)
                if has_reloaded:
                    self._settle(self._workers(), timeout_s)
            except (GatewaySwitchError, OSError) as second:
                raise GatewayUnsettledError(f"{error}; then, on the way back: {second}") from error
            raise
        return old

    def settle(self, timeout_s: float) -> None:
        """Make a gateway that runs ask the server that its settings name.

        Raises:
            GatewaySwitchError: it does not take its settings.
        """
        old = self._workers()
        if old:
            self._settle(old, timeout_s)

    def _settle(self, old: list[psutil.Process], timeout_s: float) -> None:
        self._reload()
        self._wait_for_new(old, timeout_s)

    @property
    def _settings(self) -> GatewaySettings:
        try:
            return read_gateway_settings(self._file, self._root)
        except (OSError, GatewaySettingsError) as error:
            raise GatewaySwitchError(f"the gateway's settings cannot be used ({error})") from None

    @property
    def _run_folder(self) -> Path:
        return self._settings.run_folder

    def _override(self) -> str | None:
        try:
            return (self._run_folder / TARGET_FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise GatewaySwitchError(f"{self._run_folder / TARGET_FILE} cannot be read ({error})") from None

    def _write(self, text: str | None) -> None:
        # At once, or not: the gateway's supervisor may read it at any time.
        if text is None:
            (self._run_folder / TARGET_FILE).unlink(missing_ok=True)
        else:
            write_whole(self._run_folder / TARGET_FILE, text)

    def _reload(self) -> None:
        command = [sys.executable, "-m", "ops.gateway.commands"]
        command += ["--settings", str(self._file), "--root", str(self._root), "reload"]
        try:
            result = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=RELOAD_TIMEOUT_S,
                check=False,
                start_new_session=True,  # Ctrl-C in the terminal is for the rollout alone
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GatewaySwitchError(f"the gateway cannot be told of its new settings ({error})") from error
        if result.returncode != 0:
            raise GatewaySwitchError(f"the gateway does not take its new settings: {result.stderr.strip()[-500:]}")

    def _workers(self) -> list[psutil.Process]:
        """Return nginx's workers that take new connections."""
        try:
            supervisor = psutil.Process(json.loads((self._run_folder / RECORD).read_text(encoding="utf-8"))["pid"])
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


def _is_this_machine(host: str) -> bool:
    """Tell whether a host, by name or number, is this machine; where that cannot be found out, it may be."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return True
    return any(_is_own_address(str(address)) for address in found)


def _is_own_address(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    if number.is_loopback or number.is_unspecified:
        return True
    with socket.socket(socket.AF_INET6 if number.version == 6 else socket.AF_INET) as own:
        try:
            own.bind((address, 0))
        except OSError:
            return False
    return True

"""A slot: a folder with one verified archive and the TorchServe that serves it, beside others.

Two TorchServes clash over five ports, a temporary folder and the logs below the working directory; a slot has its own.
Each slot's server runs under disaster-tweets supervise, which starts it again when it dies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ops.archive.signature import TRUSTED_KEYS, Verified, verify_archive
from ops.settings.server import (
    ARCHIVE,
    CONFIG,
    GOLDEN,
    GRPC_HOSTS,
    LOGGING,
    OPEN_INFERENCE,
    Address,
    Settings,
    SettingsError,
    read_settings,
)
from ops.torchserve.golden import loaded_workers
from ops.torchserve.instance import (
    SUPERVISOR,
    ServerError,
    is_free,
    server_environment,
    servers_of,
    stop,
    stop_supervisors,
    supervisors_of,
)
from ops.torchserve.temporary import make_private_folder, remove_private_folder

SLOTS = Path(".run/slots")
NAMES = ("blue", "green", "grey")  # what serves, what served before, and room for the next
CONSOLE = "console.log"
BESIDE = (".mar", ".manifest.json", ".manifest.sig", ".golden.json")
PORT_KEYS = (
    "inference_address",
    "management_address",
    "metrics_address",
    "grpc_inference_port",
    "grpc_management_port",
)
PORT_STEP = 100
PORT_TRIES = 50
POLL_S = 0.2


@dataclass(frozen=True)
class Slot:
    """One folder from which a server is started.

    Args:
        folder: holds config.properties, model_store, a link to the quiet logging, logs.
    """

    folder: Path

    @property
    def golden(self) -> Path:
        """Return the file of golden answers of its archive."""
        return self.folder / GOLDEN

    @property
    def settings(self) -> Settings:
        """Return its listeners."""
        return read_settings(self.folder)

    @property
    def process(self) -> psutil.Process | None:
        """Return the server that runs from it, or None."""
        return next(iter(servers_of(self.folder)), None)

    @property
    def supervisors(self) -> list[psutil.Process]:
        """Return the programs that start its server again when it dies: one, or none."""
        return supervisors_of(self.folder)

    def start(self, bin_dir: Path, timeout_s: float) -> None:
        """Start the server and wait until all its workers have loaded its model: it takes over the whole load.

        Raises:
            ServerError: it does not come up; the reason is in the slot's logs.
        """
        launched = None if self._runs else self._launch(bin_dir)
        deadline = time.monotonic() + timeout_s
        while not loaded_workers(self.settings.management).is_complete:
            # A program that was just started has no command line for a moment: its handle tells that it runs.
            runs = self._runs if launched is None or launched.poll() is not None else True
            if not runs or time.monotonic() > deadline:
                raise ServerError(
                    f"the server in {self.folder} does not load its model ({self._last_line()}); see {self.folder}/logs"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the server if it runs, and remove its temporary folder.

        Raises:
            ServerError: it does not end, or something else has its ports now.
        """
        stop_supervisors(self.folder)
        for process in servers_of(self.folder):  # one whose supervisor was killed
            stop(self.folder, process, ())
        remove_private_folder(self.folder)

    @property
    def _runs(self) -> bool:
        return self.process is not None or bool(self.supervisors)

    def _launch(self, bin_dir: Path) -> subprocess.Popen[bytes]:
        make_private_folder(self.folder)  # fails here, where the reason is seen
        with (self.folder / CONSOLE).open("wb") as console:
            return subprocess.Popen(
                [str(bin_dir / "python"), "-m", SUPERVISOR, "--folder", str(self.folder)],
                cwd=self.folder,
                env=server_environment(os.environ, bin_dir),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # it outlives this program and its terminal
            )

    def _last_line(self) -> str:
        try:
            lines = (self.folder / CONSOLE).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return "no output"
        return next((line for line in reversed(lines) if line.strip()), "no output")[-300:]


def slot_of(root: Path, name: str) -> Slot:
    """Return a slot of a project.

    Raises:
        SettingsError: what is there is a link or of another user, so nothing in it may be replaced.
    """
    folder = root.resolve() / SLOTS / name
    for path in (folder.parent, folder):
        if path.is_symlink() or (path.exists() and path.stat().st_uid != os.geteuid()):
            raise SettingsError(
                f"{path} is a link or belongs to another user; expected a folder of this user; remove it"
            )
    return Slot(folder)


def fill_slot(root: Path, name: str, archive: Path, trusted_keys: Path, taken: Iterable[int]) -> tuple[Slot, Verified]:
    """Make a slot for an archive; its server must have been stopped.

    Args:
        root: the project; its settings and logging are taken.
        name: of the slot; what is there is replaced.
        archive: with what lies beside it. The copy is verified, so that nobody changes it in between.
        trusted_keys: folder of public keys.
        taken: ports that other servers have, whether they run or not.

    Raises:
        ArchiveRefusedError: the archive must not be served.
        ServerError: a server runs from the slot.
        SettingsError: a file is missing, or no ports are free.
    """
    slot = slot_of(root, name)
    if archive.resolve().is_relative_to(slot.folder):
        raise SettingsError(f"{archive} is in the slot that would be replaced; copy it to another folder first")
    if slot.process is not None or slot.supervisors:
        raise ServerError(f"a server runs from {slot.folder}; it is not replaced; see: disaster-tweets rollout status")
    if slot.folder.exists():
        shutil.rmtree(slot.folder)
    store = slot.folder / ARCHIVE.parent
    store.mkdir(parents=True)
    for suffix in BESIDE:
        source = archive.with_suffix(suffix)
        if not source.is_file():
            raise SettingsError(f"{source} is missing; copy all of {', '.join(BESIDE)}, or build them: make archive")
        target = store / ARCHIVE.with_suffix(suffix).name
        shutil.copyfile(source, target)
        target.chmod(0o444)
    verified = verify_archive(slot.folder / ARCHIVE, trusted_keys)
    (slot.folder / LOGGING).symlink_to((root / LOGGING).resolve())
    (slot.folder / TRUSTED_KEYS).parent.mkdir()
    (slot.folder / TRUSTED_KEYS).symlink_to(trusted_keys.resolve())
    (slot.folder / CONFIG).write_bytes(_config(root, set(taken)))
    return slot, verified


def _config(root: Path, taken: set[int]) -> bytes:
    """Return the project's settings on other ports."""
    base = [address.port for address in read_settings(root).addresses]
    for step in range(1, PORT_TRIES + 1):
        ports = [port + step * PORT_STEP for port in base]
        if (
            max(ports) < 1 << 16
            and not taken.intersection(ports)
            and all(is_free(Address("slot", "127.0.0.1", port)) for port in ports)
        ):
            break
    else:
        raise SettingsError(f"no five free ports at a distance of {PORT_STEP} above those of {CONFIG}; stop something")
    rest = [f"{key}=http://127.0.0.1:{port}" for key, port in zip(PORT_KEYS[:3], ports[:3], strict=True)]
    grpc = [f"{key}={port}" for key, port in zip(PORT_KEYS[3:], ports[3:], strict=True)]
    own = [*rest, *grpc, *(f"{key}=127.0.0.1" for key in GRPC_HOSTS.values()), f"{OPEN_INFERENCE.lower()}=false"]
    # Of a key that comes twice the last counts. The empty lines end a last line that goes on.
    return (root / CONFIG).read_bytes() + "\n".join(["", "", "# of this slot", *own, ""]).encode()

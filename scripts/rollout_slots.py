"""A slot: a folder with one verified archive and the TorchServe that serves it, beside others.

Two TorchServes clash over five ports, a temporary folder and the logs below the working directory; a slot has its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from archive_signature import Verified, verify_archive
from golden_answers import loaded_workers
from server_process import PID_FILE, START_COMMAND, ServerError, is_free, is_torchserve, server_environment, stop
from server_settings import ARCHIVE, CLASSES, CONFIG, GOLDEN, LOGGING, Address, Settings, SettingsError, read_settings

SLOTS = Path(".run/slots")
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
LAUNCH_TIMEOUT_S = 120


@dataclass(frozen=True)
class Slot:
    """One folder from which a server is started.

    Args:
        folder: holds config.properties, model_store, links to our classes and quiet logging, logs.
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
        try:
            process = psutil.Process(int((self._temporary / PID_FILE).read_text(encoding="utf-8")))
            return process if is_torchserve(process) and Path(process.cwd()) == self.folder else None
        except (OSError, ValueError, psutil.Error):
            return None

    @property
    def _temporary(self) -> Path:
        """Sockets of workers lie in it; a path below the slot may be too long for them."""
        try:
            return Path((self.folder / "temporary").read_text(encoding="utf-8").strip())
        except OSError:
            return self.folder / "none"

    def start(self, bin_dir: Path, timeout_s: float) -> None:
        """Start the server and wait until all its workers have loaded its model: it takes over the whole load.

        Raises:
            ServerError: it does not come up; the reason is in the slot's logs.
        """
        if self.process is None:
            self._launch(bin_dir)
        deadline = time.monotonic() + timeout_s
        while not loaded_workers(self.settings.management).is_complete:
            if self.process is None or time.monotonic() > deadline:
                raise ServerError(f"the server in {self.folder} does not load its model; see {self.folder}/logs")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the server if it runs, and remove its temporary folder."""
        process = self.process
        if process is not None:
            stop(self.folder, process, self.settings.addresses)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _launch(self, bin_dir: Path) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        temporary = tempfile.mkdtemp(prefix="ts-")
        (self.folder / "temporary").write_text(temporary, encoding="utf-8")
        variables = server_environment({**os.environ, "TMPDIR": temporary, "TEMP": temporary}, bin_dir)
        with (self.folder / "console.log").open("wb") as console:
            result = subprocess.run(
                [str(bin_dir / "torchserve"), *START_COMMAND.split()],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # it outlives this program and its terminal
                timeout=LAUNCH_TIMEOUT_S,
                check=False,
            )
        if result.returncode or self.process is None:
            raise ServerError(f"TorchServe did not start in {self.folder}; see {self.folder}/console.log")


def fill_slot(root: Path, name: str, archive: Path, trusted_keys: Path, taken: Iterable[int]) -> tuple[Slot, Verified]:
    """Make a slot anew for an archive.

    Args:
        root: the project; its settings, classes and logging are taken.
        name: of the slot; what lies there is replaced, a server in it is stopped first.
        archive: with what lies beside it. The copy is verified, so that nobody changes it in between.
        trusted_keys: folder of public keys.
        taken: ports that other servers have, whether they run or not.

    Raises:
        ArchiveRefusedError: the archive must not be served.
        SettingsError: a file is missing, or no ports are free.
    """
    slot = Slot((root / SLOTS / name).resolve())
    slot.stop()
    shutil.rmtree(slot.folder, ignore_errors=True)
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
    (slot.folder / "frontend").mkdir()
    links = {CLASSES: CLASSES, Path("io"): CLASSES / "io", Path("org"): CLASSES / "org", LOGGING: LOGGING}
    for link, original in links.items():
        (slot.folder / link).symlink_to((root / original).resolve())
    (slot.folder / CONFIG).write_text(_config(root, set(taken)), encoding="utf-8")
    return slot, verified


def _config(root: Path, taken: set[int]) -> str:
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
    lines = (root / CONFIG).read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.partition("=")[0].strip() not in PORT_KEYS]
    rest = [f"{key}=http://127.0.0.1:{port}" for key, port in zip(PORT_KEYS[:3], ports[:3], strict=True)]
    grpc = [f"{key}={port}" for key, port in zip(PORT_KEYS[3:], ports[3:], strict=True)]
    return "\n".join([*kept, "# of this slot", *rest, *grpc]) + "\n"

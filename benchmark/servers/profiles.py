"""The servers that are compared: ours with its archive, and the baseline with the same weights.

Each gets a folder that looks like the root of a project to TorchServe, with ports and temporary files of its own, so
that a server of the user's is neither disturbed nor measured.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ops.paths import ROOT
from ops.settings.cores import usable_cores

CONFIG_FILE = "model-config.yaml"
STORE = "model_store"
ARCHIVE = "tweets.mar"
LINKED = ("log4j2.xml",)  # what our server reads beside config.properties
BASELINE_HANDLER = ROOT / "benchmark" / "engines" / "baseline_handler.py"
BASELINE_BATCH = 32
# TorchServe's 100 would refuse most of 256 connections, which would be no measure of its speed.
BASELINE_QUEUE = 1000


@dataclass(frozen=True)
class Ports:
    """Five free ports on 127.0.0.1, as config.properties names them."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    @classmethod
    def free(cls) -> Ports:
        """Return ports that nobody listens on just now."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(5)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return cls(*(one.getsockname()[1] for one in sockets))

    def properties(self) -> dict[str, str]:
        """Return the lines of config.properties that say them."""
        return {
            "inference_address": f"http://127.0.0.1:{self.inference}",
            "management_address": f"http://127.0.0.1:{self.management}",
            "metrics_address": f"http://127.0.0.1:{self.metrics}",
            "grpc_inference_port": str(self.grpc_inference),
            "grpc_management_port": str(self.grpc_management),
        }


@dataclass(frozen=True)
class Profile:
    """One server that can be started.

    Args:
        name: for people and for the report.
        root: its folder.
        ports: its own.
        workers: that must be ready.
        protected: started by the command of torchserve-hardened; the baseline is TorchServe's own.
    """

    name: str
    root: Path
    ports: Ports
    workers: int
    protected: bool = True


@dataclass(frozen=True)
class Changes:
    """What differs from the settings of the project.

    Args:
        model: keys of model-config.yaml.
        handler: keys of its section `handler`.
        properties: keys of config.properties; None removes one.
    """

    model: Mapping[str, Any] | None = None
    handler: Mapping[str, Any] | None = None
    properties: Mapping[str, str | None] | None = None


# What is measured is the engine; the answer cache has rows of its own.
NO_CACHE = Changes(handler={"cache_bytes": 0})


def our_profile(name: str, project: Path, folder: Path, changes: Changes) -> Profile:
    """Make the folder of our server.

    Args:
        name: of the profile.
        project: the checkout, with a built archive.
        folder: is made anew.
        changes: nothing leaves the archive byte for byte as it is.
    """
    ports = Ports.free()
    store = _empty_root(folder)
    for linked in LINKED:
        if (project / linked).exists():
            (folder / linked).symlink_to(project / linked)
    built = project / STORE / ARCHIVE
    with zipfile.ZipFile(built) as archive:
        config = changed_config(archive.read(CONFIG_FILE).decode(), changes)
    if changes.model or changes.handler:
        _rewrite(built, store / ARCHIVE, {CONFIG_FILE: yaml.safe_dump(config, sort_keys=False).encode()})
    else:
        (store / ARCHIVE).symlink_to(built)
    text = (project / "config.properties").read_text(encoding="utf-8")
    properties = {**ports.properties(), **(changes.properties or {})}
    (folder / "config.properties").write_text(with_properties(text, properties), encoding="utf-8")
    return Profile(name, folder, ports, int(config.get("minWorkers", 1)))


def changed_config(text: str, changes: Changes) -> dict[str, Any]:
    """Return the content of a model-config.yaml with changes."""
    config: dict[str, Any] = yaml.safe_load(text)
    config.update(changes.model or {})
    config["handler"] = {**(config.get("handler") or {}), **(changes.handler or {})}
    return config


def with_properties(text: str, changes: Mapping[str, str | None]) -> str:
    """Return the text of a config.properties with other values, comments kept; None takes a line out."""
    waiting = dict(changes)
    lines = []
    for line in text.splitlines():
        key = line.split("=", 1)[0].strip()
        if line.startswith("#") or key not in changes:
            lines.append(line)
            continue
        value = waiting.pop(key, None)
        if value is not None:
            lines.append(f"{key}={value}")
    lines += [f"{key}={value}" for key, value in waiting.items() if value is not None]
    return "\n".join(lines) + "\n"


def baseline_profile(name: str, folder: Path, merged: Path) -> Profile:
    """Make the folder of the baseline: TorchServe's own settings, one worker a core, batches of 32.

    Args:
        name: of the profile.
        folder: is made anew.
        merged: the weights as transformers reads them.
    """
    ports = Ports.free()
    store = _empty_root(folder)
    workers = usable_cores()
    config = {
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": BASELINE_BATCH,
        "jobQueueSize": BASELINE_QUEUE,
    }
    manifest = {
        "createdOn": "01/01/2026 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": "tweets",
            "handler": BASELINE_HANDLER.name,
            "modelVersion": "1.0",
            "configFile": CONFIG_FILE,
        },
        "archiverVersion": "0.12.0",
    }
    with zipfile.ZipFile(store / ARCHIVE, "w") as archive:
        for path in sorted(merged.iterdir()):
            archive.write(path, path.name)
        archive.write(BASELINE_HANDLER, BASELINE_HANDLER.name)
        archive.writestr(CONFIG_FILE, yaml.safe_dump(config))
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    properties = {**ports.properties(), "disable_token_authorization": "true"}
    (folder / "config.properties").write_text(with_properties("", properties), encoding="utf-8")
    return Profile(name, folder, ports, workers, protected=False)


def unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive and return its model-config.yaml."""
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    config: dict[str, Any] = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return config


def _empty_root(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / STORE).mkdir(parents=True)
    (folder / "logs").mkdir()
    return folder / STORE


def _rewrite(source: Path, target: Path, changed: Mapping[str, bytes]) -> None:
    """Copy an archive with other contents of some files; not packed, since it is read once."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, changed.get(entry.filename, old.read(entry.filename)))

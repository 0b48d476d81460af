"""The settings that `disaster-tweets tune` compares, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.servers.profiles import CONFIG_FILE, Changes, changed_config
from ops.settings.cores import usable_cores

MODEL_KEYS = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")
HANDLER_KEYS = ("torch_threads", "batch_tokens")
# Collectors and compilers for a small heap; G1, the default of a machine with two cores, keeps threads of its own.
# None below 1 GB: with 512 MB, 32 bodies of 6.5 MB at once leave a server that answers nobody (docs/adr/0002).
JVM_FLAGS = (
    "-Xms128m -Xmx1g -XX:+UseSerialGC",
    "-Xms128m -Xmx1g -XX:+UseParallelGC",
    "-Xms128m -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1",
)


@dataclass(frozen=True)
class Candidate:
    """One set of settings.

    Args:
        name: what differs, for the table.
        changes: from the files as they are.
    """

    name: str
    changes: Changes

    def but(
        self,
        name: str,
        model: Mapping[str, Any] | None = None,
        handler: Mapping[str, Any] | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> Candidate:
        """Return the same with some other values."""
        changes = self.changes
        return Candidate(
            name,
            Changes(
                {**(changes.model or {}), **(model or {})},
                {**(changes.handler or {}), **(handler or {})},
                {**(changes.properties or {}), **(properties or {})},
            ),
        )


def present(root: Path) -> Candidate:
    """Return the settings of the files."""
    config = changed_config((root / "handler" / CONFIG_FILE).read_text(encoding="utf-8"), Changes())
    model = {key: config[key] for key in MODEL_KEYS if key in config}
    handler = {key: config["handler"][key] for key in HANDLER_KEYS if key in config["handler"]}
    return Candidate("as it is", Changes(model, handler, {}))


def stage(name: str, chosen: Candidate) -> list[Candidate]:
    """Return the candidates of a stage, the present one first."""
    others = [candidate for candidate in STAGES[name](chosen) if candidate.changes != chosen.changes]
    return [Candidate("as it is", chosen.changes), *others]


def _workers(chosen: Candidate) -> list[Candidate]:
    cores = usable_cores()
    pairs = {(1, cores), (cores, 1), (1, max(1, cores - 1)), (max(1, cores // 2), min(cores, 2))}
    model, handler = chosen.changes.model or {}, chosen.changes.handler or {}
    present_workers = model.get("minWorkers", 1)
    pairs.discard((present_workers, handler.get("torch_threads", 0) or max(1, cores // present_workers)))
    return [
        chosen.but(
            f"{workers} workers x {threads} threads",
            model={"minWorkers": workers, "maxWorkers": workers},
            handler={"torch_threads": threads},
        )
        for workers, threads in sorted(pairs)
    ]


def _batch_tokens(chosen: Candidate) -> list[Candidate]:
    return [chosen.but(f"batch_tokens {tokens}", handler={"batch_tokens": tokens}) for tokens in (384, 768, 1536)]


def _batch_size(chosen: Candidate) -> list[Candidate]:
    return [chosen.but(f"batchSize {size}", model={"batchSize": size}) for size in (16, 32, 128)]


def _delay(chosen: Candidate) -> list[Candidate]:
    return [chosen.but(f"maxBatchDelay {delay}", model={"maxBatchDelay": delay}) for delay in (1, 3, 8)]


def _netty(chosen: Candidate) -> list[Candidate]:
    return [
        chosen.but(
            f"{threads} netty threads",
            properties={"number_of_netty_threads": str(threads), "netty_client_threads": str(threads)},
        )
        for threads in (1, 2)
    ] + [chosen.but("direct buffers", properties={"prefer_direct_buffer": "true"})]


def _jvm(chosen: Candidate) -> list[Candidate]:
    return [chosen.but(flags, properties={"vmargs": flags}) for flags in JVM_FLAGS]


def _metrics(chosen: Candidate) -> list[Candidate]:
    return [chosen.but(f"metrics_mode {mode}", properties={"metrics_mode": mode}) for mode in ("log", "legacy")]


STAGES: Mapping[str, Callable[[Candidate], list[Candidate]]] = {
    "workers": _workers,
    "batch_tokens": _batch_tokens,
    "batch_size": _batch_size,
    "delay": _delay,
    "netty": _netty,
    "jvm": _jvm,
    "metrics": _metrics,
}
NAMES = tuple(STAGES)
# The metrics port is promised, whatever it costs.
ONLY_SHOWN = ("metrics",)

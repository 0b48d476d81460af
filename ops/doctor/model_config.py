"""Lint handler/model-config.yaml: TorchServe warns in a log of a wrong type and passes over an unknown key.

The keys and their types are those of TorchServe 0.12, archive/model/ModelConfig.java.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ops.doctor.findings import Finding, error, unknown_key, warning
from ops.settings.cores import usable_cores

INTEGERS = (
    *("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "parallelLevel"),
    *("maxRetryTimeoutInSec", "clientTimeoutInMills", "jobQueueSize", "sequenceMaxIdleMSec", "sequenceTimeoutMSec"),
    *("maxSequenceJobQueueSize", "maxNumSequence"),
)
BOOLEANS = ("useJobTicket", "continuousBatching", "sequenceBatching", "asyncCommunication", "useVenv")
OTHERS = {"deviceType": str, "parallelType": str, "deviceIds": list, "torchrun": dict, "handler": dict}
KNOWN = (*INTEGERS, *BOOLEANS, *OTHERS)
POSITIVE = ("batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "jobQueueSize", "minWorkers")
# Modes that hand the handler something else than a batch of independent requests.
FOREIGN_MODES = ("continuousBatching", "sequenceBatching", "asyncCommunication")
DEFAULTS_THAT_SURPRISE = {
    "maxBatchDelay": "100 ms, which a lone request waits",
    "minWorkers": "one worker a core, each with its own copy of the model",
    "jobQueueSize": "100, and the first burst is answered 503",
    "responseTimeout": "120 s, whatever config.properties says",
    "startupTimeout": "120 s, whatever config.properties says",
}
HANDLER_CONFIG = "HandlerConfig"


def check_model_config(text: str, file: str, handler_keys: frozenset[str]) -> list[Finding]:
    """Return what is wrong with a model-config.yaml.

    Args:
        text: its content.
        file: what to call it.
        handler_keys: settings that the handler knows; empty where its source is not at hand.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        found = f"no YAML ({' '.join(str(wrong).split())[:120]})"
        return [error(file, found, "keys and values; TorchServe goes on with its defaults", "correct it")]
    if not isinstance(values, dict):
        return [error(file, f"a {type(values).__name__}", "keys and values", "correct it")]
    return [
        *_keys_and_types(values, file),
        *_workers(values, file),
        *_times(values, file),
        *_handler(values, file, handler_keys),
    ]


def handler_keys(source: str) -> frozenset[str]:
    """Return the settings that the handler knows, read from its source without importing it."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == HANDLER_CONFIG:
            fields = (entry.target for entry in node.body if isinstance(entry, ast.AnnAssign))
            return frozenset(target.id for target in fields if isinstance(target, ast.Name))
    return frozenset()


def _keys_and_types(values: Mapping[Any, Any], file: str) -> Iterator[Finding]:
    for key, value in values.items():
        where = f"{file}: {key}"
        expected = int if key in INTEGERS else bool if key in BOOLEANS else OTHERS.get(key)
        if expected is None:
            yield unknown_key(file, str(key), KNOWN)
        elif type(value) is not expected and not (key == "handler" and value is None):
            name = {"int": "a whole number", "bool": "true or false"}.get(expected.__name__, f"a {expected.__name__}")
            yield error(where, repr(value), f"{name}; TorchServe goes on with its default", f"write {name}")
        elif key in POSITIVE and isinstance(value, int) and value < 1:
            fix = "write 1, the least that counts" if key == "maxBatchDelay" else "write a number from 1 on"
            yield error(where, repr(value), "1 or more; TorchServe takes its default in its place", fix)
        elif key in FOREIGN_MODES and value:
            yield error(where, "true", "false: the handler answers batches of independent requests", "remove it")
        elif key == "useVenv" and value:
            yield error(where, "true", "false: the worker runs in the locked environment", "remove it")


def _workers(values: Mapping[Any, Any], file: str) -> Iterator[Finding]:
    least, most = values.get("minWorkers"), values.get("maxWorkers")
    enough = isinstance(least, int) and isinstance(most, int) and most >= least
    if isinstance(least, int) and not enough:
        found = f"minWorkers {least} with maxWorkers {most}"
        expected = "maxWorkers of at least minWorkers; else TorchServe starts one worker a core"
        yield error(f"{file}: maxWorkers", found, expected, f"set maxWorkers: {least}")
    for key, default in DEFAULTS_THAT_SURPRISE.items():
        if key not in values:
            yield warning(f"{file}: {key}", f"not set: {default}", "a value", "set it")


def _times(values: Mapping[Any, Any], file: str) -> Iterator[Finding]:
    limit, handler = values.get("responseTimeout"), values.get("handler")
    batch_s = handler.get("batch_seconds") if isinstance(handler, dict) else None
    if isinstance(limit, int) and isinstance(batch_s, int | float) and batch_s >= limit:
        yield error(
            f"{file}: handler.batch_seconds",
            f"{batch_s} s, and the worker is killed after {limit} s (responseTimeout)",
            "less than responseTimeout, so that what was not reached is given back",
            f"set it below {limit}",
        )
    if isinstance(values.get("clientTimeoutInMills"), int) and values["clientTimeoutInMills"] > 0:
        found = "requests that wait too long are dropped and never answered"
        yield warning(f"{file}: clientTimeoutInMills", found, "0, and the header x-deadline-ms", "remove it")


def _handler(values: Mapping[Any, Any], file: str, known: frozenset[str]) -> Iterator[Finding]:
    section = values.get("handler")
    if not isinstance(section, dict):
        return
    for key in section:
        if known and key not in known:
            yield unknown_key(f"{file}: handler", str(key), known)
    workers, threads = values.get("minWorkers"), section.get("torch_threads", 0)
    cores = usable_cores()
    if isinstance(workers, int) and isinstance(threads, int) and workers > 1 and workers * threads > cores:
        yield warning(
            f"{file}: handler.torch_threads",
            f"{workers} workers of {threads} threads on {cores} cores",
            "no more threads than cores, all workers together",
            "set it to 0, which shares them out",
        )

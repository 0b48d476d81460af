"""The section `handler` of model-config.yaml: its keys, their ranges, what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tweetclf.audit_log import AuditSettings
from tweetclf.bundle import Thresholds
from tweetclf.engines import ENGINE_NAMES, PRECISION_NAMES
from tweetclf.engines.cores import available_cores
from tweetclf.errors import BundleError
from tweetclf.risk import SCOPES, thresholds_at

DEFAULT_CACHE_BYTES = 32 << 20  # some fifty thousand tweets
# Below it a batch could end before its first micro-batch does, and every answer would be DEADLINE.
LEAST_BATCH_SECONDS = 1
# Source: TorchServe 0.12, archive/model/ModelConfig.java: taken where the yaml has none, or none above zero.
DEFAULT_RESPONSE_TIMEOUT_S = 120


@dataclass(frozen=True)
class HandlerConfig:
    """The section `handler` of model-config.yaml.

    Args:
        engine: `auto`, `torchscript` or `openvino` (tweetclf/engines/choice.py).
        torch_threads: threads of one worker, of either engine; 0 takes its share of the cores that the process may use.
        precision: of torchscript; `auto` is float32 on a CPU, float16 on a GPU.
        batch_tokens: budget of a micro-batch in tokens; 0 takes what the engine is fastest with.
        batch_seconds: what one TorchServe batch may take before the tweets not reached are given back with
            DEADLINE; at least 1, and below `responseTimeout`, at which the worker would be killed with all of its
            batch.
        cuda_graphs: run recorded CUDA graphs on a GPU; they have not been proven on one yet.
        cache_bytes: bound of the answers that a worker keeps for texts that come again; 0 keeps none.
        max_error_share: limit of the errors that the thresholds shall keep, one of the bundle's table; None keeps the
            bundle's own thresholds.
        error_share_of: what the limit is about: `decided`, all that the model decides by itself, or `side`, those of
            either side by itself.
        not_disaster_below: overrides the threshold of either; None keeps it.
        disaster_from: the same for the upper end.
        audit_log: file of hashes and decisions (tweetclf/audit_log.py); None keeps none.
        audit_key_file: holds the key of those hashes.
        audit_max_bytes: size at which that file is moved away and a new one begun.
    """

    engine: str = "auto"
    precision: str = "auto"
    torch_threads: int = 0
    batch_tokens: int = 0
    batch_seconds: float = 90.0
    cuda_graphs: bool = False
    cache_bytes: int = DEFAULT_CACHE_BYTES
    max_error_share: float | None = None
    error_share_of: str = "decided"
    not_disaster_below: float | None = None
    disaster_from: float | None = None
    audit_log: str | None = None
    audit_key_file: str | None = None
    audit_max_bytes: int = 10_000_000

    def __post_init__(self) -> None:
        if self.engine not in ENGINE_NAMES:
            raise BundleError(f"model-config.yaml: handler.engine is {self.engine!r}; expected one of {ENGINE_NAMES}")
        if self.precision not in PRECISION_NAMES or (self.engine == "openvino" and self.precision != "auto"):
            raise BundleError(
                f"model-config.yaml: handler.precision is {self.precision!r} with engine {self.engine!r}; "
                f"expected one of {PRECISION_NAMES}, and auto with openvino, which is int8"
            )
        _check_number("cache_bytes", self.cache_bytes, int, 0, 1 << 36)
        _check_number("torch_threads", self.torch_threads, int, 0, 1024)
        _check_number("batch_tokens", self.batch_tokens, int, 0, 1_000_000)
        _check_number("batch_seconds", self.batch_seconds, float, LEAST_BATCH_SECONDS, 3600)
        if not isinstance(self.cuda_graphs, bool):
            raise BundleError(f"model-config.yaml: handler.cuda_graphs is {self.cuda_graphs!r}; expected true or false")
        if self.error_share_of not in SCOPES:
            raise BundleError(
                f"model-config.yaml: handler.error_share_of is {self.error_share_of!r}; expected one of {SCOPES}"
            )
        for name in ("max_error_share", "not_disaster_below", "disaster_from"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name), float, 0, 1)
        _check_number("audit_max_bytes", self.audit_max_bytes, int, 10_000, 1 << 40)
        _check_paths(self.audit_log, self.audit_key_file)

    @classmethod
    def from_mapping(cls, section: object, response_timeout_s: object = None) -> HandlerConfig:
        """Read the section, refusing keys that it does not know: a typing error must not pass in silence.

        Args:
            section: of the yaml; None takes every default.
            response_timeout_s: `responseTimeout` of the same yaml, which `batch_seconds` must stay below; None takes
                TorchServe's default.

        Raises:
            BundleError: the section is no mapping, a key is unknown or a value out of range.
        """
        config = cls._from_section({} if section is None else section)
        limit_s = DEFAULT_RESPONSE_TIMEOUT_S
        if isinstance(response_timeout_s, int) and response_timeout_s > 0:
            limit_s = response_timeout_s
        if config.batch_seconds >= limit_s:
            raise BundleError(
                f"model-config.yaml: handler.batch_seconds is {config.batch_seconds} and responseTimeout {limit_s}; "
                "expected batch_seconds below responseTimeout, which kills the worker with its whole batch: set "
                "either of them"
            )
        return config

    @classmethod
    def _from_section(cls, section: object) -> HandlerConfig:
        known = [entry.name for entry in fields(cls)]
        if not isinstance(section, Mapping):
            raise BundleError(f"model-config.yaml: 'handler' is {section!r}; expected a mapping with {known}")
        unknown = sorted(set(map(str, section)) - set(known))
        if unknown:
            raise BundleError(f"model-config.yaml: 'handler' has unknown keys {unknown}; expected some of {known}")
        return cls(**section)

    def threads(self, workers: int = 1) -> int:
        """Return the threads of one worker.

        Args:
            workers: that share the cores; together they take no more threads than there are, but at least one each.
        """
        return self.torch_threads or max(1, available_cores() // max(1, workers))

    def audit_settings(self) -> AuditSettings | None:
        """Return the settings of the audit log, or None where there is none."""
        if not self.audit_log or not self.audit_key_file:
            return None
        return AuditSettings(Path(self.audit_log), Path(self.audit_key_file), self.audit_max_bytes)

    def thresholds(self, default: Thresholds, facts: Mapping[str, Any]) -> Thresholds:
        """Return the bundle's thresholds with the operator's in their place.

        Args:
            default: the bundle's own.
            facts: content of its bundle.json.

        Raises:
            BundleError: the bundle knows no thresholds of the risk asked for, or the two ends cross.
        """
        if self.max_error_share is not None:
            default = thresholds_at(facts, float(self.max_error_share), self.error_share_of)
        return Thresholds(
            default.not_disaster_below if self.not_disaster_below is None else float(self.not_disaster_below),
            default.disaster_from if self.disaster_from is None else float(self.disaster_from),
        )


def _check_number(name: str, value: object, kind: type, low: float, high: float) -> None:
    kinds = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise BundleError(
            f"model-config.yaml: handler.{name} is {value!r}; expected {kind.__name__} from {low} to {high}"
        )


def _check_paths(audit_log: object, audit_key_file: object) -> None:
    for name, value in (("audit_log", audit_log), ("audit_key_file", audit_key_file)):
        if not isinstance(value, str | None):
            raise BundleError(f"model-config.yaml: handler.{name} is {value!r}; expected a path")
    if bool(audit_log) != bool(audit_key_file):
        raise BundleError(
            "model-config.yaml: one of handler.audit_log and handler.audit_key_file is set; expected both or none"
        )

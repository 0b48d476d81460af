"""Adapt the classifier to TorchServe: bodies in, bodies out, one status an item.

TorchServe 0.12 fails the whole batch on any exception, so `handle` raises none. Source: ts/service.py, predict.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tweetclf
from tweetclf.audit_log import AuditLog
from tweetclf.bundle import load_bundle
from tweetclf.classifier import NOT_REACHED, Classifier
from tweetclf.content import quoted, unpack
from tweetclf.deadline import HEADER, TimedRequest, read_deadline
from tweetclf.engines.choice import open_engine
from tweetclf.engines.cores import keep_tokenizer_to
from tweetclf.errors import BundleError, InvalidRequestError, StringFormError
from tweetclf.handler_settings import HandlerConfig
from tweetclf.payload import Payload, read_payload
from tweetclf.request import Shape, TweetRequest, parse_request
from tweetclf.response import Outcome, encode_answer, grpc_open_inference_refusal, to_json

logger = logging.getLogger(__name__)

BUNDLE_FOLDER = "bundle"
INTERNAL_ERROR = to_json(
    {"error": {"code": "INTERNAL", "message": "the classifier failed on this request; the log has its request id"}}
)
PROTECTED = "TORCHSERVE_HARDENED"  # a variable that torchserve-hardened gives its workers
SMALL_REQUEST_ITEMS = 64  # as many tweets as a full batch of single ones
# What the metrics port calls the facts of the answer cache; a lookup is a distinct text of a batch.
CACHE_COUNTERS = {"hits": "tweetclf_answer_cache_hits_total", "misses": "tweetclf_answer_cache_misses_total"}


class TweetsHandler:
    """What TorchServe calls; holds one classifier."""

    def __init__(self) -> None:
        self._classifier: Classifier | None = None
        self._config = HandlerConfig()
        self._facts: dict[str, Any] = {}
        self._audit_log: AuditLog | None = None
        self._counters: dict[str, Any] = {}
        self._counted = dict.fromkeys(CACHE_COUNTERS, 0)

    def initialize(self, context: Any) -> None:
        """Load, check and warm up the model.

        Args:
            context: TorchServe's; `system_properties` names the model folder and the GPU,
                `model_yaml_config["handler"]` holds our settings.

        Raises:
            BundleError: anything differs from what was exported; the message says which file.
        """
        started = time.monotonic()
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        _check_own_code(folder)
        settings = context.model_yaml_config or {}
        self._config = HandlerConfig.from_mapping(settings.get("handler"), settings.get("responseTimeout"))
        workers = settings.get("minWorkers", 1)
        threads = self._config.threads(workers if isinstance(workers, int) else 1)
        keep_tokenizer_to(threads)
        audit_settings = self._config.audit_settings()
        self._audit_log = None if audit_settings is None else AuditLog(audit_settings)
        bundle = load_bundle(folder / BUNDLE_FOLDER)
        config = self._config
        device = _device(properties.get("gpu_id"))
        engine, why = open_engine(config.engine, bundle, device, threads, config.precision, config.cuda_graphs)
        thresholds = config.thresholds(bundle.thresholds, bundle.facts)
        batch_tokens = config.batch_tokens or engine.batch_tokens
        self._classifier = Classifier(bundle, engine, thresholds, batch_tokens, config.cache_bytes)
        difference = self._classifier.replay_golden()
        engine.warm_up(bundle.max_tokens)
        self._facts = {
            "model_version": bundle.model_version,
            "engine": engine.name,
            "precision": engine.precision,
            "engine_taken_because": why,
            "device": engine.device,
            "batch_tokens": batch_tokens,
            "torch_threads": threads,
            "thresholds": {
                "not_disaster_below": thresholds.not_disaster_below,
                "disaster_from": thresholds.disaster_from,
            },
            "golden": {"samples": len(bundle.golden), "largest_difference": difference},
            "worker_pid": os.getpid(),  # any worker may answer; this tells which one did
            "load_seconds": round(time.monotonic() - started, 2),
            "bundle": dict(bundle.facts),
        }
        logger.info(
            "model %s ready with %s on %s (%s) after %.2f s",
            *(bundle.model_version, engine.name, engine.device, why, time.monotonic() - started),
        )
        if PROTECTED not in os.environ:
            logger.warning("TorchServe runs without protection: start it by the command of torchserve-hardened")
        self._open_counters(context)
        # What is loaded stays. Without this, a body of 100,000 small lists makes Python's garbage collector look
        # through all objects of torch: a second in place of 0.1 s.
        gc.collect()
        gc.freeze()

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer one TorchServe batch.

        Args:
            data: one mapping a request, parameter name -> value.
            context: carries headers and takes statuses, per request index.

        Returns:
            One body a request, same order.
        """
        give_up_at = time.monotonic() + self._config.batch_seconds  # before the first byte is read
        answers = self._answer_all(data, give_up_at, context)
        if self._audit_log is not None:
            self._audit_log.flush()
        self._count_lookups(context)
        for index, (status, _) in enumerate(answers):
            context.set_response_content_type(index, "application/json")
            if self._classifier is not None:
                context.set_response_header(index, "x-model-version", self._classifier.bundle.model_version)
                context.set_response_header(index, "x-engine", self._classifier.engine.name)
            if status != 200:
                context.set_response_status(status, "", index)
        return [body for _, body in answers]

    def describe_handle(self) -> bytes:
        """Return what `GET :8081/models/tweets?customized=true` shows of this worker."""
        cache = {} if self._classifier is None else {"answer_cache": self._classifier.cache_facts()}
        audit = {} if self._audit_log is None else {"audit_log": {"lost_lines": self._audit_log.lost_lines}}
        return to_json({**self._facts, **cache, **audit})

    def _open_counters(self, context: Any) -> None:
        """Show the counters of the answer cache at zero, so that the first hits are a rise, too."""
        metrics = getattr(context, "metrics", None)
        if metrics is None or not self._config.cache_bytes:
            return
        for fact, name in CACHE_COUNTERS.items():
            self._counters[fact] = metrics.add_metric_to_cache(name, "count", ["ModelName", "Level"])
            self._counters[fact].add_or_update(0, [_model_name(context), "Model"])

    def _count_lookups(self, context: Any) -> None:
        """Add to one counter of the answer cache what happened since; the other's turn comes with the next batch.

        Each addition is a line on stdout that the front end parses, so one a batch at most; and straight to the
        counter, since `context.metrics.add_counter` would write the ids of all requests of the batch into it.
        Source: TorchServe 0.12, ts/metrics/metric_cache_abstract.py; wlm/WorkerLifeCycle.java, ReaderThread.
        """
        if self._classifier is None or not self._counters:
            return
        facts = self._classifier.cache_facts()
        fact = max(self._counters, key=lambda name: facts[name] - self._counted[name])
        if facts[fact] > self._counted[fact]:
            self._counters[fact].add_or_update(facts[fact] - self._counted[fact], [_model_name(context), "Model"])
            self._counted[fact] = facts[fact]

    def _answer_all(
        self, data: Sequence[Mapping[str, Any]], give_up_at: float, context: Any
    ) -> list[tuple[int, bytes]]:
        model_name = _model_name(context)
        parsed = [
            self._parse(parameters, context.get_all_request_header(index) or {}, give_up_at, model_name)
            for index, parameters in enumerate(data)
        ]
        outcomes: dict[int, list[Outcome] | None] = {}
        # Small requests together and first: a job of thousands must not use up their time.
        requests = [(index, request) for index, request in enumerate(parsed) if isinstance(request, TimedRequest)]
        small = [(index, one) for index, one in requests if len(one.request.items) <= SMALL_REQUEST_ITEMS]
        large = [(index, one) for index, one in requests if len(one.request.items) > SMALL_REQUEST_ITEMS]
        for group in (small, *([pair] for pair in large)):
            found = self._classify_group([one for _, one in group])
            outcomes.update(zip((index for index, _ in group), found, strict=True))
        answers: list[tuple[int, bytes]] = []
        for index, one in enumerate(parsed):
            if isinstance(one, InvalidRequestError):
                answers.append((one.http_status, to_json(one.body())))
            elif isinstance(one, TimedRequest):
                answers.append(self._encode(one.request, outcomes[index], model_name, context.get_request_id(index)))
            else:
                answers.append(one)
        return answers

    def _parse(
        self, parameters: Mapping[str, Any], headers: Mapping[str, Any], give_up_at: float, model_name: str
    ) -> TimedRequest | InvalidRequestError | tuple[int, bytes]:
        """Read one request, or answer it where nothing is to be classified."""
        # TorchServe's own call has no parameters; a header of that name may come from a caller, too.
        if not parameters and headers.get("describe") == "True":
            return 200, self.describe_handle()
        try:
            if headers.get("explain") == "True":  # TorchServe's own; a caller's may have capital letters
                raise InvalidRequestError(
                    "NOT_IMPLEMENTED", "explanations are not served yet; expected a call of predictions/tweets"
                )
            if time.monotonic() > give_up_at:
                raise InvalidRequestError(NOT_REACHED.code, NOT_REACHED.message)
            payload = read_payload(parameters, headers)
            if payload.is_grpc_open_inference:
                version = self._facts.get("model_version", "")
                return 501, grpc_open_inference_refusal(model_name, str(version))
            return _read_request(payload, give_up_at)
        except InvalidRequestError as error:
            # Through its traceback it would hold our frames, and they all bodies of the batch, until Python looks for
            # cycles: megabytes an error, seen as a worker that grew (docs/log/2026-11.md#worker-memory-drawn-requests).
            error.__context__ = None
            return error.with_traceback(None)
        except Exception as error:  # a fault of ours; its message may hold the text and stays out of the log
            logger.error("a request of %d parameters could not be read: %s", len(parameters), type(error).__name__)
            return InvalidRequestError("WRONG_TYPE", "the body could not be read; expected one of the documented forms")

    def _classify(self, timed: Sequence[TimedRequest]) -> list[list[Outcome]]:
        """Classify the items of all requests in one call and give each request its outcomes."""
        if self._classifier is None:
            raise BundleError("handle was called before initialize")
        entries = [(item.text, one.give_up_at) for one in timed for item in one.request.items if item.text is not None]
        texts, give_up_at = [text for text, _ in entries], [moment for _, moment in entries]
        bound: Any = give_up_at if len(set(give_up_at)) > 1 else max(give_up_at, default=math.inf)
        predicted = iter(self._classifier.predict(texts, bound))
        outcomes: list[list[Outcome]] = []
        for request in (one.request for one in timed):
            row: list[Outcome] = []
            for index, item in enumerate(request.items):
                outcome: Outcome = item.error if item.error is not None else next(predicted)
                if isinstance(outcome, InvalidRequestError) and request.shape is not Shape.SINGLE:
                    outcome = InvalidRequestError(outcome.code, outcome.message, index)
                row.append(outcome)
            outcomes.append(row)
        return outcomes

    def _classify_group(self, timed: Sequence[TimedRequest]) -> Iterable[list[Outcome] | None]:
        try:
            return self._classify(timed)
        except Exception:  # one request must not cost its neighbours their answers: each again, alone
            logger.error("a batch of %d requests failed; each is tried alone", len(timed))
            return [self._classify_alone(one) for one in timed]

    def _classify_alone(self, one: TimedRequest) -> list[Outcome] | None:
        try:
            return self._classify([one])[0]
        except Exception as error:  # its message may hold the text and stays out of the log
            logger.error("a request of %d items failed: %s", len(one.request.items), type(error).__name__)
            return None

    def _encode(
        self, request: TweetRequest, outcomes: list[Outcome] | None, model_name: str, request_id: str | None
    ) -> tuple[int, bytes]:
        if outcomes is None:
            logger.error("request %s is answered 500 INTERNAL", request_id)
            return 500, INTERNAL_ERROR
        if self._audit_log is not None:
            self._audit_log.add(request_id, request, outcomes, str(self._facts["model_version"]))
        return encode_answer(request, outcomes, model_name, str(self._facts["model_version"]))


def _check_own_code(folder: Path) -> None:
    """Refuse to run code that shadows the archive's own, such as a checkout on PYTHONPATH.

    Source: TorchServe 0.12 puts an inherited PYTHONPATH before the model folder.
    """
    code = Path(tweetclf.__file__).resolve()
    if (folder / "MAR-INF").is_dir() and folder.resolve() not in code.parents:
        raise BundleError(
            f"the package tweetclf was imported from {code.parent}; expected the archive's own in {folder}: "
            "remove that path from PYTHONPATH and start again"
        )


def _read_request(payload: Payload, give_up_at: float) -> TimedRequest:
    """Read a body; its caller's own deadline bounds the work on it.

    Raises:
        InvalidRequestError: see `parse_request`; UNSUPPORTED_ENCODING, the body is packed in a way that is not read
            here; DEADLINE, it passed.
    """
    if payload.header("inference-header-content-length") is not None:
        raise StringFormError(
            "UNSUPPORTED_ENCODING",
            "the request has binary tensors; expected its elements as JSON strings in 'data' "
            "(tritonclient: binary_data=False)",
        )
    coding = payload.header("transfer-encoding") or ""
    if coding.strip().lower() not in ("", "chunked", "identity"):
        raise InvalidRequestError(
            "UNSUPPORTED_ENCODING", "the transfer encoding is not chunked; send the body as it is"
        )
    written = payload.header("content-transfer-encoding") or ""  # of mail; HTTP has none, yet some clients send it
    if written.strip().lower() not in ("", "7bit", "8bit", "binary", "identity"):
        raise InvalidRequestError(
            "UNSUPPORTED_ENCODING", f"the content transfer encoding is {quoted(written)}; send the body as it is"
        )
    body = unpack(payload.body, payload.header("content-encoding"))
    request = parse_request(body, payload.content_type, payload.fields)
    try:
        return TimedRequest(request, min(give_up_at, read_deadline(payload.header(HEADER))))
    except InvalidRequestError as error:
        if request.shape in (Shape.OPEN_INFERENCE, Shape.KSERVE_V1):
            raise StringFormError(error.code, error.message) from None
        raise


def _device(gpu_id: int | str | None) -> str:
    """Return the device of the worker; torch is imported only where TorchServe has found a GPU."""
    if gpu_id is None:
        return "cpu"
    import torch

    return f"cuda:{gpu_id}" if torch.cuda.is_available() else "cpu"


def _model_name(context: Any) -> str:
    return str(getattr(context, "model_name", None) or "tweets")

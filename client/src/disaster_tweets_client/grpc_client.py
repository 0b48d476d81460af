"""The client over gRPC."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import grpc

from disaster_tweets_client.arguments import check_api_key, check_certificates, check_encrypted, check_target
from disaster_tweets_client.base_client import BaseClient
from disaster_tweets_client.errors import DeadlineExceededError, DisasterTweetsError, InvalidArgumentError, RequestError
from disaster_tweets_client.loopback import is_loopback
from disaster_tweets_client.prediction import Reply
from disaster_tweets_client.retry import TransientError, parse_retry_after
from disaster_tweets_client.stubs import inference_pb2, inference_pb2_grpc

# gRPC waits 1 s, then up to 120 s, before it connects again, and fails every call meanwhile; the waits between
# our own attempts are shorter. The option min_reconnect_backoff_ms stays: it bounds the connecting itself, too.
# Source: gRPC core, doc/connection-backoff.md.
_RECONNECT_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_TRANSIENT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
# TorchServe has INTERNAL for a full queue and a dead worker as for errors that stay; gRPC itself has it, or UNKNOWN,
# for a stream that was cut. A prediction may be asked for twice.
# Source: TorchServe 0.12 InferenceImpl.java, WorkerThread.java; gRPC, doc/PROTOCOL-HTTP2.md, Errors.
_TRANSIENT_WORDS = re.compile(r"no worker|worker died|RST_STREAM|stream removed|GOAWAY", re.IGNORECASE)
_MAYBE_TRANSIENT_CODES = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
# gRPC has RESOURCE_EXHAUSTED for an overloaded server as for a message that is too large for either side.
_TOO_LARGE_WORDS = re.compile(r"larger than max|exceeds maximum", re.IGNORECASE)
_JAVA_EXCEPTION = re.compile(r"\b(?:\w+\.)*(\w+Exception)\b")


class GrpcClient(BaseClient):
    """Ask a server over gRPC.

    Args:
        target: host and port, or `unix:/path`. Proxies of the environment are used, except for an address of this
            machine.
        model: the name that the server serves it under.
        timeout_s: seconds that one call may take, all its requests, attempts and waits together.
        retries: attempts after the first, per request; None: as many as `timeout_s` allows, which rides out the
            restart of a server.
        api_key: sent as a bearer token in the metadata; to another machine only over TLS.
        credentials: for TLS of another kind than `tls` and `ca_file` give, such as with a client's certificate.
        tls: speak TLS, and trust the usual authorities.
        ca_file: PEM of the authority that signed the server's certificate; speaks TLS.

    Raises:
        InvalidArgumentError: one of them cannot be used.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        model: str = "tweets",
        *,
        timeout_s: float = 30.0,
        retries: int | None = 3,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        tls: bool = False,
        ca_file: str | None = None,
    ) -> None:
        super().__init__(model, timeout_s, retries)
        is_local = is_loopback(check_target(target))
        credentials = _credentials(credentials, tls, ca_file)
        check_api_key(api_key)
        check_encrypted(target, api_key, credentials is not None, is_local)
        self._target = target
        self._metadata = () if api_key is None else (("authorization", f"Bearer {api_key}"),)
        options = [
            *_RECONNECT_OPTIONS,
            ("grpc.max_receive_message_length", -1),  # the server's limit is the higher one
            ("grpc.enable_http_proxy", 0 if is_local else 1),
        ]
        self._channel = (
            grpc.insecure_channel(target, options)
            if credentials is None
            else grpc.secure_channel(target, credentials, options)
        )
        self._stub: Any = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def _exchange(self, payload: bytes, timeout_s: float) -> Reply:
        started = time.monotonic()
        request = inference_pb2.PredictionsRequest(model_name=self._model, input={"data": payload})
        try:
            answer = self._stub.Predictions(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            self._check_open()  # closed by another thread meanwhile
            raise self._translated(error, timeout_s, time.monotonic() - started) from error
        except ValueError as error:  # of a channel that was closed
            self._check_open()
            raise DisasterTweetsError(f"{self._target} cannot be asked: {error}") from error
        return Reply(None, answer.prediction)

    def _disconnect(self) -> None:
        self._channel.close()

    def _translated(self, error: Any, timeout_s: float, took_s: float) -> Exception:
        """Return what a failed call means here.

        Args:
            error: grpc.RpcError; grpcio raises objects that are a grpc.Call as well.
            timeout_s: what the call was allowed.
            took_s: until it failed.
        """
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and took_s < 0.9 * timeout_s:
            return TransientError(f"{self._target} gave up after {took_s:.1f} s: {details}")  # a gateway's own patience
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceededError(f"{self._target} gave no answer in the {timeout_s:.1f} s left")
        if code in _TRANSIENT_CODES and not _TOO_LARGE_WORDS.search(details):
            return TransientError(f"{self._target} answers {code.name}: {details}", _asked_to_wait_s(error))
        if code in _MAYBE_TRANSIENT_CODES and _TRANSIENT_WORDS.search(details):
            return TransientError(f"{self._target} answers {code.name}: {details}")
        exception = _JAVA_EXCEPTION.search(details)
        return RequestError(None, exception.group(1) if exception else code.name, details)


def _credentials(
    given: grpc.ChannelCredentials | None, tls: bool, ca_file: str | None
) -> grpc.ChannelCredentials | None:
    if given is not None:
        if tls or ca_file is not None:
            raise InvalidArgumentError("credentials are given together with tls or ca_file; expected one of them")
        if not isinstance(given, grpc.ChannelCredentials):
            raise InvalidArgumentError(f"credentials is {type(given).__name__}; expected grpc.ChannelCredentials")
        return given
    if ca_file is not None:
        check_certificates(ca_file, None)
        return grpc.ssl_channel_credentials(Path(ca_file).read_bytes())
    return grpc.ssl_channel_credentials() if tls else None


def _asked_to_wait_s(error: Any) -> float:
    """Return the seconds that the server or a gateway asks to wait, from the metadata of a failed call.

    Source: gRPC, proposal A6 (`grpc-retry-pushback-ms`); gateways send HTTP's own header with a gRPC error.
    """
    metadata = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
    pushback_ms = str(metadata.get("grpc-retry-pushback-ms", ""))
    if pushback_ms.isdecimal():
        return float(pushback_ms) / 1000
    value = metadata.get("retry-after")
    return parse_retry_after(value if isinstance(value, str) else None)

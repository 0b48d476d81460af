"""The client over HTTP."""

from __future__ import annotations

import ssl
import time
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

from disaster_tweets_client.arguments import check_api_key, check_certificates, check_encrypted, check_url
from disaster_tweets_client.base_client import BaseClient
from disaster_tweets_client.errors import DeadlineExceededError, ServerUnavailableError, UnexpectedAnswerError
from disaster_tweets_client.loopback import is_loopback
from disaster_tweets_client.prediction import Reply
from disaster_tweets_client.retry import TransientError, parse_retry_after

MAX_CONNECTIONS = 32  # kept open; threads beyond it connect each time

# TorchServe answers 503 to a full queue; the others come from gateways before it. 408 closes a connection that was
# idle too long, and may cross a request on its way (RFC 9110, section 15.5.9).
_TRANSIENT_STATUSES = frozenset({408, 429, 502, 503, 504})
# The whole batch fails with one worker; another takes its place within a second.
# Source: TorchServe 0.12 WorkerThread.java, which answers 500 and does not try again itself.
_WORKER_DIED = b"Worker died"
_TOO_LATE = b'"DEADLINE"'
# A refusal as too late that comes sooner is no matter of waiting: the clocks disagree.
_SURELY_WAITED_S = 1.0


class RestClient(BaseClient):
    """Ask a server over HTTP.

    Args:
        base_url: scheme, host, port and, behind a gateway, a path. Proxies of the environment are used, except for an
            address of this machine.
        model: the name that the server serves it under.
        timeout_s: seconds that one call may take, all its requests, attempts and waits together. A server
            that sends its answer in drops may exceed it: each wait for bytes is bounded, not their sum.
        retries: attempts after the first, per request; None: as many as `timeout_s` allows, which rides out the
            restart of a server.
        api_key: sent as a bearer token, as TorchServe's token authorization and most gateways want it. It is sent to
            `base_url` only, never to where an answer redirects, and to another machine only over https. Credentials of
            a .netrc file are never sent.
        send_deadline: tell the server until when the answer is of use, so that it drops a request that waited
            too long. It needs clocks that agree; turn it off for a server whose clock is wrong.
        ca_file: PEM of the authority that signed the server's certificate; None trusts the usual ones.
        client_certificate: PEM files of a certificate and its key, for a gateway that asks for one.

    Raises:
        InvalidArgumentError: one of them cannot be used.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        model: str = "tweets",
        *,
        timeout_s: float = 30.0,
        retries: int | None = 3,
        api_key: str | None = None,
        send_deadline: bool = True,
        ca_file: str | None = None,
        client_certificate: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(model, timeout_s, retries)
        address = check_url(base_url)
        is_local = is_loopback(address.hostname or "")
        check_api_key(api_key)
        check_encrypted(base_url, api_key, address.scheme == "https", is_local)
        check_certificates(ca_file, client_certificate)
        self._url = f"{base_url.rstrip('/')}/predictions/{quote(model, safe='')}"
        self._sends_deadline = send_deadline
        self._session = requests.Session()
        # No proxy of the environment reaches this machine, and looking for one costs time.
        self._session.trust_env = not is_local
        self._session.auth = _BearerKey(api_key)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # threads share no state
        adapter = HTTPAdapter(pool_maxsize=MAX_CONNECTIONS)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._verify = True if ca_file is None else ca_file
        self._session.cert = client_certificate
        self._session.headers.update({"Content-Type": "application/json", "User-Agent": "disaster-tweets-client"})

    def _exchange(self, payload: bytes, timeout_s: float) -> Reply:
        headers = {}
        if self._sends_deadline:
            headers["x-deadline-ms"] = str(int((time.time() + timeout_s) * 1000))
        started = time.monotonic()
        try:
            response = self._session.post(
                self._url,
                data=payload,
                headers=headers,
                timeout=urllib3.Timeout(total=timeout_s),  # type: ignore[arg-type]  # of connecting and reading together
                allow_redirects=False,
                verify=self._verify,
            )
        except requests.Timeout as error:
            raise DeadlineExceededError(f"{self._url} gave no answer in the {timeout_s:.1f} s left") from error
        except requests.exceptions.SSLError as error:
            # A gateway that reads its settings again closes idle connections, perhaps while this one was used again.
            if isinstance(_root(error), ssl.SSLEOFError | ssl.SSLZeroReturnError):
                raise TransientError(f"{self._url} closed the connection") from error
            raise ServerUnavailableError(f"{self._url} offers no TLS that can be trusted: {error}") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise TransientError(f"no connection to {self._url} ({_root(error)}); is the server running?") from error
        except requests.exceptions.ContentDecodingError as error:
            raise UnexpectedAnswerError(f"{self._url} answers with a body that cannot be unpacked: {error}") from error
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:  # requests.RequestException is an OSError
            raise ServerUnavailableError(f"{self._url} cannot be asked: {_root(error)}") from error
        took_s = time.monotonic() - started
        is_too_late = response.status_code == 504 and _TOO_LATE in response.content
        if is_too_late and _SURELY_WAITED_S <= took_s < timeout_s:
            # A gateway's patience may be shorter than ours; while there is time left, there is another attempt.
            raise TransientError(f"{self._url} gave up after {took_s:.1f} s")
        if _is_transient(response.status_code, response.content):
            retry_after_s = parse_retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
            raise TransientError(f"{self._url} answers HTTP {response.status_code}", retry_after_s)
        return Reply(response.status_code, response.content)

    def _disconnect(self) -> None:
        self._session.close()


class _BearerKey(requests.auth.AuthBase):
    """Set the key on each request, or nothing. A session without an auth object would look into .netrc.

    Source: requests, Session.prepare_request: .netrc wins over a header, and an auth object over .netrc.
    """

    def __init__(self, api_key: str | None) -> None:
        self._api_key = api_key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._api_key is not None:
            request.headers["Authorization"] = f"Bearer {self._api_key}"
        return request


def _root(error: BaseException) -> BaseException:
    """Return the first cause of an error, which says "Connection refused" where the last tells of pools."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _is_transient(status: int, body: bytes) -> bool:
    if status == 504 and _TOO_LATE in body:  # the server's own word: this request came too late
        return False
    return status in _TRANSIENT_STATUSES or (status >= 500 and _WORKER_DIED in body)

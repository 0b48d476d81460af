"""Check what a client is made with, so that a wrong setting is named at once, and not by the first request."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import ssl
from urllib.parse import SplitResult, urlsplit

from disaster_tweets_client.errors import InvalidArgumentError

MAX_TIMEOUT_S = 31_536_000  # a year: sockets and gRPC refuse numbers that are much larger
_KEY = re.compile(r"[\x21-\x7e]+")  # RFC 9110, section 5.5: what a header may hold, less the blank
_TARGET = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]@]+)):([0-9]{1,5})")


def check_timeout(timeout_s: object) -> float:
    """Return the seconds, a number greater than 0.

    Raises:
        InvalidArgumentError: it is something else.
    """
    is_number = isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool)
    if not is_number or not math.isfinite(timeout_s) or not 0 < timeout_s <= MAX_TIMEOUT_S:  # type: ignore[arg-type,operator]
        raise InvalidArgumentError(
            f"timeout_s is {timeout_s!r}; expected seconds greater than 0 and at most {MAX_TIMEOUT_S} (a year)"
        )
    return float(timeout_s)  # type: ignore[arg-type]


def check_model(model: object) -> str:
    """Return the name of a model, which goes into an address and into a protobuf text."""
    if not isinstance(model, str) or not model or model in (".", "..") or not _is_utf8(model):
        raise InvalidArgumentError(f"model is {model!r}; expected the name that the server serves it under, not empty")
    return model


def check_retries(retries: object) -> int | None:
    """Return the number of attempts after the first, or None."""
    if retries is not None and (not isinstance(retries, int) or isinstance(retries, bool) or retries < 0):
        raise InvalidArgumentError(
            f"retries is {retries!r}; expected 0 or more, or None for as many as timeout_s allows"
        )
    return retries


def check_api_key(api_key: object) -> str | None:
    """Return the key; an error says what is wrong with it, and never the key itself."""
    if api_key is None:
        return None
    if not isinstance(api_key, str):
        raise InvalidArgumentError(f"api_key is of type {type(api_key).__name__}; expected str or None")
    if not _KEY.fullmatch(api_key):
        found = "is empty" if not api_key else "holds a blank, a line end or another character that no header may hold"
        raise InvalidArgumentError(
            f"api_key {found}; expected visible ASCII characters (of a key read from a file: key.strip())"
        )
    return api_key


def check_encrypted(address: str, api_key: str | None, is_encrypted: bool, is_local: bool) -> None:
    """Refuse to send a key where everybody on the way can read it."""
    if api_key is not None and not is_encrypted and not is_local:
        raise InvalidArgumentError(
            f"{address} is another machine and the connection is not encrypted, so that anyone on the way could read "
            "the API key; expected TLS (https://, or ca_file or tls=True over gRPC), or an address of this machine"
        )


def check_url(base_url: object) -> SplitResult:
    """Return the parts of a server's address over HTTP."""
    expected = "expected an address such as http://127.0.0.1:8080"
    if not isinstance(base_url, str) or any(character <= " " or character == "\x7f" for character in base_url):
        raise InvalidArgumentError(f"base_url is {base_url!r}; {expected}, without blanks and line ends")
    try:
        address = urlsplit(base_url)
        port = address.port
        (address.hostname or "").encode("idna")  # as the name is looked up: no empty label, none too long
        if "[" in address.netloc:  # Python before 3.11.4 takes anything between the brackets
            ipaddress.IPv6Address((address.hostname or "").partition("%")[0])
    except ValueError as error:
        raise InvalidArgumentError(f"base_url cannot be read ({error}); {expected}") from None
    if "@" in address.netloc:
        raise InvalidArgumentError(f"base_url holds a user name or a password; {expected}, and the key as api_key")
    if address.scheme not in ("http", "https") or not address.hostname or port == 0:
        raise InvalidArgumentError(f"base_url is {base_url!r}; {expected}")
    if address.query or address.fragment or not _is_utf8(base_url):
        raise InvalidArgumentError(f"base_url is {base_url!r}; {expected}, without a query or a fragment")
    return address


def check_target(target: object) -> str:
    """Return the host of an address over gRPC; of a socket in the file system it is localhost.

    Source: gRPC, doc/naming.md. Of its schemes only `unix:` is taken: the others can name several hosts.
    """
    if isinstance(target, str):
        if target.startswith("unix:/"):
            return "localhost"
        match = _TARGET.fullmatch(target)
        if match and 0 < int(match[3]) <= 65_535 and _is_host(match[1] or match[2]):
            return match[1] or match[2]
    raise InvalidArgumentError(f"target is {target!r}; expected host and port, such as 127.0.0.1:7070 or [::1]:7070")


def check_certificates(ca_file: str | None, client_certificate: tuple[str, str] | None) -> None:
    """Read the files once, so that a wrong one is named at once and not at each request."""
    if ca_file is not None:
        with _named(f"ca_file {ca_file!r}", "a PEM file with the certificate of an authority"):
            is_folder = os.path.isdir(ca_file)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(*((None, ca_file) if is_folder else (ca_file, None)))
    if client_certificate is not None:
        with _named("client_certificate", "two PEM files: a certificate and its key"):
            certificate, key = client_certificate
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)


class _named:  # noqa: N801 (used like a function)
    def __init__(self, name: str, expected: str) -> None:
        self._name = name
        self._expected = expected

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError | TypeError):  # ssl.SSLError is an OSError
            raise InvalidArgumentError(f"{self._name} cannot be read ({error}); expected {self._expected}") from error


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_host(name: str) -> bool:
    try:
        name.encode("idna")
    except ValueError:
        return False
    return name.isprintable()

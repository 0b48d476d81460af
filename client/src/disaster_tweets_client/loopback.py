"""Tell addresses of this machine, which no proxy can reach, from others."""

from __future__ import annotations

import ipaddress
import re
import socket

_SHORT_IPV4 = re.compile(r"[0-9a-fx.]+")  # 127.1 and 0x7f000001 are addresses to the C library


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine, without a look-up."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _is_short_loopback(name)
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified  # a connection to 0.0.0.0 is one to this machine


def _is_short_loopback(name: str) -> bool:
    try:
        return _SHORT_IPV4.fullmatch(name) is not None and socket.inet_aton(name)[0] == 127
    except OSError:
        return False

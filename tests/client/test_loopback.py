"""Which hosts are this machine."""

from __future__ import annotations

import pytest

from disaster_tweets_client.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("api.localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("::", True),
        ("127.1", True),
        ("2130706433", True),
        ("0x7f.1", True),
        ("128.1", False),
        ("::ffff:10.0.0.1", False),
        ("127.example", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_is_loopback_tells_this_machine_from_others(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected

"""Settings of a client: a wrong one is named at once, by one kind of error, and no key travels in the clear."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from disaster_tweets_client import DisasterTweetsError, GrpcClient, InvalidArgumentError, RestClient

KEY = "a-key-of-the-tests"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://127.0.0.1:port",
        "http://a..b",
        "http://" + "a" * 64 + ".example",
        "http://[::1",
        "http://[zz]:80",
        "http://:8080",
        "http://ho st",
        "http://host\n",
        "\thttp://host",
        "http://host?x=1",
        "http://host#x",
        "http://host/\udc80",
        "file:///etc/hosts",
        "//host",
        None,
        b"http://host",
        8080,
    ],
)
def test_rest_client_when_the_address_is_none_is_refused(base_url: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"base_url .*expected an address such as"):
        RestClient(base_url)


def test_rest_client_when_the_address_holds_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidArgumentError, match="api_key") as caught:
        RestClient("https://alice:wonderland@host.example")
    assert "wonderland" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "host",
        "host:",
        ":7070",
        "host:0",
        "host:99999",
        "host:port",
        "::1:7070",
        "[::1]",
        "a..b:7070",
        "user@host:7070",
        "http://host:7070",
        "dns:///host:7070",
        "ipv4:127.0.0.1:7070,10.0.0.1:7070",
        "ho st:7070",
        "host:7070\n",
        None,
        b"host:7070",
    ],
)
def test_grpc_client_when_the_target_is_none_is_refused(target: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="expected host and port"):
        GrpcClient(target)


@pytest.mark.parametrize("kind", [RestClient, GrpcClient])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"timeout_s": math.nan}, "timeout_s"),
        ({"timeout_s": math.inf}, "timeout_s"),
        ({"timeout_s": 1e12}, "timeout_s"),
        ({"timeout_s": "5"}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"timeout_s": None}, "timeout_s"),
        ({"retries": 1.5}, "retries"),
        ({"retries": "3"}, "retries"),
        ({"model": ".."}, "model"),
        ({"model": "\udc80"}, "model"),
        ({"model": None}, "model"),
        ({"api_key": ""}, "api_key is empty"),
        ({"api_key": KEY + "\n"}, r"key\.strip"),
        ({"api_key": KEY + "\r\nX: y"}, "api_key holds"),
        ({"api_key": KEY + "\x00"}, "api_key holds"),
        ({"api_key": KEY + " two"}, "api_key holds"),
        ({"api_key": KEY + "\u00e9"}, "api_key holds"),
        ({"api_key": KEY + "\u6d77"}, "api_key holds"),
        ({"api_key": KEY.encode()}, "api_key is of type bytes"),
        ({"ca_file": "absent.pem"}, "ca_file 'absent.pem' cannot be read"),
        ({"ca_file": __file__}, "ca_file"),
    ],
)
def test_a_client_when_a_setting_cannot_be_used_says_which(kind: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        kind(**settings)
    assert KEY not in str(caught.value)
    assert isinstance(caught.value, DisasterTweetsError)


def test_rest_client_when_its_certificate_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate", encoding="ascii")
    for pair in [("absent.pem", "absent.key"), (str(tmp_path / "no.pem"), str(tmp_path / "no.pem")), "one.pem"]:
        with pytest.raises(InvalidArgumentError, match="client_certificate cannot be read"):
            RestClient(client_certificate=pair)  # type: ignore[arg-type]


REMOTE_HOSTS = ["10.0.0.1", "gateway.example", "localhost.example", "[2001:db8::1]", "127.0.0.1.example", "128.1"]
LOCAL_HOSTS = ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"]


@pytest.mark.parametrize("host", REMOTE_HOSTS)
def test_a_client_with_a_key_for_another_machine_without_tls_is_refused(host: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not encrypted") as caught:
        RestClient(f"http://{host}:8080", api_key=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(InvalidArgumentError, match="not encrypted"):
        GrpcClient(f"{host}:7070", api_key=KEY)
    RestClient(f"https://{host}:8443", api_key=KEY).close()
    RestClient(f"http://{host}:8080").close()
    GrpcClient(f"{host}:7070", api_key=KEY, tls=True).close()
    GrpcClient(f"{host}:7070").close()


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_a_client_with_a_key_for_this_machine_needs_no_tls(host: str) -> None:
    RestClient(f"http://{host}:8080", api_key=KEY).close()
    GrpcClient(f"{host}:7070", api_key=KEY).close()


def test_grpc_client_of_a_socket_in_the_file_system_needs_no_tls(tmp_path: Path) -> None:
    GrpcClient(f"unix:{tmp_path}/socket", api_key=KEY).close()


def test_grpc_client_with_two_kinds_of_tls_is_refused() -> None:
    import grpc

    with pytest.raises(InvalidArgumentError, match="expected one of them"):
        GrpcClient(tls=True, credentials=grpc.ssl_channel_credentials())
    with pytest.raises(InvalidArgumentError, match=r"expected grpc\.ChannelCredentials"):
        GrpcClient(credentials="ca.pem")  # type: ignore[arg-type]

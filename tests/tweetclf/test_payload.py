"""The body is found among a server's parameters."""

from __future__ import annotations

from typing import Any

import pytest

from tweetclf.errors import InvalidRequestError
from tweetclf.payload import read_payload


@pytest.mark.parametrize("value", [b"fire", bytearray(b"fire"), memoryview(b"fire"), "fire"])
def test_read_payload_of_a_body_gives_its_bytes(value: Any) -> None:
    payload = read_payload({"body": value}, {"Content-Type": "text/plain", "X-Deadline-Ms": "5"})
    assert (payload.body, payload.content_type) == (b"fire", "text/plain")
    assert payload.header("x-deadline-ms") == "5"


def test_read_payload_of_decoded_json_gives_json_again() -> None:
    assert read_payload({"body": {"text": "fire"}}, None).body == b'{"text": "fire"}'


def test_read_payload_of_a_grpc_input_has_no_content_type() -> None:
    payload = read_payload({"data": b"fire"}, {"data": {"content-type": ""}})
    assert (payload.body, payload.content_type) == (b"fire", "")


def test_read_payload_of_a_form_field_takes_its_own_type_not_the_requests() -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "text": {"content-type": "text/plain"}}
    payload = read_payload({"text": b"fire"}, headers)
    assert (payload.body, payload.content_type) == (b"fire", "text/plain")


def test_read_payload_with_a_header_named_body_is_not_confused() -> None:
    payload = read_payload({"body": b"fire"}, {"body": "from a client", "content-type": "text/plain"})
    assert (payload.body, payload.content_type) == (b"fire", "text/plain")


def test_read_payload_of_a_form_that_a_server_took_apart_puts_it_together() -> None:
    assert read_payload({"A ": b"", " B ": b" C"}, None).body == b"A & B = C"


@pytest.mark.parametrize("parameters", [{}, {"body": b""}, {"data": ""}])
def test_read_payload_of_nothing_is_empty(parameters: dict[str, Any]) -> None:
    assert read_payload(parameters, None).body == b""


def test_invalid_request_error_with_an_unknown_code_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        InvalidRequestError("ODD", "x")

"""The body is found among a server's parameters; parameters that are not read are named, never scored."""

from __future__ import annotations

from typing import Any

import pytest

from tweetclf.errors import InvalidRequestError
from tweetclf.payload import read_payload

HEADERS = {"Host": "localhost"}


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
    assert not payload.is_grpc_open_inference


def test_read_payload_of_a_grpc_input_with_an_id_keeps_it() -> None:
    payload = read_payload({"text": b"fire", "id": b"7", "location": b"Lima"}, {})
    assert (payload.body, payload.fields) == (b"fire", {"id": b"7", "location": b"Lima"})


def test_read_payload_of_a_form_field_takes_its_own_type_not_the_requests() -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "text": {"content-type": "text/plain"}}
    payload = read_payload({"text": b"fire"}, headers)
    assert (payload.body, payload.content_type) == (b"fire", "text/plain")


def test_read_payload_with_a_header_named_body_is_not_confused() -> None:
    payload = read_payload({"body": b"fire"}, {"body": "from a client", "content-type": "text/plain"})
    assert (payload.body, payload.content_type) == (b"fire", "text/plain")


def test_read_payload_with_the_models_name_in_the_address_gives_the_body() -> None:
    assert read_payload({"model_name": "tweets", "body": b"fire"}, HEADERS).body == b"fire"


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"tweet": b"Dam breaks"}, "'tweet'"),
        ({"A ": b"", " B ": b" C"}, "of 2 characters"),
        ({"model_name": "tweets", "body": b""}, "'model_name'"),
        ({"model_name": "tweets"}, "'model_name'"),
        ({"text": "Dam breaks", "body": b""}, "'text'"),
        ({"text": b"Dam breaks", "data": b"flood"}, "'text', 'data'"),
        ({"text": b"Dam breaks", "lang": b"en"}, "'lang'"),
        ({"body": b"Dam breaks", "threshold": "0.5"}, "'threshold'"),
        ({"id": b"7"}, "'id'"),
        ({"id": b"7", "text": b""}, "'id'"),
    ],
)
def test_read_payload_of_parameters_that_are_not_read_names_them(parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_payload(parameters, HEADERS)
    assert caught.value.code == "WRONG_TYPE"
    assert named in caught.value.message
    assert "Dam" not in caught.value.message


@pytest.mark.parametrize("parameters", [{}, {"body": b""}, {"data": ""}])
def test_read_payload_of_nothing_is_empty(parameters: dict[str, Any]) -> None:
    assert read_payload(parameters, None).body == b""


def test_read_payload_of_a_grpc_call_of_open_inference_tells_it_from_rest() -> None:
    own_type = {"body": {"content-type": "application/json"}}
    assert read_payload({"body": b"{}"}, own_type).is_grpc_open_inference
    assert not read_payload({"body": b"{}"}, {**own_type, "Content-Length": "2"}).is_grpc_open_inference


def test_invalid_request_error_with_an_unknown_code_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        InvalidRequestError("ODD", "x")

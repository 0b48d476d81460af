"""Tensors of the Open Inference form, and every way to get them wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tweetclf.errors import InvalidRequestError
from tweetclf.request import parse_request

JSON = "application/json"


def texts(body: bytes, content_type: str) -> list[str | None]:
    return [item.text for item in parse_request(body, content_type).items]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"shape": [5]}, "WRONG_TYPE"),
        ({"shape": [-1, -1]}, "WRONG_TYPE"),
        ({"shape": "2"}, "WRONG_TYPE"),
        ({"shape": [1] * 9}, "WRONG_TYPE"),
        ({"name": "location"}, "WRONG_TYPE"),
        ({"parameters": []}, "WRONG_TYPE"),
        ({"parameters": {"content_type": "pd"}}, "UNSUPPORTED_ENCODING"),
        ({"parameters": {"content_type": ["base64"]}}, "UNSUPPORTED_ENCODING"),
        ({"parameters": {"encoding": "hex"}}, "UNSUPPORTED_ENCODING"),
        ({"parameters": {"binary_data_size": 12}}, "UNSUPPORTED_ENCODING"),
        ({"datatype": "bytes"}, "WRONG_TYPE"),
        ({"data": "Fire"}, "WRONG_TYPE"),
    ],
)
def test_parse_request_of_a_tensor_that_is_not_clear_is_refused_with_a_string(changed: Any, code: str) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["Fire", "Flood"], **changed}
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(json.dumps({"inputs": [tensor]}).encode(), JSON)
    assert caught.value.code == code
    assert caught.value.body() == {"error": f"{code}: {caught.value.message}"}


@pytest.mark.parametrize("shape", [[2], [-1], [2, 1], [2, -1], [1, 2], None])
@pytest.mark.parametrize("data", [["Fire", "Flood"], [["Fire"], ["Flood"]]])
def test_parse_request_of_a_tensor_whose_shape_fits_is_read(shape: Any, data: Any) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": shape, "data": data, "parameters": {"content_type": "str"}}
    assert texts(json.dumps({"inputs": [tensor]}).encode(), JSON) == ["Fire", "Flood"]


@pytest.mark.parametrize("place", ["tensor", "request"])
def test_parse_request_of_a_tensor_in_base64_decodes_it(place: str) -> None:
    parameters = {"parameters": {"content_type": "base64"}}
    data = [base64.b64encode("Caf\u00e9 brennt".encode()).decode(), "not base64!", "/w=="]
    tensor = {"name": "text", "datatype": "BYTES", "shape": [3], "data": data}
    value = {"inputs": [{**tensor, **parameters}]} if place == "tensor" else {"inputs": [tensor], **parameters}
    items = parse_request(json.dumps(value).encode(), JSON).items
    assert items[0].text == "Caf\u00e9 brennt"
    assert [item.error.code for item in items[1:] if item.error] == ["BAD_ENCODING", "NOT_UTF8"]


def test_parse_request_of_several_tensors_is_refused() -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Fire"]}
    with pytest.raises(InvalidRequestError, match="2 tensors"):
        parse_request(json.dumps({"inputs": [tensor, {**tensor, "name": "location"}]}).encode(), JSON)


@pytest.mark.parametrize(
    "outputs", [[{"name": "nope"}], [{"name": "score"}] * 2, [{}], ["score"], "score", [{"name": {}}]]
)
def test_parse_request_of_outputs_that_are_not_there_is_refused(outputs: object) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["Fire"]}
    with pytest.raises(InvalidRequestError, match="output") as caught:
        parse_request(json.dumps({"inputs": [tensor], "outputs": outputs}).encode(), JSON)
    assert caught.value.code == "WRONG_TYPE"


@pytest.mark.parametrize("inputs", ["Fire", ["Fire"], {"text": "Fire"}])
def test_parse_request_of_the_hugging_face_form_is_refused_and_names_text(inputs: object) -> None:
    with pytest.raises(InvalidRequestError, match='"text"'):
        parse_request(json.dumps({"inputs": inputs}).encode(), JSON)

"""Every input form of the wire contract, and every way to get it wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.errors import InvalidRequestError
from tweetclf.request import MAX_ITEMS, Shape, parse_request

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def texts(body: bytes, content_type: str = "") -> list[str | None]:
    return [item.text for item in parse_request(body, content_type).items]


@pytest.mark.parametrize("content_type", ["", FORM, "text/plain", "text/plain; charset=utf-8", "image/png", "a/b"])
@pytest.mark.parametrize("text", ["Fire near the dam", "[BREAKING] fire & 50% loss", "{sigh} rain", '"Run," he said'])
def test_parse_request_of_plain_text_gives_the_tweet_whatever_the_type(text: str, content_type: str) -> None:
    request = parse_request(text.encode(), content_type)
    assert (request.shape, [item.text for item in request.items]) == (Shape.SINGLE, [text])


@pytest.mark.parametrize("content_type", ["", FORM, JSON, "application/vnd.api+json", "application/octet-stream"])
@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        ("Fire near the dam", Shape.SINGLE, ["Fire near the dam"]),
        ({"text": "Fire", "id": 7, "keyword": None, "location": "Lima", "more": []}, Shape.SINGLE, ["Fire"]),
        (["a", {"text": "b"}], Shape.MANY, ["a", "b"]),
        ({"instances": ["a", {"text": "b"}]}, Shape.MANY, ["a", "b"]),
        ([], Shape.MANY, []),
        (
            {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [2, 1], "data": [["a"], ["b"]]}]},
            Shape.OPEN_INFERENCE,
            ["a", "b"],
        ),
    ],
)
def test_parse_request_of_json_gives_items_and_shape(
    value: object, shape: Shape, expected: list[str], content_type: str
) -> None:
    request = parse_request(json.dumps(value).encode(), content_type)
    assert (request.shape, [item.text for item in request.items]) == (shape, expected)


def test_parse_request_of_text_plain_never_reads_json() -> None:
    assert texts(b'{"text": "Fire"}', "text/plain") == ['{"text": "Fire"}']


def test_parse_request_of_a_byte_order_mark_drops_it() -> None:
    assert texts(b'\xef\xbb\xbf"Fire"', JSON) == ["Fire"]


def test_parse_request_of_lines_gives_one_item_a_line() -> None:
    body = b'Fire near town\r\n{"text": "Flood", "id": 3}\n\n"Quake"\n'
    request = parse_request(body, "application/x-ndjson; charset=utf-8")
    assert request.shape is Shape.MANY
    assert [(item.text, item.id) for item in request.items] == [
        ("Fire near town", None),
        ("Flood", 3),
        ("", None),
        ("Quake", None),
    ]


def test_parse_request_of_a_form_field_gives_the_tweet_and_its_id() -> None:
    item = parse_request(b"text=Fire+near+town&id=a1", FORM).items[0]
    assert (item.text, item.id, item.has_id) == ("Fire near town", "a1", True)


def test_parse_request_of_a_form_without_a_text_field_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="none of them named") as caught:
        parse_request(b"id=4&keyword=fire", FORM)
    assert caught.value.code == "WRONG_TYPE"


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"\xff\xfe Fire", "", "NOT_UTF8"),
        (b"\xff\xfe Fire", "text/plain", "NOT_UTF8"),
        (b'{"text": "Fire', JSON, "BAD_JSON"),
        (b'{"text": "Fire', FORM, "BAD_JSON"),
        (b'[{"text": "Fire"}', "", "BAD_JSON"),
        (b"Fire", JSON, "BAD_JSON"),
        (b"", JSON, "BAD_JSON"),
        (b"[" * 200_000, JSON, "BAD_JSON"),
        (b'{"text": "Fire", "id": NaN}', JSON, "BAD_JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", JSON, "BAD_JSON"),
        (b"12", JSON, "WRONG_TYPE"),
        (b"null", JSON, "WRONG_TYPE"),
        (b"true", JSON, "WRONG_TYPE"),
        (b"{}", JSON, "WRONG_TYPE"),
        (b'{"tweet": "Fire"}', JSON, "WRONG_TYPE"),
        (b'{"text": 5}', JSON, "WRONG_TYPE"),
        (b'{"text": ["Fire"]}', JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "id": 1e999}', JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "id": {}}', JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "keyword": 3}', JSON, "WRONG_TYPE"),
        (b'{"instances": "Fire"}', JSON, "WRONG_TYPE"),
        (b'{"inputs": []}', JSON, "WRONG_TYPE"),
        (b'{"inputs": [{"name": "text", "datatype": "FP32", "data": [1]}]}', JSON, "WRONG_TYPE"),
        (b'{"inputs": [{"name": "text", "datatype": "BYTES", "data": ["a"]}], "id": 5}', JSON, "WRONG_TYPE"),
        (json.dumps(["a"] * (MAX_ITEMS + 1)).encode(), JSON, "TOO_MANY_ITEMS"),
        (b"a\n" * (MAX_ITEMS + 1), "application/x-ndjson", "TOO_MANY_ITEMS"),
    ],
)
def test_parse_request_of_an_unusable_body_is_refused_with_its_code(body: bytes, content_type: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(body, content_type)
    assert caught.value.code == code
    assert caught.value.index is None
    assert "Fire" not in caught.value.message  # messages reach logs; tweets do not


def test_parse_request_of_a_list_with_bad_items_keeps_the_good_ones_in_place() -> None:
    values = ["good", 5, None, [["x"]], {}, {"text": "fine", "id": "b"}, {"text": 1}]
    items = parse_request(json.dumps(values).encode(), JSON).items
    assert [item.text for item in items] == ["good", None, None, None, None, "fine", None]
    assert [(item.error.code, item.error.index) for item in items if item.error] == [
        ("WRONG_TYPE", 1),
        ("WRONG_TYPE", 2),
        ("WRONG_TYPE", 3),
        ("WRONG_TYPE", 4),
        ("WRONG_TYPE", 6),
    ]


def test_parse_request_of_bad_lines_keeps_the_good_ones_in_place() -> None:
    items = parse_request(b'good\n{"text": \n\xff\nfine', "application/x-ndjson").items
    assert [item.text for item in items] == ["good", None, None, "fine"]
    assert [item.error.code for item in items if item.error] == ["BAD_JSON", "NOT_UTF8"]


@given(
    st.binary(max_size=300),
    st.sampled_from(["", FORM, JSON, "application/x-ndjson", "multipart/form-data; boundary=b"]),
)
def test_parse_request_of_any_bytes_answers_or_refuses(body: bytes, content_type: str) -> None:
    try:
        request = parse_request(body, content_type)
    except InvalidRequestError as error:
        assert 400 <= error.http_status < 500
    else:
        assert all((item.text is None) == (item.error is not None) for item in request.items)


KEYS = st.sampled_from(["text", "id", "instances", "inputs", "keyword"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner),
    max_leaves=20,
)


@given(json_values)
def test_parse_request_of_any_json_answers_or_refuses(value: object) -> None:
    try:
        request = parse_request(json.dumps(value).encode(), JSON)
    except InvalidRequestError as error:
        assert 400 <= error.http_status < 500
    else:
        assert len(request.items) <= MAX_ITEMS

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
OCTETS = "application/octet-stream"
LINES = "application/x-ndjson"
MULTIPART = "multipart/form-data; boundary=xyz"


def texts(body: bytes, content_type: str = "") -> list[str | None]:
    return [item.text for item in parse_request(body, content_type).items]


@pytest.mark.parametrize("content_type", ["", FORM, "text/plain", "text/plain; charset=utf-8", "*/*", OCTETS])
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
        ({"instances": ["a", {"text": "b"}]}, Shape.KSERVE_V1, ["a", "b"]),
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


@pytest.mark.parametrize("content_type", ["", FORM, JSON, OCTETS, LINES])
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b" \t"])
def test_parse_request_of_json_behind_a_byte_order_mark_reads_the_json(mark: bytes, content_type: str) -> None:
    assert texts(mark + b'{"text": "Fire"}', content_type) == ["Fire"]


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl", "text/x-ndjson"),
        *("application/jsonlines", "application/x-jsonlines", "application/json-lines", "text/jsonl; charset=utf-8"),
        "Application/NDJSON",
    ],
)
def test_parse_request_of_lines_under_any_of_their_names_gives_one_item_a_line(content_type: str) -> None:
    assert texts(b'"Fire near town"\n"Flood"\n', content_type) == ["Fire near town", "Flood"]


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/xml", "text/xml", "text/csv", "text/html", "text/markdown", "image/png", "application/msgpack"),
        *("application/x-protobuf", "application/json-seq", "application/geo+json-seq", "multipart/mixed", "a/b"),
        *("application/json, text/plain", "json", "text", "a" * 2_000, "application/vnd.apache.avro+binary"),
    ],
)
@pytest.mark.parametrize("body", [b"Fire near the dam", b'{"text": "Fire"}', b"\x93\xa4"])
def test_parse_request_of_another_content_type_is_refused_by_its_name(content_type: str, body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="content type") as caught:
        parse_request(body, content_type)
    assert (caught.value.code, caught.value.http_status) == ("UNSUPPORTED_MEDIA_TYPE", 415)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("Caf\u00e9 brennt".encode("latin-1"), "text/plain; charset=iso-8859-1"),
        ('"Caf\u00e9 brennt"'.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        (b"text=Caf%E9+brennt", FORM + "; charset=windows-1252"),
        (b"_charset_=iso-8859-1&text=Caf%E9+brennt", FORM),
        ("Caf\u00e9 brennt\n".encode("cp1252"), LINES + "; charset=cp1252"),
        (
            b'--xyz\r\nContent-Disposition: form-data; name="text"\r\nContent-Type: text/plain; charset=latin1\r\n\r\n'
            b"Caf\xe9 brennt\r\n--xyz--\r\n",
            MULTIPART,
        ),
    ],
)
def test_parse_request_with_a_declared_charset_reads_it(body: bytes, content_type: str) -> None:
    assert texts(body, content_type) == ["Caf\u00e9 brennt"]


JAPANESE = "\u5730\u9707\u3067\u9053\u8def\u304c\u58ca\u308c\u305f"


@pytest.mark.parametrize(
    "content_type", ["", FORM, "text/plain", "text/plain; charset=utf-8", "text/plain; charset=latin1"]
)
@pytest.mark.parametrize("codec", ["iso2022_jp", "iso2022_kr", "iso2022_jp_2"])
def test_parse_request_of_undeclared_iso_2022_is_refused_by_name(codec: str, content_type: str) -> None:
    text = JAPANESE if "jp" in codec else "\uc9c0\uc9c4"
    with pytest.raises(InvalidRequestError, match="ISO-2022") as caught:
        parse_request(text.encode(codec), content_type)
    assert caught.value.code == "NOT_UTF8"


@pytest.mark.parametrize("content_type", ["", FORM, "text/plain", LINES])
@pytest.mark.parametrize(
    "body",
    [
        b"{'text': 'Fire'}",
        b"[{'text': 'Fire'}]",
        b'{"text": "Fire"}\x00',
        b'\x00{"text": "Fire"}',
        '\u200b{"text": "Fire"}'.encode(),
    ],
)
def test_parse_request_of_what_was_meant_as_json_is_never_scored_as_its_source(body: bytes, content_type: str) -> None:
    try:
        request = parse_request(body, content_type)
    except InvalidRequestError as error:
        assert error.code in ("WRONG_TYPE", "BAD_JSON")
    else:
        assert request.items[0].text in (None, "Fire")


@pytest.mark.parametrize(
    "body", [b'{"text": "Fire"}', b'["Fire"]', b'[{"text": "Fire"}]', b' {"text": "Fire", "id": 1}\n']
)
def test_parse_request_of_json_under_text_plain_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="application/json") as caught:
        parse_request(body, "text/plain")
    assert caught.value.code == "WRONG_TYPE"


@pytest.mark.parametrize(
    "text", ['{"text": "Fire", "target": 1}', '["Fire", "Flood"]', "{'text': 'Fire'}", '[{"text": "Fire"}]']
)
def test_parse_request_of_json_inside_a_text_costs_its_item_only(text: str) -> None:
    tensor = {"name": "4b7c", "shape": [-1], "datatype": "BYTES", "data": [text, "Flood"]}
    for value in ([text, "Flood"], [{"text": text}, "Flood"], {"instances": [text, "Flood"]}, {"inputs": [tensor]}):
        bad, good = parse_request(json.dumps(value).encode(), JSON).items
        assert (bad.error.code if bad.error else None, good.text) == ("WRONG_TYPE", "Flood")


@pytest.mark.parametrize("text", ['{"error": 404} sleep not found', '["BREAKING"] fire', "{sigh}", "[1, 2]", "{}"])
def test_parse_request_of_a_text_that_only_begins_like_json_is_a_tweet(text: str) -> None:
    assert texts(json.dumps([text]).encode(), JSON) == [text]


@pytest.mark.parametrize("line", [b"12", b"null", b"true", b"NaN", b"-1.5e3"])
def test_parse_request_of_a_line_that_is_another_json_value_costs_that_line(line: bytes) -> None:
    items = parse_request(line + b"\nFlood", LINES).items
    assert [item.error.code if item.error else item.text for item in items] == ["WRONG_TYPE", "Flood"]


@pytest.mark.parametrize("digits", [256, 400, 5_000])
def test_parse_request_of_an_id_of_many_digits_costs_at_most_its_item(digits: int) -> None:
    number = "9" * digits
    body = f'["Fire", {{"text": "Flood", "id": {number}}}, {{"text": "Storm", "id": -{number}.5}}]'
    items = parse_request(body.encode(), JSON).items
    assert items[0].text == "Fire"
    assert [item.error.code for item in items if item.error] == ["WRONG_TYPE"] * (2 if digits > 308 else 0)


@pytest.mark.parametrize("name", ["text", "id", "keyword", "location"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_parse_request_of_nan_costs_its_item_and_names_the_field(name: str, number: str) -> None:
    values = {"text": '"Fire"', name: number}
    source = ", ".join(f'"{key}": {value}' for key, value in values.items())
    bad, good = parse_request(f'[{{{source}}}, {{"text": "Flood", "target": {number}}}]'.encode(), JSON).items
    assert bad.error is not None
    assert f"'{name}' is NaN" in bad.error.message
    assert good.text == "Flood"


def test_parse_request_of_an_object_with_a_key_twice_costs_its_item() -> None:
    items = parse_request(b'[{"text": "Fire", "text": "Flood"}, "Storm"]', JSON).items
    assert items[0].error is not None
    assert "'text' twice" in items[0].error.message
    assert items[1].text == "Storm"


def test_parse_request_with_fields_beside_the_text_gives_the_id() -> None:
    item = parse_request(b"Fire", "", {"id": b"7", "keyword": b"fire"}).items[0]
    assert (item.text, item.id) == ("Fire", "7")


@pytest.mark.parametrize("body", [b'["Fire"]', b'{"text": "Fire", "id": 1}', b'{"instances": ["Fire"]}'])
def test_parse_request_with_an_id_beside_a_body_of_other_ids_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="'id'"):
        parse_request(body, "", {"id": b"7"})


def test_parse_request_of_a_file_of_lines_in_a_form_gives_its_items() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="data"; filename="a.jsonl"\r\nContent-Type: '
        b'application/jsonl\r\n\r\n"Fire"\n{"text": "Flood"}\n\r\n--xyz--\r\n'
    )
    assert texts(body, MULTIPART) == ["Fire", "Flood"]


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
        (b"[" * 199_000, JSON, "BAD_JSON"),
        (b'{"text": "Fire", "id": NaN}', JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "id": ' + b"9" * 5000 + b"}", JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "text": "Fire"}', JSON, "WRONG_TYPE"),
        (b'{"text": "Fire", "instances": []}', JSON, "WRONG_TYPE"),
        (b"[" * 600_000, JSON, "TOO_MANY_ITEMS"),
        (b"[" + b"1," * 600_000 + b"1]", JSON, "TOO_MANY_ITEMS"),
        (b"[1,2,3,4]\n" * 9_999 + b"1," * 500_000, LINES, "TOO_MANY_ITEMS"),
        (b"\n" * 6_000_000 + b"a", LINES, "TOO_MANY_ITEMS"),
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
    st.sampled_from(["", FORM, JSON, LINES, "text/plain", "multipart/form-data; boundary=b"]),
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

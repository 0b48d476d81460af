"""Form bodies: real forms are decoded, plain tweets sent as forms are left alone."""

from __future__ import annotations

from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.errors import InvalidRequestError
from tweetclf.form import read_multipart, read_urlencoded

BOUNDARY = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    "body",
    [
        b"50% of homes lost",
        b"A & B = C + D",
        b"wind +10 km/h & rising, 100% sure?",
        b"5%2 is no escape",
        b"plain",
        "caf\u00e9 100%25 of it".encode(),
    ],
)
def test_read_urlencoded_of_a_plain_tweet_leaves_it_alone(body: bytes) -> None:
    assert read_urlencoded(body) == body


def test_read_urlencoded_of_an_encoded_tweet_decodes_it() -> None:
    assert read_urlencoded(b"Fire%20near+town%21+50%25+%26+more") == b"Fire near town! 50% & more"


@given(st.text(min_size=1, max_size=80))
def test_read_urlencoded_of_an_encoded_field_gives_back_the_text(text: str) -> None:
    fields = read_urlencoded(f"id=7&text={quote_plus(text)}".encode())
    assert fields == {"id": b"7", "text": text.encode()}


def test_read_urlencoded_of_an_unencoded_field_keeps_what_only_looks_like_a_separator() -> None:
    body = b"text=Fire & smoke = 50% contained + windy&id=9"
    assert read_urlencoded(body) == {"text": b"Fire & smoke = 50% contained + windy", "id": b"9"}


def test_read_multipart_of_a_form_gives_its_fields() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\nFire & 50% smoke\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="id"\r\n\r\n12\r\n--xyz--\r\n'
    )
    assert read_multipart(body, BOUNDARY) == {"text": b"Fire & 50% smoke", "id": b"12"}


def test_read_multipart_of_a_file_upload_gives_its_content() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="data"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n\xf0\x9f\x94\xa5 near the dam\r\n--xyz--\r\n"
    )
    assert read_multipart(body, BOUNDARY)["data"] == b"\xf0\x9f\x94\xa5 near the dam"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\nFire ne', BOUNDARY),
        (b'--xyz\r\nContent-Disposition: form-data; name="text"\r\n\r\nFire\r\n--xyz--\r\n', "multipart/form-data"),
        (b'--abc\r\nContent-Disposition: form-data; name="text"\r\n\r\nFire\r\n--abc--\r\n', BOUNDARY),
        (b"", BOUNDARY),
        (b"--xyz\r\n\r\nno name\r\n--xyz--\r\n", BOUNDARY),
        (b'--xyz\r\nContent-Disposition: form-data; name="te', BOUNDARY),
    ],
)
def test_read_multipart_of_a_broken_form_is_refused_without_its_text(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_multipart(body, content_type)
    assert caught.value.code == "BAD_FORM"
    assert "Fire" not in caught.value.message


@given(st.binary(max_size=200), st.text(max_size=30))
def test_read_multipart_of_any_bytes_answers_or_refuses(body: bytes, boundary: str) -> None:
    try:
        fields = read_multipart(body, f"multipart/form-data; boundary={boundary}")
    except InvalidRequestError as error:
        assert error.http_status == 400
    else:
        assert fields

"""Form bodies: real forms are decoded, plain tweets sent as forms are left alone, what is not clear is refused."""

from __future__ import annotations

from urllib.parse import quote_plus, unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.errors import InvalidRequestError
from tweetclf.form import MAX_PARTS, Field, read_multipart, read_urlencoded


def part(name: str, content: str = "Fire", head: str = "") -> bytes:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n{head}\r\n{content}\r\n'.encode()


END = b"--xyz--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"50% of homes lost",
        b"50% of homes & shops lost",
        b"A & B = C + D",
        b"A & B + C",
        b"wind +10 km/h & rising, 100% sure?",
        b"5%2 is no escape",
        b"plain",
        b"AT&T",
        b"A+B&C",
        b"=)",
        b"Watch https://x.example/v?a=1&b=2 now",
        b"https://x.example/v?a=1%20b&c=2",
        b"https://x.example/%E5%9C%B0",
        "\u5730\u9707https://x.example/%E5%9C%B0".encode(),
        b"x = y",
        b"#storm=bad",
        b"[BREAKING]",
        "caf\u00e9 100%25 of it".encode(),
    ],
)
def test_read_urlencoded_of_a_plain_tweet_leaves_it_alone(body: bytes) -> None:
    assert read_urlencoded(body) == body


def test_read_urlencoded_of_an_encoded_tweet_decodes_it() -> None:
    assert read_urlencoded(b"Fire%20near+town%21+50%25+%26+more") == b"Fire near town! 50% & more"


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"#fire%20near%20the%20dam", b"#fire near the dam"),
        (b"[BREAKING]%20fire", b"[BREAKING] fire"),
        (b"Look:%20https://x.example/v", b"Look: https://x.example/v"),
        (b"https://x.example/%E5%9C%B0", b"https://x.example/%E5%9C%B0"),
    ],
)
def test_read_urlencoded_of_what_encoders_of_addresses_make_decodes_it(encoded: bytes, text: bytes) -> None:
    assert read_urlencoded(encoded) == text
    assert read_urlencoded(b"text=" + encoded) == {"text": text}


@pytest.mark.parametrize(
    "encoded",
    [
        "Dam%20breaks%20&%20flood",
        "Dam%20breaks%20&%20flood=1",
        "Dam%20https://x.example/v?a=1&b=2%20breaks",
        "Dam%20https://x.example/v?a=1",
        "Dam%20at%20the%20caf\u00e9",
        "Dam%20%u2013%20breaks",
    ],
)
def test_read_urlencoded_of_a_text_that_is_encoded_in_part_is_refused(encoded: str) -> None:
    for body in (encoded, f"text={encoded}", f"lang=en&text={encoded}"):
        with pytest.raises(InvalidRequestError) as caught:
            read_urlencoded(body.encode())
        assert caught.value.code in ("BAD_FORM", "WRONG_TYPE")
        assert "Dam" not in caught.value.message


@given(st.text(min_size=1, max_size=80))
def test_read_urlencoded_of_an_encoded_field_gives_back_the_text(text: str) -> None:
    fields = read_urlencoded(f"id=7&text={quote_plus(text)}".encode())
    assert fields == {"id": b"7", "text": text.encode()}


NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name not in ("text", "data", "body", "_charset_"))


@given(st.dictionaries(NAMES, st.text(max_size=30), max_size=5), st.text(min_size=1, max_size=40), st.integers(0, 5))
def test_read_urlencoded_of_any_encoders_form_finds_the_text_among_other_fields(
    others: dict[str, str], text: str, place: int
) -> None:
    pairs = list(others.items())
    pairs.insert(place, ("text", text))
    fields = read_urlencoded(urlencode(pairs).encode())
    assert isinstance(fields, dict)
    assert fields["text"] == text.encode()


@given(st.binary(max_size=200))
def test_read_urlencoded_of_escapes_gives_the_bytes_that_urllib_gives(value: bytes) -> None:
    encoded = quote_plus(value)
    fields = read_urlencoded(b"text=" + encoded.encode())
    assert fields == {"text": unquote_to_bytes(encoded.replace("+", " "))} == {"text": value}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"lang=en&text=Dam%20breaks%20above%20the%20town", b"Dam breaks above the town"),
        (b"text=Dam+breaks&submit=Send", b"Dam breaks"),
        (b"csrf=abc&text=Dam+breaks&id=7", b"Dam breaks"),
        (b"text=Dam+breaks&id=7\r\n", b"Dam breaks"),
        (b"lang=en&text=Dam breaks above the town", b"Dam breaks above the town"),
        (b"lang=en&v=2&data=A & B = C&id=9", b"A & B = C"),
        (b"text=Fire&smoke", b"Fire&smoke"),
        (b"text=Dam+breaks&", b"Dam breaks"),
        (b"&text=Dam+breaks", b"Dam breaks"),
        (b"text=Dam+breaks&&id=3", b"Dam breaks"),
        (b"\n text=Dam breaks", b"Dam breaks"),
        (b"a=1&&text=Dam breaks", b"Dam breaks"),
        (b"lang=en&text=A=B", b"A=B"),
        (b"text=https://x.example/v?a=1&b=2", b"https://x.example/v?a=1&b=2"),
        (b"text=Watch https://x.example/v?a=1&b=2 now", b"Watch https://x.example/v?a=1&b=2 now"),
        (b"text=", b""),
    ],
)
def test_read_urlencoded_of_a_form_gives_its_text(body: bytes, text: bytes) -> None:
    fields = read_urlencoded(body)
    assert isinstance(fields, dict)
    assert (fields.get("text") or fields.get("data") or b"") == text


def test_read_urlencoded_of_an_unencoded_field_keeps_what_only_looks_like_a_separator() -> None:
    body = b"text=Fire & smoke = 50% contained + windy&id=9"
    assert read_urlencoded(body) == {"text": b"Fire & smoke = 50% contained + windy", "id": b"9"}


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        (b"tweet=Dam+breaks&x=1", "WRONG_TYPE", "'tweet', 'x'"),
        (b"tweet=Dam breaks above the town", "WRONG_TYPE", "'tweet'"),
        (b"E=mc2", "WRONG_TYPE", "'E'"),
        (b"id=4&keyword=fire", "WRONG_TYPE", "'id', 'keyword'"),
        (b"RGFtIGJyZWFrcw==", "WRONG_TYPE", "'RGFtIGJyZWFrcw'"),
        (b"text=Dam+breaks&text=flood", "BAD_FORM", "'text' twice"),
        (b"text=Dam breaks&text=flood", "BAD_FORM", "'text' twice"),
        (b"text=Dam+breaks&data=flood", "BAD_FORM", "'text' and 'data'"),
        (b"text=Dam breaks&id=1&id=2", "BAD_FORM", "'id' twice"),
        (b"text=Dam breaks now&submit=Send", "BAD_FORM", "'submit'"),
        (b"text=Dam%20breaks&now", "BAD_FORM", "escapes"),
        (b"tweet[text]=Dam breaks", "WRONG_TYPE", "of 11 characters"),
        (b"text[]=Dam+breaks", "WRONG_TYPE", "of 6 characters"),
        (b"text=Dam=breaks&lang=en", "BAD_FORM", "'lang'"),
        (b"Dam%20breaks&flood", "BAD_FORM", "escapes"),
        (b"text=a b" + b"&id=1" * 40, "BAD_FORM", "more than 32 fields"),
    ],
)
def test_read_urlencoded_of_a_form_that_is_not_clear_is_refused_by_name(body: bytes, code: str, named: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_urlencoded(body)
    assert caught.value.code == code
    assert named in caught.value.message
    assert "Dam" not in caught.value.message


def test_read_urlencoded_of_a_text_in_the_place_of_a_name_keeps_it_out_of_the_message() -> None:
    with pytest.raises(InvalidRequestError, match="of 33 characters") as caught:
        read_urlencoded(b"Dam+breaks+above+the+town+tonight=yes")
    assert "Dam" not in caught.value.message


def test_read_multipart_of_a_form_gives_its_fields() -> None:
    fields = read_multipart(part("text", "Fire & 50% smoke") + part("lang", "en") + part("id", "12") + END, "xyz")
    assert fields == {"text": Field(b"Fire & 50% smoke"), "id": Field(b"12")}


def test_read_multipart_of_a_file_upload_gives_its_content_and_type() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="data"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n\xf0\x9f\x94\xa5 near the dam\r\n--xyz--\r\n"
    )
    assert read_multipart(body, "xyz")["data"] == Field(b"\xf0\x9f\x94\xa5 near the dam", "text/plain")


@pytest.mark.parametrize("length", [65_530, 65_536, 131_072, 200_000])
def test_read_multipart_of_a_long_form_whose_end_lies_at_a_block_is_read(length: int) -> None:
    whole = part("text") + END
    assert read_multipart(part("text", "x" * (length - len(whole))) + END, "xyz")["text"]


@pytest.mark.parametrize(
    ("body", "boundary", "code"),
    [
        (part("text", "Fire ne")[:-2], "xyz", "BAD_FORM"),
        (part("text") + END, "", "BAD_FORM"),
        (part("text") + END, "x" * 71, "BAD_FORM"),
        (part("text") + END, "abc", "BAD_FORM"),
        (b"", "xyz", "BAD_FORM"),
        (END, "xyz", "WRONG_TYPE"),
        (b"--xyz\r\n\r\nno name\r\n--xyz--\r\n", "xyz", "BAD_FORM"),
        (b'--xyz\r\nContent-Disposition: form-data; filename="a.txt"\r\n\r\nFire\r\n--xyz--\r\n', "xyz", "BAD_FORM"),
        (b'--xyz\r\nContent-Disposition: form-data; name="te', "xyz", "BAD_FORM"),
        (part("text") + part("text") + END, "xyz", "BAD_FORM"),
        (part("text") + part("data") + END, "xyz", "BAD_FORM"),
        (part("tweet") + END, "xyz", "WRONG_TYPE"),
        (part("text", head="Content-Transfer-Encoding: base64\r\n") + END, "xyz", "UNSUPPORTED_ENCODING"),
        (part("text", head="Content-Type: a/b\r\ncontent-type: text/plain\r\n") + END, "xyz", "BAD_FORM"),
        (part("text", head="X: y\r\n" * 9) + END, "xyz", "BAD_FORM"),
        (part("text", head=f"X: {'a' * 5000}\r\n") + END, "xyz", "BAD_FORM"),
        (part("a" * 5000) + END, "xyz", "BAD_FORM"),
        (b"".join(part(f"f{n}") for n in range(MAX_PARTS)) + part("text") + END, "xyz", "BAD_FORM"),
    ],
)
def test_read_multipart_of_an_unusable_form_is_refused_without_its_text(body: bytes, boundary: str, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_multipart(body, boundary)
    assert caught.value.code == code
    assert "Fire" not in caught.value.message


@given(st.binary(max_size=200), st.text(max_size=30))
def test_read_multipart_of_any_bytes_answers_or_refuses(body: bytes, boundary: str) -> None:
    try:
        fields = read_multipart(body, boundary)
    except InvalidRequestError as error:
        assert error.http_status == 400
    else:
        assert fields

"""Bodies that are not clear: never scored as another text, and no id of a refused item is lost."""

from __future__ import annotations

import pytest

from tweetclf.errors import InvalidRequestError
from tweetclf.request import parse_request

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"


def texts(body: bytes, content_type: str) -> list[str | None]:
    return [item.text for item in parse_request(body, content_type).items]


@pytest.mark.parametrize(
    "body", [b'"Fire near town""Flood"', b'"Fire \\"near\\" town""Flood"', b'"Fire ""near"" town"']
)
def test_parse_request_of_quoted_lines_that_curl_joined_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="not JSON"):
        parse_request(body, FORM)


@pytest.mark.parametrize("text", ['"Run" he said', '"Run" "Hide"', 'He said "run"', '"', '"Run'])
def test_parse_request_of_a_tweet_with_quotes_keeps_them(text: str) -> None:
    assert texts(text.encode(), FORM) == [text]


@pytest.mark.parametrize(
    "body", [b"text=Fire\r\n", b"text=Fire\r\nsubmit=Send\r\n", b"lang=en\r\ntext=Fire\r\nsmoke\r\n"]
)
def test_parse_request_of_a_html_form_as_text_plain_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="form") as caught:
        parse_request(body, "text/plain")
    assert caught.value.code == "BAD_FORM"


@pytest.mark.parametrize("text", ["text=Fire", "text=Fire\n", "Fire\r\ntext=me\r\n", "wind=80mph\r\n"])
def test_parse_request_of_a_plain_text_with_an_equals_sign_is_a_tweet(text: str) -> None:
    assert texts(text.encode(), "text/plain") == [text]


def test_parse_request_of_a_form_in_a_part_of_a_form_is_refused() -> None:
    head = (
        b'--xyz\r\nContent-Disposition: form-data; name="text"\r\nContent-Type: application/x-www-form-urlencoded\r\n'
    )
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(head + b"\r\nFire%20near\r\n--xyz--\r\n", MULTIPART)
    assert caught.value.code == "UNSUPPORTED_MEDIA_TYPE"


def test_parse_request_of_quoted_lines_without_their_type_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="not JSON"):
        parse_request(b'"Fire near town"\n"Flood"\n', "application/octet-stream")


@pytest.mark.parametrize(
    "body", [b'<?xml version="1.0"?><tweet>Fire</tweet>', b"<!DOCTYPE html><p>Fire", b"<HTML>Fire"]
)
def test_parse_request_of_markup_without_its_type_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="XML or HTML"):
        parse_request(body, FORM)


@pytest.mark.parametrize(
    "bad", ['"text": null', '"text": 5', '"txt": "Fire"', '"text": "a", "keyword": 5', '"text": NaN']
)
def test_parse_request_of_a_bad_item_keeps_its_id(bad: str) -> None:
    rows = [f'{{{bad}, "id": 7}}', '{"text": "Flood", "id": 8}', f'{{{bad}, "id": [9]}}', f"{{{bad}}}"]
    listed = ",".join(rows)
    for body, content_type in (
        (f"[{listed}]", "application/json"),
        (f'{{"instances": [{listed}]}}', "application/json"),
        ("\n".join(rows), "application/x-ndjson"),
    ):
        items = parse_request(body.encode(), content_type).items
        assert [(item.id, item.has_id) for item in items] == [(7, True), (8, True), (None, False), (None, False)]
        assert [item.error.index for item in items if item.error] == [0, 2, 3]


@pytest.mark.parametrize(
    "source",
    [
        "{text: Fire near town}",
        "[{text: Fire}, {text: Flood}]",
        "{instances: [Fire, Flood]}",
        "'{text:",
        '\'{"text": "Fire"}\'',
        '\'[{"text": "Fire"}]\'',
        '{\\"text\\": \\"Fire\\"}',
        "{ text : 'Fire' }",
    ],
)
@pytest.mark.parametrize("content_type", [FORM, "", "text/plain"])
def test_parse_request_of_json_whose_quotes_a_shell_took_is_refused(source: str, content_type: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(source.encode(), content_type)
    assert caught.value.code in ("BAD_JSON", "WRONG_TYPE")


@pytest.mark.parametrize(
    "text",
    ["'Run' he said", "{sigh} text: rain", "[text: me] fire", "{Breaking: fire}", "[BREAKING] fire", "{sigh} rain"],
)
def test_parse_request_of_a_tweet_in_brackets_is_a_tweet_in_lines_too(text: str) -> None:
    assert texts(text.encode(), FORM) == [text]
    assert texts(f'{{"text": "Flood"}}\n{text}\n'.encode(), "application/x-ndjson") == ["Flood", text]


@pytest.mark.parametrize("line", ['{"text": "Fire"', '"Fire', '["Fire"', "[", "{", "{'text': 'Fire'}", "{text: Fire}"])
def test_parse_request_of_a_line_of_broken_json_costs_that_line(line: str) -> None:
    bad, good = parse_request(f"{line}\nFlood".encode(), "application/x-ndjson").items
    assert bad.error is not None
    assert good.text == "Flood"

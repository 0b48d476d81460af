"""Fuzz the reading of requests with coverage as a guide (atheris), in a process of its own.

Whatever bytes come, under whatever content type: either items come out whose answer everybody can read as JSON, or an
InvalidRequestError that says its code. Nothing else is raised, and nothing takes seconds.

    python -m tests.fuzz.parser_target -atheris_runs=20000 CORPUS_FOLDER
"""

from __future__ import annotations

import json
import sys

import atheris

with atheris.instrument_imports(include=["tweetclf"]):
    from tweetclf.classifier import Prediction
    from tweetclf.errors import InvalidRequestError
    from tweetclf.request import parse_request
    from tweetclf.response import encode_answer
    from tweetclf.text import has_content, normalise

# The first byte of an input chooses one.
CONTENT_TYPES = (
    *("", "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=xyz", "text/plain"),
    *("application/x-ndjson", "multipart/form-data", "text/plain; charset=iso-8859-1"),
)
CHECKED_TEXTS = 40  # of one input; the rest are of the same kind


def test_one_input(data: bytes) -> None:
    """Read one body; raise where a promise is broken."""
    content_type = CONTENT_TYPES[data[0] % len(CONTENT_TYPES)] if data else ""
    if content_type.startswith("multipart") and data[1:2] == b"!":  # now and then the header is drawn, too
        content_type = data[2:60].decode("latin-1")
    try:
        request = parse_request(data[1:], content_type)
    except InvalidRequestError as error:
        json.loads(json.dumps(error.body()), parse_constant=_refuse)
        return
    for item in [item for item in request.items if item.text is not None][:CHECKED_TEXTS]:
        normal = normalise(item.text)
        if normalise(normal) != normal:
            raise AssertionError("the normal form of a text has another normal form")
        has_content(normal)
    outcomes = [item.error or Prediction("disaster", 0.5, "review", False) for item in request.items]
    _, body = encode_answer(request, outcomes, "tweets", "v")
    json.loads(body, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"the answer holds {name}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()

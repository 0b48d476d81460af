"""A .properties file read as Java reads it."""

from __future__ import annotations

import pytest

from ops.settings.properties import read_properties


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", ("a", "b")),
        ("  a = b ", ("a", "b ")),
        ("a:b=c", ("a", "b=c")),
        ("a b", ("a", "b")),
        ("a", ("a", "")),
        ("a=", ("a", "")),
        ("a\\=b=c", ("a=b", "c")),
        ("a=b\\\n   c", ("a", "bc")),
        ("a=\\u0041\\t", ("a", "A\t")),
        ("a=b\\\n\n", ("a", "b")),
        ("\\\n  a=b", ("a", "b")),
        ("a=b\u2028c\x0b\x85\x1c", ("a", "b\u2028c\x0b\x85\x1c")),
        ("a\u00a0b=c", ("a\u00a0b", "c")),
        ("a=b\r\n", ("a", "b")),
        ("\fa=\fb", ("a", "b")),
        ("a=http\\://host\\:1", ("a", "http://host:1")),
    ],
)
def test_read_properties_when_written_in_any_of_javas_ways_then_key_and_value(
    text: str, expected: tuple[str, str]
) -> None:
    (found,) = read_properties(text)
    assert (found.key, found.value) == expected


def test_read_properties_when_lines_are_empty_or_comments_then_passed_over_and_counted() -> None:
    (found,) = read_properties("# a=b\n! c=d\n\n  # e\nf=g\n")
    assert (found.key, found.line) == ("f", 5)

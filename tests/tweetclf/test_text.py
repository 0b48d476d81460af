"""The normaliser: what it folds, what it keeps, and its properties over all of Unicode."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.text import NORMALISER_VERSION, has_content, normalise


def through_three_encodings(text: str) -> str:
    return text.encode("utf-8").decode("cp1252").encode("mac_roman").decode("latin-1")


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("Two homes lost &amp; one saved", "Two homes lost & one saved"),
        ("Two homes lost &amp;amp;amp; one saved", "Two homes lost & one saved"),
        ("depth &lt; 3 m &gt; 1 m &quot;ok&quot; &#39;so&#39;", "depth < 3 m > 1 m \"ok\" 'so'"),
        ("Dam\u2019s wall".encode().decode("cp1252"), "Dam\u2019s wall"),
        (through_three_encodings("the dam\u2019s wall \u2014 gone"), "the dam\u2019s wall \u2014 gone"),
        ("caf\u00e9".encode().decode("latin-1"), "caf\u00e9"),
        ("wait for it\u0089\u00db_", "wait for it..."),
        ("see https://t.co/AbC123?x=1 now", "see http now"),
        ("see www.example.org/a, t.co/b and HTTP://C.D/e", "see http http and http"),
        ("\u5730\u9707http://t.co/a\u5730\u9707", "\u5730\u9707http\u5730\u9707"),
        ("@Fire_Dept42 help @mayor", "@user help @user"),
        ("mail me at a@b.example", "mail me at a@b.example"),
        ("#PrayForTheCity #USGSUpdate #flood", "#Pray For The City #USGS Update #flood"),
        (
            "soooooo hot!!!!!!! \U0001f525\U0001f525\U0001f525\U0001f525",
            "sooo hot!!! \U0001f525\U0001f525\U0001f525",
        ),
        ("10000 people, 33333 homes", "10000 people, 33333 homes"),
        (" line\none\t\r\n two ", "line one two"),
        ("fl\u200bood\u00ad\ufeff \u202eabc\u202c", "flood abc"),
        ("nul\x00 bell\x07", "nul bell"),
        ("half \ud83d emoji", "half emoji"),
        ("\U0001d41f\U0001d422\U0001d42b\U0001d41e", "fire"),
        ("", ""),
    ],
)
def test_normalise_of_a_known_case_gives_the_expected_form(raw: str, normal: str) -> None:
    assert normalise(raw) == normal


@pytest.mark.parametrize(
    "text",
    [
        "\u00e7\u00e3o \u00e9\u00e0 \u00e5\u00e4 na\u00efve \u00fcber Stra\u00dfe \u00f1and\u00fa",
        "Terremoto de magnitud 6,1 en la costa; sin v\u00edctimas",
        "\u5730\u9707\u306e\u5f8c\u3001\u6d25\u6ce2\u8b66\u5831",
        "100% contained & under control = good news + rain",
    ],
)
def test_normalise_of_honest_text_keeps_every_letter(text: str) -> None:
    assert normalise(text) == text


@given(st.text(alphabet=st.characters(), max_size=200))
def test_normalise_of_any_text_is_idempotent(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@given(
    st.lists(
        st.sampled_from(
            ["&", "amp", ";", "lt", "#", "38", "x26", "@", "user", "http", "://", "www.", "t.co/", "A", "b", "Z", " ",
             "\u00c3", "\u00a9", "\u00e2", "\u20ac", "\u2122", "\u0089", "\u00db", "_", "\u200b", "\ufe0f", "aaaa",
             "\ud800", "\u0301", "\n", "&#112;", "&#38", "."]
        ),
        max_size=40,
    )
)  # fmt: skip
def test_normalise_of_hostile_fragments_is_idempotent_and_clean(fragments: list[str]) -> None:
    once = normalise("".join(fragments))
    assert normalise(once) == once
    once.encode("utf-8")  # no lone surrogate is left
    assert once == once.strip()
    assert "  " not in once


def test_normalise_of_deeply_nested_entities_settles_without_ampersands() -> None:
    nested = "&#112;"
    for _ in range(12):
        nested = nested.replace("1", "&#49;", 1) if "&#1" in nested else "&#" + nested
    result = normalise("x &am" + "&am" * 5 + "&#112;;" * 9 + nested)
    assert normalise(result) == result


@pytest.mark.parametrize("unit", ["&amp", "&lt;", "\u00c3\u00a9", "#aA", "@a", "http://", "\u0301", "a", "&#38;"])
def test_normalise_of_ten_thousand_hostile_characters_settles(unit: str) -> None:
    once = normalise(unit * (10_000 // len(unit)))  # a quadratic pass would hang here
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Flood", True),
        ("http", False),
        ("http http @user", False),
        ("...", False),
        ("!?", False),
        ("", False),
        ("\U0001f525", True),
        ("\u5730\u9707", True),
        ("@user: http", False),
        ("911", True),
        ("see http", True),
    ],
)
def test_has_content_tells_text_from_links_and_punctuation(text: str, expected: bool) -> None:
    assert has_content(text) is expected


def test_normaliser_version_is_a_plain_word() -> None:
    assert NORMALISER_VERSION.isalnum()

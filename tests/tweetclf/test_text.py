"""The normaliser: what it folds, what it keeps, and its properties over all of Unicode."""

from __future__ import annotations

import unicodedata

import pytest
import unicodedata2
from hypothesis import given
from hypothesis import strategies as st

from tweetclf.text import NORMALISER_VERSION, folds_beyond, has_content, normalise


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


@pytest.mark.parametrize(
    "halves",
    [
        "&#55357;&#56613;",
        "&#xD83D;&#xDD25;",
        "&#xd83d;&#56613;",
        "&#55357&#56613",
        "&amp;#55357;&amp;#56613;",
        "\ud83d\udd25",
        "\ud83d&#56613;",
        "&#128293;",
        "&#x1F525;",
    ],
)
def test_normalise_of_an_emoji_in_two_halves_gives_the_emoji(halves: str) -> None:
    assert normalise(f"Fire near the school {halves}") == "Fire near the school \U0001f525"


@pytest.mark.parametrize("entity", ["&#55357;", "&#xDD25;", "&#0;", "&#1;", "&#65533;", "&#x110000;"])
def test_normalise_of_an_entity_that_is_no_character_drops_it(entity: str) -> None:
    assert normalise(f"fire {entity} here") == "fire here"


@pytest.mark.parametrize(
    "query",
    [
        "a=1&copy=2&para=3",
        "a=1&copy",
        "a&region=3&not_x=1",
        "a&sect%5B0%5D=1&reg,",
        "copy&copy&copy#copy",
        "a=1&amp;copy=2",
        "a=1&amp;amp;b=2",
        "q=&quot;fire&quot;",
        "a=1&yen-2&times/3&lt.4",
    ],
)
def test_normalise_of_a_link_keeps_its_query_inside(query: str) -> None:
    assert normalise(f"Flood map http://maps.example/v?{query} here") == "Flood map http here"


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("maps.example/v?a=1&copy=2&region=3", "maps.example/v?a=1&copy=2&region=3"),
        ("&ampersand &notit &copy2", "&ampersand &notit &copy2"),
        ("AT&T; R&D &x; &;", "AT&T; R&D &x; &;"),
        ("&copy 2024 &copy; &lt 3", "\u00a9 2024 \u00a9 < 3"),
        ("&#" + "9" * 9_000 + ";", "&#" + "9" * 9_000 + ";"),  # int() refuses so many digits
        ("&#00065;&#x0042;", "AB"),
    ],
)
def test_normalise_takes_for_entities_what_html_does(raw: str, normal: str) -> None:
    assert normalise(raw) == normal


@pytest.mark.parametrize(
    "text",
    [
        "AMANH\u00c3\u201d, disse o prefeito",
        "\u00abAMANH\u00c3\u00bb",
        "AMANH\u00c3\u2014PERIGO",
        "A IRM\u00c3\u2019 e a MA\u00c7\u00c3\u203a",
        "CRIST\u00c3\u2013",
        "ALDE\u00c3\u2022 LES\u00c3\u2022",
        "\u00abLUNED\u00cc\u00bb",
        "\u00abCOS\u00cc\u00bb, S\u00cc\u00bb",
        "VENERD\u00cc\u00abALLERTA\u00bb",
    ],
)
def test_normalise_of_a_word_in_capitals_with_punctuation_after_it_keeps_the_word(text: str) -> None:
    assert normalise(text) == text


def test_normalise_of_a_word_in_capitals_before_a_no_break_space_keeps_both_words() -> None:
    assert normalise("AMANH\u00c3\u00a0PERIGO") == "AMANH\u00c3 PERIGO"
    assert normalise("GIOVED\u00cc\u00a0ALLERTA ROSSA") == "GIOVED\u00cc ALLERTA ROSSA"
    assert normalise("P\u00e9rez est\u00c3\u00a0 aqu\u00c3\u00ad") == "P\u00e9rez est\u00e0 aqu\u00ed"


def test_normalise_of_capitals_before_an_ellipsis_or_trademark_folds_only_those() -> None:
    assert normalise("O CAPIT\u00c3\u2026 AO FOGO") == "O CAPIT\u00c3... AO FOGO"
    assert normalise("IRM\u00c3\u2122") == "IRM\u00c3TM"
    assert normalise("L\u00e2\u2026\u201d") == "L\u00e2...\u201d"


@pytest.mark.parametrize(
    "word",
    ["NI\u00d1O", "SE\u00d1ORA", "M\u00c9XICO", "CORA\u00c7\u00c3O", "L\u00e9on", "J\u00e1", "D\u00c9J\u00c0",
     "S\u00e3o", "\u00c9vacuation"],
)  # fmt: skip
def test_normalise_of_mojibake_within_a_word_undoes_it(word: str) -> None:
    assert normalise(word.encode().decode("cp1252")) == word


@pytest.mark.parametrize("text", ["[MASK] fire", "[SEP]", "[CLS] [PAD] [UNK]"])
def test_normalise_of_words_in_brackets_keeps_them(text: str) -> None:
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


@pytest.mark.parametrize(
    "unit",
     ["&amp", "&amp;", "&lt;", "&#38;#", "&#0", "\u00c3\u00a9", "#aA", "#", "@a", "http://", "\u0301", "\u0301\u0316",
     "a", "&#38;", "&#xFDFA;", "\ud83d", "\U0001f525\u200d", "x&y;"],
)  # fmt: skip
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
        ("(http) [@user], http!", False),
        ("user", True),
        ("\u25a0\u2500\u2588\u2400", False),
        ("\ufdd0\ue000\U000f0000", False),
        ("\u0301\u20e3", False),
        ("\u2764", True),
        ("[UNK]", True),
    ],
)
def test_has_content_tells_text_from_links_and_punctuation(text: str, expected: bool) -> None:
    assert has_content(text) is expected


@pytest.mark.parametrize(
    "raw",
    ["\ufffd", "\ufffd \ufffd\ufffd http://a.example", "\ufffc", "\u2800\u2800", "\u3164", "\ufe0f\u200d",
     "&#65533;", "(http://a.example)", "\uffff"],
)  # fmt: skip
def test_has_content_of_what_stands_for_nothing_is_false(raw: str) -> None:
    assert not has_content(normalise(raw))


@pytest.mark.parametrize("emoji", ["\U0001fae9", "\U0001fac8", "\U0001faea", "\U0001fafe", "\U0001f9cc"])
def test_has_content_of_an_emoji_that_an_old_python_does_not_know_is_true(emoji: str) -> None:
    assert has_content(normalise(emoji))


def test_normalise_asks_the_pinned_unicode_version_and_not_the_interpreters() -> None:
    assert unicodedata2.unidata_version == "18.0.0"
    for code in range(0x1CCD6, 0x1CCFA):  # outlined letters and digits of Unicode 16, compatibility characters
        character = chr(code)
        assert normalise(character) == unicodedata2.normalize("NFKC", character)
        assert has_content(normalise(character))


@given(st.text(alphabet=st.sampled_from("\ufdfa\ufdfb\u3300\u3316a\u0301\ufb03 "), max_size=60), st.integers(0, 200))
def test_folds_beyond_says_what_folding_the_whole_says(text: str, limit_chars: int) -> None:
    assert folds_beyond(text, limit_chars) is (len(unicodedata.normalize("NFKC", text)) > limit_chars)


def test_folds_beyond_of_ten_thousand_ligatures_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    folded = []
    real = unicodedata2.normalize

    def counting(form: str, text: str) -> str:
        folded.append(len(text))
        return real(form, text)

    monkeypatch.setattr(unicodedata2, "normalize", counting)
    assert folds_beyond("\ufdfa" * 10_000, 10_000)
    assert sum(folded) <= 1_024
    assert not folds_beyond("\u00e9" * 10_000, 10_000)


def test_normaliser_version_is_a_plain_word() -> None:
    assert NORMALISER_VERSION.isalnum()

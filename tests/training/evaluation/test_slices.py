from __future__ import annotations

import pandas as pd

from training.evaluation.slices import caps_share, keyword_pattern, slices
from tweetclf.text import normalise

TEXTS = (
    "Bridge COLLAPSED in Marlow! http://t.co/abc #flood",
    "quiet evening with tea &amp; a book &#39;bout gardens",
    "NEW SHOES WHO DIS " + "and so much to tell you " * 5,
)


def test_slices_divide_rows_by_what_the_raw_text_holds() -> None:
    rows = pd.DataFrame({"text": TEXTS, "normalised": [normalise(text) for text in TEXTS]})
    found = {name: mask.tolist() for name, mask in slices(rows, ["flood", "bridge collapse", ""]).items()}
    assert found["URL"] == [True, False, False]
    assert found["hashtag"] == [True, False, False]  # not the entity &#39;
    assert found["search word in text"] == [True, False, False]
    assert found["under 70 characters"] == [True, True, False]
    assert found["over 110 characters"] == [False, False, True]
    assert found["guessed English"] == [True, True, True]


def test_slices_of_a_pair_cover_every_row_once() -> None:
    rows = pd.DataFrame({"text": TEXTS, "normalised": TEXTS})
    found = slices(rows, ["flood"])
    for name, opposite in (("URL", "no URL"), ("guessed English", "guessed not English")):
        assert (found[name] ^ found[opposite]).all()
    assert sum(found[name].astype(int) for name in found if name.endswith("characters")).tolist() == [1, 1, 1]


def test_caps_share_counts_words_outside_links_and_mentions() -> None:
    assert caps_share("HELP us NOW @LOUD http://t.co/ABC") == 2 / 3
    assert caps_share("A 1 !") == 0.0


def test_keyword_pattern_finds_whole_words_of_any_case_and_nothing_without_keywords() -> None:
    found = keyword_pattern(["fire", "forest fire"])
    assert found.search("Forest FIRE again").group().lower() == "forest fire"
    assert not found.search("fireworks")
    assert not keyword_pattern(["", " "]).search("anything at all")

"""Guess whether a tweet is English: cheap, explainable, good enough to divide rows of a report."""

from __future__ import annotations

import re

# Words that hold sentences together, less those that two of the languages share ("in", "no", "a", "at", "do").
_ENGLISH_WORDS = """
    the of to and is for that you it with this are be was from have by will after we my your their they not has but
    our out up just about i i'm it's he she his her who what when more been were can if there so how now people
    near"""
# Spanish, Portuguese, Italian, French, Tagalog, Indonesian: the languages of CrisisLexT26's events.
_OTHER_WORDS = """
    de la el los las que en y por para con una del se su lo al es un como pero muy este esta hay ya
    o os em um uma dos das na nas ao pela pelo mais foi di che il gli della nel alla sono per le les des et est
    pour dans sur du une au ng sa mga ang ay po ko ako mo natin dan yang untuk dengan"""
_ENGLISH, _OTHER = frozenset(_ENGLISH_WORDS.split()), frozenset(_OTHER_WORDS.split())
_LINK_MENTION_TAG = re.compile(r"\bhttp\S*|[@#]\w+")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_FOREIGN_SCRIPT_SHARE = 0.3


def looks_english(text: str) -> bool:
    """Tell whether a tweet is probably English.

    Not when more than 0.3 of its letters lie outside the Latin script, nor when it has more function words of six
    other languages than English ones. Without any, it is English when all its letters are ASCII.

    Args:
        text: raw or normalised.
    """
    bare = _LINK_MENTION_TAG.sub(" ", text)
    letters = [character for character in bare if character.isalpha()]
    # Latin letters with diacritics end at U+024F.
    if sum(character > "\u024f" for character in letters) > _FOREIGN_SCRIPT_SHARE * len(letters):
        return False
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(bare)]
    english, other = sum(word in _ENGLISH for word in words), sum(word in _OTHER for word in words)
    if english == other:
        return all(character.isascii() for character in letters)
    return english > other

"""Bring a raw tweet into the one form that training, export and serving all read.

No torch, so that data preparation and table engines can use it. One Unicode version on every Python: the
interpreter's own tables are not asked. Any change of a result is a new `NORMALISER_VERSION`: a bundle names the
version that its golden samples were made with.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from html.entities import html5

import unicodedata2

NORMALISER_VERSION = "2"

URL_TOKEN = "http"  # noqa: S105  one word piece of the base model's vocabulary
USER_TOKEN = "@user"  # noqa: S105

# Tweets come escaped twice or more ("&amp;amp;"); one pass takes all layers of ampersands off.
_AMPERSANDS = re.compile(r"&(?:(?:amp|#0*38|#x0*26);)+", re.IGNORECASE)
# ASCII characters only: Chinese or Japanese text may touch the link on both sides.
_LINK = r"(?<![A-Za-z0-9])(?:https?:/|www\.|t\.co/)[!-~]+"
_NUMBER = "#(?:[0-9]{1,12}|[xX][0-9a-fA-F]{1,12})"  # more digits are no character; int() refuses 4,300
_CLOSED_ENTITY = re.compile(rf"&({_NUMBER}|[A-Za-z][0-9A-Za-z]{{1,31}});")
# Without its semicolon an entity is one unless a letter, digit or "=" comes next; in a link it never is, because
# "?a=1&copy=2" is a query. Source: HTML Living Standard, 13.2.5.73 "Named character reference state", attributes.
_LINK_OR_ENTITY = re.compile(
    rf"({_LINK})|&({_NUMBER}|[A-Za-z][0-9A-Za-z]{{1,31}})(?:(;)|(?![0-9A-Za-z=]))", re.IGNORECASE
)
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Characters that Windows-1252 can encode beyond ASCII: the letters of which mojibake is made.
_MOJIBAKE_RUN = re.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}"
)
# The end of a real word and the punctuation after it, which Windows-1252 and UTF-8 would read as one letter:
# a word in capitals that ends in U+00C3 (AMANHA, IRMA, CAPITA with tilde) unless letters follow, as in mojibake of
# SENORA; and a word that ends in U+00E2 before two marks.
_CAPITAL = "[A-Z\u00c0-\u00de]"
_WORD_END = re.compile(
    f"(?<={_CAPITAL})\u00c3[\u2026\u2019\u201d\u203a\u2013\u2022\u2122](?![A-Za-z\u00c0-\u00ff])"
    f"|(?<={_CAPITAL})\u00c3\u2014"
    f"|(?<={_CAPITAL}{_CAPITAL})\u00c3[\u00a0\u00a9\u00aa\u00ae\u00b0\u00b2\u00b3\u00b7\u00b9-\u00bb](?![A-Za-z\u00c0-\u00ff])"
    # A small letter between capitals: AMANHA with tilde, no-break space, next word.
    f"|(?<={_CAPITAL}{_CAPITAL})\u00c3[\u00a0-\u00bf](?={_CAPITAL})"
    # Italian words in capitals that end in U+00CC, such as LUNEDI with grave, before a guillemet or a no-break space.
    f"|(?<={_CAPITAL})\u00cc[\u00a0\u00ab\u00bb](?![A-Za-z\u00c0-\u00ff])|(?<={_CAPITAL}{_CAPITAL})\u00cc[\u00a0\u00ab\u00bb]"
    "|(?<=[A-Za-z\u00c0-\u00ff])\u00e2[\u2013\u2014\u2019\u201c\u201d\u2026\u203a][\u2013-\u203a]"
)
# What the Kaggle file's chain of encodings made of characters whose last byte it could not carry.
_LOST_ELLIPSIS = "\u0089\u00db_"
_LOST_QUOTE = "\u0089\u00db\u009d"
_URL = re.compile(_LINK, re.IGNORECASE)
# Names have the letters of the Latin, Greek and Cyrillic alphabets; \w would be another set on another Python.
_NAME = "0-9A-Za-z_\u00c0-\u024f\u0370-\u052f"
_MENTION = re.compile(f"(?<![{_NAME}])@[{_NAME}]+")
# Letters, marks and digits of the living scripts.
_WORD = "0-9A-Za-z_\u00aa\u00b5\u00ba\u00c0-\u1fff\u2c00-\u2fef\u3005-\u3007\u3021-\ud7ff\uf900-\ufdff\ufe70-\ufefe"
_HASHTAG = re.compile(f"#[{_WORD}]*[a-z][A-Z][{_WORD}]*|#[{_WORD}]*[A-Z][A-Z][a-z][{_WORD}]*")
_CAMEL_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONG_RUN = re.compile(r"([^0-9\s])\1{3,}")
_SPACES = re.compile("[\\s\u2800]+")  # U+2800 is the Braille pattern without dots, typed as a space
# Cc, Cf, lone surrogates, variation selectors, fillers, U+FFFC and U+FFFD, which stand for what was lost. Tab,
# newline and the like are white space, kept for _SPACES.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
    "\ud800-\udfff\U0001d159\U000e0000-\U000e0fff]"
)
_ASCII_CONTROL = re.compile("[\u0000-\u0008\u000e-\u001b\u007f]")

_ASCII_WORD = re.compile("[0-9A-Za-z]+")
_LINK_OR_USER = re.compile(rf"(?<![0-9A-Za-z]){URL_TOKEN}(?![0-9A-Za-z])|{USER_TOKEN}(?![{_NAME}])")

_MAX_PASSES = 6  # real tweets settle in two; more is an attack of nested entities
_LARGEST_EXPANSION = 18  # characters that NFKC makes of one; U+FDFA
_EXPANSION_CHUNK_CHARS = 512


def normalise(text: str) -> str:
    """Return the tweet as the model reads it: pure, total over all strings, and idempotent.

    HTML entities and mojibake are undone, compatibility characters folded (NFKC), URLs become `http`,
    mentions `@user`; hashtags are split at capitals, runs of a character cut to three, invisible
    characters dropped, white space collapsed. Case is kept: the tokenizer lowers it.

    Args:
        text: any string, lone surrogates included.

    Returns:
        The normal form; `normalise(normalise(x)) == normalise(x)`. May be empty.

    Source: the "full" normalisation measured in
    docs/log/2026-11.md#recipe-before-this-repository (33 to 23 tokens a tweet, F1 equal).
    """
    for _ in range(_MAX_PASSES):
        before, text = text, _pass(text)
        if text == before:
            return text
    # Entities nested deeper than any client makes: without ampersands the rest settles at once.
    text = text.replace("&", " ")
    while (after := _pass(text)) != text:
        text = after.replace("&", " ")
    return text


def has_content(normalised: str) -> bool:
    """Tell whether anything is left to classify beyond links, mentions and punctuation.

    Args:
        normalised: a result of `normalise`.

    Returns:
        True when a letter, a digit or a symbol such as an emoji remains. Lines, blocks and other shapes do not count.
    """
    for match in _ASCII_WORD.finditer(normalised):
        if match.group() not in (URL_TOKEN, USER_TOKEN[1:]):
            return True
    return any(map(_is_content, _LINK_OR_USER.sub("", normalised)))


def folds_beyond(text: str, limit_chars: int) -> bool:
    """Tell whether NFKC makes more than `limit_chars` characters of a text, with little work where it does.

    One character may become 18. The text is folded in pieces and the rest is left as soon as the limit is passed.
    """
    if len(text) * _LARGEST_EXPANSION <= limit_chars or text.isascii():
        return len(text) > limit_chars
    folded_chars = 0
    for start in range(0, len(text), _EXPANSION_CHUNK_CHARS):
        folded_chars += len(unicodedata2.normalize("NFKC", text[start : start + _EXPANSION_CHUNK_CHARS]))
        if folded_chars > limit_chars:
            return True
    return False


def _is_content(character: str) -> bool:
    if "\U0001f000" <= character <= "\U0001faff":  # blocks of emoji; those not assigned yet are emoji to come
        return True
    if "\u2400" <= character <= "\u243f" or "\u2500" <= character <= "\u25ff":
        return False
    category = unicodedata2.category(character)
    return category[0] in "LN" or category == "So"


def _pass(text: str) -> str:
    # The cheap tests spare most tweets most expressions: this runs for every request.
    if "&" in text:
        text = _LINK_OR_ENTITY.sub(_undo_entity, _AMPERSANDS.sub("&", text))
    if text.isascii():
        if not text.isprintable():
            text = _ASCII_CONTROL.sub("", text)
    else:
        text = _fold(text)
    if "/" in text or "." in text:
        text = _URL.sub(URL_TOKEN, text)
    if "@" in text:
        text = _MENTION.sub(USER_TOKEN, text)
    if "#" in text:
        text = _HASHTAG.sub(_split_hashtag, text)
    text = _LONG_RUN.sub(_cut_run, text)
    return _SPACES.sub(" ", text).strip()


def _fold(text: str) -> str:
    """Undo mojibake, drop what cannot be seen, fold compatibility characters."""
    try:
        text.encode()
    except UnicodeEncodeError:  # an emoji may come as two halves
        text = _SURROGATE_PAIR.sub(_join_surrogates, text)
    text = text.replace(_LOST_ELLIPSIS, "\u2026").replace(_LOST_QUOTE, "\u201d")
    text = _MOJIBAKE_RUN.sub(_undo_mojibake, text)
    return str(unicodedata2.normalize("NFKC", _INVISIBLE.sub("", text)))


def _undo_entity(match: re.Match[str]) -> str:
    link, entity, semicolon = match.groups()
    if link is not None:
        return _CLOSED_ENTITY.sub(_undo_closed_entity, link) if "&" in link else link
    return _characters_of(entity, semicolon or "", match.group())


def _undo_closed_entity(match: re.Match[str]) -> str:
    return _characters_of(match.group(1), ";", match.group())


def _characters_of(entity: str, semicolon: str, unknown: str) -> str:
    """Return what an entity stands for, or `unknown` where none has the name.

    Half of a surrogate pair is returned as such; html.unescape would make U+FFFD of it.
    """
    if not entity.startswith("#"):
        return html5.get(entity + semicolon, unknown)
    digits = entity[1:]
    number = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
    return chr(number) if 0xD800 <= number <= 0xDFFF else html.unescape(f"&#{number};")


def _join_surrogates(match: re.Match[str]) -> str:
    return match.group().encode("utf-16", "surrogatepass").decode("utf-16")


def _split_hashtag(match: re.Match[str]) -> str:
    return _CAMEL_BORDER.sub(" ", match.group())


def _cut_run(match: re.Match[str]) -> str:
    character = match.group(1)
    # Not digits of any script: 10000 houses are not 1000.
    return match.group() if unicodedata2.category(character) == "Nd" else character * 3


def _undo_mojibake(match: re.Match[str]) -> str:
    """Return what the run was before it was read with the wrong encoding, or the run itself.

    Source: the chain found in the Kaggle file: UTF-8 read as Windows-1252, written as Mac Roman, read as
    Latin-1; then the two plain ones. Only results that tweets hold are believed, so that real accented
    letters stay.
    """
    run = match.group()
    if _WORD_END.match(match.string, match.start()):
        return run
    return _original_of_short(run) if len(run) <= _SHORT_RUN_CHARS else _original_of(run)


def _original_of(run: str) -> str:
    for undo in (_undo_three_encodings, _undo_windows, _undo_latin):
        try:
            original = undo(run)
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        if all(_is_plausible(character) for character in original):
            return original
    return run


_SHORT_RUN_CHARS = 8  # bounds the memory of what is kept; the runs of tweets are shorter
# Three failed attempts take 5 us, and the same few runs come repeatedly.
_original_of_short = lru_cache(maxsize=4096)(_original_of)


def _undo_three_encodings(run: str) -> str:
    return run.encode("latin-1").decode("mac_roman").encode("cp1252").decode("utf-8")


def _undo_windows(run: str) -> str:
    return run.encode("cp1252").decode("utf-8")


def _undo_latin(run: str) -> str:
    return run.encode("latin-1").decode("utf-8")


def _is_plausible(character: str) -> bool:
    return "\u00a0" <= character <= "\u00ff" or "\u2000" <= character <= "\u27bf" or character >= "\U0001f000"

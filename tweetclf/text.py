"""Bring a raw tweet into the one form that training, export and serving all read.

Standard library only, so that data preparation and table engines need no torch. Any change of a result
is a new `NORMALISER_VERSION`: a bundle names the version that its model was trained with.
"""

from __future__ import annotations

import html
import re
import unicodedata

NORMALISER_VERSION = "1"

URL_TOKEN = "http"  # noqa: S105  one word piece of the base model's vocabulary
USER_TOKEN = "@user"  # noqa: S105

# html.unescape takes one layer off; tweets come escaped twice or more ("&amp;amp;").
_AMPERSANDS = re.compile(r"&(?:(?:amp|#0*38|#x0*26);?)+", re.IGNORECASE)
# Characters that Windows-1252 can encode beyond ASCII: the letters of which mojibake is made.
_MOJIBAKE_RUN = re.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}"
)
# What the Kaggle file's chain of encodings made of characters whose last byte it could not carry.
_LOST_ELLIPSIS = "\u0089\u00db_"
_LOST_QUOTE = "\u0089\u00db\u009d"
# ASCII characters only: Chinese or Japanese text may touch the link on both sides.
_URL = re.compile(r"(?<![A-Za-z0-9])(?:https?:/|www\.|t\.co/)[!-~]+", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w+")
_HASHTAG = re.compile(r"#\w*[a-z][A-Z]\w*|#\w*[A-Z][A-Z][a-z]\w*")
_CAMEL_BORDER = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONG_RUN = re.compile(r"([^\d\s])\1{3,}")  # not digits: 10000 houses are not 1000
_SPACES = re.compile(r"\s+")
# Cc, Cf, lone surrogates, variation selectors. Tab, newline and the like are white space, kept for _SPACES.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000e-\u001b\u007f-\u0084\u0086-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)

_MAX_PASSES = 6  # real tweets settle in two; more is an attack of nested entities


def normalise(text: str) -> str:
    """Return the tweet as the model reads it: pure, total over all strings, and idempotent.

    HTML entities and mojibake are undone, compatibility characters folded (NFKC), URLs become `http`,
    mentions `@user`; hashtags are split at capitals, runs of a character cut to three, invisible
    characters dropped, white space collapsed. Case is kept: the tokenizer lowers it.

    Args:
        text: any string, lone surrogates included.

    Returns:
        The normal form; `normalise(normalise(x)) == normalise(x)`. May be empty.

    Source: the "full" normalisation measured in docs/log.md (33 to 23 tokens a tweet, F1 equal).
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
        True when a letter, a digit or a symbol such as an emoji remains.
    """
    if normalised.isascii() and normalised.isalpha() and normalised != URL_TOKEN:
        return True
    for word in normalised.split():
        if word in (URL_TOKEN, USER_TOKEN):
            continue
        rest = word.replace(USER_TOKEN, "")
        if any(unicodedata.category(character)[0] in "LN" or _is_symbol(character) for character in rest):
            return True
    return False


def _is_symbol(character: str) -> bool:
    return unicodedata.category(character) == "So"


def _pass(text: str) -> str:
    if "&" in text:
        text = html.unescape(_AMPERSANDS.sub("&", text))
    if not text.isascii():
        text = text.replace(_LOST_ELLIPSIS, "\u2026").replace(_LOST_QUOTE, "\u201d")
        text = _MOJIBAKE_RUN.sub(_undo_mojibake, text)
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    # The cheap tests spare most tweets most expressions: this runs for every request.
    if not text.isprintable():
        text = _INVISIBLE.sub("", text)
    if "/" in text or "." in text:
        text = _URL.sub(URL_TOKEN, text)
    if "@" in text:
        text = _MENTION.sub(USER_TOKEN, text)
    if "#" in text:
        text = _HASHTAG.sub(_split_hashtag, text)
    text = _LONG_RUN.sub(r"\1\1\1", text)
    return _SPACES.sub(" ", text).strip()


def _split_hashtag(match: re.Match[str]) -> str:
    return _CAMEL_BORDER.sub(" ", match.group())


def _undo_mojibake(match: re.Match[str]) -> str:
    """Return what the run was before it was read with the wrong encoding, or the run itself.

    Source: the chain found in the Kaggle file: UTF-8 read as Windows-1252, written as Mac Roman, read as
    Latin-1; then the two plain ones. Only results that tweets hold are believed, so that real accented
    letters stay.
    """
    run = match.group()
    for undo in (_undo_three_encodings, _undo_windows, _undo_latin):
        try:
            original = undo(run)
        except (UnicodeEncodeError, UnicodeDecodeError):
            continue
        if all(_is_plausible(character) for character in original):
            return original
    return run


def _undo_three_encodings(run: str) -> str:
    return run.encode("latin-1").decode("mac_roman").encode("cp1252").decode("utf-8")


def _undo_windows(run: str) -> str:
    return run.encode("cp1252").decode("utf-8")


def _undo_latin(run: str) -> str:
    return run.encode("latin-1").decode("utf-8")


def _is_plausible(character: str) -> bool:
    return "\u00a0" <= character <= "\u00ff" or "\u2000" <= character <= "\u27bf" or character >= "\U0001f000"

"""Untrusted text, made fit to be shown or compared. Pure.

Rules kept here:
- what is shown on a page has no control character and nothing that hides in a text or turns it around (`clean`);
  letters of every script stay, those written from right to left too, and so do the joiners that Persian and emoji need;
- what is shown to an administrator shows such a character as its escape, so that it can be found (`escaped`);
- what people type is compared without regard to case, composition and spacing (`name_key`).
"""

from __future__ import annotations

import re
import unicodedata

# Cc, Cs, Zl and Zp: they end a line, steer a terminal, or are no characters at all.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Nothing to see: zero-width and bidirectional controls, fillers, tags. Not U+200C and U+200D, the joiners.
# Source: Unicode's DerivedCoreProperties, Default_Ignorable_Code_Point, without variation selectors.
HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)

_JOINERS = "\u200c\u200d"
_BLANKS = f" \u2800{_JOINERS}"


def clean(text: str, longest: int) -> str:
    """Make a text fit to be shown on one line.

    Args:
        text: untrusted.
        longest: characters; a longer text ends in an ellipsis.

    Returns:
        The text with single spaces; "" when nothing of it can be seen.
    """
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return shortened(text, longest)  # nearly every text, in a tenth of the time
    shown = " ".join(HIDDEN.sub("", CONTROL.sub(" ", text)).split())
    if all(char in _BLANKS or unicodedata.category(char) in {"Mn", "Me"} for char in shown):
        return ""
    return shortened(shown, longest)


def escaped(text: str, longest: int | None = None) -> str:
    """Show a text as it is, with an escape for every character that cannot be seen (`\\x1b`, `\\u202e`)."""
    if not text.isprintable() or HIDDEN.search(text):
        text = "".join(_escape(char) for char in text)
    return text if longest is None else shortened(text, longest)


def shortened(text: str, longest: int) -> str:
    """The text, or as much of it as fits, with an ellipsis at its end."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def name_key(name: str) -> str:
    """What two names have in common that people would call the same: case, composition and spacing do not count."""
    if name.isascii():
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFC", name).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def _escape(char: str) -> str:
    if char in _JOINERS or (char.isprintable() and not HIDDEN.match(char)):
        return char
    return char.encode("unicode_escape").decode("ascii")

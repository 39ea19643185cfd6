"""Makes untrusted text safe to show and to compare. Pure.

Rules kept here:
- text on a page has no control characters, and nothing that is invisible or changes the direction of text (`clean`).
  Letters of every script stay, including right-to-left ones, and so do the joiners that Persian and emoji need;
- text for an administrator shows such characters as escapes, so that they can be found (`escaped`);
- what people type is compared ignoring case, composition and spacing (`name_key`).
"""

from __future__ import annotations

import re
import unicodedata

# Cc, Cs, Zl and Zp: they end a line, control a terminal, or are not characters at all.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# Invisible: zero-width and bidirectional controls, fillers, tags. Not U+200C and U+200D, the joiners.
# Source: Unicode's DerivedCoreProperties, Default_Ignorable_Code_Point, without variation selectors.
HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)

_JOINERS = "\u200c\u200d"
_BLANKS = f" \u2800{_JOINERS}"


def clean(text: str, longest: int) -> str:
    """Make text safe to show on one line.

    Args:
        text: untrusted text.
        longest: the most characters; longer text ends in an ellipsis.

    Returns:
        The text with single spaces; "" if none of it is visible.
    """
    if text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return shortened(text, longest)  # handles nearly every text, in a tenth of the time
    shown = " ".join(HIDDEN.sub("", CONTROL.sub(" ", text)).split())
    if all(char in _BLANKS or unicodedata.category(char) in {"Mn", "Me"} for char in shown):
        return ""
    return shortened(shown, longest)


def escaped(text: str, longest: int | None = None) -> str:
    """The text unchanged except that every invisible character is an escape (`\\x1b`, `\\u202e`)."""
    if not text.isprintable() or HIDDEN.search(text):
        text = "".join(_escape(char) for char in text)
    return text if longest is None else shortened(text, longest)


def shortened(text: str, longest: int) -> str:
    """The text, or as much of it as fits, ending in an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def name_key(name: str) -> str:
    """A key that is equal for names that people would call the same: it ignores case, composition and spacing."""
    if name.isascii():
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFC", name).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def _escape(char: str) -> str:
    if char in _JOINERS or (char.isprintable() and not HIDDEN.match(char)):
        return char
    return char.encode("unicode_escape").decode("ascii")

"""The canonical form of a path, by text alone: no file system is asked. Pure.

Rules kept here (design, "rules of safety", 2):
- absolute, and strictly below one of the roots; a root itself is nobody's directory;
- ``//`` and ``/.`` fold; ``..`` is refused, not folded: what it means depends on symlinks;
- at most 4,096 bytes, and 255 for a segment (PATH_MAX, NAME_MAX);
- no control and no invisible formatting characters: a menu could not show truly what they stand for. ``~``, ``%2e``,
  braces and markup are ordinary characters here;
- a path is bytes to the file system, so it is never normalised: NFC and NFD are two directories.
"""

from __future__ import annotations

from collections.abc import Iterable

from k8s_annotations.untrusted_text import CONTROL, HIDDEN

LONGEST_PATH = 4096  # bytes
LONGEST_SEGMENT = 255  # bytes


class InvalidPath(ValueError):
    """A text that is no path of a notebook directory. `str()` is one plain sentence."""


def canonical_path(text: str, roots: Iterable[str]) -> str:
    """Bring a path to the one form in which it is compared.

    Args:
        text: the path as written.
        roots: absolute paths; the result lies strictly below one of them.

    Raises:
        InvalidPath: it breaks a rule above.
    """
    if not text.startswith("/"):
        raise InvalidPath("A path must begin with a slash.")
    path = "/" + fold(text)
    tops = [root.rstrip("/") for root in roots]
    if path == "/" or path in tops:
        raise InvalidPath(f"{path} is not a notebook directory, it is what they lie below.")
    if not any(path.startswith(top + "/") for top in tops):
        raise InvalidPath(f"It does not lie below {' or '.join(top or '/' for top in tops) or 'a root'}.")
    return path


def fold(text: str) -> str:
    """Fold ``//`` and ``/.`` and check every segment of a path, absolute or relative.

    Returns:
        The segments with single slashes between them, none at either end; may be empty.

    Raises:
        InvalidPath: it breaks a rule above.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidPath("It is not valid text (a lone surrogate).") from None
    if length > LONGEST_PATH:
        raise InvalidPath(f"It is longer than {LONGEST_PATH} bytes.")
    if CONTROL.search(text) or HIDDEN.search(text):
        raise InvalidPath("It has a control character or an invisible one.")
    segments = [segment for segment in text.split("/") if segment not in {"", "."}]
    if ".." in segments:
        raise InvalidPath("It has '..' in it; write where it leads instead.")
    if length > LONGEST_SEGMENT and any(len(segment.encode()) > LONGEST_SEGMENT for segment in segments):
        raise InvalidPath(f"A part of it is longer than {LONGEST_SEGMENT} bytes.")
    return "/".join(segments)


def is_segment(text: str) -> bool:
    """Whether a text, such as a user id, is one segment of a path as it stands."""
    try:
        return text != "" and "/" not in text and fold(text) == text
    except InvalidPath:
        return False


def is_at_or_below(path: str, above: str) -> bool:
    """Whether a canonical path is another one, or lies below it."""
    return path == above or path.startswith(above + "/")

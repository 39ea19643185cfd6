"""The canonical form of a path, from its text alone; the file system is not consulted. Pure.

Rules kept here (design, "rules of safety", 2):
- a path is absolute, and strictly below one of the roots; a root itself is nobody's directory;
- ``//`` and ``/.`` are folded; ``..`` is refused, not folded, because its meaning depends on symlinks;
- a path has at most 4,096 bytes, and a segment at most 255 (PATH_MAX, NAME_MAX);
- control characters and invisible formatting characters are refused, because a menu could not show them faithfully.
  ``~``, ``%2e``, braces and markup are ordinary characters here;
- to the file system a path is bytes, so it is never normalised: NFC and NFD are two different directories.
"""

from __future__ import annotations

from collections.abc import Iterable

from k8s_annotations.untrusted_text import CONTROL, HIDDEN

LONGEST_PATH = 4096  # bytes
LONGEST_SEGMENT = 255  # bytes


class InvalidPath(ValueError):
    """The text is not a path of a notebook directory. The message is one plain sentence."""


def canonical_path(text: str, roots: Iterable[str]) -> str:
    """Convert a path to its canonical form, in which paths are compared.

    Args:
        text: the path as written.
        roots: absolute paths; the result lies strictly below one of them.

    Raises:
        InvalidPath: the path breaks a rule above.
    """
    if not text.startswith("/"):
        raise InvalidPath("A path must begin with a slash.")
    path = "/" + fold(text)
    tops = [root.rstrip("/") for root in roots]
    if path == "/" or path in tops:
        raise InvalidPath(f"{path} is not a notebook directory; notebook directories lie below it.")
    if not any(path.startswith(top + "/") for top in tops):
        raise InvalidPath(f"It does not lie below {' or '.join(top or '/' for top in tops) or 'a root'}.")
    return path


def fold(text: str) -> str:
    """Fold ``//`` and ``/.`` and check every segment of a path, absolute or relative.

    Returns:
        The segments joined by single slashes, without a slash at either end; may be empty.

    Raises:
        InvalidPath: the path breaks a rule above.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidPath("It is not valid text (a lone surrogate).") from None
    if length > LONGEST_PATH:
        raise InvalidPath(f"It is longer than {LONGEST_PATH} bytes.")
    if CONTROL.search(text) or HIDDEN.search(text):
        raise InvalidPath("It contains a control character or an invisible character.")
    segments = [segment for segment in text.split("/") if segment not in {"", "."}]
    if ".." in segments:
        raise InvalidPath("It contains '..'; write the resulting path instead.")
    if length > LONGEST_SEGMENT and any(len(segment.encode()) > LONGEST_SEGMENT for segment in segments):
        raise InvalidPath(f"A part of it is longer than {LONGEST_SEGMENT} bytes.")
    return "/".join(segments)


def is_segment(text: str) -> bool:
    """Whether a text, such as a user id, is exactly one path segment."""
    try:
        return text != "" and "/" not in text and fold(text) == text
    except InvalidPath:
        return False


def is_at_or_below(path: str, above: str) -> bool:
    """Whether a canonical path equals another one, or lies below it."""
    return path == above or path.startswith(above + "/")

"""From a user id to the name of the user's namespace.

Rules kept here:
- a user id that is a DNS label (RFC 1123, as Kubernetes asks of a namespace's name) is the name itself;
- any other becomes a slug: what can be kept of it, ``---``, and a hash of the exact user id;
- a user id that has ``---`` in it is slugged too, so no user id can be written that is another's slug.

So two user ids never share a namespace: the first kind has no ``---`` and is the id itself; the second kind differs
in 80 bits of BLAKE2b. ``J.Doe`` and ``j.doe`` are two people.

>>> namespace_name("alice")
'alice'
>>> namespace_name("J.Doe")
'j-doe---mjuincwb2bjzqgfu'
>>> namespace_name("j_doe")
'j-doe---kc2eac47aw36ayzr'
>>> namespace_name("x" * 64)
'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx---cipwb35zu6uh2hyf'
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

from .errors import InvalidUserId

LONGEST_USER_ID = 255  # bytes of UTF-8
LONGEST_LABEL = 63  # characters, RFC 1123
SEPARATOR = "---"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_HASH_LENGTH = 16  # characters of base32: 80 bits


def namespace_name(userid: str) -> str:
    """The name of a user's namespace.

    Args:
        userid: the user id exactly as the accounts have it.

    Returns:
        A DNS label of at most 63 characters.

    Raises:
        InvalidUserId: empty, longer than 255 bytes, with a slash or a control character, or ``.`` or ``..``.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names; that slugs must
    be injective is the lesson of CVE-2020-15110.
    """
    check_userid(userid)
    if _LABEL.fullmatch(userid) and len(userid) <= LONGEST_LABEL and SEPARATOR not in userid:
        return userid
    digest = hashlib.blake2b(userid.encode(), digest_size=10).digest()
    mark = base64.b32encode(digest).decode("ascii").lower()
    room = LONGEST_LABEL - len(SEPARATOR) - _HASH_LENGTH
    kept = re.sub(r"[^a-z0-9]+", "-", userid.lower())[:room].strip("-")
    # With nothing to keep, "u" begins it: a label cannot begin with a hyphen.
    return f"{kept or 'u'}{SEPARATOR}{mark}"


def check_userid(userid: str) -> None:
    """Check that a text can be a user id.

    Raises:
        InvalidUserId: as `namespace_name`.
    """
    shown = repr(userid[:40])
    try:
        length = len(userid.encode())
    except UnicodeEncodeError:
        raise InvalidUserId(f"The user id {shown} is not valid text (a lone surrogate).") from None
    if not userid or length > LONGEST_USER_ID:
        raise InvalidUserId(f"A user id has 1 to {LONGEST_USER_ID} bytes; {shown} has {length}.")
    if userid in {".", ".."} or "/" in userid or any(unicodedata.category(char) == "Cc" for char in userid):
        raise InvalidUserId(
            f"The user id {shown} cannot be used: it is '.' or '..', or has a slash or a control character."
        )

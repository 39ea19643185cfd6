"""Turns a user id into the name of the user's namespace.

Rules kept here:
- a user id that is a DNS label (RFC 1123, which Kubernetes requires of a namespace's name) is used as the name;
- any other becomes a slug: the characters that can be kept, ``---``, and a hash of the exact user id;
- a user id that contains ``---`` becomes a slug too, so no user id can equal another's slug.

So two user ids never share a namespace: names of the first kind have no ``---`` and are the ids themselves; names of
the second kind differ in an 80-bit BLAKE2b hash. ``J.Doe`` and ``j.doe`` are two different users.

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
        userid: the user id, exactly as in the account.

    Returns:
        A DNS label of at most 63 characters.

    Raises:
        InvalidUserId: it is empty, longer than 255 bytes, ``.`` or ``..``, or contains a slash or a control character.

    Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names. CVE-2020-15110
    shows why slugs must be injective.
    """
    check_userid(userid)
    if _LABEL.fullmatch(userid) and len(userid) <= LONGEST_LABEL and SEPARATOR not in userid:
        return userid
    digest = hashlib.blake2b(userid.encode(), digest_size=10).digest()
    mark = base64.b32encode(digest).decode("ascii").lower()
    room = LONGEST_LABEL - len(SEPARATOR) - _HASH_LENGTH
    kept = re.sub(r"[^a-z0-9]+", "-", userid.lower())[:room].strip("-")
    # If nothing can be kept, start with "u", because a label cannot begin with a hyphen.
    return f"{kept or 'u'}{SEPARATOR}{mark}"


def check_userid(userid: str) -> None:
    """Check that a text can be a user id.

    Raises:
        InvalidUserId: as for `namespace_name`.
    """
    shown = repr(userid[:40])
    try:
        length = len(userid.encode())
    except UnicodeEncodeError:
        raise InvalidUserId(f"The user id {shown} is not valid text (a lone surrogate).") from None
    if not userid or length > LONGEST_USER_ID:
        raise InvalidUserId(f"A user id must have 1 to {LONGEST_USER_ID} bytes; {shown} has {length}.")
    if userid in {".", ".."} or "/" in userid or any(unicodedata.category(char) == "Cc" for char in userid):
        raise InvalidUserId(
            f"The user id {shown} cannot be used: it is '.' or '..', or contains a slash or a control character."
        )

"""Who a person's pod runs as: numbers in annotations of the person's namespace. Pure.

Rules kept here (design, "the namespace of a user"):
- ``<prefix>/uid`` and ``<prefix>/gid`` are decimal numbers, ``<prefix>/groups`` those of more groups with commas;
- 0 is root and is refused; 65534 and 65535 are refused too, because systems call them "nobody".

Source: credentials(7); https://kubernetes.io/docs/tasks/configure-pod-container/security-context/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from k8s_annotations.namespaces import PREFIX
from k8s_annotations.untrusted_text import escaped

HIGHEST = 2**31 - 1  # what Kubernetes takes for runAsUser and runAsGroup
MOST_GROUPS = 256  # so many as fit in the annotation of a pod and in a request; Linux has 65,536
_NOBODY = frozenset({65534, 65535})
_NUMBER = re.compile(r"[0-9]{1,10}")


class InvalidIdentity(ValueError):
    """The numbers cannot identify a user. `str()` is one plain sentence."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a person is to the file system.

    Attributes:
        uid: the user's number.
        gid: that of the user's own group.
        groups: those of more groups, in order, without `gid`.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def annotations(self, prefix: str = PREFIX) -> dict[str, str]:
        """The annotations that say so."""
        return {
            f"{prefix}/uid": str(self.uid),
            f"{prefix}/gid": str(self.gid),
            f"{prefix}/groups": ",".join(map(str, self.groups)),
        }


def identity_of(annotations: Mapping[str, str], prefix: str = PREFIX) -> Identity | None:
    """Read the identity in a namespace's annotations.

    Returns:
        None where there is none of the three.

    Raises:
        InvalidIdentity: one is missing or is no number that can be somebody's.
    """
    uid, gid, groups = (annotations.get(f"{prefix}/{key}") for key in ("uid", "gid", "groups"))
    if uid is None and gid is None and groups is None:
        return None
    if uid is None or gid is None:
        raise InvalidIdentity(f"It has no annotation {prefix}/{'uid' if uid is None else 'gid'}. Set it.")
    return read_identity(uid, gid, groups or "")


def read_identity(uid: str, gid: str, groups: str) -> Identity:
    """Make an identity from texts, groups with commas, semicolons or spaces between them.

    Raises:
        InvalidIdentity: as `identity_of`.
    """
    own = _number("gid", gid)
    more = [_number("group", each) for each in re.split(r"[,;\s]+", groups) if each]
    if len(more) > MOST_GROUPS:
        raise InvalidIdentity(f"It has more than {MOST_GROUPS} groups.")
    return Identity(_number("uid", uid), own, tuple(each for each in dict.fromkeys(more) if each != own))


def _number(what: str, text: str) -> int:
    text = text.strip()
    number = int(text) if _NUMBER.fullmatch(text) else -1
    if not 1 <= number <= HIGHEST:
        raise InvalidIdentity(f"The {what} {escaped(text, 20)!r} is no number from 1 to {HIGHEST}.")
    if number in _NOBODY:
        raise InvalidIdentity(f"The {what} {number} is what systems call 'nobody'.")
    return number

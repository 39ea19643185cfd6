"""The only code of the lab that changes user ids.

Rules kept here:
- a process becomes a user for good: real, effective and saved ids, after the groups, which only root may set;
- a process that is not root's stays what it is;
- it imports almost nothing, because it is imported by the processes that fork (`probing/worker.py`,
  `forking/server_parent.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os

TYPE_CHECKING = False  # as typing's own
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

NOBODY = 65534  # the kernel's own id for nobody in particular: /proc/sys/kernel/overflowuid


def become(uid: int, gid: int, groups: Sequence[int]) -> None:
    """Turn this process into a user for good.

    Raises:
        PermissionError: this process is not root's, and not that user's either.
    """
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    elif os.geteuid() != uid:
        raise PermissionError(errno.EPERM, "only root can become another user")


def as_nobody() -> dict[str, Any]:
    """What `subprocess` takes to start a program as nobody, without groups; nothing where this process is not root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """As root, be nobody inside the block. Only the saved id stays root's, which executed programs do not inherit."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)

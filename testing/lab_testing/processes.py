"""Which processes run, by the words of their command line and by their owner."""

from __future__ import annotations

import psutil


def running(words: str, uid: int | None = None) -> list[psutil.Process]:
    """The processes with these words in their command line, arguments joined by spaces; the oldest PID first.

    Args:
        words: e.g. ``-m learning_lab.warm.parent``.
        uid: only those of this user; of anybody when None.
    """
    found = []
    for each in psutil.process_iter(["cmdline", "uids"]):  # those that end meanwhile are left out
        owner = each.info["uids"]
        if words in " ".join(each.info["cmdline"] or ()) and (uid is None or (owner and owner.effective == uid)):
            found.append(each)
    return found


def server_pid(uid: int) -> int:
    """The PID of the user's Jupyter server; 0 when there is none."""
    return next((each.pid for each in running("jupyterhub-singleuser", uid)), 0)

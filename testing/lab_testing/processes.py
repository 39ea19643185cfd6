"""Finds running processes by the words of their command line and by their owner."""

from __future__ import annotations

import psutil


def running(words: str, uid: int | None = None) -> list[psutil.Process]:
    """The processes with these words in their command line (arguments joined by spaces), lowest PID first.

    Args:
        words: for instance ``-m learning_lab.warm.parent``.
        uid: only this user's processes; None for everybody's.
    """
    found = []
    for each in psutil.process_iter(["cmdline", "uids"]):  # leaves out processes that end meanwhile
        owner = each.info["uids"]
        if words in " ".join(each.info["cmdline"] or ()) and (uid is None or (owner and owner.effective == uid)):
            found.append(each)
    return found


def server_pid(uid: int) -> int:
    """The PID of the user's Jupyter server; 0 if there is none."""
    return next((each.pid for each in running("jupyterhub-singleuser", uid)), 0)

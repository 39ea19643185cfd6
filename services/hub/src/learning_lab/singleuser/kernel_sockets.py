"""Where a user's kernels listen: on sockets in a directory that only this user may enter.

On TCP, Jupyter's default, everybody on the machine can read what any kernel sends: code and output go out to whoever
connects, and only incoming messages are checked. A socket in a private directory is closed to everybody else, and
nobody can take its name first, as they could a port. This works with kernels of every language; CurveZMQ works only
with those that declare support for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import uuid
from pathlib import Path


def can_be_private(directory: str) -> bool:
    """Make a directory private, and check that kernels can have their sockets in it.

    Args:
        directory: Jupyter's runtime directory; it is made if it does not exist.

    Returns:
        False when this user does not own it, its path is too long for a socket (107 bytes including the socket's name),
        or its file system does not support sockets.
    """
    name = Path(directory, f"kernel-{uuid.uuid4()}-ipc-5")
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        found = Path(directory).stat()
        if found.st_uid != os.geteuid():
            return False
        if stat.S_IMODE(found.st_mode) & 0o077:
            Path(directory).chmod(0o700)  # an older Jupyter made it open to everybody
        with socket.socket(socket.AF_UNIX) as sample:
            sample.bind(str(name))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            name.unlink()
    return True

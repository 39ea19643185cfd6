"""Where a person's kernels listen: sockets in a directory that only this person may enter.

On TCP, which is Jupyter's default, everybody on the machine reads what every kernel says: code and output go out to
whoever connects, and only what goes in is signed. A socket in a private directory is closed to all others, and nobody
can take its name first, as one can a port. It works with kernels of every language; CurveZMQ with those only that
declare it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import uuid
from pathlib import Path


def can_be_private(directory: str) -> bool:
    """Make a directory private, and see whether sockets of kernels can be in it.

    Args:
        directory: Jupyter's runtime directory; made when it is not there.

    Returns:
        False when it is not this person's own, its path is too long for a socket (107 bytes with the socket's name),
        or its file system has no sockets.
    """
    name = Path(directory, f"kernel-{uuid.uuid4()}-ipc-5")
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        found = Path(directory).stat()
        if found.st_uid != os.geteuid():
            return False
        if stat.S_IMODE(found.st_mode) & 0o077:
            Path(directory).chmod(0o700)  # an earlier Jupyter made it for all to enter
        with socket.socket(socket.AF_UNIX) as sample:
            sample.bind(str(name))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            name.unlink()
    return True

"""When the container ends, people's processes get SIGTERM and some seconds.

`python -m learning_lab.spawners.container_end`; the supervisor of the image calls it.

Without this they would get SIGKILL the moment that the init of the container ends. With it JupyterLab ends its kernels
in order, and what people have running has the time to write down how far it came.

Rules kept here:
- only people's processes: root's are the supervisor's business;
- who does not end in time is left to the kernel, so the whole stays below the pod's terminationGracePeriodSeconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 10
_LOOK_AGAIN_SECONDS = 0.05


def people_processes() -> set[int]:
    """The PIDs of all processes here that are not root's and have not ended."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if process.stat().st_uid != 0 and state != "Z":
                found.add(int(process.name))
    return found


def end(find: Callable[[], set[int]] = people_processes, seconds: float = SECONDS) -> set[int]:
    """Send every process of the people SIGTERM once, those too that are started meanwhile, and wait for them.

    Args:
        find: which ones there are.
        seconds: how long to wait.

    Returns:
        Those that have not ended.
    """
    told: set[int] = set()
    until = time.monotonic() + seconds
    while (left := find()) and time.monotonic() < until:
        for pid in left - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told |= left
        time.sleep(_LOOK_AGAIN_SECONDS)
    return left


if __name__ == "__main__":
    end()

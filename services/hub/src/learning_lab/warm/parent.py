"""The warm parent: a process that has imported what a user's server needs, and forks servers from itself.

Starting JupyterLab is 2 s of importing. Here that is done once; a start is a fork and the same entry point as
`jupyterhub-singleuser` (a zygote, as Android and Chromium have it). `server_parent` is the loop and the first moments
of a child, `warm_start` the hub's side, and `warm_modules` knows what there is to import.

Rules kept here, beside those of `server_parent`:
- it holds no secret: its environment is clean, and it has no file of the hub's open but the log;
- what it imports runs without root's rights, and so does whatever that starts (JupyterLab's import runs Node): the
  parent takes its rights back when everything is imported. That keeps mistakes small; packages that the site
  installs are trusted all the same, as the parent is root again afterwards;
- a child may be looked at by its own user only when nothing of the hub's is left in it;
- when a file that was imported changes, it says so and forks no more: the hub makes a new one.

    python -m learning_lab.warm.parent FD [--leave-out MODULE ...] [--own VARIABLE ...]

When the parent is warm it sends, beside its `pid`, what `warm_modules.import_all` returns and `leave_out`, which has by
then what starts threads; it sends `changed` when it forks no more because its packages have changed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import socket
import sys
import time
from typing import Any

import setproctitle

from learning_lab.forking.server_parent import Parent, be_nobodys_child, tell
from learning_lab.user_ids import without_rights
from learning_lab.warm import modules, trial

MEMORY = 2 * 2**30  # bytes of data that the parent may have; it needs a tenth
CHANGED = b"changed"
LOOK_SECONDS = 2.0  # between two looks at the packages
_PR_SET_NAME, _PR_SET_DUMPABLE = 15, 4  # prctl(2)


def main() -> None:
    """Get warm, then fork servers until the hub is gone and the last server has ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("descriptor", type=int)
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("--own", action="append", default=[])
    arguments = parser.parse_args()
    setproctitle.getproctitle()  # it finds where its room is, which it cannot once the environment has changed
    control = socket.socket(fileno=arguments.descriptor)
    control.set_inheritable(False)
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (min(MEMORY, limit[1]) if limit[1] >= 0 else MEMORY, limit[1]))
    began, before = time.time_ns(), modules.packages()
    try:
        held = trial.hold_trial(arguments.own)
        with without_rights():
            imported = modules.import_all(held, arguments.leave_out, arguments.own)
    except trial.TrialFailed as error:
        tell(f"a trial server did not start; it said: {error}")
        sys.exit(1)
    except modules.StartsThread as module:
        tell(f"{module} starts a thread when it is imported, so servers import it themselves")
        control.set_inheritable(True)
        resource.setrlimit(resource.RLIMIT_DATA, limit)
        again = [sys.executable, "-m", "learning_lab.warm.parent", *sys.argv[1:], "--leave-out", str(module)]
        os.execv(again[0], again)  # noqa: S606
    marks = modules.packages()
    if modules.changed_meanwhile(before, marks, began):
        with contextlib.suppress(OSError):
            control.send(CHANGED)
        return
    # The collector never touches what is there now, so its pages stay shared with every child.
    gc.collect()
    gc.freeze()
    try:
        control.sendall(json.dumps(imported | {"leave_out": arguments.leave_out, "pid": os.getpid()}).encode())
    except OSError:  # the hub has ended meanwhile
        return
    request = WarmParent(control, marks).run()
    if request is None:
        return
    resource.setrlimit(resource.RLIMIT_DATA, limit)
    # The kernel hides a process that changed its user, as if it still knew something of root's. It does not by now, and
    # its own user shall see it in ps and /proc as any other process of theirs (prctl(2), PR_SET_DUMPABLE).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    become_server(request)
    from jupyterhub.singleuser import main as start_server

    sys.exit(start_server())


class WarmParent(Parent):
    """A parent that starts nothing more when its packages have changed.

    Args:
        control: the socket to the hub.
        marks: what the packages were like when they were imported.
    """

    def __init__(self, control: socket.socket, marks: dict[str, modules.Mark]) -> None:
        super().__init__(control, LOOK_SECONDS)
        self._control_of_hub = control
        self._marks = marks
        self._looked = time.monotonic()

    def look(self) -> bool:
        """Whether the packages are other ones by now, which the hub is told."""
        if time.monotonic() - self._looked < LOOK_SECONDS / 2:
            return False
        self._looked = time.monotonic()
        if modules.packages() == self._marks:
            return False
        with contextlib.suppress(OSError):  # the hub has just gone
            self._control_of_hub.send(CHANGED)
        return True


def become_server(request: dict[str, Any]) -> None:
    """Take over the request's environment and command line: for the server, for ps, and for what it starts."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    modules.set_right()
    sys.argv = request["argv"]
    setproctitle.setproctitle(" ".join([sys.executable, *request["argv"]]))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"jupyterhub-sing", 0, 0, 0)


if __name__ == "__main__":
    be_nobodys_child()
    main()

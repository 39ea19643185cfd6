"""The warm parent: a process that has imported what a user's server needs, and forks servers from itself.

Starting JupyterLab is 2 s of importing. Here that is done once; a start is a fork and the same entry point as
`jupyterhub-singleuser` (a zygote, as Android and Chromium have it). `forking.server_parent` is the loop and the first
moments of a child, `start` the hub's side. What there is to import is in a list (`modules`), which a trial makes.

Rules kept here, beside those of `server_parent`:
- it holds no secret: its environment is clean, and it has no file of the hub's open but the log;
- it imports without root's rights, and so runs whatever that starts (JupyterLab's import runs Node). It takes its
  rights back when everything is imported, so this limits mistakes only: the packages that a site installs are trusted;
- it forks servers only when the list is for what is installed. One that is not is removed, and the next parent has a
  new one made;
- a child may be looked at by its own user only when nothing of the hub's is left in it;
- when a file that was imported changes, it tells the hub and forks no more: the hub makes a new one.

    python -m learning_lab.warm.parent FD LIST [--leave-out MODULE ...] [--own VARIABLE ...]

When the parent is ready it sends its `pid` and `reads`, the values of the environment variables that its modules have
read. It sends `changed` when it ends, or forks no more, because the packages are other ones.
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
from collections.abc import Collection
from pathlib import Path
from typing import Any

import setproctitle

from learning_lab.forking.server_parent import Parent, be_nobodys_child
from learning_lab.user_ids import without_rights
from learning_lab.warm import modules
from learning_lab.warm.set_right import find_generators, set_right
from learning_lab.warm.trial import hold_trial

MEMORY = 2 * 2**30  # bytes of data that the parent may have; it needs a tenth
CHANGED = b"changed"
LOOK_SECONDS = 2.0  # between two looks at the packages
_PR_SET_NAME, _PR_SET_DUMPABLE = 15, 4  # prctl(2)


def main() -> None:
    """Get warm, then fork servers until the hub is gone and the last server has ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("descriptor", type=int)
    parser.add_argument("list", type=Path)
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("--own", action="append", default=[])
    arguments = parser.parse_args()
    setproctitle.getproctitle()  # it finds where its room is, which it cannot once the environment has changed
    control = socket.socket(fileno=arguments.descriptor)
    control.set_inheritable(False)
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (min(MEMORY, limit[1]) if limit[1] >= 0 else MEMORY, limit[1]))
    try:
        imported = get_warm(arguments.list, arguments.leave_out, arguments.own)
    except Exception as error:
        with contextlib.suppress(OSError):
            arguments.list.unlink()  # another trial is the best that can be done about it
        sys.exit(f"learning-lab: the warm parent cannot fork servers: {error}")
    if imported is None:
        with contextlib.suppress(OSError):
            control.send(CHANGED)
        return
    reads, marks = imported
    # The collector never touches what is there now, so its pages stay shared with every child.
    gc.collect()
    find_generators()
    gc.freeze()
    try:
        control.sendall(json.dumps({"pid": os.getpid(), "reads": reads}).encode())
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


def get_warm(
    file: Path, leave_out: Collection[str], own: Collection[str]
) -> tuple[dict[str, str | None], dict[str, modules.Mark]] | None:
    """Import what the list names, after a trial that makes it when there is none.

    Returns:
        What `modules.import_all` and then `modules.packages` return; None when the packages are not those that the list
        is for, or have changed meanwhile.

    Raises:
        RuntimeError: as `trial.hold_trial` and `modules.import_all` do.
        OSError: the list cannot be read or written.
    """
    began, before = time.time_ns(), modules.packages()
    replaceable = os.access(file.parent, os.W_OK)  # a list that is not would stay when packages change
    kept = file.read_text(errors="replace") if replaceable and file.is_file() else ""
    if modules.leave(kept, leave_out, own) != kept:
        kept = ""
    text = kept or modules.leave(hold_trial(), leave_out, own)
    with without_rights():
        reads = modules.import_all(text)
    marks = modules.packages()
    line = modules.first_line(marks, reads, leave_out)
    if kept and not kept.startswith(line):
        file.unlink()
        return None
    changed = {name for name, mark in marks.items() if isinstance(mark, tuple) and mark[0] >= began}
    if changed or any(marks[name] != mark for name, mark in before.items()):
        return None
    if replaceable and not kept:
        new = file.with_name(f"{file.name}.new")
        new.write_text(line + text)
        new.replace(file)
    return reads, marks


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
    set_right()
    sys.argv = request["argv"]
    setproctitle.setproctitle(" ".join([sys.executable, *request["argv"]]))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"jupyterhub-sing", 0, 0, 0)


if __name__ == "__main__":
    be_nobodys_child()
    main()

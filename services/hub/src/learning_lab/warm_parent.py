"""The warm parent: a process that has imported what a user's server needs, and forks servers from itself.

Starting JupyterLab is 2 s of importing. Here that is done once; a start is a fork and the same entry point as
`jupyterhub-singleuser` (a zygote, as Android and Chromium have it). `warm_start` is the hub's side, `warm_modules`
knows what there is to import.

Rules kept here:
- it holds no secret: its environment is clean, it has no file of the hub's open, and a request, which has a user's
  token in it, is read by the forked child from a socket of its own, never by the parent;
- only the hub can ask: the socket has no name, and nobody else was given its other end;
- it is not the hub's child, so servers outlive the hub; when the hub is gone it starts nothing more and ends with the
  last of its servers;
- it has one thread, and forks and reaps and does nothing else;
- a child keeps nothing open but its log and its request, is a session of its own, and becomes the user for good before
  it reads anything of the user's;
- when a file that was imported changes, it says so and forks no more: the hub makes a new one.

    python -m learning_lab.warm_parent FD [--leave-out MODULE ...] [--own VARIABLE ...]

FD is a Unix socket of packets. When the parent is warm it sends a JSON object, what `warm_modules.import_all` returns
and `leave_out`, which has by then what starts threads; it sends `changed` when it forks no more because its packages
have changed. The hub sends one byte with a descriptor for each start. On the descriptor (a stream of lines, JSON) the
child reads its request (`warm_start.Request`), answers `{"pid": ...}`, and waits for one byte more, so that no server
runs of which the hub does not know. When the child has ended the parent writes `{"status": ...}`, the exit code, which
is negative for a signal.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from typing import Any, NoReturn

import setproctitle

from learning_lab import warm_modules, warm_trial

MEMORY = 2 * 2**30  # bytes of data that the parent may have; it needs a tenth
REQUEST_SECONDS = 10.0
LONGEST_REQUEST = 2**20
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
    began, before = time.time_ns(), warm_modules.packages()
    try:
        trial = warm_trial.hold_trial(arguments.own)
        imported = warm_modules.import_all(trial, arguments.leave_out, arguments.own)
    except warm_trial.TrialFailed as error:
        tell(f"a trial server did not start; it said: {error}")
        sys.exit(1)
    except warm_modules.StartsThread as module:
        tell(f"{module} starts a thread when it is imported, so servers import it themselves")
        control.set_inheritable(True)
        resource.setrlimit(resource.RLIMIT_DATA, limit)
        again = [sys.executable, "-m", "learning_lab.warm_parent", *sys.argv[1:], "--leave-out", str(module)]
        os.execv(again[0], again)  # noqa: S606
    marks = warm_modules.packages()
    if warm_modules.changed_meanwhile(before, marks, began):
        with contextlib.suppress(OSError):
            control.send(CHANGED)
        return
    # The collector never touches what is there now, so its pages stay shared with every child.
    gc.collect()
    gc.freeze()
    try:
        control.sendall(json.dumps(imported | {"leave_out": arguments.leave_out}).encode())
    except OSError:  # the hub has ended meanwhile
        return
    request = Parent(control, marks).run()
    if request is None:
        return
    resource.setrlimit(resource.RLIMIT_DATA, limit)
    become_server(request)
    from jupyterhub.singleuser import main as start_server

    sys.exit(start_server())


class Parent:
    """The loop: requests in, children forked and reaped, their ends told.

    Args:
        control: the socket to the hub.
        marks: what the packages were like when they were imported.
    """

    def __init__(self, control: socket.socket, marks: dict[str, warm_modules.Mark]) -> None:
        self._control: socket.socket | None = control
        self._marks = marks
        self._looked = time.monotonic()
        self._children: dict[int, socket.socket] = {}  # by PID, where its end is told
        self._wake, wakes = self._wakers = os.pipe()
        for descriptor in self._wakers:
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the hub
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def run(self) -> dict[str, Any] | None:
        """Serve.

        Returns:
            In a forked child its request; in the parent None, when all is over.
        """
        while self._control is not None or self._children:
            ready = [key.fileobj for key, _ in self._selector.select(LOOK_SECONDS if self._control else None)]
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._reap()
            self._look()
            if self._control is not None and self._control in ready:
                request = self._serve(self._control)
                if request is not None:
                    return request
        return None

    def _serve(self, control: socket.socket) -> dict[str, Any] | None:
        byte, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not byte:
            self._leave_hub()
        for descriptor in descriptors:
            with socket.socket(fileno=descriptor) as asked:
                try:
                    pid = os.fork()
                except OSError as error:  # too many processes, no memory: the hub hears that the socket is closed
                    tell(f"cannot fork: {error.strerror}")
                    continue
                if pid == 0:
                    self._let_go()
                    return in_child(asked.detach())
                self._children[pid] = asked.dup()
        return None

    def _look(self) -> None:
        if self._control is None or time.monotonic() - self._looked < LOOK_SECONDS / 2:
            return
        self._looked = time.monotonic()
        if warm_modules.packages() != self._marks:
            with contextlib.suppress(OSError):  # the hub has just gone
                self._control.send(CHANGED)
            self._leave_hub()

    def _leave_hub(self) -> None:
        assert self._control is not None
        self._selector.unregister(self._control)
        self._control.close()
        self._control = None

    def _let_go(self) -> None:
        """Close what is the parent's, object by object.

        An object that still believed in its descriptor would close it when the collector finds it, in the middle of
        the server's life, and the number would be somebody else's by then.
        """
        signal.set_wakeup_fd(-1)
        self._selector.close()
        for descriptor in self._wakers:
            os.close(descriptor)
        for each in (self._control, *self._children.values()):
            if each is not None:
                each.close()

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self._children.pop(pid) as asked, contextlib.suppress(OSError):  # the hub that asked is gone
                asked.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def in_child(descriptor: int) -> dict[str, Any]:
    """The first moments of a child: leave everything of the parent's, read the request, become the user.

    Returns:
        The request.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    os.dup2(descriptor, 3)
    _close_from(4)
    with socket.socket(fileno=3) as asked:
        asked.settimeout(REQUEST_SECONDS)
        data = b""
        try:
            while not data.endswith(b"\n"):
                part = asked.recv(65536)
                if not part or len(data) > LONGEST_REQUEST:
                    leave("a request was cut short")
                data += part
            request: dict[str, Any] = json.loads(data)
            become_user(request)
            asked.sendall(json.dumps({"pid": os.getpid()}).encode() + b"\n")
            if not asked.recv(1):
                leave("nobody waits any more for the server")
        except (OSError, ValueError) as error:
            leave(f"a server was not started: {error}")
    return request


def _close_from(first: int) -> None:
    libc = ctypes.CDLL(None)
    # close_range(2), where the C library has it: one call instead of a million.
    if not hasattr(libc, "close_range") or libc.close_range(first, 2**32 - 1, 0) != 0:
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) >= first:
                with contextlib.suppress(OSError):  # the one that listed them
                    os.close(int(name))


def become_user(request: dict[str, Any]) -> None:
    """Turn this process into the user for good, with the request's umask, in the user's home."""
    if os.geteuid() == 0:
        os.setgroups(request["groups"])
        os.setresgid(request["gid"], request["gid"], request["gid"])
        os.setresuid(request["uid"], request["uid"], request["uid"])
    elif os.geteuid() != request["uid"]:
        leave("only root can start a server for another user")
    # The kernel hides a process that changed its user, as if it still knew something of root's. It does not, and its
    # own user shall see it in ps and /proc as any other process of theirs (prctl(2), PR_SET_DUMPABLE).
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    os.umask(request["umask"])
    with contextlib.suppress(OSError):  # a missing home is no reason to refuse: the server's root is elsewhere
        os.chdir(request["cwd"])


def become_server(request: dict[str, Any]) -> None:
    """Take over the request's environment and command line: for the server, for ps, and for what it starts."""
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    warm_modules.set_right()
    sys.argv = request["argv"]
    setproctitle.setproctitle(" ".join([sys.executable, *request["argv"]]))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"jupyterhub-sing", 0, 0, 0)


def leave(why: str) -> NoReturn:
    """End a child that cannot be a server."""
    tell(why)
    os._exit(1)


def tell(what: str) -> None:
    """Write a line to the hub's log, which is our standard error."""
    sys.stderr.write(f"warm parent: {what}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    # The hub's child ends here and its child goes on: servers must not hang on a process that is the hub's.
    if os.fork():
        os._exit(0)
    os.setsid()
    main()

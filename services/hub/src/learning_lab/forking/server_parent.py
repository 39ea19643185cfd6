"""The process that people's servers are children of: it forks, reaps, and tells the hub the PIDs and the ends.

The hub never forks a server itself: that would copy its secrets, and `Popen` waits on the event loop until the child
executes its command, which its user may stop from doing. Run as a program, this is the plain way: the child executes
the server's command. `warm.parent` is the quick way: its children become the server without an exec.

Rules kept here:
- only the hub can ask: the socket has no name, and nobody else was given its other end;
- **the parent tells a child's PID**, from its own fork's result. A child says nothing to the hub: it reads its request,
  closes the socket, and only then becomes the user, so a person who traces or stops their own server finds nothing in
  it that the hub believes or waits for;
- a request, which has a user's token in it, is read by the child and never by the parent;
- it is not the hub's child, so servers outlive the hub; when the hub is gone it starts nothing more and ends with the
  last of its servers;
- it has one thread, and forks and reaps and does nothing else;
- a child has nothing of the hub's open: its output goes to a file of its own user's, so nobody writes into the hub's
  log or holds it up.

    python -I -S server_parent.py FD

FD is a Unix socket of packets. The parent sends a JSON object when it is ready, with its `pid`. The hub sends one byte
with a descriptor for each start. On the descriptor, a stream of lines of JSON, the parent writes ``{"pid": ...}`` and,
when the child has ended, ``{"status": ...}``: the exit code, negative for a signal. After the first line the hub sends
one byte with the listening socket, then the request (`parents.Request`), which the child reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import sys

if __name__ == "__main__":
    # With -I -S there is only Python's own library. Ours comes after it, so that it hides none of it.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
from learning_lab.user_ids import become

TYPE_CHECKING = False  # as typing's own: this process imports as little as it can
if TYPE_CHECKING:
    from typing import Any, NoReturn

REQUEST_SECONDS = 10.0
LONGEST_REQUEST = 2**20
LISTENING, ROOT = 3, 4  # the descriptors that a server is given
DIRECTORY_CHANGED = 65  # exit code of a child: what has the name now is not what was checked (EX_DATAERR, sysexits.h)


class Parent:
    """The loop: requests in, children forked and reaped, their PIDs and ends told.

    Args:
        control: the socket to the hub.
        look_seconds: how often `look` is called while the hub is there; None for never.
    """

    def __init__(self, control: socket.socket, look_seconds: float | None = None) -> None:
        self._control: socket.socket | None = control
        self._look_seconds = look_seconds
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
            In a forked child, which is the user by then, its request; in the parent None, when all is over.
        """
        while self._control is not None or self._children:
            ready = [key.fileobj for key, _ in self._selector.select(self._look_seconds if self._control else None)]
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                self._reap()
            if self._control is not None and self.look():
                self._leave_hub()
            if self._control is not None and self._control in ready:
                request = self._serve(self._control)
                if request is not None:
                    return request
        return None

    def look(self) -> bool:
        """Whether to start nothing more."""
        return False

    def _serve(self, control: socket.socket) -> dict[str, Any] | None:
        try:
            byte, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except ConnectionResetError:  # the hub ended before it had read everything
            byte, descriptors = b"", []
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
                with contextlib.suppress(OSError):  # the hub has gone: the child finds that nobody sends it a request
                    asked.send(json.dumps({"pid": pid}).encode() + b"\n")
        return None

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
        The request. Descriptor `LISTENING` is the server's socket and `ROOT` the directory that was checked.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    os.dup2(descriptor, ROOT + 1)
    _close_from(ROOT + 2)
    try:
        with socket.socket(fileno=ROOT + 1) as asked:
            request, listening = _request(asked)
        # From here on nothing is open that is the hub's, but the log, which the next lines replace.
        _move(listening, LISTENING)
        with open(os.devnull, "r+b") as nothing:  # noqa: PTH123  pathlib is not imported here
            for standard in (0, 1, 2):
                os.dup2(nothing.fileno(), standard)
        become(request["uid"], request["gid"], request["groups"])
        os.umask(request["umask"])
        with contextlib.suppress(OSError):  # a missing home is no reason to refuse: the server's root is elsewhere
            os.chdir(request["cwd"])
        _open_log(request["log"])
        _open_root(request["root"])
    except (OSError, ValueError) as error:
        leave(f"the server was not started: {error}")
    return request


def _request(asked: socket.socket) -> tuple[dict[str, Any], int]:
    asked.settimeout(REQUEST_SECONDS)
    byte, descriptors, _, _ = socket.recv_fds(asked, 1, 1)
    if not byte or not descriptors:
        leave()  # nobody waits any more for the server
    data = b""
    while not data.endswith(b"\n"):
        part = asked.recv(65536)
        if not part or len(data) > LONGEST_REQUEST:
            leave()
        data += part
    return json.loads(data), descriptors[0]


def _open_log(path: str) -> None:
    """Make the user's file the server's output; without one, it has none. The file of the start before is kept."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120
        with contextlib.suppress(FileNotFoundError):
            os.replace(path, f"{path}.before")  # noqa: PTH105
        # O_EXCL: a file of this moment, and no link or FIFO that was waiting under the name.
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)


def _open_root(root: dict[str, Any]) -> None:
    """Open the server's directory as the user, and see that it is the one that was checked: names can be swapped."""
    opened = os.open(root["path"], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(opened)
    if (found.st_dev, found.st_ino) != (root["device"], root["inode"]):
        tell("the directory was replaced by another one while the server started")
        os._exit(DIRECTORY_CHANGED)
    _move(opened, ROOT)


def _move(descriptor: int, number: int) -> None:
    if descriptor != number:
        os.dup2(descriptor, number, inheritable=False)
        os.close(descriptor)


def _close_from(first: int) -> None:
    libc = ctypes.CDLL(None)
    # close_range(2), where the C library has it: one call instead of a million.
    if not hasattr(libc, "close_range") or libc.close_range(first, 2**32 - 1, 0) != 0:
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if int(name) >= first:
                with contextlib.suppress(OSError):  # the one that listed them
                    os.close(int(name))


def leave(why: str = "") -> NoReturn:
    """End a child that cannot be a server."""
    if why:
        tell(why)
    os._exit(1)


def tell(what: str) -> None:
    """Write a line to standard error: the hub's log for the parent, the server's own for a child."""
    sys.stderr.write(f"learning-lab: {what}\n")
    sys.stderr.flush()


def be_nobodys_child() -> None:
    """Go on as a child of init: servers must not hang on a process that is the hub's."""
    if os.fork():
        os._exit(0)
    os.setsid()


def main() -> None:
    """Fork servers until the hub is gone and the last server has ended. In a child: execute the server's command."""
    be_nobodys_child()
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    control.send(json.dumps({"pid": os.getpid()}).encode())
    request = Parent(control).run()
    if request is None:
        return
    for descriptor in (LISTENING, ROOT):
        os.set_inheritable(descriptor, True)
    try:
        os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606
    except OSError as error:
        leave(f"{request['argv'][0]} cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()

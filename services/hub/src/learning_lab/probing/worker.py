"""A process of its own that looks at directories as their user.

The hub is root; root passes every permission check and fails every one on a root-squashed NAS, so only the user can
say what the user can open (design rule 5). Forking the hub itself for this would copy its page tables and its
secrets; this process has neither: it is started once, imports only the standard library, and forks a short child for
each question. The child becomes the user, looks, and writes one line per path.

Rules kept here:
- a child has a deadline; one that hangs in the kernel (a dead NAS) is killed and left to die, and answers "timeout";
- of one user at most `MAX_STUCK` children may hang: that user is answered "timeout" at once until they are gone;
- the forker never touches a user's path itself and never waits for a child.

Wire format, both ways: one JSON object a line. A question on standard input::

    {"id": 1, "userid": "alice", "paths": ["/s/alice/notebooks"], "make": [], "deadline": 5.0}

and its answer on standard output, `account` null when there is no such account::

    {"id": 1, "account": {"uid": 10001, "gid": 10001, "groups": [...], "home": "/home/alice", "shell": "/bin/bash"},
     "found": {"/s/alice/notebooks": {"state": "ok", "real": "/s/alice/notebooks", "writable": true,
                                      "device": 2065, "inode": 131074}}}

States: ok, missing, not_directory, denied, loop, error, timeout. `make` lists paths to create when only their last
part is missing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pwd
import selectors
import signal
import sys
import time

if __name__ == "__main__":
    # With -I -S there is only Python's own library. Ours comes after it, so that it hides none of it.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
from learning_lab.user_ids import become

TYPE_CHECKING = False  # as typing's own: importing typing or dataclasses would double this process's memory
if TYPE_CHECKING:
    from typing import Any

MAX_STUCK = 2  # hanging children of one user

_STATES = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "not_directory",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.ELOOP: "loop",
}


def become_account(userid: str) -> dict[str, Any]:
    """Turn this process into the user for good.

    Raises:
        KeyError: there is no such account.
        PermissionError: this process may not, and is not already that user.
    """
    account = pwd.getpwnam(userid)
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    become(account.pw_uid, account.pw_gid, groups)
    return {
        "uid": account.pw_uid,
        "gid": account.pw_gid,
        "groups": groups,
        "home": account.pw_dir,
        "shell": account.pw_shell,
    }


def look(path: str, *, make: bool) -> dict[str, Any]:
    """Say what the user that this process is can do with a directory.

    Args:
        path: absolute.
        make: create it (mode 0777 less the umask) when only its last part is missing.

    Returns:
        state, and for an ok one also real (the path without symlinks), writable, device and inode.
    """
    try:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(path)  # noqa: PTH102  importing pathlib would double this process's start
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        # Opening it asks the file server, where access(2) may only ask the local idea of its rights. And all that is
        # told is of what was opened: a link that is swapped meanwhile cannot give one directory another's name.
        try:
            real = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
            opened = os.fstat(descriptor)
            named = os.lstat(real)
            if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
                return {"state": "missing"}  # it was moved or removed meanwhile
            if not os.access(".", os.X_OK, dir_fd=descriptor):
                return {"state": "denied"}
            writable = os.access(".", os.W_OK | os.X_OK, dir_fd=descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return {"state": _STATES.get(error.errno or 0, "error"), "error": os.strerror(error.errno or 0)}
    except ValueError:  # an embedded NUL, a surrogate that is no byte
        return {"state": "missing"}
    return {
        "state": "ok",
        "real": real,
        "writable": writable,
        "device": opened.st_dev,
        "inode": opened.st_ino,
    }


def _child(question: dict[str, Any], out: int) -> None:
    """Answer one question in a forked child: a line for the account, then one per path; then exit."""
    with os.fdopen(out, "w", encoding="utf-8", errors="surrogateescape") as answers:

        def answer(line: dict[str, object]) -> None:
            answers.write(json.dumps(line) + "\n")
            answers.flush()

        try:
            answer({"account": become_account(question["userid"])})
        except KeyError:
            answer({"account": None})
            for path in question["paths"]:  # not "error": that is an answer that nobody could give
                answer({"path": path, "found": {"state": "denied"}})
            return
        os.umask(0o077)
        make = set(question["make"])
        for path in question["paths"]:
            answer({"path": path, "found": look(path, make=path in make)})


class Child:
    """A child that was forked and what it has answered so far."""

    def __init__(self, question: dict[str, Any]) -> None:
        self.question = question
        self.until: float = time.monotonic() + question["deadline"]
        self.pid = 0
        self.account: dict[str, Any] | None = None
        self.found: dict[str, Any] = {}
        self.data = b""  # of an unfinished line


class Forker:
    """The loop: questions in, children forked and watched, answers out."""

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.selector = selectors.DefaultSelector()
        self.selector.register(source, selectors.EVENT_READ)
        self.waiting = b""  # of an unfinished question
        self.children: dict[int, Child] = {}  # by the read end of the child's pipe
        self.leaving: set[int] = set()  # pids that answered and are about to exit
        self.stuck: dict[int, str] = {}  # pids killed at their deadline and not yet gone -> userid

    def run(self) -> None:
        """Serve until standard input ends, which is when the hub is gone."""
        while True:
            for key, _ in self.selector.select(self._patience()):
                if key.fd != self.source:
                    self._hear(key.fd)
                elif not self._listen():
                    return
            now = time.monotonic()
            for descriptor, child in list(self.children.items()):
                if child.until <= now:
                    self._finish(descriptor, timed_out=True)
            self._reap()

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being told; None for never."""
        if self.children:
            return max(0.0, min(child.until for child in self.children.values()) - time.monotonic())
        return 0.5 if self.leaving or self.stuck else None

    def _listen(self) -> bool:
        received = os.read(self.source, 65536)
        *lines, self.waiting = (self.waiting + received).split(b"\n")
        for line in lines:
            self._ask(json.loads(line))
        return bool(received)

    def _ask(self, question: dict[str, Any]) -> None:
        child = Child(question)
        if list(self.stuck.values()).count(question["userid"]) >= MAX_STUCK:
            self._tell(child, missing="timeout")
            return
        reading, writing = os.pipe()
        child.pid = os.fork()
        if child.pid == 0:
            code = 1
            try:
                for descriptor in (self.source, self.sink, reading, *self.children):
                    os.close(descriptor)
                _child(question, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        os.set_blocking(reading, False)
        self.children[reading] = child
        self.selector.register(reading, selectors.EVENT_READ)

    def _hear(self, descriptor: int) -> None:
        child = self.children[descriptor]
        received = os.read(descriptor, 65536)
        if not received:
            self._finish(descriptor, timed_out=False)
            return
        *lines, child.data = (child.data + received).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "account" in told:
                child.account = told["account"]
            else:
                child.found[told["path"]] = told["found"]

    def _finish(self, descriptor: int, *, timed_out: bool) -> None:
        child = self.children.pop(descriptor)
        self.selector.unregister(descriptor)
        os.close(descriptor)
        if timed_out:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            self.stuck[child.pid] = child.question["userid"]
        else:
            self.leaving.add(child.pid)
        self._tell(child, missing="timeout" if timed_out else "error")

    def _tell(self, child: Child, *, missing: str) -> None:
        """Answer a question; paths that the child did not come to get the state `missing`."""
        found = {path: child.found.get(path, {"state": missing}) for path in child.question["paths"]}
        line = json.dumps({"id": child.question["id"], "account": child.account, "found": found})
        data = line.encode() + b"\n"
        while data:
            data = data[os.write(self.sink, data) :]

    def _reap(self) -> None:
        for pid in [*self.leaving, *self.stuck]:
            try:
                gone, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                gone = pid
            if gone:
                self.leaving.discard(pid)
                self.stuck.pop(pid, None)


def main() -> None:
    """Serve questions on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the hub; this ends with its standard input
    Forker(sys.stdin.fileno(), sys.stdout.fileno()).run()


if __name__ == "__main__":
    main()

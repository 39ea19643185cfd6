"""The hub's side of the warm parent: keeps one running, and asks it for servers.

Rules kept here:
- it is never in the way: what cannot be had from the parent (not warm yet, dead, slow to answer) is None, and the
  spawner starts the server the plain way; a metric and the log say so;
- a server is forked only where it is the same as one started plainly: a variable that the parent's modules have read,
  or that the interpreter itself reads, has the same value for both;
- of the starts that come at once `AT_ONCE` are under way and the others wait their turn: the first people get in as
  quickly as if they were alone, and the last one no later;
- a parent that dies is started again, slower each time; a hub that starts makes a new one;
- nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge

STARTS = Counter(
    "learning_lab_server_starts_total",
    "Servers started, by how: warm is a fork of the warm parent, plain a process of its own",
    ["way"],
)
WARM = Gauge("learning_lab_warm_parent_ready", "Whether the warm parent can fork servers")

AT_ONCE = 2 * (os.cpu_count() or 1)  # starts under way
TURN_SECONDS = 3.0
ANSWER_SECONDS = 10.0  # for a fork
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # before a parent that died is started again
# What the parent is given of the hub's environment: how to find programs and modules and write text, and no secret.
ENVIRONMENT = (
    "CONDA_DEFAULT_ENV",
    "CONDA_ROOT",
    "JUPYTERHUB_SINGLEUSER_APP",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)
CHANGED = b"changed"  # what a parent says whose packages are other ones by now
# The interpreter and libraries in C read these before anything of ours runs, or where we do not see it.
READ_UNSEEN = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LANG", "LC_"),
    *("SSL_CERT_", "OPENSSL_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A server to fork.

    Attributes:
        argv: the command line as it would be plainly; its first word is the command.
        env: the whole environment.
        uid, gid, groups: whom it becomes.
        umask: its umask.
        cwd: where it starts, entered as the user.
    """

    argv: list[str]
    env: dict[str, str]
    uid: int
    gid: int
    groups: list[int]
    umask: int
    cwd: str


class Forked:
    """A server that the parent forked.

    Args:
        pid: its PID.
        connection: on which the parent tells its end.

    Attributes:
        pid: its PID.
        status: its exit code, negative for a signal; None while it runs, or when the parent ended before it.
        ended: called once when the parent has told its end, or will tell no more.
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.status: int | None = None
        self.ended: Callable[[], object] = lambda: None
        self._connection = connection
        self._data = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._hear)

    def _hear(self) -> None:
        try:
            part = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self._data += part
        if part and not self._data.endswith(b"\n"):
            return
        self.let_go()
        with contextlib.suppress(ValueError, KeyError):
            self.status = int(json.loads(self._data)["status"])
        self.ended()

    @property
    def watched(self) -> bool:
        """Whether its end will be told."""
        return self._connection.fileno() >= 0

    def let_go(self) -> None:
        """Listen no more."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()


class WarmParent:
    """Keeps a warm parent running while the hub runs.

    Args:
        leave_out: modules that servers import themselves.
        environ: variables that the parent is given beside those of `ENVIRONMENT`.
        log: where a parent that comes or goes is told.
    """

    def __init__(self, leave_out: Sequence[str], environ: Mapping[str, str], log: logging.Logger) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._leave_out = list(leave_out)
        self._more = dict(environ)
        self._log = log
        self._own: list[str] = []  # variables that turned out to be each server's own
        self._environ: dict[str, str] = {}
        self._reads: dict[str, str | None] = {}
        self._control: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a server can be had from it now."""
        return self._control is not None

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Begin to keep one running. Call it with the event loop running; a second call does nothing.

        Args:
            environ: what the site gives to every server; of it the parent is given what begins with `READ_UNSEEN`.
        """
        if self._task is None:
            self._more |= {name: value for name, value in (environ or {}).items() if name.startswith(READ_UNSEEN)}
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Let it go: it ends with the last of its servers."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold this while a server comes up. One that takes long holds up the others for `TURN_SECONDS` only."""
        await self._turns.acquire()
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self._turns.release()

        late = asyncio.get_running_loop().call_later(TURN_SECONDS, give_back)
        try:
            yield
        finally:
            late.cancel()
            give_back()

    async def fork(self, request: Request) -> Forked | None:
        """Ask for a server.

        Returns:
            The server, which is the user by now; None when there is none to be had this way.
        """
        control = self._control
        if control is None or not self._same(request.env):
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            with theirs:
                socket.send_fds(control, [b"."], [theirs.fileno()])
            async with asyncio.timeout(ANSWER_SECONDS):
                await loop.sock_sendall(ours, json.dumps(asdict(request)).encode() + b"\n")
                pid = json.loads(await loop.sock_recv(ours, 4096))["pid"]
                await loop.sock_sendall(ours, b"+")
            return Forked(pid, ours)
        except asyncio.CancelledError:
            ours.close()  # and the child ends
            raise
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            # The child, if there is one, finds its request cut short and ends.
            ours.close()
            self._log.warning("The warm parent gave no server (%s: %s)", type(error).__name__, error)
            if isinstance(error, TimeoutError) and control is self._control:
                self._drop()  # it hangs, and must not make the next person wait for it too
            return None

    def _same(self, env: dict[str, str]) -> bool:
        """Whether a server with this environment may have the parent's modules."""
        unseen = {name for name in {*env, *self._environ} if name.startswith(READ_UNSEEN)}
        unlike = sorted(name for name in unseen if env.get(name) != self._environ.get(name))
        if unlike:
            self._log.warning("Servers have a %s that the warm parent has not; they start plainly", unlike[0])
            return False
        unlike = sorted(name for name, value in self._reads.items() if env.get(name) != value)
        if unlike:
            self._log.info("Servers have their own %s; a new warm parent minds it", ", ".join(unlike))
            self._own.extend(unlike)
            self._drop()
            return False
        return True

    def _drop(self) -> None:
        """Be done with this parent: `_keep` makes a new one. Its servers go on."""
        if self._control is not None:
            self._control.shutdown(socket.SHUT_RDWR)
            self._control = None
            WARM.set(0)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = SHORTEST_PAUSE
        while True:
            began = loop.time()
            try:
                if await self._one():
                    continue
                self._log.error("The warm parent has ended; servers start plainly. A new one comes in %g s", pause)
            except OSError as error:
                self._log.error("The warm parent cannot be started (%s). Next attempt in %g s", error, pause)
            await asyncio.sleep(pause)
            pause = SHORTEST_PAUSE if loop.time() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)

    async def _one(self) -> bool:
        """Start one, and return when it has ended: whether as it should, and the next one is wanted now."""
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        self._environ = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | self._more
        command = [sys.executable, "-m", "learning_lab.warm_parent", str(theirs.fileno())]
        command += [part for name in self._leave_out for part in ("--leave-out", name)]
        command += [part for name in self._own for part in ("--own", name)]
        try:
            with theirs:
                starting = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    env=self._environ,
                    pass_fds=[theirs.fileno()],
                    cwd=Path(sys.executable).parent,  # first on sys.path, as it is for jupyterhub-singleuser there
                )
            await starting.wait()  # it leaves another process behind, which is nobody's child
            told = await loop.sock_recv(ours, 2**20)
            if told in {b"", CHANGED}:
                return bool(told)
            imported = json.loads(told)
            self._reads, self._leave_out = imported["reads"], imported["leave_out"]
            self._control = ours
            WARM.set(1)
            self._log.info("The warm parent is ready; servers import %s themselves", ", ".join(imported["left_out"]))
            said = await loop.sock_recv(ours, 16)
            if said:
                self._log.info("Packages have changed: a new warm parent is coming")
            return bool(said) or self._control is None
        finally:
            if self._control is ours:
                self._control = None
                WARM.set(0)
            ours.close()

"""The hub's side of the processes that fork people's servers (`server_parent`): keeps one running, and asks it.

Rules kept here:
- what a parent says is believed only where it can be checked: a PID is that of a child of that parent, and is held by a
  pidfd from then on (`process.Process`); what is read from it is short;
- a child has its request, and runs, only when the hub knows it; a start that is given up leaves no server;
- a child that says or does nothing costs its own start alone: nothing waits for it here;
- a parent that dies is started again, slower each time;
- nothing here blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import random
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .process import Process

ANSWER_SECONDS = 10.0  # for a fork
END_SECONDS = 1.0  # between a connection that is closed and the end of its server
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # before a parent that died is started again
_LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Root:
    """The directory of a server: its path without symlinks, and which directory that was when it was checked."""

    path: str
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Request:
    """A server to fork.

    Attributes:
        argv: the command line.
        env: the whole environment.
        uid, gid, groups: whom it becomes.
        umask: its umask.
        cwd: where it starts, entered as the user.
        root: its directory, opened as the user.
        log: the file of the user's that its output goes to.
    """

    argv: list[str]
    env: dict[str, str]
    uid: int
    gid: int
    groups: list[int]
    umask: int
    cwd: str
    root: Root
    log: str


class ServerEnded(Exception):
    """A server has ended before it answered.

    Args:
        status: its exit code, negative for a signal; 0 when it is not known.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"it ended with {status}")
        self.status = status


class NoAnswer(Exception):
    """A server runs and does not answer."""


class Forked:
    """A server that a parent forked.

    Args:
        process: it.
        connection: on which the parent tells its end.

    Attributes:
        process: it.
        status: its exit code, negative for a signal; None while it runs, or when the parent ended before it.
    """

    def __init__(self, process: Process, connection: socket.socket) -> None:
        self.process = process
        self.status: int | None = None
        self._told = asyncio.Event()  # its end, or that nothing more will be told
        self._connection = connection
        self._data = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection.fileno(), self._hear)

    @property
    def pid(self) -> int:
        """Its PID."""
        return self.process.pid

    def _hear(self) -> None:
        try:
            part = self._connection.recv(_LONGEST_LINE)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self._data += part
        if part and not self._data.endswith(b"\n") and len(self._data) < _LONGEST_LINE:
            return
        self.let_go()
        with contextlib.suppress(ValueError, KeyError, TypeError):
            self.status = int(json.loads(self._data)["status"])
        self._told.set()

    async def wait(self) -> int:
        """Wait until it has ended; its status, 0 when its parent ended before it."""
        await self._told.wait()
        if self.status is None:
            await self.process.wait()
        return self.status or 0

    async def answers(self, ip: str, port: int, path: str, within: float) -> None:
        """Wait until it answers a request, whatever it says.

        Its socket listens already, so the request waits in it until the server takes it.

        Raises:
            ServerEnded: it has ended.
            NoAnswer: it has not answered in that time, or closed the connection.
        """
        answer, ended = asyncio.create_task(_answer(ip, port, path)), asyncio.create_task(self.wait())
        try:
            await asyncio.wait({answer, ended}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and not ended.done():
                raise NoAnswer(f"after {within:g} s")
            if not answer.done() or answer.exception() is not None:
                # Its end is told a moment after it has closed the connection.
                await asyncio.wait({ended}, timeout=END_SECONDS)
                if ended.done():
                    raise ServerEnded(ended.result())
                raise NoAnswer(str(answer.exception()))
        finally:
            answer.cancel()
            ended.cancel()

    def let_go(self) -> None:
        """Listen no more."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()


class ParentOfServers:
    """Keeps a parent running while the hub runs, and asks it for servers.

    Args:
        name: what the log calls it.
        log: where a parent that comes or goes is told.
    """

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name = name
        self._log = log
        self._control: socket.socket | None = None
        self._pid = 0
        self._task: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether a server can be had from it now."""
        return self._control is not None

    async def until_ready(self, within: float) -> None:
        """Wait until a server can be had from it.

        Raises:
            TimeoutError: none can be had in that time.
        """
        async with asyncio.timeout(within):
            await self._is_ready.wait()

    def keep(self) -> None:
        """Begin to keep one running. Call it with the event loop running; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Let it go: it ends with the last of its servers."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def fork(self, request: Request, listening: socket.socket) -> Forked | None:
        """Ask for a server.

        Args:
            request: what it is.
            listening: the socket that it serves on; the caller keeps its own copy.

        Returns:
            The server, which has begun to become the user; None when there is none to be had from this parent.
        """
        control = self._control
        if control is None or os.geteuid() not in {0, request.uid} or not self._may_fork(request):
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                socket.send_fds(control, [b"."], [theirs.fileno()])
            async with asyncio.timeout(ANSWER_SECONDS):
                process = await self._child(ours)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    socket.send_fds(ours, [b"+"], [listening.fileno()])
                    await asyncio.get_running_loop().sock_sendall(ours, json.dumps(asdict(request)).encode() + b"\n")
            except BaseException:
                process.close()
                raise
            return Forked(process, ours)
        except asyncio.CancelledError:
            ours.close()  # and the child ends
            raise
        except (OSError, TimeoutError, ValueError, KeyError, TypeError) as error:
            # The child, if there is one, finds its request cut short and ends.
            ours.close()
            self._log.warning("The %s gave no server (%s: %s)", self._name, type(error).__name__, error)
            if isinstance(error, TimeoutError) and control is self._control:
                self._drop()  # it hangs, and must not make the next person wait for it too
            return None

    def _may_fork(self, request: Request) -> bool:  # noqa: ARG002  a subclass looks at it
        """Whether a server of this parent's is as it must be."""
        return True

    async def _child(self, connection: socket.socket) -> Process:
        """The child that the parent tells of on this connection, on which nobody else can write by now."""
        loop = asyncio.get_running_loop()
        line = b""
        while not line.endswith(b"\n"):
            part = await loop.sock_recv(connection, _LONGEST_LINE)
            line += part
            if not part or len(line) > _LONGEST_LINE:
                raise ConnectionError("it told no PID")
        return Process(int(json.loads(line)["pid"]), parent=self._pid)

    def _drop(self) -> None:
        """Be done with this parent: `_keep` makes a new one. Its servers go on."""
        if self._control is not None:
            self._control.shutdown(socket.SHUT_RDWR)
            self._unset()

    def _set(self, control: socket.socket, pid: int) -> None:
        self._control, self._pid = control, pid
        self._is_ready.set()

    def _unset(self) -> None:
        self._control = None
        self._is_ready.clear()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = SHORTEST_PAUSE
        while True:
            began = loop.time()
            try:
                if await self._one():
                    continue
                self._log.error("The %s has ended. A new one comes in %g s", self._name, pause)
            except Exception as error:
                # Whatever it is: without a parent nobody gets a server, so this loop must not end.
                self._log.exception("The %s cannot be started (%s). Next attempt in %g s", self._name, error, pause)
            await asyncio.sleep(pause)
            pause = SHORTEST_PAUSE if loop.time() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)

    async def _one(self) -> bool:
        """Start one, and return when it has ended: whether as it should, and the next one is wanted now."""
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            with theirs:
                starting = await asyncio.create_subprocess_exec(
                    *self._command(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=self._environment(),
                    pass_fds=[theirs.fileno()],
                    cwd=Path(sys.executable).parent,  # first on sys.path, as it is for jupyterhub-singleuser there
                )
            await starting.wait()  # it leaves another process behind, which is nobody's child
            told = await loop.sock_recv(ours, 2**20)
            if not self._is_told(told):
                return bool(told)
            self._set(ours, int(json.loads(told)["pid"]))
            said = await loop.sock_recv(ours, 16)
            if said:
                self._log.info("Packages have changed: a new %s is coming", self._name)
            return bool(said) or self._control is not ours
        finally:
            if self._control is ours:
                self._unset()
            ours.close()

    def _command(self, descriptor: int) -> Sequence[str]:
        raise NotImplementedError

    def _environment(self) -> Mapping[str, str]:
        raise NotImplementedError

    def _is_told(self, told: bytes) -> bool:
        """Whether these are the words of a parent that is ready."""
        return bool(told)


class PlainParent(ParentOfServers):
    """The parent whose children execute the server's command.

    Args:
        log: where a parent that comes or goes is told.
    """

    def __init__(self, log: logging.Logger) -> None:
        super().__init__("process that starts servers", log)

    def _command(self, descriptor: int) -> Sequence[str]:
        program = str(Path(__file__).with_name("server_parent.py"))
        return [sys.executable, "-I", "-S", program, str(descriptor)]

    def _environment(self) -> Mapping[str, str]:
        return {"LANG": "C.UTF-8"}  # nothing of the hub's environment: it holds the proxy's token


def listen(address: str, ports: Sequence[int]) -> socket.socket:
    """Bind the socket of a server, as the hub, before anybody else can take its place.

    Args:
        address: the IP address.
        ports: the first and the last port that may be taken; empty for any that is free.

    Returns:
        The socket, which listens.

    Raises:
        OSError: the address is not this machine's, or no port is free.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    wanted = list(range(ports[0], ports[1] + 1)) if ports else [0]
    random.shuffle(wanted)
    for port in wanted:
        listening = socket.socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((address, port))
            listening.listen(128)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            if not ports or error.errno != errno.EADDRINUSE:
                raise
            continue
        return listening
    raise OSError(errno.EADDRINUSE, f"every port from {ports[0]} to {ports[1]} is in use")


async def _answer(ip: str, port: int, path: str) -> None:
    """Wait for the first line of an answer.

    Raises:
        OSError: the connection was closed.
    """
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {ip}\r\nConnection: close\r\n\r\n".encode())
        if not await reader.readline():
            raise ConnectionError("it closed the connection")
    finally:
        writer.close()

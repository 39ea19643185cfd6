"""Servers as processes of the user on the hub's own machine or pod.

Over JupyterHub's LocalProcessSpawner:
- the hub binds the server's socket and passes it on, so between the choice of a port and the listening nobody else
  can be that server; the hub holds the socket until the route to it is gone;
- a process of its own forks the server (`parents`), quickly from the warm parent where that is the same as starting it
  plainly; the event loop waits for no child;
- the server has the directory open that was checked, and is rooted in that, not in what its name means by then;
- its output goes to a file of its user's, so nobody writes into the hub's log;
- it is held by a pidfd, and after a restart of the hub found again by its PID, its start time and its user: a reused
  PID is neither taken for alive nor signalled;
- the account comes from the check before the start, which asked the name service in a child with a deadline, so a
  name service that hangs does not hold up the event loop here;
- a process that ends is noticed at once, also one that an earlier hub has started, and who waits for it is told;
- umask 0002 where a directory is shared, so that what one person makes the others can change (jupyterhub#2659).
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from jupyterhub.utils import maybe_future
from traitlets import Int, List, TraitError, default, validate

from learning_lab.access.check import Chosen
from learning_lab.errors import Refused, StartFailed
from learning_lab.forking import server_parent
from learning_lab.forking.parents import Forked, Request, Root, listen
from learning_lab.forking.process import Process
from learning_lab.jupyterhub_internals import save_state
from learning_lab.services import Services
from learning_lab.serving import jupyterlab_files
from learning_lab.warm.start import STARTS

from .mixin import LabSpawnerMixin

SHARED_UMASK = 0o002
OWN_UMASK = 0o022
PLAIN_SECONDS = 10.0  # for the process that starts servers plainly to be there
LOG = ".local/state/learning-lab/server{suffix}.log"  # in the home; the XDG Base Directory Specification's state


class LabLocalSpawner(LabSpawnerMixin, LocalProcessSpawner):  # type: ignore[misc]
    """Starts JupyterLab as a process of the user."""

    ports = List(
        Int(min=1, max=65535),
        help="""The first and the last port that servers listen on, for instance [1024, 4095]. Empty: any that is free.
        In a pod these are below net.ipv4.ip_unprivileged_port_start, so nobody but the hub can bind one of them, also
        not while the hub restarts.""",
    ).tag(config=True)

    @validate("ports")
    def _two_ports(self, proposal: Any) -> list[int]:
        ports: list[int] = proposal.value
        if ports and (len(ports) != 2 or ports[0] > ports[1]):
            raise TraitError(f"c.LabLocalSpawner.ports is {ports}: give the first and the last port, or nothing")
        return ports

    pid: int
    port: int
    _process: Process | None = None
    _forked: Forked | None = None
    _socket: socket.socket | None = None  # of the running server; held until there is no route to it

    @default("cmd")
    def _cmd_default(self) -> list[str]:
        # The one beside this Python: PATH may name another installation.
        return [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]

    @default("default_url")
    def _default_url_default(self) -> str:
        return "/lab"

    async def start(self) -> tuple[str, int]:
        """Start the server and wait until it answers.

        Returns:
            Address and port.

        Raises:
            Refused: the start did not come through the check, or its directory was replaced meanwhile.
            StartFailed: the server ended or did not answer in time.
        """
        self.require_choice()
        address = self.ip or "127.0.0.1"
        async with Services.instance().turns.turn():
            self._let_socket_go()
            self._socket = listen(address, self.ports)
            self.port = self._socket.getsockname()[1]
            await self._fork(self._socket)
            save_state(self)  # a hub that is restarted right now finds it again
            self._step(60, "Waiting for JupyterLab to answer")
            await self._wait_until_it_answers(address, self.port)
        self._watch_end()
        return address, self.port

    async def _fork(self, listening: socket.socket) -> None:
        """Have the server forked.

        Raises:
            Refused: it cannot be had either way.
        """
        lab, request = Services.instance(), self._request()
        forked = None
        if self._is_ours():
            forked = await lab.warm.fork(request, listening) if lab.warm else None
        else:
            self.log.info("This lab starts servers by a command of its own, so plainly")
        way = "warm" if forked else "plain"
        if forked is None:
            if lab.warm and self._is_ours():
                self.log.warning("No warm parent for the server of %s: starting it plainly", self._whose)
            lab.plain.keep()
            with contextlib.suppress(TimeoutError):
                await lab.plain.until_ready(PLAIN_SECONDS)
            forked = await lab.plain.fork(request, listening)
        if forked is None:
            self.log.error("No server for %s: the process that starts servers gave none", self._whose)
            raise Refused(503, "Your server could not be started. Try again in a minute.", retry_after=30)
        STARTS.labels(way=way).inc()
        self._forked, self._process, self.pid = forked, forked.process, forked.pid
        self._uid = request.uid

    @property
    def _whose(self) -> str:
        """Whose server it is, for the log."""
        return f"{self.user.name}:{self.name}" if self.name else str(self.user.name)

    def _is_ours(self) -> bool:
        return not self.shell_cmd and list(self.cmd) == self._cmd_default()

    def _request(self) -> Request:
        chosen = self.require_choice()
        if self.popen_kwargs:
            self.log.warning("c.LocalProcessSpawner.popen_kwargs has no effect: the hub does not start servers itself")
        argv = [*self.cmd, *self.get_args()]
        if self.shell_cmd:
            argv = [*self.shell_cmd, shlex.join(argv)]
        return Request(
            argv=argv,
            # The descriptors that the server is given (`passed`).
            env=self.get_env()
            | {"LAB_LISTENING_FD": str(server_parent.LISTENING), "LAB_ROOT_FD": str(server_parent.ROOT)},
            uid=chosen.account.uid,
            gid=chosen.account.gid,
            groups=list(chosen.account.groups),
            umask=umask_of(chosen),
            cwd=chosen.home,
            root=Root(chosen.real, chosen.device, chosen.inode),
            log=str(Path(chosen.home, LOG.format(suffix=f"-{self.name}" if self.name else ""))),
        )

    def _watch_end(self) -> None:
        """Have JupyterHub look at the server the moment it ends; it would look every half minute."""
        if self._forked is not None and self._forked.watched:
            self._forked.ended = self._watch_end  # its parent knows how it ended
        elif self._process is not None and not self._process.ended:
            asyncio.get_running_loop().add_reader(self._process.fileno(), self._look_now)
        else:
            self._look_now()

    def _look_now(self) -> None:
        self._watch_no_more()
        if self.ready:  # not while it starts or is being stopped
            self._looking = asyncio.ensure_future(self.poll_and_notify())

    def _watch_no_more(self) -> None:
        if self._process is not None and self._process.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._process.fileno())

    async def _wait_until_it_answers(self, ip: str, port: int) -> None:
        # The socket listens already, so the request waits in it until the server takes it.
        answer = asyncio.ensure_future(_answer(ip, port, f"{self.server.base_url}api"))
        try:
            async with asyncio.timeout(self.http_timeout):
                while not answer.done():
                    await asyncio.wait([answer], timeout=0.05)
                    if not answer.done() and await self.poll() is not None:
                        # The end is told by the parent, a moment after the kernel.
                        raise self._ended_before_it_answered()
                await answer
        except (TimeoutError, OSError) as error:
            if await self.poll() is not None:
                raise self._ended_before_it_answered() from None
            self.log.error(
                "The server of %s does not answer (%s)", self._whose, error or f"after {self.http_timeout:g} s"
            )
            raise StartFailed("JupyterLab did not answer in time. Try again in a minute.") from None
        finally:
            answer.cancel()

    def _ended_before_it_answered(self) -> Refused | StartFailed:
        status = self._last_status
        self.log.error("The server of %s ended with %s before it answered", self._whose, status)
        if status == server_parent.DIRECTORY_CHANGED:
            return Refused(
                400,
                f"{self._title} was replaced by another directory while it was opened. Try again, or choose another.",
            )
        return StartFailed("JupyterLab ended as soon as it began. Tell the people who run this lab.")

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """The account's part of the environment."""
        chosen = self.require_choice()
        env["USER"] = env["LOGNAME"] = self.user.name
        env["HOME"] = chosen.home
        env["SHELL"] = chosen.account.shell or "/bin/sh"
        if self._has_hubs_jupyterlab():
            # At the hub's address also where each person has one of their own: a browser fetches them once for all.
            env[jupyterlab_files.VARIABLE] = (
                self.user.settings.get("subdomain_host", "") + self.hub.base_url + jupyterlab_files.ADDRESS
            )
        return env

    def _has_hubs_jupyterlab(self) -> bool:
        """Whether the server's JupyterLab is the one beside the hub."""
        return jupyterlab_files.FILES.there and list(self.cmd) == self._cmd_default()

    async def poll(self) -> int | None:
        """None while the server runs, else its exit code, 0 when it is not known."""
        if self._process is not None and not self._process.ended:
            return None
        self._last_status = (self._forked.status if self._forked else None) or 0
        self.clear_state()
        return self._last_status

    _last_status = 0

    async def _signal(self, sig: int) -> bool:
        """Send a signal to the server, and to no process that has its PID later; whether it was there."""
        if self._process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(sig)
            return True
        return False

    async def run_post_stop_hook(self) -> None:
        """JupyterHub calls it when the server has ended and the proxy has no route to it any more."""
        self._let_socket_go()
        await maybe_future(super().run_post_stop_hook())  # what the site's hook returns

    def _let_socket_go(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def wait_for_death(self, timeout: float = 10) -> bool:  # noqa: ASYNC109  JupyterHub names it so
        """Wait until the process has ended: True, or False when the time is over.

        JupyterHub's own waits longer and longer between two looks, which makes a stop or a switch seconds longer.
        """
        until = asyncio.get_running_loop().time() + timeout
        while await self.poll() is None:
            if asyncio.get_running_loop().time() >= until:
                return False
            await asyncio.sleep(0.05)
        return True

    def get_state(self) -> dict[str, Any]:
        """The mixin's state, and what tells the process from another one that has its PID later."""
        state = super().get_state()
        if self._process is not None:
            state["started_at"] = self._process.started_at
            state["uid"] = self._uid
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` saved, where the process is still that one."""
        super().load_state(state)
        if not self.pid:
            return
        try:
            self._uid = int(state["uid"])
            self._process = Process(self.pid, uid=self._uid, started_at=int(state["started_at"]))
        except (OSError, KeyError, ValueError):
            self.log.info("The server of %s has ended while the hub was away", self._whose)
            self.pid = 0
            return
        self._watch_end()

    _uid = -1

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self._watch_no_more()
        if self._forked is not None:
            self._forked.let_go()
            self._forked = None
        if self._process is not None:
            self._process.close()
            self._process = None


def umask_of(chosen: Chosen) -> int:
    """The umask of a server in the chosen directory."""
    return SHARED_UMASK if chosen.shared else OWN_UMASK


async def _answer(ip: str, port: int, path: str) -> None:
    """Wait until a server answers a request, whatever it says.

    Raises:
        OSError: it closed the connection.
    """
    reader, writer = await asyncio.open_connection(ip, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {ip}\r\nConnection: close\r\n\r\n".encode())
        if not await reader.readline():
            raise ConnectionError("it closed the connection")
    finally:
        writer.close()

"""Servers as processes of the user on the hub's own machine or pod.

Over JupyterHub's LocalProcessSpawner:
- the hub binds the server's socket and passes it on, so between the choice of a port and the listening nobody else
  can be that server; the hub holds the socket until the route to it is gone;
- a process of its own forks the server (`forking/servers.py`), quickly from the warm parent where that is the same as
  starting it plainly; the event loop waits for no child;
- the server has the directory open that was checked, and is rooted in that, not in what its name means by then;
- its output goes to a file of its user's, so nobody writes into the hub's log;
- it is held by a pidfd, and after a restart of the hub found again by its PID, its start time and its user: a reused
  PID is neither taken for alive nor signalled;
- the account comes from the check before the start, which asked the name service in a child with a deadline, so a
  name service that hangs does not hold up the event loop here;
- a process that ends is noticed at once, also one that an earlier hub has started, and who waits for it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from jupyterhub.utils import maybe_future
from traitlets import Int, List, TraitError, default, validate

from learning_lab.access.decision import Decision
from learning_lab.errors import Refused, StartFailed
from learning_lab.forking import server_parent
from learning_lab.forking.parents import Forked, NoAnswer, Request, Root, ServerEnded, listen
from learning_lab.forking.process import Process
from learning_lab.jupyterhub_internals import save_state
from learning_lab.services import Services
from learning_lab.serving import jupyterlab_files

from .mixin import LabSpawnerMixin

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
    _watching: asyncio.Task[None] | None = None  # waits for the end of the server
    _looking: asyncio.Task[None] | None = None  # has seen it; the event loop itself holds tasks only weakly
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
        decision = self.decided()
        address = self.ip or "127.0.0.1"
        self._let_socket_go()
        self._socket = listen(address, self.ports)
        self.port = self._socket.getsockname()[1]
        request = self._request(decision)
        servers = Services.instance().servers
        async with servers.started(self._whose, request, self._socket, ours=self._is_ours()) as forked:
            self._forked, self._process, self.pid, self._uid = forked, forked.process, forked.pid, request.uid
            save_state(self, self.get_state())  # a hub that is restarted right now finds it again
            self._step(60, "Waiting for JupyterLab to answer")
            try:
                await forked.answers(address, self.port, f"{self.server.base_url}api", self.http_timeout)
            except ServerEnded as error:
                raise self._ended_before_it_answered(error.status) from None
            except NoAnswer as error:
                self.log.error("The server of %s does not answer (%s)", self._whose, error)
                raise StartFailed("JupyterLab did not answer in time. Try again in a minute.") from None
        self._watch_end(forked.wait)
        return address, self.port

    def _is_ours(self) -> bool:
        """Whether the server is the JupyterLab beside the hub."""
        return not self.shell_cmd and list(self.cmd) == self._cmd_default()

    def _request(self, decision: Decision) -> Request:
        if self.popen_kwargs:
            self.log.warning("c.LocalProcessSpawner.popen_kwargs has no effect: the hub does not start servers itself")
        argv = [*self.cmd, *self.get_args()]
        if self.shell_cmd:
            argv = [*self.shell_cmd, shlex.join(argv)]
        env = self.get_env()
        # The descriptors that the server is given (`passed`).
        env |= {"LAB_LISTENING_FD": str(server_parent.LISTENING), "LAB_ROOT_FD": str(server_parent.ROOT)}
        if list(self.cmd) == self._cmd_default() and jupyterlab_files.FILES.there:
            # At the hub's address also where each person has one of their own: a browser fetches them once for all.
            host = self.user.settings.get("subdomain_host", "")
            env[jupyterlab_files.VARIABLE] = host + self.hub.base_url + jupyterlab_files.ADDRESS
        return Request(
            argv=argv,
            env=env,
            uid=decision.account.uid,
            gid=decision.account.gid,
            groups=list(decision.account.groups),
            umask=decision.umask,
            cwd=decision.home,
            root=Root(decision.real, decision.device, decision.inode),
            log=str(Path(decision.home, LOG.format(suffix=f"-{self.name}" if self.name else ""))),
        )

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Nothing more: what is decided says it. JupyterHub would ask the name service, on the event loop."""
        return env

    def _ended_before_it_answered(self, status: int) -> Refused | StartFailed:
        self.log.error("The server of %s ended with %s before it answered", self._whose, status)
        if status == server_parent.DIRECTORY_CHANGED:
            return Refused(
                400,
                f"{self._title} was replaced by another directory while it was opened. Try again, or choose another.",
            )
        return StartFailed("JupyterLab ended as soon as it began. Tell the people who run this lab.")

    def _watch_end(self, end: Callable[[], Awaitable[object]]) -> None:
        """Have JupyterHub look at the server the moment it ends; it would look every half minute."""

        async def watch() -> None:
            await end()
            if self.ready:  # not while it starts or is being stopped
                # What follows clears the state, and must not end this task by that.
                self._watching, self._looking = None, self._watching
                await self.poll_and_notify()

        self._watching = asyncio.create_task(watch())

    @property
    def _whose(self) -> str:
        """Whose server it is, for the log."""
        return f"{self.user.name}:{self.name}" if self.name else str(self.user.name)

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

        JupyterHub's own looks again and again, less and less often: a stop or a switch would take seconds longer.
        """
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), timeout)
        return await self.poll() is not None

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
        self._watch_end(self._process.wait)

    _uid = -1

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._forked is not None:
            self._forked.let_go()
            self._forked = None
        if self._process is not None:
            self._process.close()
            self._process = None

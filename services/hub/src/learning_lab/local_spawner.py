"""Servers as processes of the user on the hub's own machine or pod.

Over JupyterHub's LocalProcessSpawner:
- the account comes from the check before the start, which asked the name service in a child with a deadline, so a
  name service that hangs does not hold up the event loop here;
- a process that ends is noticed at once, also one that an earlier hub has started;
- umask 0002 where a directory is shared, so that what one person makes the others can change (jupyterhub#2659);
- the process's start time is stored beside its PID: after a restart of the hub a reused PID is neither taken for
  alive nor signalled;
- it is forked from the warm parent where that is the same as starting it plainly, and else started plainly;
- who waits is told at once when the server ends before it answers, instead of after `http_timeout`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from jupyterhub.utils import random_port
from traitlets import default

from . import lab_static
from .choice import Chosen
from .lab import Lab
from .refusal import Refused
from .spawner import LabSpawnerMixin
from .warm_start import STARTS, Forked, Request, WarmParent

SHARED_UMASK = 0o002
OWN_UMASK = 0o022


class LabLocalSpawner(LabSpawnerMixin, LocalProcessSpawner):  # type: ignore[misc]
    """Starts JupyterLab as a process of the user."""

    pid: int
    port: int
    _started_at = 0  # clock ticks since the machine started, from /proc; 0 when unknown
    _forked: Forked | None = None

    @default("cmd")
    def _cmd_default(self) -> list[str]:
        # The one beside this Python: PATH may name another installation.
        return [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]

    @default("default_url")
    def _default_url_default(self) -> str:
        return "/lab"

    async def start(self) -> tuple[str, int]:
        """Start the server and wait until it listens.

        Returns:
            Address and port.

        Raises:
            Refused: the start did not come through the check, or the server ended or did not listen in time.
        """
        self.require_choice()
        warm = Lab.instance().warm
        async with warm.turn() if warm else contextlib.nullcontext():
            way = "warm" if warm and await self._fork(warm) else "plain"
            STARTS.labels(way=way).inc()
            address: tuple[str, int] = (self.ip or "127.0.0.1", self.port) if way == "warm" else await super().start()
            self._started_at = process_start(self.pid)
            # A hub that is restarted right now shall find it again; JupyterHub saves this only when it listens.
            self.orm_spawner.state = self.get_state()
            self.db.commit()
            self._step(60, "Waiting for JupyterLab to answer")
            await self._wait_until_it_listens(*address)
        self._watch_end()
        return address

    async def _fork(self, warm: WarmParent) -> bool:
        """Have the server forked; whether it was."""
        if self.shell_cmd or self.popen_kwargs or list(self.cmd) != self._cmd_default():
            self.log.info("This lab starts servers by a command of its own, so plainly")
            return False
        chosen = self.require_choice()
        if self.port == 0:
            self.port = random_port()
        account = chosen.account
        self._forked = await warm.fork(
            Request(
                argv=[*self.cmd, *self.get_args()],
                env=self.get_env(),
                uid=account.uid,
                gid=account.gid,
                groups=list(account.groups),
                umask=umask_of(chosen),
                cwd=chosen.home,
            )
        )
        if self._forked is None:
            self.log.warning("No warm parent for the server of %s: starting it plainly", self._log_name)
            return False
        self.proc = None
        self.pid = self._forked.pid
        return True

    def _watch_end(self) -> None:
        """Have JupyterHub look at the server the moment it ends; it would look every half minute."""
        if self._forked is not None and self._forked.watched:
            self._forked.ended = self._watch_end  # its parent knows how it ended
            return
        if self._forked is not None and self._forked.status is not None:
            self._look_now()
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # it has ended, or the kernel is older than 5.3
            process = os.pidfd_open(self.pid)
            loop.add_reader(process, self._look_now, process)

    def _look_now(self, process: int | None = None) -> None:
        if process is not None:
            asyncio.get_running_loop().remove_reader(process)
            os.close(process)
        if self._poll_callback is not None:  # not while it starts or is being stopped
            self._looking = asyncio.ensure_future(self.poll_and_notify())

    async def _wait_until_it_listens(self, ip: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.http_timeout
        while True:
            with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
                probe.setblocking(False)
                with contextlib.suppress(OSError):
                    await loop.sock_connect(probe, (ip, port))
                    return
            status = await self.poll()
            if status is not None:
                self.log.error("The server of %s ended with %s before it listened", self._log_name, status)
                raise Refused(500, "JupyterLab ended as soon as it began. Tell the people who run this lab.")
            if loop.time() >= until:
                self.log.error("The server of %s does not listen after %g s", self._log_name, self.http_timeout)
                raise Refused(500, "JupyterLab did not answer in time. Try again in a minute.")
            await asyncio.sleep(0.01)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """The account's part of the environment."""
        chosen = self.require_choice()
        env["USER"] = env["LOGNAME"] = self.user.name
        env["HOME"] = chosen.home
        env["SHELL"] = chosen.account.shell or "/bin/sh"
        if self._has_hubs_jupyterlab():
            env[lab_static.VARIABLE] = self.hub.base_url + lab_static.ADDRESS
        return env

    def _has_hubs_jupyterlab(self) -> bool:
        """Whether the server's JupyterLab is the one beside the hub, and its pages have the hub's origin."""
        return (
            lab_static.FILES.there
            and list(self.cmd) == self._cmd_default()
            and not self.user.settings.get("subdomain_host")
        )

    def make_preexec_fn(self, name: str) -> Callable[[], None]:  # noqa: ARG002
        """What the child does between fork and exec: become the user for good."""
        return become(self.require_choice())

    async def poll(self) -> int | None:
        """None while the server runs, else its exit code; a stranger with our server's old PID is not our server."""
        if self.proc is None and self.pid and self._started_at and process_start(self.pid) != self._started_at:
            status = self._forked.status if self._forked else None
            self.clear_state()
            return status or 0
        found: int | None = await super().poll()
        return found

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
        """The mixin's state and the start time of the process."""
        state = super().get_state()
        if self.pid:
            state["started_at"] = self._started_at
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` saved."""
        super().load_state(state)
        self._started_at = state.get("started_at", 0)
        if self.pid:
            self._watch_end()

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self._started_at = 0
        if self._forked is not None:
            self._forked.let_go()
            self._forked = None


def umask_of(chosen: Chosen) -> int:
    """The umask of a server in the chosen directory."""
    return SHARED_UMASK if chosen.shared else OWN_UMASK


def become(chosen: Chosen) -> Callable[[], None]:
    """Make the function that turns a forked child into the user, for `Popen(preexec_fn=...)`."""
    account, home = chosen.account, chosen.home
    umask = umask_of(chosen)

    def preexec() -> None:
        if os.geteuid() == 0:
            os.setgroups(account.groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        elif os.geteuid() != account.uid:
            raise PermissionError("only root can start a server for another user")
        os.umask(umask)
        with contextlib.suppress(OSError):  # a missing home is no reason to refuse: the server's root is elsewhere
            os.chdir(home)

    return preexec


def process_start(pid: int) -> int:
    """When a process started.

    Args:
        pid: its PID.

    Returns:
        Clock ticks since the machine started (field 22 of /proc/PID/stat, proc_pid_stat(5)); 0 when it has ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in field 2 may hold spaces and parentheses; the fields after its last ")" do not.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])

"""Servers as processes of the user on the hub's own machine or pod.

Over JupyterHub's LocalProcessSpawner:
- the account comes from the check before the start, which asked the name service in a child with a deadline, so a
  name service that hangs does not hold up the event loop here;
- a process that ends is noticed at once;
- umask 0002 where a directory is shared, so that what one person makes the others can change (jupyterhub#2659);
- the process's start time is stored beside its PID: after a restart of the hub a reused PID is neither taken for
  alive nor signalled.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from traitlets import default

from .choice import Chosen
from .spawner import LabSpawnerMixin

SHARED_UMASK = 0o002
OWN_UMASK = 0o022


class LabLocalSpawner(LabSpawnerMixin, LocalProcessSpawner):  # type: ignore[misc]
    """Starts JupyterLab as a process of the user."""

    _started_at = 0  # clock ticks since the machine started, from /proc; 0 when unknown

    @default("cmd")
    def _cmd_default(self) -> list[str]:
        # The one beside this Python: PATH may name another installation.
        return [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]

    @default("default_url")
    def _default_url_default(self) -> str:
        return "/lab"

    async def start(self) -> tuple[str, int]:
        """Start the server.

        Returns:
            Address and port.

        Raises:
            Refused: the start did not come through the check.
        """
        self.require_choice()
        address: tuple[str, int] = await super().start()
        self._started_at = process_start(self.pid)
        self._step(60, "Waiting for JupyterLab to answer")
        return address

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """The account's part of the environment."""
        chosen = self.require_choice()
        env["USER"] = env["LOGNAME"] = self.user.name
        env["HOME"] = chosen.home
        env["SHELL"] = chosen.account.shell or "/bin/sh"
        return env

    def make_preexec_fn(self, name: str) -> Callable[[], None]:  # noqa: ARG002
        """What the child does between fork and exec: become the user for good."""
        return become(self.require_choice())

    async def poll(self) -> int | None:
        """None while the server runs, else its exit code; a stranger with our server's old PID is not our server."""
        if self.proc is None and self.pid and self._started_at and process_start(self.pid) != self._started_at:
            self.clear_state()
            return 0
        status: int | None = await super().poll()
        return status

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


def become(chosen: Chosen) -> Callable[[], None]:
    """Make the function that turns a forked child into the user, for `Popen(preexec_fn=...)`."""
    account, home = chosen.account, chosen.home
    umask = SHARED_UMASK if chosen.shared else OWN_UMASK

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
        Clock ticks since the machine started (field 22 of /proc/PID/stat, proc_pid_stat(5)); 0 when it is gone.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in field 2 may hold spaces and parentheses; the fields after its last ")" do not.
    return int(stat.rpartition(")")[2].split()[19])

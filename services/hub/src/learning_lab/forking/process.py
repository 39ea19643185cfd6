"""A process that the hub started, held so that its PID cannot come to mean another one.

Rules kept here:
- it is held by a pidfd (pidfd_open(2), Linux 5.3): a signal goes to that process or to none;
- what is read from elsewhere, a parent's word or the database after a restart, is believed only when the kernel says
  the same: a PID above 1, the real user id that it must have, and when it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from pathlib import Path


class Process:
    """A running process.

    Args:
        pid: its PID.
        parent: the PID that its parent must have; 0 for any.
        uid: the real user id that it must have; None for any.
        started_at: when it must have started, in clock ticks since the machine started; 0 for any time.

    Attributes:
        pid: its PID.
        started_at: when it started.

    Raises:
        ProcessLookupError: there is no such process, or it is another one than it must be.
    """

    def __init__(self, pid: int, *, parent: int = 0, uid: int | None = None, started_at: int = 0) -> None:
        if pid <= 1:
            raise ProcessLookupError(f"{pid} is no server's PID")
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)
        try:
            # Read while the pidfd is held; that it has not ended afterwards says whose the lines are.
            fields = _stat(pid)
            self.started_at = int(fields[19])
            if parent and int(fields[1]) != parent:
                raise ProcessLookupError(f"{pid} is no child of {parent}")
            if started_at and self.started_at != started_at:
                raise ProcessLookupError(f"{pid} is another process by now")
            if uid is not None and _real_uid(pid) != uid:
                raise ProcessLookupError(f"{pid} is not a process of the user {uid}")
            if self.ended:
                raise ProcessLookupError(f"{pid} has ended")
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> bool:
        """Whether it has ended, reaped or not."""
        return bool(select.select([self._descriptor], [], [], 0)[0]) if self._descriptor >= 0 else True

    def fileno(self) -> int:
        """The pidfd: readable when the process has ended."""
        return self._descriptor

    async def wait(self) -> None:
        """Wait until it has ended."""
        if self.ended:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        # A descriptor of its own: this process may be let go meanwhile, and the number be another file's.
        descriptor = os.dup(self._descriptor)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def send_signal(self, number: int) -> None:
        """Send a signal.

        Raises:
            ProcessLookupError: it has ended.
            PermissionError: this process may not.
        """
        if self._descriptor < 0:
            raise ProcessLookupError(f"{self.pid} has ended")
        signal.pidfd_send_signal(self._descriptor, number)

    def close(self) -> None:
        """Hold it no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def process_start(pid: int) -> int:
    """When a process started.

    Args:
        pid: its PID.

    Returns:
        Clock ticks since the machine started (field 22 of /proc/PID/stat, proc_pid_stat(5)); 0 when it has ended.
    """
    with contextlib.suppress(ProcessLookupError):
        fields = _stat(pid)
        return 0 if fields[0] == "Z" else int(fields[19])
    return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        raise ProcessLookupError(f"{pid} has ended") from None
    # The name in field 2 may hold spaces and parentheses; the fields after its last ")" do not.
    return stat.rpartition(")")[2].split()


def _real_uid(pid: int) -> int:
    """The real user id. The owner of /proc/PID is root while a process hides what it is (PR_SET_DUMPABLE)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        raise ProcessLookupError(f"{pid} has ended") from None
    return int(next(line for line in lines if line.startswith("Uid:")).split()[1])

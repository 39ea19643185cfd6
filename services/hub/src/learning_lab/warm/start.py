"""The hub's side of the warm parent: keeps one running, and asks it for servers.

Rules kept here:
- it never stands in the way: when the parent is not ready yet, has ended or is slow to answer, there is no server from
  it, and `forking/servers.py` starts one the plain way;
- a server is forked only when it is the same as one started plainly: a variable that the parent's modules have read, or
  that the interpreter itself reads, must have the same value for both;
- a hub that starts makes a new parent.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import Gauge

from learning_lab.forking.parents import ParentOfServers, Request

WARM = Gauge("learning_lab_warm_parent_ready", "Whether the warm parent can fork servers")

# What the parent gets of the hub's environment: how to find programs and modules and to write text, and no secret.
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
CHANGED = b"changed"  # what a parent says when packages have changed
# The interpreter and libraries in C read these before anything of ours runs, or where it cannot be seen.
READ_UNSEEN = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LANG", "LC_"),
    *("SSL_CERT_", "OPENSSL_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_"),
)


class WarmParent(ParentOfServers):
    """Keeps a warm parent running while the hub runs.

    Args:
        file: the list of modules that it imports; the parent makes it when it is missing or no longer fits.
        leave_out: modules that servers import themselves.
        environ: variables that the parent gets besides those of `ENVIRONMENT`.
        log: says when a parent starts or ends.
    """

    def __init__(self, file: Path, leave_out: Sequence[str], environ: Mapping[str, str], log: logging.Logger) -> None:
        super().__init__("warm parent", log)
        self._file = file.absolute()
        self._leave_out = list(leave_out)
        self._more = dict(environ)
        self._own: list[str] = []  # variables that turned out to be each server's own
        self._environ: dict[str, str] = {}
        self._reads: dict[str, str | None] = {}

    def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Begin to keep one running. Call it with the event loop running; a second call does nothing.

        Args:
            environ: what the site gives to every server; the parent gets those that begin with one of `READ_UNSEEN`.
        """
        if self._task is None:
            self._more |= {name: value for name, value in (environ or {}).items() if name.startswith(READ_UNSEEN)}
            self.keep()

    def _may_fork(self, request: Request) -> bool:
        """Whether a server with this environment may have the parent's modules, and is then as one started plainly."""
        env = request.env
        unseen = {name for name in {*env, *self._environ} if name.startswith(READ_UNSEEN)}
        unlike = sorted(name for name in unseen if env.get(name) != self._environ.get(name))
        if unlike:
            self._log.warning("Servers have another %s than the warm parent, so they start plainly", unlike[0])
            return False
        unlike = sorted(name for name, value in self._reads.items() if env.get(name) != value)
        if unlike:
            self._log.info(
                "Servers have their own %s: a new warm parent leaves to them what reads it", ", ".join(unlike)
            )
            self._own.extend(unlike)
            self._drop()
            return False
        return True

    def _set(self, control: socket.socket, pid: int) -> None:
        super()._set(control, pid)
        WARM.set(1)

    def _unset(self) -> None:
        super()._unset()
        WARM.set(0)

    def _command(self, descriptor: int) -> Sequence[str]:
        command = [sys.executable, "-m", "learning_lab.warm.parent", str(descriptor), str(self._file)]
        return command + [f"--leave-out={name}" for name in self._leave_out] + [f"--own={name}" for name in self._own]

    def _environment(self) -> Mapping[str, str]:
        self._environ = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | self._more
        return self._environ

    def _is_told(self, told: bytes) -> bool:
        if told in {b"", CHANGED}:
            return False
        self._reads = json.loads(told)["reads"]
        self._log.info("The warm parent is ready, with the modules that are listed in %s", self._file)
        return True

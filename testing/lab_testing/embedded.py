"""Start the embedded lab as a child process: for tests, browser tests and benchmarks.

It must run inside the sandbox (`sandbox.py -- ...`), where the emulated accounts and `/s` are. The hub is the real
one with the real `jupyterhub_config.py`; a caller changes things through the environment.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).resolve().parents[2]
HUB = PROJECT / "services" / "hub"
NAMESPACES = PROJECT / "k8s" / "base" / "namespaces.yaml"

READY_SECONDS = 60


class LabDidNotStart(RuntimeError):
    """The hub ended, or did not answer in time. The message contains the end of its log."""


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nothing is listening on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class EmbeddedLab:
    """A separate hub, on free ports, with its own namespaces file.

    Args:
        directory: where its database, log and namespaces file go. Only root may enter it.
        config: the configuration file; the project's own unless a benchmark needs a peer to compare with.
        environ: variables to set, or (None) to unset.
        host: the host of its public address, such as `lab.localhost`. Empty: only 127.0.0.1.

    Use it in a `with`; then `url` is its address and `namespaces` is the file that it reads.
    """

    def __init__(
        self,
        directory: Path,
        config: Path = HUB / "jupyterhub_config.py",
        environ: Mapping[str, str | None] | None = None,
        host: str = "",
    ) -> None:
        self.directory = directory
        self.log = directory / "hub.log"
        self.namespaces = directory / "namespaces.yaml"
        self.port, hub_port, api_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = f"http://{host}:{self.port}" if host else self.url
        self.hub_url = f"http://127.0.0.1:{hub_port}"
        self._config = config
        changed: dict[str, str | None] = {
            "PORT": str(self.port),
            "HUB_PORT": str(hub_port),
            "PROXY_API_PORT": str(api_port),
            "LAB_PROXY": str(PROJECT / "services/proxy/proxy.js"),
            "LEARNING_LAB_ADDRESS": self.address if host else None,
            "LEARNING_LAB_READER": "file",
            "LEARNING_LAB_NAMESPACES_FILE": str(self.namespaces),
            "LEARNING_LAB_AUDIT_LOG": str(directory / "audit.jsonl"),
            # All labs of this checkout have the same packages, so only the first one holds a trial.
            "LEARNING_LAB_WARM_MODULES": str(PROJECT / ".tools" / "warm-modules.txt"),
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(PROJECT / "node_modules/.bin"), os.environ["PATH"]]
            ),
            **(environ or {}),
        }
        merged = {**os.environ, **changed}
        self._environ = {name: value for name, value in merged.items() if value is not None}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The hub's PID."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> EmbeddedLab:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        if not self.namespaces.exists():
            shutil.copy(NAMESPACES, self.namespaces)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the hub and wait until it answers.

        Raises:
            LabDidNotStart: it ended, or did not answer in time.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "-f", str(self._config)],
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and self._process.poll() is None:
            try:
                # Through the proxy: only when that works can people reach the lab.
                with urllib.request.urlopen(f"{self.url}/hub/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise LabDidNotStart(f"The hub did not start. The end of its log:\n{self.tail()}")

    def stop(self) -> None:
        """Stop the hub, its proxy and its servers."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def tail(self, lines: int = 60) -> str:
        """The end of the hub's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

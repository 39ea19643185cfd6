"""The proxy as a child process of the hub, which owns its ports.

JupyterHub's class lets the proxy bind its own ports. When the proxy ends, they are free, and the first user whose
process binds one receives everybody's passwords. Here the hub binds the ports, keeps them for as long as it runs, and
passes them to the proxy as open sockets.

Rules kept here:
- whatever happens to the proxy, nobody else can bind a public port: requests wait in the socket for the next proxy;
- users cannot reach the proxy's API at all: it is a Unix socket in a directory that only root may enter;
- a proxy that ends is noticed and replaced at once, and when the hub ends, in whatever way, the proxy ends too. So
  there is no PID file, whose number may belong to another process by the time it is read.

Where something else starts the proxy (`should_start = False`), this is JupyterHub's class unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_path_join

READY_SECONDS = 30.0
STOP_SECONDS = 5.0
LONGEST_PAUSE = 5.0  # seconds between two attempts to start a proxy that keeps failing
BACKLOG = 1024

# Whoever serves one of the two must serve the other as well: browsers take `localhost` to mean both.
_COMPANIONS = {"127.0.0.1": "::1", "0.0.0.0": "::"}  # noqa: S104  compared, not bound


class ProxyEnded(RuntimeError):
    """The proxy ended before it answered."""


class LabProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """`services/proxy/proxy.js`, on sockets that the hub owns."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._public: list[socket.socket] = []
        self._api: socket.socket | None = None
        self._directory: Path | None = None
        self._watch: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Bind the ports, start the proxy, and return when it answers.

        Raises:
            OSError: a port is not free.
            ProxyEnded: the proxy ended.
            TimeoutError: the proxy did not answer in time.
        """
        if not self._public:
            self._bind()
        await self._start_process()
        self._watch = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """Stop the proxy and release the ports."""
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        for each in (*self._public, self._api):
            if each is not None:
                each.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _bind(self) -> None:
        url = urlsplit(self.public_url)
        host, port = url.hostname or "", url.port or {"https": 443}.get(url.scheme, 80)
        self._public.append(_listening(host, port))
        companion = _COMPANIONS.get(host)
        if companion:
            # A machine without IPv6 has no such address for anybody else to take.
            with contextlib.suppress(OSError):
                self._public.append(_listening(companion, port))
        self._directory = Path(tempfile.mkdtemp(prefix="learning-lab-proxy-"))  # mkdtemp: nobody else may enter
        path = str(self._directory / "api")
        self._api = socket.socket(socket.AF_UNIX)
        self._api.bind(path)
        self._api.listen(BACKLOG)
        self.api_url = "http+unix://" + quote(path, safe="")

    def _command(self) -> list[str]:
        assert self._api is not None
        command = [
            *self.command,
            *(f"--fd={each.fileno()}" for each in self._public),
            f"--api-fd={self._api.fileno()}",
            f"--default-target={self.app.hub.host}",
            f"--error-target={url_path_join(self.hub.url, 'error')}",
            f"--log-level={self.log_level}",
            "--end-with-stdin",
        ]
        if self.app.subdomain_host:
            command.append("--host-routing")
        if self.ssl_key:
            command += [f"--ssl-key={self.ssl_key}", f"--ssl-cert={self.ssl_cert}"]
        return command

    async def _start_process(self) -> None:
        assert self._api is not None
        process = await asyncio.create_subprocess_exec(
            *self._command(),
            env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": self.auth_token},
            stdin=asyncio.subprocess.PIPE,  # nothing is written to it; it closes when the hub ends
            start_new_session=True,  # Ctrl-C must reach only the hub
            pass_fds=[each.fileno() for each in (*self._public, self._api)],
        )
        self._process = process
        # A request sent too early waits in the socket. If the proxy has ended it would wait forever, so watch for both.
        answers, ended = asyncio.create_task(self.api_request("")), asyncio.create_task(process.wait())
        try:
            done, _ = await asyncio.wait({answers, ended}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if answers not in done:
                if ended in done:
                    raise ProxyEnded(f"The proxy ended with code {process.returncode} before it answered")
                raise TimeoutError(f"The proxy did not answer within {READY_SECONDS:g} seconds")
            answers.result()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise
        finally:
            answers.cancel()
            ended.cancel()

    async def _keep_running(self) -> None:
        """Replace a proxy that ends, until the hub ends."""
        pause = 0.0
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self.log.error("The proxy ended with code %s; starting another one", code)
            await asyncio.sleep(pause)
            try:
                await self._start_process()
                await self.restore_routes()
                pause = 0.0
            except Exception:
                self.log.exception("The proxy could not be started; trying again")
                pause = min(2 * pause + 0.1, LONGEST_PAUSE)


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket, for this address family only.

    Raises:
        OSError: the port is not free, or this machine does not have the address.
    """
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Allows a port whose last connections are still closing; a port that somebody listens on is still refused.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"The proxy cannot serve on {host} port {port}: {error.strerror}") from None
    return made

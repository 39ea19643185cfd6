"""Forked and normally started servers for tests: a site that extends them, a hub for them, and their answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyterhub import __version__ as hub_version

from lab_testing.embedded import free_ports
from lab_testing.processes import running
from learning_lab.forking.parents import Forked, ParentOfServers, PlainParent, Request, Root, listen
from learning_lab.services import JUPYTER_CONFIG
from learning_lab.warm.start import ENVIRONMENT, WarmParent

COMMAND = str(Path(sys.executable).with_name("jupyterhub-singleuser"))
START_SECONDS = 60
_STARTED: list[Forked] = []  # by `fork`


class Site:
    """A directory from which servers import, with the witness and whatever a test adds. Everybody can read it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="site-"))
        self.path.chmod(0o755)
        self.config = self.path / "config"
        self.config.mkdir()
        self.list = self.config / "warm-modules.txt"  # not where servers import from: that it is new changes nothing
        self._extensions: list[str] = []
        self.extend("witness", Path(__file__).with_name("inspection_extension.py").read_text())

    def extend_all(self, extensions: Mapping[str, str]) -> None:
        """Add modules by name, each of which also keeps the PID of the process that imported it."""
        for name, text in extensions.items():
            self.extend(name, f"import os\nIMPORTED_BY = os.getpid()\n{text}\n")

    def extend(self, name: str, text: str) -> Path:
        """Add a module that servers load as an extension. If it has no function to load it with, add an empty one."""
        if "_load_jupyter_server_extension" not in text:
            text += "\ndef _load_jupyter_server_extension(app):\n    pass\n"
        file = self.path / f"{name}.py"
        file.write_text(text)
        self._extensions.append(name)
        enabled = {"ServerApp": {"jpserver_extensions": dict.fromkeys(self._extensions, True)}}
        (self.config / "jupyter_server_config.json").write_text(json.dumps(enabled))
        return file

    @property
    def environ(self) -> dict[str, str]:
        """The variables through which a parent and its servers find it."""
        return {
            "PYTHONPATH": str(self.path),
            "JUPYTER_CONFIG_PATH": os.pathsep.join([str(self.config), JUPYTER_CONFIG]),
        }

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path)


class _HubHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": hub_version}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", hub_version)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:  # the server reports its activity
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


class Hub:
    """As much of a hub as a server sees before anybody visits it: it reports its version."""

    def __enter__(self) -> Hub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _HubHandler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def request(self, userid: str, site: Site, **environ: str) -> Request:
        """The hub's request for a server: for this user, on a free port."""
        account = pwd.getpwnam(userid)
        (port,) = free_ports(1)
        env = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | site.environ
        env |= {
            "HOME": account.pw_dir,
            "USER": userid,
            "LOGNAME": userid,
            "SHELL": "/bin/sh",
            "JUPYTERHUB_API_TOKEN": f"token-of-{userid}-{port}",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{self.port}/hub/api",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{userid}",
            "JUPYTERHUB_HOST": "",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"/user/{userid}/oauth_callback",
            "JUPYTERHUB_ROOT_DIR": f"/s/{userid}",
            "JUPYTERHUB_SERVICE_PREFIX": f"/user/{userid}/",
            "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}/user/{userid}/",
            "JUPYTERHUB_USER": userid,
        }
        groups = os.getgrouplist(userid, account.pw_gid)
        root = Path(f"/s/{userid}").stat()
        return Request(
            argv=[COMMAND],
            env=env | environ,
            uid=account.pw_uid,
            gid=account.pw_gid,
            groups=groups,
            umask=0o022,
            cwd=account.pw_dir,
            root=Root(f"/s/{userid}", root.st_dev, root.st_ino),
            log=f"{account.pw_dir}/.local/state/learning-lab/server-{port}.log",
        )


def socket_of(request: Request) -> socket.socket:
    """Bind the socket for a request, as the hub does."""
    port = urllib.parse.urlsplit(request.env["JUPYTERHUB_SERVICE_URL"]).port
    assert port
    return listen("127.0.0.1", [port, port])


def passed(request: Request) -> Request:
    """The same request, for a server that takes over the socket and the directory that it is given."""
    return dataclasses.replace(request, env=request.env | {"LAB_LISTENING_FD": "3", "LAB_ROOT_FD": "4"})


def start_plainly(request: Request) -> subprocess.Popen[bytes]:
    """Start the same server the way JupyterHub's own spawner does; it binds its port itself."""

    def become() -> None:
        os.setgroups(request.groups)
        os.setresgid(request.gid, request.gid, request.gid)
        os.setresuid(request.uid, request.uid, request.uid)
        os.umask(request.umask)
        os.chdir(request.cwd)

    return subprocess.Popen(
        request.argv, env=request.env, preexec_fn=become, start_new_session=True, stdin=subprocess.DEVNULL
    )


def ask(url: str, question: str, about: str = "", within: float = START_SECONDS) -> Any:
    """Ask the witness in the server at this address, as soon as it listens."""
    until = time.monotonic() + within
    query = urllib.parse.urlencode({"ask": question, "about": about})
    while True:
        try:
            with urllib.request.urlopen(f"{url}witness?{query}", timeout=within) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


async def asked(request: Request, question: str, about: str = "") -> Any:
    """Ask the witness in the server of this request."""
    return await asyncio.to_thread(ask, request.env["JUPYTERHUB_SERVICE_URL"], question, about)


@contextlib.asynccontextmanager
async def plain_parent() -> AsyncIterator[PlainParent]:
    """A parent that starts servers the normal way."""
    parent = PlainParent(logging.getLogger("hub"))
    parent.keep()
    try:
        await parent.until_ready(10)
        yield parent
    finally:
        await parent.stop()


@contextlib.asynccontextmanager
async def warm_parent(site: Site, leave_out: Sequence[str] = (), **environ: str) -> AsyncIterator[WarmParent]:
    """A warm parent with the site's extensions. Its servers end with it."""
    parent = WarmParent(site.list, leave_out, {**site.environ, **environ}, logging.getLogger("hub"))
    parent.start()
    try:
        await until_ready(parent)
        yield parent
    finally:
        for each in _STARTED:
            if each.status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGKILL)
        _STARTED.clear()
        pid = parent._pid
        await parent.stop()
        # The parent ends when it has reaped its last server. Wait for that, because the next test counts parents.
        with contextlib.suppress(TimeoutError):
            await until(lambda: not Path(f"/proc/{pid}").exists(), 5)


async def fork_or_not(parent: ParentOfServers, request: Request) -> Forked | None:
    """Ask for a server with the socket named in the request."""
    with socket_of(request) as listening:
        return await parent.fork(passed(request), listening)


async def fork(parent: ParentOfServers, request: Request) -> Forked:
    """Fork a server, which must be possible."""
    forked = await fork_or_not(parent, request)
    assert forked is not None, "it should have been forked; the log says why it was not"
    _STARTED.append(forked)
    return forked


async def until_ready(parent: WarmParent, within: float = START_SECONDS) -> None:
    """Wait until the parent can fork servers."""
    await until(lambda: parent.ready, within)


async def until(true: Callable[[], object], within: float = 10) -> None:
    """Wait for something that happens in another process.

    Raises:
        TimeoutError: it did not happen.
    """
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  nobody there could set an event
            await asyncio.sleep(0.02)


async def end(forked: Forked, number: int = signal.SIGKILL, within: float = 15) -> int | None:
    """Send a server a signal, and wait until its end is reported.

    Returns:
        Its exit status.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(forked.pid, number)
    await until(lambda: forked.status is not None, within)
    return forked.status


def warm_parents() -> set[int]:
    """The PIDs of the running warm parents, without processes that they have just forked."""
    found = {each.pid for each in running("-m learning_lab.warm.parent ")}
    return {pid for pid in found if parent_of(pid) not in found}


def parent_of(pid: int) -> int:
    """The PID of a process's parent."""
    return int(status_of(pid)["PPid"])


def status_of(pid: int) -> dict[str, str]:
    """What /proc/PID/status says."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def memory_of(pid: int) -> bytes:
    """All readable memory of a process."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, permissions = line.split()[:2]
            if "w" in permissions:
                first, last = (int(each, 16) for each in addresses.split("-"))
                with contextlib.suppress(OSError, OverflowError):
                    memory.seek(first)
                    while first < last and (part := memory.read(min(last - first, 2**24))):
                        parts.append(part)
                        first += len(part)
    return b"".join(parts)


def can(userid: str, code: str) -> str:
    """Run a Python program as this user, for things that only they may do. Returns what it prints."""
    account = pwd.getpwnam(userid)
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(userid, account.pw_gid),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.stdout.strip() if ran.returncode == 0 else ran.stderr.strip().rpartition("\n")[2]


def opened(userid: str, pid: int, what: str) -> str:
    """What happens when this user looks at a file of a process in /proc."""
    path = f"/proc/{pid}/{what}"
    look = f"os.listdir('{path}')" if what in {"fd", "map_files", "root", "cwd"} else f"open('{path}').read(1)"
    program = f"try:\n    {look}\nexcept OSError as error:\n    print(error.strerror)\nelse:\n    print('opened')"
    return can(userid, f"import os\n{program}")

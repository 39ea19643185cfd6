"""A trial that tells what a user's server imports, and what it would keep of where it was imported.

Rules kept here:
- the trial is a real server with the site's own configuration and extensions, started up to the point where it would
  listen: no list of modules is kept anywhere;
- it is a child without any rights, in a home of its own that is removed with all that it has started;
- it notes which module reads which variable of the environment while it is imported, or asks for something random.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, NoReturn

from learning_lab.user_ids import NOBODY, become

TRIAL_SECONDS = 60

RANDOM = "os.urandom"  # what is random, among the names of variables
# What a server is given of its own, with the values of the trial; empty ones come with it. Nobody listens on port 9.
OWN = {
    "HOME": "",
    "JUPYTERHUB_ACTIVITY_URL": "http://127.0.0.1:9/hub/api/users/trial/activity",
    "JUPYTERHUB_API_TOKEN": "trial",
    "JUPYTERHUB_API_URL": "",
    "JUPYTERHUB_BASE_URL": "/",
    "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-trial",
    "JUPYTERHUB_HOST": "",
    "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/trial/oauth_callback",
    "JUPYTERHUB_ROOT_DIR": "",
    "JUPYTERHUB_SERVER_NAME": "",
    "JUPYTERHUB_SERVICE_PREFIX": "/user/trial/",
    "JUPYTERHUB_SERVICE_URL": "",
    "JUPYTERHUB_USER": "trial",
    "JUPYTERLAB_WORKSPACES_DIR": "",
    "JUPYTER_TOKEN": "trial",
    "LOGNAME": "trial",
    "SHELL": "/bin/sh",
    "USER": "trial",
}


class TrialFailed(Exception):
    """No server could be started to see what it imports."""


def hold_trial(own: Collection[str]) -> dict[str, Any]:
    """Start a server in a child up to the point where it would listen.

    Args:
        own: more variables that are each server's own; the trial has values of them that no server has.

    Returns:
        `modules`, their names in the order of import, and `readers`, the variables that each read while it was
        imported.

    Raises:
        TrialFailed: the server did not start. The text is the last line that it said.
    """
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as log:
        pid = os.fork()
        if pid == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            os.dup2(told.fileno(), 3)
            os.closerange(4, 1024)  # of which there are a handful: nothing else was opened yet
            _in_child(lambda: _try_at_home(own))
        _, status = os.waitpid(pid, 0)
        for file in (told, log):
            file.seek(0)
        if status:
            said = log.read().decode(errors="replace").split("\n")
            raise TrialFailed(next((line.strip() for line in reversed(said) if line.strip()), "nothing"))
        answer: dict[str, Any] = json.load(told)
        return answer


def _in_child(action: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        action()
        code = 0
    except SystemExit:
        pass
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _try_at_home(own: Collection[str]) -> None:
    """Hold the trial in a home of its own, without rights, and remove all that it leaves."""
    if os.geteuid() == 0:
        become(NOBODY, NOBODY, [])
    home = tempfile.mkdtemp(prefix="learning-lab-trial-")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.alarm(TRIAL_SECONDS)
        _in_child(lambda: _try(home, own))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):  # what an extension has started
        os.killpg(pid, signal.SIGKILL)
    shutil.rmtree(home, ignore_errors=True)
    if status:
        sys.exit(1)


def _try(home: str, more: Collection[str]) -> None:
    os.chdir(home)
    hub = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_answer, args=(hub,), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update({name: value or home for name, value in OWN.items()} | dict.fromkeys(more, home))
    os.environ.update(
        JUPYTERHUB_API_URL=f"http://127.0.0.1:{hub.getsockname()[1]}/hub/api",
        JUPYTERHUB_HOST="",
        JUPYTERHUB_SERVER_NAME="",
        JUPYTERHUB_SERVICE_URL=f"http://127.0.0.1:{port}/user/trial/",
    )
    reads = _watch()
    sys.argv = ["jupyterhub-singleuser"]

    from jupyter_server.serverapp import ServerApp
    from jupyterhub.singleuser import main as start_server

    started: list[ServerApp] = []
    setattr(ServerApp, "start", lambda server: started.append(server))  # noqa: B010  types know no such change
    start_server()
    if not started:
        raise TrialFailed("the server did not come to listening")
    # The first kernel would import it.
    importlib.import_module("jupyter_client.provisioning.local_provisioner")
    result = {
        "modules": [name for name in sys.modules if name != "__main__"],
        "readers": {name: sorted(names) for name, names in reads.items() if name != "__main__"},
    }
    os.write(3, json.dumps(result).encode())


def _answer(hub: socket.socket) -> None:
    """Be the hub for a server that asks for its version before it listens."""
    from jupyterhub import __version__ as version

    body = json.dumps({"version": version}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-JupyterHub-Version: {version}\r\n"
    while True:
        connection, _ = hub.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def _watch() -> dict[str, set[str]]:
    """From now on note which module reads which variable while it is imported; "*" is all of them.

    What is random and kept would be the same in every server, so it counts as a variable too.
    """
    reads: dict[str, set[str]] = {}

    def note(what: str | bytes) -> None:
        reads.setdefault(imported_now(), set()).add(os.fsdecode(what))

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            note(RANDOM)
            return function(*args, **kwargs)

        return noted

    plain: Any = type(os.environ)

    class Watched(plain):  # type: ignore[misc]
        def __getitem__(self, key: Any) -> Any:
            note(key)
            return super().__getitem__(key)

        def __iter__(self) -> Any:
            note("*")
            return super().__iter__()

    for each in (os.environ, os.environb):
        each.__class__ = Watched  # the object stays: modules have it by `from os import environ`
    for module, names in ((os, ["urandom"]), (random, ["_urandom", *random.__all__])):
        for name in names:
            if not isinstance(getattr(module, name), type):
                setattr(module, name, watched(getattr(module, name)))
    for name in ("random", "getrandbits"):  # what every other method of a generator of one's own draws from
        setattr(random.Random, name, watched(getattr(random.Random, name)))
    return reads


def imported_now() -> str:
    """The module whose body is run and has called this, through whatever functions."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame.f_globals.get("__name__", "__main__") if frame is not None else "__main__"

"""The trial that finds what the warm parent may import, held once for each set of installed packages.

Every server is a fork of the warm parent, so what a module reads or makes while it is imported would be the same in all
of them. The trial is a process without rights that starts a real server, with the site's own configuration and
extensions, up to the point where it would listen. A profile function (`sys.setprofile`) notes which module reads which
environment variable while it is imported, asks for something random, or starts a thread, which no fork would have.

    python -m learning_lab.warm.trial HOME

It prints the list that `modules` describes, without its first line.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from types import FrameType
from typing import Any

from learning_lab.user_ids import as_nobody, without_rights

from .set_right import ALL, RANDOM, SET_RIGHT

TRIAL_SECONDS = 60

THREAD = "(a-thread)"
# The environment variables that each server has its own value of.
OWN = {
    *("HOME", "JUPYTERHUB_ACTIVITY_URL", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL", "JUPYTERHUB_BASE_URL"),
    *("JUPYTERHUB_CLIENT_ID", "JUPYTERHUB_HOST", "JUPYTERHUB_OAUTH_CALLBACK_URL", "JUPYTERHUB_ROOT_DIR"),
    *("JUPYTERHUB_SERVER_NAME", "JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_USER"),
    *("JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_TOKEN", "LOGNAME", "SHELL", "USER"),
}

# Functions in Python that everything goes through which reads the environment, or makes a random generator.
_READ, _READ_ALL = (getattr(type(os.environ), name).__code__ for name in ("__getitem__", "__iter__"))
_SEED = random.Random.seed.__code__
# The bodies of modules in C: a library's threads begin here, and modules in Cython read variables.
_IN_C = [getattr(importlib.machinery.ExtensionFileLoader, name).__code__ for name in ("create_module", "exec_module")]


def hold_trial() -> str:
    """Hold a trial in the environment of this process.

    Returns:
        The list that `modules` describes, without its first line.

    Raises:
        RuntimeError: the server did not start.
    """
    with (
        _home() as home,
        tempfile.TemporaryFile("w+") as found,
        tempfile.TemporaryFile("w+", errors="replace") as log,
    ):
        command = [sys.executable, "-m", "learning_lab.warm.trial", home]
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=found, stderr=log, start_new_session=True, **as_nobody()
        )
        try:
            status = process.wait(TRIAL_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"the server of the trial took more than {TRIAL_SECONDS} s") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever an extension has started ends here
            process.wait()
        for file in (found, log):
            file.seek(0)
        if status:
            said = [line.strip() for line in ["nothing", *log] if line.strip()][-1]
            raise RuntimeError(f"the server of the trial did not start, and said: {said}")
        return found.read()


@contextlib.contextmanager
def _home() -> Iterator[str]:
    """A directory of nobody's, for as long as the block lasts. In a container root may not give one away (chown)."""
    with without_rights():
        home = tempfile.mkdtemp(prefix="learning-lab-trial-")
    try:
        yield home
    finally:
        with without_rights():
            shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Start the server, and print the list."""
    listing = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what modules print is no part of the list
    taken = _start_server(sys.argv[1])
    for name, module in sys.modules.items():
        if name != "__main__" and getattr(module, "__spec__", None):  # without it: made by the body of another module
            settled = SET_RIGHT.get(name, set())
            left = set() if ALL in settled else taken[name] - settled
            marks = ["-"] if left & {*OWN, ALL, RANDOM, THREAD} else []
            print(*marks, name, *sorted(left), file=listing)
    listing.close()
    os._exit(0)  # whatever threads there are


def _start_server(home: str) -> dict[str, set[str]]:
    """Start a server up to the point where it would listen.

    Returns:
        What each module took while it was imported.
    """
    os.chdir(home)
    hub, listening = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    threading.Thread(target=_answer, args=(hub, metadata.version("jupyterhub")), daemon=True).start()
    os.environ.update(dict.fromkeys(OWN, home))
    os.environ.update(
        JUPYTERHUB_ACTIVITY_URL="",
        JUPYTERHUB_API_URL=f"http://127.0.0.1:{hub.getsockname()[1]}/hub/api",
        JUPYTERHUB_BASE_URL="/",
        JUPYTERHUB_HOST="",
        JUPYTERHUB_SERVER_NAME="",
        JUPYTERHUB_SERVICE_PREFIX="/user/trial/",
        JUPYTERHUB_SERVICE_URL="http://127.0.0.1:9/user/trial/",
        LAB_LISTENING_FD=str(listening.detach()),
    )
    sys.argv = ["jupyterhub-singleuser"]
    taken = _watch()

    from jupyter_server.serverapp import ServerApp
    from jupyterhub.singleuser import main as start_server

    started: list[ServerApp] = []
    setattr(ServerApp, "start", lambda server: started.append(server))  # noqa: B010  types know no such change
    start_server()
    if not started:
        raise RuntimeError("it ended before it would have listened")
    importlib.import_module("jupyter_client.provisioning.local_provisioner")  # the first kernel would import it
    sys.setprofile(None)
    return taken


def _answer(hub: socket.socket, version: str) -> None:
    """Be the hub for a server that asks for its version before it listens."""
    body = json.dumps({"version": version})
    head = f"HTTP/1.1 200 OK\r\nX-JupyterHub-Version: {version}\r\nConnection: close\r\nContent-Length: {len(body)}"
    while True:
        # Anybody on this machine may connect: who sends nothing, or goes away, must not hold the trial up.
        with hub.accept()[0] as connection, contextlib.suppress(OSError):
            connection.settimeout(1)
            connection.recv(65536)
            connection.sendall(f"{head}\r\n\r\n{body}".encode())


def _watch() -> dict[str, set[str]]:
    """From now on, note what each module takes while it is imported."""
    taken: dict[str, set[str]] = defaultdict(set)
    threads = _threads()

    def note(frame: FrameType | None, what: str) -> None:
        while frame is not None and not _is_body(frame):
            frame = frame.f_back
        if frame is not None:
            in_c = frame.f_code in _IN_C
            taken[frame.f_locals["self"].name if in_c else frame.f_globals.get("__name__", "")].add(what)

    def note_threads(frame: FrameType | None) -> None:
        nonlocal threads
        before, threads = threads, _threads()
        if threads > before:
            note(frame, THREAD)

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            # Everything random comes from one of these, and what is made during an import stays.
            if argument.__name__ in {"urandom", "getrandom", "random", "getrandbits"}:
                note(frame, RANDOM)
        elif event == "return":
            if _is_body(frame):
                note_threads(frame)
        elif event == "call":
            if frame.f_code is _READ:
                note(frame, os.fsdecode(frame.f_locals["key"]))
            elif frame.f_code is _READ_ALL:
                note(frame, ALL)
            elif frame.f_code is _SEED and frame.f_locals["a"] is not None:
                note(frame, RANDOM)  # each server gives generators another seed; one that was chosen must stay
            elif _is_body(frame):
                note_threads(frame.f_back)  # those of the module that imports this one

    threading.setprofile(profile)
    sys.setprofile(profile)
    return taken


def _is_body(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>" or frame.f_code in _IN_C


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208  thousands of times


if __name__ == "__main__":
    main()

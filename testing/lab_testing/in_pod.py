"""Changes the storage, and stops and continues processes, in the hub's container. `kind_cluster.py` sends it there.

    kubectl exec -i ... -- python - VERB [ARGUMENT ...] < in_pod.py

Rules kept here:
- the container's root has few capabilities, so a user's files are changed as that user;
- what is removed is moved aside, and what is created is recorded next to it, so that `put_back` can restore everything
  even after the run that changed it was killed;
- it uses only the standard library, because it runs with whatever Python the image has.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path("/s")
ASIDE = ".aside"
HOMES = Path("/home")
# In the user's directory below the root, where it is not visible from a notebook directory, and in the home.
MADE = ".made-by-tests"
HUB_COMMAND = b"jupyterhub_config.py"
SERVER_COMMAND = b"jupyterhub-singleuser"
PARENT_COMMAND = b"learning_lab.warm.parent"


@contextlib.contextmanager
def acting_as(userid: str) -> Iterator[None]:
    """Become the user within the block."""
    account = pwd.getpwnam(userid)
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def owner_of(path: str) -> str:
    """The owner of the directory below the root that contains the path."""
    return pwd.getpwuid((ROOT / Path(path).relative_to(ROOT).parts[0]).stat().st_uid).pw_name


def make_folder(path: str, userid: str) -> None:
    """Make a folder as its owner would."""
    with acting_as(userid):
        Path(path).mkdir()
        with (ROOT / Path(path).relative_to(ROOT).parts[0] / MADE).open("a") as made:
            made.write(json.dumps(path) + "\n")


def write_home(userid: str, name: str, text: str) -> None:
    """Write a file into the user's home as the user would."""
    with acting_as(userid):
        path = HOMES / userid / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        with (HOMES / userid / MADE).open("a") as made:
            made.write(json.dumps(name) + "\n")


def remove(path: str) -> None:
    """Take a directory away."""
    with acting_as(owner_of(path)):
        Path(path).rename(path + ASIDE)


def forbid(path: str) -> None:
    """Replace a directory with one that nobody may enter."""
    remove(path)
    with acting_as(owner_of(path)):
        Path(path).mkdir(0)


def put_back() -> None:
    """Restore the storage, and let every held server continue."""
    for directory in ROOT.iterdir():
        owner = pwd.getpwuid(directory.stat().st_uid).pw_name
        if owner == "root":
            continue
        with acting_as(owner):
            for aside in directory.glob("*" + ASIDE):
                path = aside.with_name(aside.name.removesuffix(ASIDE))
                with contextlib.suppress(FileNotFoundError):
                    path.rmdir()
                aside.rename(path)
            made = directory / MADE
            if made.exists():
                for line in made.read_text().splitlines():
                    shutil.rmtree(json.loads(line), ignore_errors=True)
                made.unlink()
    for home in HOMES.iterdir():
        with acting_as(home.owner()):
            made = home / MADE
            if made.exists():
                for line in made.read_text().splitlines():
                    (home / json.loads(line)).unlink(missing_ok=True)
                made.unlink()
    for pid, userid in [*running(SERVER_COMMAND), *running(PARENT_COMMAND)]:
        with acting_as(userid), contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def forget_tabs() -> None:
    """Make JupyterLab open as if for the first time: homes outlive a run, and with them the tabs that were open."""
    for home in HOMES.iterdir():
        with acting_as(home.owner()):
            for workspaces in home.glob(".jupyter/lab/workspaces*"):
                shutil.rmtree(workspaces, ignore_errors=True)


def running(command: bytes) -> Iterator[tuple[int, str]]:
    """The PID and user of each process whose command line contains the text."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):  # the process has ended, or its user has no name
            if command in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                yield int(process.name), pwd.getpwuid(process.stat().st_uid).pw_name


def server(userid: str, seconds: str = "0") -> int:
    """Print and return the PID of the user's server, after waiting for it as long as asked."""
    until = time.monotonic() + float(seconds)
    while True:
        pid = next((pid for pid, owner in running(SERVER_COMMAND) if owner == userid), 0)
        if pid or time.monotonic() >= until:
            print(pid)
            return pid
        time.sleep(0.05)


def hub() -> int:
    """Print and return the hub's PID: the process whose parent is not the hub itself; 0 if there is none."""
    pids = {pid for pid, owner in running(HUB_COMMAND) if owner == "root"}
    # The supervisor may have the same words in its command line, but only the hub is a Python process.
    pids = {pid for pid in pids if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]}
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in pids}
    found = next((pid for pid, parent in sorted(parents.items()) if parent not in pids), 0)
    print(found)
    return found


def hold_parent() -> None:
    """Suspend the warm parent, and print its PID; 0 if there is none."""
    pid = next((pid for pid, owner in running(PARENT_COMMAND) if owner == "root"), 0)
    if pid:
        os.kill(pid, signal.SIGSTOP)
    print(pid)


def hold(userid: str, seconds: str) -> None:
    """Suspend the user's server."""
    pid = server(userid, seconds)
    if not pid:
        sys.exit(f"no server of {userid} was started in {seconds} s")
    with acting_as(userid):
        os.kill(pid, signal.SIGSTOP)


def go_on(userid: str, pid: str) -> None:
    """Let the process continue."""
    with acting_as(userid), contextlib.suppress(ProcessLookupError):
        os.kill(int(pid), signal.SIGCONT)


VERBS: dict[str, Callable[..., object]] = {
    "make-folder": make_folder,
    "write-home": write_home,
    "remove": remove,
    "forbid": forbid,
    "put-back": put_back,
    "forget-tabs": forget_tabs,
    "server": server,
    "hub": hub,
    "hold": hold,
    "hold-parent": hold_parent,
    "go-on": go_on,
}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])

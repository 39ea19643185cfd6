"""Change the storage, and stop and go on with processes, in the hub's container. `kind_cluster.py` sends it there.

    kubectl exec -i ... -- python - VERB [ARGUMENT ...] < in_pod.py

Rules kept here:
- the container's root has few capabilities: what is a user's is changed as that user;
- what is taken away is moved aside, and what is made is written down beside it, so that `put_back` knows what to do
  without this run's memory: also when the run that did it was killed;
- the standard library only: it runs with whatever Python the image has.
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
# In the directory of the user at the root, where who looks into a notebook directory sees nothing, and in the home.
MADE = ".made-by-tests"
HUB_COMMAND = b"jupyterhub_config.py"
SERVER_COMMAND = b"jupyterhub-singleuser"
PARENT_COMMAND = b"learning_lab.warm.parent"


@contextlib.contextmanager
def acting_as(userid: str) -> Iterator[None]:
    """Be the user for a while."""
    account = pwd.getpwnam(userid)
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def owner_of(path: str) -> str:
    """Who has the directory of the root that the path is in."""
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
    """Put one in its place that nobody may enter."""
    remove(path)
    with acting_as(owner_of(path)):
        Path(path).mkdir(0)


def put_back() -> None:
    """Make the storage as it was, and let every held server go on."""
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
    """Make JupyterLab open as on the first day: homes outlive a run, and with them the tabs that were open."""
    for home in HOMES.iterdir():
        with acting_as(home.owner()):
            for workspaces in home.glob(".jupyter/lab/workspaces*"):
                shutil.rmtree(workspaces, ignore_errors=True)


def running(command: bytes) -> Iterator[tuple[int, str]]:
    """PID and user of each process whose command line has the text."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, KeyError):  # it has ended, or its user has no name
            if command in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                yield int(process.name), pwd.getpwuid(process.stat().st_uid).pw_name


def server(userid: str, seconds: str = "0") -> int:
    """Print and return the PID of the user's server; wait for it as long as is asked."""
    until = time.monotonic() + float(seconds)
    while True:
        pid = next((pid for pid, owner in running(SERVER_COMMAND) if owner == userid), 0)
        if pid or time.monotonic() >= until:
            print(pid)
            return pid
        time.sleep(0.05)


def hub() -> int:
    """Print and return the PID of the hub: the one whose parent is not the hub itself; 0 when there is none."""
    pids = {pid for pid, owner in running(HUB_COMMAND) if owner == "root"}
    # The supervisor may have the same words in its command line; the hub is a Python.
    pids = {pid for pid in pids if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]}
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in pids}
    found = next((pid for pid, parent in sorted(parents.items()) if parent not in pids), 0)
    print(found)
    return found


def hold_parent() -> None:
    """Stop the warm parent where it is, and print its PID; 0 when there is none."""
    pid = next((pid for pid, owner in running(PARENT_COMMAND) if owner == "root"), 0)
    if pid:
        os.kill(pid, signal.SIGSTOP)
    print(pid)


def hold(userid: str, seconds: str) -> None:
    """Stop the user's server where it is."""
    pid = server(userid, seconds)
    if not pid:
        sys.exit(f"no server of {userid} was started in {seconds} s")
    with acting_as(userid):
        os.kill(pid, signal.SIGSTOP)


def go_on(userid: str, pid: str) -> None:
    """Let it go on."""
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

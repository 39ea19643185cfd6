"""Let an ordinary user make the sandbox: a user namespace with subordinate ids (user_namespaces(7))."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

from syscalls import OTHER_WAY, Cannot, unshare_user

_COUNT = 65535
_REFUSED = (
    "this machine doesn't let ordinary users make user namespaces. Run as root, or allow them (sudo sysctl"
    " kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu, kernel.unprivileged_userns_clone=1 on older Debian)."
    f" {OTHER_WAY}"
)


def enter_user_namespace() -> None:
    """Become root in a user namespace with 65,536 uids and gids: our own id as 0, then the subordinate ones.

    Raises:
        Cannot: this user has no subordinate ids, or may not make user namespaces.
    """
    name = _name()
    ranges = {kind: _subordinate(kind, name) for kind in ("uid", "gid")}
    for tool in ("newuidmap", "newgidmap"):
        if shutil.which(tool) is None:
            raise Cannot(f"there is no {tool}. Install it: sudo apt-get install uidmap")
    ours = os.getpid()
    ready_read, ready_write = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(ready_write)
        if not os.read(ready_read, 1):
            os._exit(1)  # the parent has ended
        own = {"uid": os.getuid(), "gid": os.getgid()}
        for kind, (first, count) in ranges.items():
            done = subprocess.run(
                [f"new{kind}map", str(ours), "0", str(own[kind]), "1", "1", str(first), str(count)], check=False
            )
            if done.returncode:
                os._exit(1)
        os._exit(0)
    if not unshare_user():
        os.kill(mapper, signal.SIGKILL)
        os.waitpid(mapper, 0)
        raise Cannot(_REFUSED)
    os.write(ready_write, b"x")
    _, status = os.waitpid(mapper, 0)
    if status:
        raise Cannot(f"newuidmap refused the subordinate ids of {name}. Check /etc/subuid and /etc/subgid.")
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.setgroups([])
    except PermissionError:
        raise Cannot(_REFUSED) from None  # AppArmor allows making the namespace, but nothing inside it


def _name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise Cannot(f"no account has the user id {os.getuid()}. {OTHER_WAY}") from None


def _subordinate(kind: str, name: str) -> tuple[int, int]:
    """The first of the user's subordinate ids, and their count."""
    ranges = _ranges(kind)
    for owner, first, count in ranges:
        if owner in {name, str(os.getuid())} and count >= _COUNT:
            return first, _COUNT
    # Suggest ids that nobody else has: two holders of an id can read each other's files.
    free = max([100000, *(first + count for each in ("uid", "gid") for _, first, count in _ranges(each))])
    ids = f"{free}-{free + _COUNT}"
    raise Cannot(
        f"{name} needs 65,536 subordinate {kind}s in /etc/sub{kind}. Add them and try again:\n"
        f"  sudo usermod --add-subuids {ids} --add-subgids {ids} {name}"
    )


def _ranges(kind: str) -> list[tuple[str, int, int]]:
    file = Path(f"/etc/sub{kind}")
    lines = [line.strip().split(":") for line in file.read_text().splitlines()] if file.exists() else []
    parts = [line for line in lines if len(line) == 3 and line[1].isdecimal() and line[2].isdecimal()]
    return [(owner, int(first), int(count)) for owner, first, count in parts]

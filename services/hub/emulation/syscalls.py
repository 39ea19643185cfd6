"""The system calls that the sandbox is built on, and how they fail."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from pathlib import Path

# From <sched.h>, <sys/mount.h>, <linux/mount.h>, <sys/prctl.h>.
_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _BIND, _REC, _PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG = 1
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

OTHER_WAY = "Run the lab in containers instead: `make up` starts it on kind, wherever Docker runs."

_libc = ctypes.CDLL(None, use_errno=True)


class Cannot(Exception):
    """The sandbox cannot be made here. `str()` says why and what to do."""


def unshare_mounts_and_pids() -> None:
    """Give this process its own mounts, and its next child a new PID namespace in which it is PID 1."""
    _call("unshare", _libc.unshare(_NEWNS | _NEWPID))


def unshare_user() -> bool:
    """Give this process its own user namespace. Returns False when the kernel refuses."""
    return bool(_libc.unshare(_NEWUSER) == 0)


def die_with_parent() -> None:
    """Have this process killed when its parent ends."""
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)


def make_private() -> None:
    """Keep every later mount and umount within this mount namespace."""
    mount("none", "/", flags=_REC | _PRIVATE)


def pivot_root(new: Path, old: Path) -> None:
    """Make `new` the root; the previous root is then at `old`, below it."""
    number = PIVOT_ROOT[platform.machine()]
    _call("pivot_root", _libc.syscall(number, os.fsencode(new), os.fsencode(old)))


def detach(target: Path) -> None:
    """Unmount everything at and below the target."""
    _call("umount", _libc.umount2(os.fsencode(target), _DETACH))


def mount_proc(target: Path) -> None:
    """Mount /proc for this process's PID namespace."""
    mount("proc", target, "proc", flags=_NOSUID | _NODEV)


def mount(source: str, target: Path | str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Call mount(2).

    Raises:
        Cannot: the kernel refused.
    """
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind and kind.encode(),
        flags,
        options and os.fsencode(options),
    )
    _call(f"mount {kind or source} on {target}", _libc.mount(*arguments))


def bind(descriptor: int, target: Path) -> None:
    """Bind-mount a directory that is held open, with the mounts below it."""
    mount(f"/proc/self/fd/{descriptor}", target, flags=_BIND | _REC)


def make_read_only(target: Path) -> None:
    """Make a mount and those below it read-only. Kernels before 5.12 can't, so there only permissions protect it."""
    attributes = (ctypes.c_uint64 * 4)(_RDONLY, 0, 0, 0)
    _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.sizeof(attributes)
    )


def _call(what: str, result: int) -> None:
    if result:
        raise Cannot(f"{what}: {os.strerror(ctypes.get_errno())}. {OTHER_WAY}")

"""Run a command in a private copy of this machine that has the company's accounts and storage.

    python sandbox.py [--] COMMAND [ARGUMENT ...]

The accounts, `/home`, `/s` and the PAM service exist only in there: a mount and a PID namespace of their own. When the
command ends, or this process is killed, every process and every mount of it is gone. What the command may write is
the checkout, `/tmp`, `/home`, `/s` and `/run`; the rest of the machine is read-only. The network is the machine's.

As root it works directly; an ordinary user needs subordinate ids (subuid(5)), so that the accounts have real uids.
LAB_EXTRA_USERS=N adds N people (u001, u002, ...).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import build

CHECKOUT = Path(__file__).resolve().parents[3]
MOUNTPOINT = Path("/mnt")  # any directory that is there: only this process sees what is mounted on it
PRIVATE = {"etc", "home", "mnt", "proc", "root", "run", "s", "tmp"}  # not the machine's own in the sandbox
CANNOT = 78  # EX_CONFIG, sysexits.h

# From <sched.h>, <sys/mount.h>, <linux/mount.h>, <sys/prctl.h>.
_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _BIND, _REC, _PRIVATE_MOUNT = 1, 2, 4, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG = 1
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_SYS_MOUNT_SETATTR = 442  # the same number on every architecture
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SENT_BY_KERNEL = 0x80  # si_code of a signal that the terminal sent to the whole group

_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}

_libc = ctypes.CDLL(None, use_errno=True)


class Cannot(Exception):
    """The sandbox cannot be made here. `str()` says why and what to do."""


def main(arguments: list[str]) -> NoReturn:
    """Run the command and exit as it exits."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        sys.exit(__doc__)
    try:
        _check_machine()
        mapped = os.geteuid() != 0
        if mapped:
            _enter_user_namespace()
        _call("unshare", _libc.unshare(_NEWNS | _NEWPID))
    except Cannot as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    # Blocked in both processes: `_supervise` takes them one by one.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    init = os.fork()
    if init == 0:
        _libc.prctl(_PDEATHSIG, signal.SIGKILL)
        try:
            _build_root(mapped=mapped)
            child = os.fork()
            if child == 0:
                signal.pthread_sigmask(signal.SIG_SETMASK, set())
                os.execvpe(command[0], command, _environment())
        except (Cannot, OSError) as error:
            print(f"sandbox: {error}", file=sys.stderr)
            os._exit(127 if isinstance(error, FileNotFoundError) else CANNOT)
        os._exit(_supervise(child))
    os._exit(_supervise(init))


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() not in _SYS_PIVOT_ROOT:
        raise Cannot(
            f"it needs Linux on x86-64 or arm64; this is {platform.system()} on {platform.machine()}. {_OTHER_WAY}"
        )
    if os.geteuid() == 0 and not _capable(21):
        raise Cannot(f"root may not mount here (no CAP_SYS_ADMIN: a container?). {_OTHER_WAY}")


_OTHER_WAY = "Use the container way instead: `make up` runs the lab on kind, wherever Docker runs."


def _capable(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _enter_user_namespace() -> None:
    """Become root of a user namespace that has 65,536 uids and gids: our own id as 0, the subordinate ones after it."""
    name = pwd.getpwuid(os.getuid()).pw_name
    ranges = {kind: _subordinate(kind, name) for kind in ("uid", "gid")}
    for tool in ("newuidmap", "newgidmap"):
        if shutil.which(tool) is None:
            raise Cannot(f"there is no {tool}. Install it: sudo apt-get install uidmap")
    ours = os.getpid()
    ready_read, ready_write = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.read(ready_read, 1)
        own = {"uid": os.getuid(), "gid": os.getgid()}
        for kind, (first, count) in ranges.items():
            done = subprocess.run(
                [f"new{kind}map", str(ours), "0", str(own[kind]), "1", "1", str(first), str(count)], check=False
            )
            if done.returncode:
                os._exit(1)
        os._exit(0)
    if _libc.unshare(_NEWUSER):
        os.kill(mapper, signal.SIGKILL)
        os.waitpid(mapper, 0)
        raise Cannot(
            "this kernel lets ordinary users make no user namespaces. Run it as root, or allow them"
            f" (sysctl kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0)."
            f" {_OTHER_WAY}"
        )
    os.write(ready_write, b"x")
    _, status = os.waitpid(mapper, 0)
    if status:
        raise Cannot(f"newuidmap refused the subordinate ids of {name}. Check /etc/subuid and /etc/subgid.")
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])


def _subordinate(kind: str, name: str) -> tuple[int, int]:
    """First id and count of the user's subordinate ids."""
    file = Path(f"/etc/sub{kind}")
    lines = [line.split(":") for line in file.read_text().splitlines()] if file.exists() else []
    for owner, first, count in (line for line in lines if len(line) == 3):
        if owner in {name, str(os.getuid())} and int(count) >= 65535:
            return int(first), 65535
    raise Cannot(
        f"{name} has no 65,536 subordinate {kind}s in {file}. Add them and try again:\n"
        f"  sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
    )


def _build_root(*, mapped: bool) -> None:
    """Put a private root in place of the machine's."""
    _mount("none", "/", flags=_REC | _PRIVATE_MOUNT)
    # Held open: what is mounted below may cover them.
    kept = {path: os.open(path, os.O_PATH) for path in _kept_paths()}
    top = {entry.name: entry for entry in os.scandir("/")}
    descriptors = {
        name: os.open(f"/{name}", os.O_PATH) for name, entry in top.items() if entry.is_dir(follow_symlinks=False)
    }
    _mount("tmpfs", MOUNTPOINT, "tmpfs", options="mode=755")
    for name, entry in top.items():
        target = MOUNTPOINT / name
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
        elif name in descriptors and name not in PRIVATE:
            target.mkdir()
            _bind(descriptors[name], target)
            if name not in {"dev", "sys"}:
                _make_read_only(target)
    for name, mode in (("home", 0o755), ("root", 0o711), ("run", 0o755), ("s", 0o755), ("tmp", 0o1777), ("mnt", 0o755)):
        (MOUNTPOINT / name).mkdir()
        (MOUNTPOINT / name).chmod(mode)
    _make_etc(descriptors["etc"], mapped=mapped)
    for path, descriptor in kept.items():
        target = MOUNTPOINT / path.relative_to("/")
        if not target.exists():
            target.mkdir(parents=True)
        _bind(descriptor, target)
        if path != CHECKOUT:
            _make_read_only(target)
    (MOUNTPOINT / "proc").mkdir()
    try:
        _mount("proc", MOUNTPOINT / "proc", "proc", flags=_NOSUID | _NODEV)
    except Cannot:
        raise Cannot(f"/proc cannot be mounted (a container that masks parts of it?). {_OTHER_WAY}") from None
    for descriptor in (*descriptors.values(), *kept.values()):
        os.close(descriptor)
    old = MOUNTPOINT / ".old"
    old.mkdir()
    number = _SYS_PIVOT_ROOT[platform.machine()]
    _call("pivot_root", _libc.syscall(number, os.fsencode(MOUNTPOINT), os.fsencode(old)))
    here = os.environ.get("PWD") or str(CHECKOUT)
    os.chdir("/")
    _call("umount", _libc.umount2(b"/.old", _DETACH))
    Path("/.old").rmdir()
    with contextlib.suppress(OSError):
        os.chdir(here)


def _kept_paths() -> list[Path]:
    """What of the private directories must be there all the same: the checkout, this Python, Playwright's browsers."""
    prefixes = {Path(sys.base_prefix), Path(sys.prefix), Path(sysconfig.get_path("stdlib")).parents[1], CHECKOUT}
    prefixes |= {Path(os.path.realpath(sys.executable)).parent.parent}
    prefixes |= {_browsers()} if _browsers().is_dir() else set()
    # Outside the private directories they are there anyhow; the checkout is bound so that it can be written.
    return sorted(path for path in prefixes if path == CHECKOUT or (path.parts[1] in PRIVATE and path.is_dir()))


def _make_etc(machine: int, *, mapped: bool) -> None:
    """The machine's /etc with the company's accounts over it: an overlay, or a copy where overlays are refused."""
    upper, work, target = (MOUNTPOINT / name for name in (".etc", ".etc-work", "etc"))
    for path in (upper, work, target):
        path.mkdir()
    lower = f"/proc/self/fd/{machine}"
    for name in ("passwd", "group", "shadow"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            shutil.copyfile(f"{lower}/{name}", upper / name)
    # Only files: a directory service of the developer's own machine has no part in this.
    (upper / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    build.build(MOUNTPOINT, upper, int(os.environ.get("LAB_EXTRA_USERS", "0")))
    options = f"lowerdir=/etc,upperdir={upper},workdir={work}" + (",userxattr" if mapped else "")
    try:
        _mount("overlay", target, "overlay", options=options)
    except Cannot:
        # Refused over something that is mounted below /etc, as in a container, and by old kernels.
        def skip_unreadable(directory: str, names: list[str]) -> list[str]:
            return [name for name in names if not os.access(f"{directory}/{name}", os.R_OK)]

        shutil.copytree("/etc", target, symlinks=True, dirs_exist_ok=True, ignore=skip_unreadable)
        shutil.copytree(upper, target, symlinks=True, dirs_exist_ok=True)
    target.chmod(0o755)


def _environment() -> dict[str, str]:
    environment = {**os.environ, "HOME": "/root", "USER": "root", "LOGNAME": "root"}
    environment.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_browsers()))
    return environment


def _browsers() -> Path:
    return Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")


def _supervise(child: int) -> int:
    """Wait for the child, reap what is left to this process, and pass signals on. Returns the exit code."""
    while True:
        info = signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            # The terminal sends Ctrl-C to the whole group: the child has it already.
            if info.si_code != _SENT_BY_KERNEL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, info.si_signo)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _mount(
    source: str, target: Path | str, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    arguments = (
        os.fsencode(source),
        os.fsencode(target),
        kind and kind.encode(),
        flags,
        options and os.fsencode(options),
    )
    _call(f"mount {kind or source} on {target}", _libc.mount(*arguments))


def _bind(descriptor: int, target: Path) -> None:
    _mount(f"/proc/self/fd/{descriptor}", target, flags=_BIND | _REC)


def _make_read_only(target: Path) -> None:
    """Make a mount and those below it read-only. Kernels before 5.12 cannot; there, only permissions protect it."""
    attributes = (ctypes.c_uint64 * 4)(_RDONLY, 0, 0, 0)
    _libc.syscall(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.sizeof(attributes)
    )


def _call(what: str, result: int) -> None:
    if result:
        raise Cannot(f"{what}: {os.strerror(ctypes.get_errno())}. {_OTHER_WAY}")


if __name__ == "__main__":
    main(sys.argv[1:])

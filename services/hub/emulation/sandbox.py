"""Run a command in a private copy of this machine that has the company's accounts and storage.

    python sandbox.py [--] COMMAND [ARGUMENT ...]

The accounts, `/home`, `/s` and the PAM service exist only in there, in a mount namespace and a PID namespace of their
own. When the command ends, or this process is killed, all of its processes and mounts are gone. The command may write
to the checkout, `/tmp`, `/home`, `/s`, `/run` and devices; the rest of the machine is read-only. It shares the
machine's network.

Root can run it directly; an ordinary user needs subordinate ids (subuid(5)), so that the accounts have real uids.
LAB_EXTRA_USERS=N adds N people (u001, u002, ...).
"""

from __future__ import annotations

import contextlib
import os
import platform
import select
import shutil
import signal
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import build
import subordinate
import syscalls
from syscalls import OTHER_WAY, Cannot

CHECKOUT = Path(__file__).resolve().parents[3]
MOUNTPOINT = Path("/mnt")  # any existing directory will do: only this process sees what is mounted on it
OWN_FILES = ".sandbox"  # the sandbox's own working files, at the top of its root
PRIVATE = {OWN_FILES, "etc", "home", "mnt", "proc", "root", "run", "s", "tmp"}  # in the sandbox, not the machine's own
CANNOT = 78  # EX_CONFIG, sysexits.h

_SENT_BY_KERNEL = 0x80  # si_code of a signal that the terminal sent to the whole process group

_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def main(arguments: list[str]) -> NoReturn:
    """Run the command and exit with its exit code."""
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        sys.exit(__doc__)
    try:
        _check_machine()
        _check_readable()
        mapped = os.geteuid() != 0
        if mapped:
            subordinate.enter_user_namespace()
        syscalls.unshare_mounts_and_pids()
    except Cannot as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(CANNOT)
    # Blocked in both processes: `_supervise` handles them one at a time.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    outer = os.pidfd_open(os.getpid())
    init = os.fork()
    if init == 0:
        syscalls.die_with_parent()
        if select.select([outer], [], [], 0)[0]:
            os._exit(CANNOT)  # the parent died before `die_with_parent` took effect
        try:
            _build_root(mapped=mapped)
        except (Cannot, OSError) as error:
            print(f"sandbox: {error}", file=sys.stderr)
            os._exit(CANNOT)
        child = os.fork()
        if child == 0:
            _become(command)
        os._exit(_supervise(child))
    os._exit(_supervise(init))


def _become(command: list[str]) -> NoReturn:
    """Replace this process with the command. When that fails, exit with the code that a shell would use."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    try:
        os.execvpe(command[0], command, _environment())
    except FileNotFoundError:
        print(f"sandbox: there is no command {command[0]}.", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"sandbox: {command[0]} cannot be run: {error.strerror}.", file=sys.stderr)
        os._exit(126)


def _check_machine() -> None:
    if sys.platform != "linux" or platform.machine() not in syscalls.PIVOT_ROOT:
        raise Cannot(
            f"it needs Linux on x86-64 or arm64; this is {platform.system()} on {platform.machine()}. {OTHER_WAY}"
        )
    if os.geteuid() == 0 and not _capable(21):
        raise Cannot(f"root may not mount here (no CAP_SYS_ADMIN; is this a container?). {OTHER_WAY}")


def _check_readable() -> None:
    """Check that people can read the checkout and this Python: their servers run from both."""
    places = {CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)}
    for path, bits, change in (
        *((place, 0o5, f"chmod -R o+rX {place}") for place in places),
        (Path(__file__), 0o4, f"chmod -R o+rX {CHECKOUT}"),  # one file shows which umask all were written with
        # Below a private directory, the sandbox makes the parent directories itself, open to all.
        *(
            (each, 0o1, f"chmod o+x {each}")
            for place in places
            if PRIVATE.isdisjoint(place.parts[1:2])
            for each in place.parents
        ),
    ):
        mode = path.stat().st_mode & 0o7777
        if mode & bits != bits:
            raise Cannot(f"the lab's users may not read {path} (its mode is {mode:04o}). To let them: {change}")


def _capable(number: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def _build_root(*, mapped: bool) -> None:
    """Replace the machine's root with a private one."""
    here = Path.cwd()
    network = _network_files()
    umask = os.umask(0o022)  # people must be able to enter the directories that are made here
    syscalls.make_private()
    # Held open, because the mounts below may cover them.
    kept = {path: os.open(path, os.O_PATH) for path in _kept_paths()}
    top = {entry.name: entry for entry in os.scandir("/")}
    descriptors = {
        name: os.open(f"/{name}", os.O_PATH) for name, entry in top.items() if entry.is_dir(follow_symlinks=False)
    }
    syscalls.mount("tmpfs", MOUNTPOINT, "tmpfs", options="mode=755")
    for name, entry in top.items():
        target = MOUNTPOINT / name
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
        elif name in descriptors and name not in PRIVATE:
            target.mkdir()
            syscalls.bind(descriptors[name], target)
            if name != "dev":
                syscalls.make_read_only(target)
    if (shared_memory := MOUNTPOINT / "dev/shm").is_dir():
        syscalls.mount("tmpfs", shared_memory, "tmpfs", options="mode=1777")
    modes = {"home": 0o755, "root": 0o711, "run": 0o755, "s": 0o755, "tmp": 0o1777, "mnt": 0o755, OWN_FILES: 0o700}
    for name, mode in modes.items():
        (MOUNTPOINT / name).mkdir()
        (MOUNTPOINT / name).chmod(mode)
    _make_etc(descriptors["etc"], network, mapped=mapped)
    for path, descriptor in kept.items():
        target = MOUNTPOINT / path.relative_to("/")
        if not target.exists():
            target.mkdir(parents=True)
        syscalls.bind(descriptor, target)
        if path != CHECKOUT:
            syscalls.make_read_only(target)
    (MOUNTPOINT / "proc").mkdir()
    try:
        syscalls.mount_proc(MOUNTPOINT / "proc")
    except Cannot:
        raise Cannot(f"/proc cannot be mounted (is this a container that masks parts of it?). {OTHER_WAY}") from None
    for descriptor in (*descriptors.values(), *kept.values()):
        os.close(descriptor)
    old = MOUNTPOINT / OWN_FILES / "old"
    old.mkdir()
    syscalls.pivot_root(MOUNTPOINT, old)
    os.chdir("/")
    syscalls.detach(Path("/", OWN_FILES, "old"))
    with contextlib.suppress(OSError):
        os.chdir(here)
    os.umask(umask)


def _kept_paths() -> list[Path]:
    """The paths in private directories that must stay visible: the checkout, this Python, Playwright's browsers."""
    prefixes = {Path(sys.base_prefix), Path(sys.prefix), Path(sysconfig.get_path("stdlib")).parents[1], CHECKOUT}
    prefixes |= {Path(os.path.realpath(sys.executable)).parent.parent}
    prefixes |= {_browsers()}
    # Outside the private directories they are visible anyway; the checkout is bound so that it is writable.
    prefixes = {path for path in prefixes if path.parts[1:2] and path.parts[1] in PRIVATE and os.path.isdir(path)}  # noqa: PTH112  it never raises
    return [CHECKOUT, *sorted(path for path in prefixes if not path.is_relative_to(CHECKOUT))]


def _network_files() -> dict[str, bytes]:
    """The network files of /etc. They may be mounts, or links into /run or /mnt, that the sandbox doesn't have."""
    found = {}
    for name in ("resolv.conf", "hosts", "hostname"):
        with contextlib.suppress(OSError):
            found[name] = Path("/etc", name).read_bytes()
    return found


def _make_etc(machine: int, network: dict[str, bytes], *, mapped: bool) -> None:
    """Put the company's accounts over the machine's /etc: with an overlay, or on a copy where overlays are refused."""
    upper, work, target = (MOUNTPOINT / name for name in (f"{OWN_FILES}/etc", f"{OWN_FILES}/work", "etc"))
    for path in (upper, work, target):
        path.mkdir()
    lower = f"/proc/self/fd/{machine}"
    # Not shadow: the passwords of the machine's own users are real, and have no business here.
    for name in ("passwd", "group"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            shutil.copyfile(f"{lower}/{name}", upper / name)
    for name, content in network.items():
        (upper / name).write_bytes(content)
    # Only files: the developer's machine may use a directory service, which must not be asked here.
    (upper / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    extra = os.environ.get("LAB_EXTRA_USERS") or "0"
    if not extra.isdecimal():
        raise Cannot(f"LAB_EXTRA_USERS is {extra!r}; it must be a number.")
    build.build(MOUNTPOINT, upper, int(extra))
    options = f"lowerdir=/etc,upperdir={upper},workdir={work}" + (",userxattr" if mapped else "")
    try:
        syscalls.mount("overlay", target, "overlay", options=options)
    except Cannot:
        # Old kernels refuse an overlay; so do all where something is mounted below /etc, as in a container.
        ours = {path.name for path in upper.iterdir() if path.is_file()}

        def skip(directory: str, names: list[str]) -> list[str]:
            # Skip the files that we replace: writing to one that was copied as a link would write outside the sandbox.
            top = ours if directory == "/etc" else set()
            return [name for name in names if name in top or not os.access(f"{directory}/{name}", os.R_OK)]

        shutil.copytree("/etc", target, symlinks=True, dirs_exist_ok=True, ignore=skip)
        shutil.copytree(upper, target, symlinks=True, dirs_exist_ok=True)
    target.chmod(0o755)


def _environment() -> dict[str, str]:
    environment = {**os.environ, "HOME": "/root", "USER": "root", "LOGNAME": "root"}
    environment.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_browsers()))
    for name in ("TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        if not os.path.isdir(environment.get(name, "/")):  # noqa: PTH112  it never raises
            del environment[name]  # it named a private directory; programs fall back on a default
    return environment


def _browsers() -> Path:
    return Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")


def _supervise(child: int) -> int:
    """Wait for the child, reap orphaned processes, and forward signals. Returns the exit code."""
    while True:
        info = signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        if info.si_signo != signal.SIGCHLD:
            # The terminal sends Ctrl-C to the whole process group, so the child already has it.
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


if __name__ == "__main__":
    main(sys.argv[1:])

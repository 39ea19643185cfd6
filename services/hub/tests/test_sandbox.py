"""The sandbox: what is in it, what is not, and that it leaves nothing behind on the machine.

Each test starts its own sandbox. Under `make test` that is a sandbox inside a sandbox, and "the machine" is the
outer one; when run by hand without it, "the machine" is the real one.
"""

from __future__ import annotations

import os
import pty
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab_testing.embedded import HUB, PROJECT
from lab_testing.processes import running

SANDBOX = [sys.executable, str(HUB / "emulation" / "sandbox.py"), "--"]
CANNOT = 78

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to other users and capabilities")

# Prints a line for each signal until it is told to end.
COUNTER = """
import os, signal, sys, time
def note(number, frame):
    # Not print: on a busy machine a signal may come while "ready" is being printed, and a print within a print fails.
    os.write(1, (signal.Signals(number).name + "\\n").encode())
for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(each, note)
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(5))
os.write(1, b"ready\\n")
while True:
    time.sleep(60)
"""


def run(*command: str, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a sandbox."""
    options = {"cwd": PROJECT, "stdin": subprocess.DEVNULL, "timeout": 30, **options}
    if "input" in options:
        del options["stdin"]
    return subprocess.run([*prefix, *SANDBOX, *command], capture_output=True, text=True, check=False, **options)


def as_person(userid: str, *command: str) -> subprocess.CompletedProcess[str]:
    return run("setpriv", f"--reuid={userid}", f"--regid={userid}", "--init-groups", *command)


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def marker() -> str:
    """A number of seconds that no other process is sleeping for."""
    return f"{3600 + os.getpid()}.{time.monotonic_ns() % 10**9}"


@pytest.fixture
def sleeper(marker: str) -> Iterator[subprocess.Popen[bytes]]:
    """A sandbox in which a grandchild, fully detached, sleeps for `marker` seconds."""
    script = f"setsid sleep {marker} & exec sleep {marker}"
    with subprocess.Popen([*SANDBOX, "sh", "-c", script], cwd=PROJECT) as process:
        wait_until(lambda: sum(each.info["cmdline"][0] == "sleep" for each in running(marker)) == 2)
        yield process
        process.kill()


@pytest.fixture
def counter() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*SANDBOX, sys.executable, "-c", COUNTER], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


# --- The command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 0", 0, id="success"),
        pytest.param("exit 7", 7, id="an exit code"),
        pytest.param("kill -TERM $$", 128 + signal.SIGTERM, id="a signal, reported as shells do"),
    ],
)
def test_it_exits_with_the_commands_exit_code(script: str, code: int) -> None:
    done = run("sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_input_output_and_errors_are_the_command_s() -> None:
    done = run("sh", "-c", "cat; echo to errors >&2", input="from outside\n")
    assert (done.stdout, done.stderr) == ("from outside\n", "to errors\n")


def test_the_directory_the_environment_and_the_umask_are_kept() -> None:
    there = PROJECT / "services" / "hub"
    done = run(
        "sh",
        "-c",
        'pwd -P; echo "$LAB_TEST"; umask',
        cwd=there,
        env={**os.environ, "LAB_TEST": "a b", "PWD": "/"},
        umask=0o077,
    )
    assert done.stdout.splitlines() == [str(there), "a b", "0077"]


def test_a_careless_umask_does_not_shut_people_out() -> None:
    script = f"exec setpriv --reuid=alice --regid=alice --init-groups ls -d {PROJECT} /s/alice/notebooks /home/alice"
    done = run("sh", "-c", script, umask=0o077)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        pytest.param(
            "no-such-command", 127, "there is no command no-such-command.", id="a command that does not exist"
        ),
        pytest.param(
            "/etc/passwd", 126, "/etc/passwd cannot be run: Permission denied.", id="a file that is not a program"
        ),
    ],
)
def test_a_command_that_cannot_be_run_gets_one_line(command: str, code: int, sentence: str) -> None:
    done = run(command)
    assert (done.returncode, done.stderr) == (code, f"sandbox: {sentence}\n")


def test_an_invalid_number_of_people_gets_one_line() -> None:
    done = run("true", env={**os.environ, "LAB_EXTRA_USERS": "many"})
    assert (done.returncode, done.stderr) == (CANNOT, "sandbox: LAB_EXTRA_USERS is 'many'; it must be a number.\n")


# --- What is in it --------------------------------------------------------------------------------------------------


def test_the_people_are_inside_and_not_outside() -> None:
    done = run(
        "sh", "-c", "id -u alice; id -un 10002; id -Gn bob; id -u u003", env={**os.environ, "LAB_EXTRA_USERS": "3"}
    )
    assert done.stdout.split("\n") == ["10001", "bob", "bob shared", "20003", ""]
    with pytest.raises(KeyError):
        pwd.getpwnam("u003")
    assert not Path("/s/u003").exists()


def test_a_person_runs_the_lab_s_python() -> None:
    done = as_person("alice", sys.executable, "-c", "import os, learning_lab; print(os.getuid())")
    assert done.stdout == "10001\n", done.stderr


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("touch services/made-by-alice", id="a new file in the checkout"),
        pytest.param("echo >> README.md", id="an existing file in the checkout"),
        pytest.param("ls /root", id="root's home"),
        pytest.param("cat /etc/shadow", id="the password file"),
        pytest.param("ls /.sandbox", id="the sandbox's own working files"),
        pytest.param("ls /s/bob", id="somebody else's directory"),
        pytest.param("ls /home/bob", id="somebody else's home"),
    ],
)
def test_a_person_may_not_open(script: str) -> None:
    done = as_person("alice", "sh", "-c", script)
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("top", ["usr", "var", "sys", "opt"])
def test_the_machine_is_read_only_even_for_root(top: str) -> None:
    options = run("findmnt", "--noheadings", "--output", "OPTIONS", "--target", f"/{top}").stdout
    assert options.split(",")[0] == "ro"
    done = run("touch", f"/{top}/made-in-a-sandbox")
    assert done.returncode != 0
    assert not Path(f"/{top}/made-in-a-sandbox").exists()


def test_its_processes_see_only_each_other() -> None:
    done = run("sh", "-c", "ls -d /proc/[0-9]* | wc -l")
    assert int(done.stdout) <= 5  # the first process, the shell, ls and wc


def test_a_sandbox_works_in_a_sandbox_in_a_sandbox() -> None:
    done = run(*SANDBOX, *SANDBOX, "sh", "-c", "id -u alice; exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "10001\n", "")


# --- What is left on the machine ------------------------------------------------------------------------------------


def test_the_machine_is_the_same_before_and_after() -> None:
    def look() -> dict[str, object]:
        return {
            "accounts": {name: Path("/etc", name).read_bytes() for name in ("passwd", "group", "nsswitch.conf")},
            "services": sorted(Path("/etc/pam.d").iterdir()),
            "tops": {
                top: sorted(Path(top).iterdir())
                for top in ("/", "/home", "/s", "/run", "/mnt", "/dev/shm")
                if Path(top).exists()
            },
            "mounts": Path("/proc/self/mountinfo").read_text(),
        }

    before = look()
    script = (
        "touch /home/x /s/x /run/x /tmp/left-by-a-sandbox /mnt/x /dev/shm/x /etc/x;"
        " echo zoe:x:30000:30000::/:/bin/sh >> /etc/passwd; mount -t tmpfs none /mnt; grep -c zoe /etc/passwd"
    )
    assert run("sh", "-c", script).stdout == "1\n"
    assert look() == before
    assert not Path("/tmp/left-by-a-sandbox").exists()


def test_what_is_written_to_the_checkout_stays(tmp_path: Path) -> None:
    made = PROJECT / ".pytest_cache" / f"made-in-a-sandbox-{os.getpid()}"
    made.parent.mkdir(exist_ok=True)
    try:
        assert run("touch", str(made)).returncode == 0
        assert made.exists()
    finally:
        made.unlink(missing_ok=True)


def test_a_killed_sandbox_leaves_no_process_and_no_mount(sleeper: subprocess.Popen[bytes], marker: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    sleeper.kill()
    sleeper.wait()
    wait_until(lambda: not running(marker))
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_a_sandbox_that_is_killed_at_once_leaves_no_process(marker: str) -> None:
    for delay in (0, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2):
        process = subprocess.Popen([*SANDBOX, "sleep", marker], cwd=PROJECT)
        time.sleep(delay)
        process.kill()
        process.wait()
    time.sleep(0.3)  # anything that escaped would have reached its command by now
    wait_until(lambda: not running(marker))


def test_processes_in_the_background_end_with_the_command(marker: str) -> None:
    assert run("sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 &").returncode == 0
    wait_until(lambda: not running(marker))


# --- Signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command_once(counter: subprocess.Popen[str], number: signal.Signals) -> None:
    counter.send_signal(number)
    assert counter.stdout is not None
    assert counter.stdout.readline() == f"{number.name}\n"
    time.sleep(0.2)
    counter.send_signal(signal.SIGUSR1)
    assert counter.stdout.read() == ""
    assert counter.wait(10) == 5


def test_ctrl_c_in_a_terminal_reaches_the_command_once() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(SANDBOX[0], [*SANDBOX, sys.executable, "-c", COUNTER])
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while b"SIGINT" not in seen:
        seen += os.read(terminal, 1000)
    time.sleep(0.2)
    os.kill(pid, signal.SIGUSR1)
    try:
        while more := os.read(terminal, 1000):
            seen += more
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert seen.count(b"SIGINT") == 1


# --- Where it cannot work -------------------------------------------------------------------------------------------


@needs_root
def test_root_without_the_capability_to_mount_gets_one_sentence() -> None:
    done = run("true", prefix=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"))
    assert done.returncode == CANNOT
    assert "`make up`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_root
def test_an_account_without_subordinate_ids_is_told_how_to_get_some() -> None:
    drop = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    done = run("true", prefix=drop)
    assert done.returncode == CANNOT
    said, command = done.stderr.splitlines()
    assert said == "sandbox: nobody needs 65,536 subordinate uids in /etc/subuid. Add them and try again:"
    found = re.fullmatch(r"  sudo usermod --add-subuids (\d+)-(\d+) --add-subgids \1-\2 nobody", command)
    assert found
    first, last = (int(text) for text in found.groups())
    assert last - first + 1 >= 65536
    for file in (Path("/etc/subuid"), Path("/etc/subgid")):
        for line in file.read_text().splitlines() if file.exists() else ():
            _, start, count = line.split(":")
            assert first >= int(start) + int(count), "nobody else may have these ids"


@needs_root
def test_a_uid_without_an_account_gets_one_sentence() -> None:
    done = run("true", prefix=("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"))
    assert done.returncode == CANNOT
    assert done.stderr.startswith("sandbox: no account has the user id 4242.")
    assert len(done.stderr.splitlines()) == 1


# A sandbox has its own /etc, where an account with subordinate ids can be made that is gone afterwards.
AS_ORDINARY_USER = f"""
set -e
useradd --create-home ordinary
echo ordinary:200000:65536 | tee /etc/subuid > /etc/subgid
cd {PROJECT}
exec setpriv --reuid=ordinary --regid=ordinary --clear-groups env HOME=/home/ordinary "$@"
"""


@needs_root
@pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split()[2] != "4294967295",
    reason="this is run as an ordinary user already: there are no more ids to give away",
)
@pytest.mark.skipif(shutil.which("newuidmap") is None, reason="newuidmap is not installed (Debian: uidmap)")
def test_an_ordinary_user_with_subordinate_ids_gets_the_same_sandbox() -> None:
    script = """
import os, pamela, subprocess
print(os.getuid(), os.stat("/s/alice").st_uid, oct(os.stat("/s/shared").st_mode & 0o7777))
pamela.authenticate("alice", "pass1", service="learning-lab")
for userid, password in (("alice", "pass2"), ("dora", "pass4"), ("erik", "pass5")):
    try:
        pamela.authenticate(userid, password, service="learning-lab")
    except pamela.PAMError:
        print("refused", userid)
drop = ["setpriv", "--reuid=bob", "--regid=bob", "--init-groups"]
print(subprocess.run([*drop, "sh", "-c", "touch /s/shared/climate/made; stat -c '%U %G' /s/shared/climate/made;"
    "ls /s/alice"], capture_output=True, text=True))
"""
    done = run("sh", "-c", AS_ORDINARY_USER, "sh", *SANDBOX, sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:-1] == ["0 10001 0o2770", "refused alice", "refused dora", "refused erik"]
    assert "bob shared" in done.stdout
    assert "Permission denied" in done.stdout

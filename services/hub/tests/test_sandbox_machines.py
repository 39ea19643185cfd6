"""The sandbox on machines with an unusual setup, which must neither break it nor get into it.

Each test changes an outer sandbox, which has its own /etc and /run, and starts the sandbox in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import build
from lab_testing.embedded import HUB, PROJECT

SANDBOX = [sys.executable, str(HUB / "emulation" / "sandbox.py"), "--"]
CANNOT = 78
AS_ALICE = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups"]
AUTHENTICATE = """
import pamela, sys
try:
    pamela.authenticate(*sys.argv[1:], service="learning-lab")
except pamela.PAMError:
    print("refused")
else:
    print("let in")
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to other users")
needs_ids = pytest.mark.skipif(
    Path("/proc/self/uid_map").read_text().split()[2] != "4294967295",
    reason="this is run as an ordinary user already: there are no more ids to give away",
)


def on_machine(change: str, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a sandbox, on a machine that a shell script has changed first."""
    script = f'set -e; umask 022; {change}\nexec "$@"'
    return subprocess.run(
        [*SANDBOX, "sh", "-c", script, "sh", *command],
        cwd=PROJECT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


# --- Names and addresses: the network is the machine's --------------------------------------------------------------


def test_a_resolver_file_that_is_a_link_into_run_is_followed() -> None:
    # The setup of systemd-resolved (Ubuntu's default); the sandbox has a different /run.
    change = """
mkdir -p /run/systemd/resolve
echo nameserver 192.0.2.53 > /run/systemd/resolve/stub-resolv.conf
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"""
    done = on_machine(change, *SANDBOX, "cat", "/etc/resolv.conf")
    assert done.stdout == "nameserver 192.0.2.53\n", done.stderr


def test_a_resolver_file_that_is_a_link_into_mnt_is_followed() -> None:
    # The setup of WSL.
    change = "mkdir /mnt/wsl; echo nameserver 192.0.2.54 > /mnt/wsl/r; ln -sf /mnt/wsl/r /etc/resolv.conf"
    done = on_machine(change, *SANDBOX, "cat", "/etc/resolv.conf")
    assert done.stdout == "nameserver 192.0.2.54\n", done.stderr


@pytest.mark.parametrize("name", ["resolv.conf", "hosts"])
def test_a_file_that_a_container_engine_mounts_is_there(name: str) -> None:
    change = f"echo 192.0.2.7 mounted > /tmp/it; mount --bind /tmp/it /etc/{name}"
    done = on_machine(change, *SANDBOX, "cat", f"/etc/{name}")
    assert done.stdout == "192.0.2.7 mounted\n", done.stderr


def test_a_resolver_file_that_leads_nowhere_does_not_stop_it() -> None:
    done = on_machine("ln -sf /run/nowhere /etc/resolv.conf", *SANDBOX, "id", "-u", "alice")
    assert done.stdout == "10001\n", done.stderr


@needs_root
@needs_ids
def test_where_overlays_are_refused_a_copy_does_and_writes_through_no_link() -> None:
    # An ordinary user may not put an overlay over anything that is mounted below /etc.
    change = """
mkdir -p /run/resolve
echo nameserver 192.0.2.55 > /run/resolve/stub
ln -sf /run/resolve/stub /etc/resolv.conf
echo 'passwd: files sss' > /run/resolve/nsswitch
chmod 666 /run/resolve/nsswitch
ln -sf /run/resolve/nsswitch /etc/nsswitch.conf
touch /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
useradd --create-home ordinary
echo ordinary:200000:65536 | tee /etc/subuid > /etc/subgid
cat > /tmp/as-ordinary <<'X'
setpriv --reuid=ordinary --regid=ordinary --clear-groups env HOME=/home/ordinary "$@"
cat /run/resolve/nsswitch
X
set -- sh -e /tmp/as-ordinary "$@" """
    inside = f"""
findmnt --noheadings --mountpoint /etc || echo a copy
id -u alice
cat /etc/resolv.conf
{sys.executable} -c '{AUTHENTICATE}' alice pass1"""
    done = on_machine(change, *SANDBOX, "sh", "-c", inside)
    assert done.stdout.splitlines() == [
        "a copy",
        "10001",
        "nameserver 192.0.2.55",
        "let in",
        "passwd: files sss",
    ], done.stderr


# --- The machine's own people ---------------------------------------------------------------------------------------


@needs_root
def test_an_account_of_the_machine_does_not_open_the_lab() -> None:
    # This password is a real one, and has no place in the emulation.
    hashed = build.hash_password("a real one")
    change = f"""
echo somebody:x:1234:1234::/:/bin/sh >> /etc/passwd
echo 'somebody:{hashed}:20000:0:99999:7:::' >> /etc/shadow"""
    check = [sys.executable, "-c", AUTHENTICATE, "somebody", "a real one"]
    assert on_machine(change, *check).stdout == "let in\n", "the machine itself accepts it"
    assert on_machine(change, *SANDBOX, *check).stdout == "refused\n"


def test_ids_that_the_machine_uses_otherwise_are_the_emulation_s_inside() -> None:
    change = """
sed -i -e /^alice:/d -e /^bob:/d /etc/passwd
sed -i -e /^shared:/d /etc/group
echo taken:x:10001:1::/:/bin/sh >> /etc/passwd
echo bob:x:1000:1000::/:/bin/sh >> /etc/passwd
echo others:x:10100:taken >> /etc/group"""
    done = on_machine(change, *SANDBOX, "stat", "-c", "%U %G", "/s/alice", "/s/bob", "/s/shared")
    assert done.stdout.splitlines() == ["alice alice", "bob bob", "root shared"], done.stderr


# --- What the environment and the checkout say ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"])
def test_a_variable_that_names_a_directory_that_is_not_there_is_dropped(name: str) -> None:
    done = on_machine("", *SANDBOX, "sh", "-c", f'echo "${{{name}-unset}}"; mktemp -u', **{name: "/run/user/1000/x"})
    assert (done.stdout.splitlines()[0], done.returncode) == ("unset", 0)


def test_a_variable_that_names_a_directory_that_is_there_is_kept() -> None:
    done = on_machine("", "sh", "-c", 'echo "$TMPDIR"', TMPDIR="/var")
    assert done.stdout == "/var\n"


def copy_checkout(place: str, umask: str = "022") -> str:
    return f"umask {umask}; mkdir -p {place}; cp -r services k8s {place}; rm -rf {place}/services/hub/tests"


def test_a_checkout_that_only_its_owner_may_read_gets_one_line_that_says_what_to_do() -> None:
    change = f"{copy_checkout('/tmp/clone')}; chmod 750 /tmp/clone"
    done = on_machine(change, sys.executable, "/tmp/clone/services/hub/emulation/sandbox.py", "--", "true")
    assert done.returncode == CANNOT
    assert done.stderr == (
        "sandbox: the lab's users may not read /tmp/clone (its mode is 0750). To let them: chmod -R o+rX /tmp/clone\n"
    )


def test_a_clone_made_with_a_careful_umask_gets_that_line_too() -> None:
    change = f"{copy_checkout('/tmp/clone', '077')}; chmod 755 /tmp/clone"
    done = on_machine(change, sys.executable, "/tmp/clone/services/hub/emulation/sandbox.py", "--", "true")
    assert done.returncode == CANNOT
    assert done.stderr.endswith(" To let them: chmod -R o+rX /tmp/clone\n")


def test_a_checkout_below_a_closed_home_works() -> None:
    change = (
        f"{copy_checkout('/home/developer/clone')}; echo secret > /home/developer/secret; chmod 700 /home/developer"
    )
    script = "ls -A /home/developer; cd /home/developer/clone && ls"
    sandbox = [sys.executable, "/home/developer/clone/services/hub/emulation/sandbox.py", "--"]
    done = on_machine(change, *sandbox, *AS_ALICE, "sh", "-c", script)
    assert done.stdout.split() == ["clone", "k8s", "services"], done.stderr

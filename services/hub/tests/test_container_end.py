"""When the container ends, users' processes get a signal and some time; root's are left alone."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time

import pytest

from learning_lab.spawners.container_end import end, people_processes

pytestmark = pytest.mark.usefixtures("in_sandbox")

WRITES_DOWN = """
import signal, sys, time
def told(*_):
    time.sleep(0.3)
    print("written down", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
time.sleep(60)
"""
HEARS_NOTHING = WRITES_DOWN.replace("told)", "signal.SIG_IGN)")


def started(program: str, userid: str) -> subprocess.Popen[str]:
    uid = pwd.getpwnam(userid).pw_uid
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, user=uid)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_users_process_can_save_its_progress() -> None:
    process = started(WRITES_DOWN, "alice")
    assert end(lambda: people_processes() & {process.pid}) == set()
    assert process.communicate(timeout=5)[0] == "written down\n"
    assert process.returncode == 0


def test_a_process_that_ignores_the_signal_is_not_waited_for_longer_than_promised() -> None:
    process = started(HEARS_NOTHING, "alice")
    try:
        before = time.monotonic()
        assert end(lambda: people_processes() & {process.pid}, seconds=0.5) == {process.pid}
        assert 0.5 <= time.monotonic() - before < 2
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_roots_processes_are_left_alone() -> None:
    alices, roots = started(WRITES_DOWN, "alice"), started(WRITES_DOWN, "root")
    try:
        assert people_processes() & {alices.pid, roots.pid, os.getpid()} == {alices.pid}
    finally:
        for process in (alices, roots):
            process.send_signal(signal.SIGKILL)
            process.wait()

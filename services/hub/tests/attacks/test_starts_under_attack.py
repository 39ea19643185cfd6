"""The start of a server whose own user is the attacker: nothing that they do there affects anybody else."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from lab_testing.attack_target import EmbeddedTarget, Outcome, Target
from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person

pytestmark = pytest.mark.timeout(240)

FORGED = '{"action": "start", "by": "bob", "forged": true}'


@contextmanager
def meanwhile(attack: Callable[..., Outcome], name: str, **arguments: object) -> Iterator[list[Outcome]]:
    """Run an attack during the block; afterwards, its outcome is in the list."""
    outcome: list[Outcome] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attack, name, **arguments)
        time.sleep(0.5)  # until the attack is looking
        yield outcome
        outcome.append(running.result())


def pid_of(target: Target, userid: str) -> int:
    """The PID of a user's server."""
    if target.cluster is not None:
        return int(target.cluster.in_pod("server", userid, "30"))
    (pid,) = [
        int(each.parent.name)
        for each in Path("/proc").glob("[0-9]*/cmdline")
        if b"jupyterhub-singleuser" in (each.read_bytes() if each.exists() else b"") and each.parent.owner() == userid
    ]
    return pid


def test_a_server_cannot_tell_the_hub_that_it_is_another_process(
    target: Target, attack: Callable[..., Outcome], people: Callable[[str], Person]
) -> None:
    alice, bob = people("alice"), people("bob")
    bob.start(directory="notebooks")
    bob.wait_until_ready()
    with meanwhile(attack, "own_server_lies", victim=pid_of(target, "bob"), seconds=12) as outcome:
        for _ in range(3):
            alice.start(directory="notebooks")
            alice.wait_until_ready()
            alice.stop()
    assert outcome[0].got == []
    assert outcome[0].tried > 0
    assert bob.contents()["path"] == "", "his server keeps running"


@pytest.mark.parametrize("warm", ["true", "false"], ids=["forked from the warm parent", "started normally"])
def test_a_start_that_its_user_suspends_holds_up_nobody(
    embedded: EmbeddedLab,  # skipped in the pod, where the site decides how servers start
    tmp_path_factory: pytest.TempPathFactory,
    attempted: Callable[..., Outcome],
    warm: str,
) -> None:
    slow: list[str] = []
    with EmbeddedLab(tmp_path_factory.mktemp("stopped"), environ={"LEARNING_LAB_WARM": warm}) as lab:
        target = EmbeddedTarget(lab)
        alice, bob = target.person("alice"), target.person("bob")
        program = (Path(__file__).with_name("programs") / "stop_own_starts.py").read_text()
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(target.run_as, "alice", program, '{"seconds": 20}', 60)
            time.sleep(0.5)
            alice.start(directory="notebooks")
            bob.start(directory="notebooks")
            until = time.monotonic() + 18
            while time.monotonic() < until and not (bob.server() or {}).get("ready"):
                began = time.monotonic()
                httpx.get(f"{lab.url}/hub/health", timeout=30)
                if (took := time.monotonic() - began) > 3:
                    slow.append(f"the hub answered after {took:.1f} s")
            if not (bob.server() or {}).get("ready"):
                slow.append("bob has no server yet")
            assert '"tried": 0' not in stopping.result()
        bob.stop()
    attempted(1, slow)
    assert slow == []


def test_nobody_else_listens_where_a_server_is_about_to_start(
    target: Target, embedded: EmbeddedLab, attack: Callable[..., Outcome], people: Callable[[str], Person]
) -> None:
    # The hub picks a free port and binds it at once, so there is no moment in which somebody else could bind it.
    bob = people("bob")
    before = listening()
    bob.start(directory="notebooks")
    bob.wait_until_ready()
    new = {port: owner for port, owner in listening().items() if port not in before}
    assert set(new.values()) == {0}, "a user who binds a port owns its socket; these sockets belong to the hub"
    outcome = attack("take_ports", ports=sorted(new), seconds=2)
    assert outcome.got == []
    assert outcome.tried > 0
    # At its end: as long as the proxy has a route to it, the hub keeps the port.
    with meanwhile(attack, "take_ports", ports=[], harmless=sorted(new), seconds=4) as outcomes:
        os.kill(pid_of(target, "bob"), signal.SIGKILL)
        assert bob.http.get("/user/bob/api/status").status_code >= 400
        time.sleep(1)
    assert outcomes[0].got == [], "the port may be free again, but nobody is sent there"


def listening() -> dict[int, int]:
    """The TCP ports on this machine that something listens on, and the uid that made each socket."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[1].partition(":")[2], 16): int(fields[7]) for fields in lines if fields[3] == "0A"}


def test_no_line_from_a_user_gets_into_the_hubs_log(
    target: Target, attack: Callable[..., Outcome], people: Callable[[str], Person]
) -> None:
    alice = people("alice")
    alice.start(directory="notebooks")
    alice.wait_until_ready()
    alice.start_kernel()
    outcome = attack("forge_log", line=FORGED, hubs=target.hub_writes_to())
    assert outcome.got == []
    assert outcome.tried > 3
    wrote = target.hub_wrote()
    assert "forged" not in wrote
    assert '"by": "alice"' in wrote, "this is what the hub writes"


def test_a_directory_that_is_swapped_roots_no_server_elsewhere(
    embedded: EmbeddedLab,
    people: Callable[[str], Person],
    attempted: Callable[..., Outcome],
) -> None:
    alice = people("alice")
    account = Path("/s/alice").stat()
    here, elsewhere = Path("/s/alice/notebooks/here"), Path("/s/alice/notebooks/elsewhere")
    here.mkdir()
    (here / "mine.txt").write_text("hers")
    elsewhere.symlink_to("/")
    for each in (here, elsewhere):
        os.lchown(each, account.st_uid, account.st_gid)
    stop = threading.Event()

    def swap() -> None:
        libc = ctypes.CDLL(None)
        at, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
        while not stop.is_set():
            libc.renameat2(at, bytes(here), at, bytes(elsewhere), exchange)
            time.sleep(random.uniform(0.005, 0.06))

    swapping = threading.Thread(target=swap)
    swapping.start()
    rooted, got = 0, []
    try:
        for tried in range(1, 61):
            alice.start(directory="/s/alice/notebooks/here")
            until = time.monotonic() + 10
            while (server := alice.server()) and not server["ready"] and time.monotonic() < until:
                time.sleep(0.05)
            if server and server["ready"]:
                rooted += 1
                names = {each["name"] for each in alice.contents()["content"]}
                if names != {"mine.txt"}:
                    got.append(f"a server rooted where there is {sorted(names)[:5]}")
            alice.stop()
            if tried >= 14 and rooted:
                break
    finally:
        stop.set()
        swapping.join()
        for each in (here, elsewhere):
            if each.is_symlink():
                each.unlink()
            else:
                (each / "mine.txt").unlink()
                each.rmdir()
    attempted(tried, got)
    assert got == []
    assert rooted, "some of the starts must happen at the right moment"

"""Looking at directories as their user: what is found, and what a storage that hangs does to others."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import shutil
import signal
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import learning_lab
import learning_lab.probing.prober
from learning_lab.probing.prober import Found, Prober

pytestmark = pytest.mark.usefixtures("in_sandbox")


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober(deadline=2, ttl=60, log=logging.getLogger("test"))
    yield prober
    await prober.close()


@pytest.fixture
async def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Prober]:
    """A prober whose children hang, deaf to anything but KILL, on a path with "hang" in it: a dead NAS."""
    package = Path(learning_lab.__file__).parent
    probing = tmp_path / "learning_lab" / "probing"
    probing.mkdir(parents=True)
    for name in ("__init__.py", "user_ids.py"):
        shutil.copy(package / name, tmp_path / "learning_lab")
    before, main, after = (package / "probing/worker.py").read_text().rpartition('if __name__ == "__main__":')
    fault = textwrap.dedent("""
        import signal as _signal
        _look = look
        def look(path, *, make):
            if "hang" in path:
                _signal.pthread_sigmask(_signal.SIG_BLOCK, range(1, 32))
                time.sleep(60)
            return _look(path, make=make)
    """)
    (probing / "worker.py").write_text(before + fault + "\n" + main + after)
    monkeypatch.setattr(learning_lab.probing.prober, "__file__", str(probing / "prober.py"))
    prober = Prober(deadline=0.5, ttl=60, log=logging.getLogger("test"))
    yield prober
    await prober.close()


async def test_a_directory_of_their_own_is_ok_and_writable(prober: Prober) -> None:
    answer = await prober.look("alice", ["/s/alice/notebooks"])
    itself = Path("/s/alice/notebooks").stat()
    found = Found("ok", "/s/alice/notebooks", writable=True, device=itself.st_dev, inode=itself.st_ino)
    assert answer.found == {"/s/alice/notebooks": found}
    assert answer.account is not None
    assert answer.account.uid == pwd.getpwnam("alice").pw_uid
    assert answer.account.home == "/home/alice"


@pytest.mark.parametrize(
    ("userid", "path", "state"),
    [
        pytest.param("alice", "/s/bob/notebooks", "denied", id="another user's directory is denied though root could"),
        pytest.param("carol", "/s/shared/genomics", "denied", id="a group's directory is denied to who is not in it"),
        pytest.param("bob", "/s/shared/genomics", "ok", id="a group's directory is open to who is in it"),
        pytest.param("alice", "/s/alice/nothing", "missing", id="what is not there is missing"),
        pytest.param("alice", "/etc/passwd", "not_directory", id="a file is no directory"),
        pytest.param("alice", "/s/alice/\0", "missing", id="a NUL byte is missing"),
        pytest.param("alice", "/s/alice/" + "a" * 5000, "error", id="a name that is too long is an error"),
        pytest.param("alice", "/root", "denied", id="the hub's own home is denied"),
    ],
)
async def test_the_user_decides_what_is_found(prober: Prober, userid: str, path: str, state: str) -> None:
    assert (await prober.look(userid, [path])).found[path].state == state


async def test_links_in_a_circle_are_told(prober: Prober) -> None:
    link = Path("/s/alice/circle")
    link.symlink_to(link)
    try:
        assert (await prober.look("alice", [str(link)])).found[str(link)].state == "loop"
    finally:
        link.unlink()


async def test_a_user_without_an_account_has_none(prober: Prober) -> None:
    answer = await prober.look("nobody-here", ["/s"])
    assert answer.account is None
    assert answer.found["/s"].state == "denied", "that is known, and no fault that passes"


async def test_making_a_directory_makes_it_as_the_user_and_only_its_last_part(prober: Prober) -> None:
    made, deep = "/s/carol/made", "/s/carol/not/made"
    try:
        answer = await prober.look("carol", [made, deep], make=[made, deep])
        assert answer.found[made].state == "ok"
        assert answer.found[deep].state == "missing"
        assert Path(made).owner() == "carol"
    finally:
        Path(made).rmdir()


async def test_a_storage_that_hangs_delays_its_own_user_only(hanging: Prober) -> None:
    slow = asyncio.create_task(hanging.look("alice", ["/s/alice/notebooks", "/s/alice/hang", "/s/alice/thesis"]))
    await asyncio.sleep(0.1)
    other = await asyncio.wait_for(hanging.look("bob", ["/s/bob/notebooks"]), 0.4)
    assert other.found["/s/bob/notebooks"].state == "ok"
    found = (await slow).found
    assert found["/s/alice/notebooks"].state == "ok", "what was seen before it hung is known"
    assert found["/s/alice/hang"].state == "timeout"
    assert found["/s/alice/thesis"].state == "timeout"


async def test_a_forker_that_is_killed_is_started_again(prober: Prober) -> None:
    await prober.look("alice", ["/s/alice"])
    assert prober._process is not None
    os.kill(prober._process.pid, signal.SIGKILL)
    await prober._process.wait()
    assert (await prober.look("alice", ["/s/alice"])).found["/s/alice"].state == "ok"


async def test_the_forker_holds_nothing_of_the_hubs_environment(
    prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "a secret")
    await prober.look("alice", ["/s/alice"])
    assert prober._process is not None
    assert b"a secret" not in Path(f"/proc/{prober._process.pid}/environ").read_bytes()


class TestForTheMenu:
    async def test_the_last_answer_is_shown_without_asking_again(self, prober: Prober) -> None:
        first = await prober.states("alice", ["/s/alice/notebooks"], wait=2)
        gone = Path("/s/alice/notebooks").rename("/s/alice/aside")
        try:
            assert await prober.states("alice", ["/s/alice/notebooks"], wait=2) == first
            assert (await prober.look("alice", ["/s/alice/notebooks"])).found["/s/alice/notebooks"].state == "missing"
        finally:
            gone.rename("/s/alice/notebooks")

    async def test_a_storage_that_hangs_does_not_hold_up_the_menu(self, hanging: Prober) -> None:
        assert await asyncio.wait_for(hanging.states("alice", ["/s/alice/hang"], wait=0.1), 0.4) == {}

    async def test_many_menus_of_one_user_ask_once(self, prober: Prober) -> None:
        answers = await asyncio.gather(*(prober.states("alice", ["/s/alice/thesis"], wait=2) for _ in range(50)))
        assert all(answer["/s/alice/thesis"].state == "ok" for answer in answers)
        assert next(prober._numbers) == 2, "one question for fifty menus"

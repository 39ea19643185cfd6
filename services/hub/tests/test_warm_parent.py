"""The parent and its servers in good and in bad hours: many at once, ends, signals, no memory, no right."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lab_testing.forked_servers import (
    Hub,
    Site,
    asked,
    can,
    end,
    fork,
    fork_or_not,
    parent_of,
    start_plainly,
    until,
    until_ready,
    warm_parent,
    warm_parents,
)
from learning_lab.forking import parents, servers
from learning_lab.forking.parents import Forked, Request
from learning_lab.forking.servers import StartTurns
from learning_lab.warm.start import WarmParent

pytestmark = [
    pytest.mark.usefixtures("in_sandbox"),
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def site(in_sandbox: None) -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm(site: Site) -> AsyncIterator[WarmParent]:
    async with warm_parent(site) as parent:
        yield parent


class TestEnds:
    async def test_are_told_as_those_of_plain_servers_are(self, warm: WarmParent, hub: Hub, site: Site) -> None:
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
        requests = [hub.request("alice", site) for _ in numbers]
        plain = [start_plainly(request) for request in requests]
        for request in requests:
            await asked(request, "process")
        expected = []
        for process, number in zip(plain, numbers, strict=True):
            process.send_signal(number)
            expected.append(process.wait(15))
        told = []
        for number in numbers:
            request = hub.request("alice", site)
            server = await fork(warm, request)
            await asked(request, "process")
            told.append(await end(server, number))
        assert told == expected
        assert told[2] == -signal.SIGKILL

    async def test_are_told_at_once_and_leave_no_zombie(self, warm: WarmParent, hub: Hub, site: Site) -> None:
        server = await fork(warm, hub.request("alice", site))
        ended = asyncio.create_task(server.wait())
        os.kill(server.pid, signal.SIGKILL)
        assert await asyncio.wait_for(ended, 5) == server.status == -signal.SIGKILL
        assert not Path(f"/proc/{server.pid}").exists()


class TestAStartThatIsGivenUp:
    async def test_leaves_no_server(self, warm: WarmParent, hub: Hub, site: Site) -> None:
        [parent] = warm_parents()
        children = Path(f"/proc/{parent}/task/{parent}/children")
        for _ in range(20):
            start = asyncio.create_task(fork_or_not(warm, hub.request("alice", site)))
            while not (forked := children.read_text().split()):  # noqa: ASYNC110  the very moment
                await asyncio.sleep(0)
            if start.cancel():
                break
            if server := start.result():  # it was quicker than this test
                await end(server)
        with pytest.raises(asyncio.CancelledError):
            await start
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in forked))


class TestManyAtOnce:
    async def test_all_come_up(self, warm: WarmParent, hub: Hub, site: Site) -> None:
        turns = StartTurns()
        requests = [hub.request("alice", site) for _ in range(2 * servers.AT_ONCE + 1)]

        async def start(request: Request) -> Forked:
            async with turns.turn():
                server = await fork(warm, request)
                await asked(request, "random_things")
                return server

        started = await asyncio.gather(*map(start, requests))
        assert len({each.pid for each in started}) == len(requests)
        for each in started:
            await end(each)

    async def test_those_that_take_long_hold_up_the_others_for_seconds_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(servers, "TURN_SECONDS", 0.3)
        turns = StartTurns()
        entered, over = [], asyncio.Event()

        async def start() -> None:
            async with turns.turn():
                entered.append(1)
                await over.wait()

        slow = [asyncio.create_task(start()) for _ in range(servers.AT_ONCE + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(entered) == servers.AT_ONCE
        await until(lambda: len(entered) == len(slow))
        over.set()
        await asyncio.gather(*slow)
        # Nobody gave back more than one turn.
        slow = [asyncio.create_task(start()) for _ in range(servers.AT_ONCE + 3)]
        assert turns._turns._value == servers.AT_ONCE
        await asyncio.gather(*slow)


class TestAParent:
    async def test_that_does_not_answer_is_waited_for_no_longer_than_it_takes(
        self, warm: WarmParent, hub: Hub, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = await fork(warm, hub.request("bob", site))
        parent = parent_of(server.pid)
        monkeypatch.setattr(parents, "ANSWER_SECONDS", 0.5)
        os.kill(parent, signal.SIGSTOP)
        try:
            assert await fork_or_not(warm, hub.request("bob", site)) is None
        finally:
            os.kill(parent, signal.SIGCONT)
        monkeypatch.undo()
        # What it forks now finds that nobody waits, and ends. Nobody else has to wait for it: a new one comes.
        assert not warm.ready
        await until(lambda: children_of(parent) == {server.pid})
        await until_ready(warm)
        another = await fork(warm, hub.request("bob", site))
        assert parent_of(another.pid) != parent
        await end(server)
        await end(another)

    async def test_that_is_killed_leaves_its_servers_and_is_followed_by_another(
        self, warm: WarmParent, hub: Hub, site: Site
    ) -> None:
        request, other = hub.request("alice", site), hub.request("bob", site)
        server = await fork(warm, request)
        killed = (await asked(request, "process"))["parent"]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: not warm.ready, 5)
        assert await fork_or_not(warm, other) is None, "who starts now starts plainly"
        await until_ready(warm)
        assert (await asked(request, "process"))["pid"] == server.pid
        another = await fork(warm, other)
        assert (await asked(other, "process"))["imported by"] != killed
        os.kill(server.pid, signal.SIGKILL)
        await end(another)

    async def test_whose_hub_is_gone_ends_with_the_last_of_its_servers(
        self, warm: WarmParent, hub: Hub, site: Site
    ) -> None:
        request = hub.request("bob", site)
        server = await fork(warm, request)
        parent = parent_of(server.pid)
        await warm.stop()
        assert (await asked(request, "process"))["parent"] == parent
        assert await end(server, signal.SIGTERM) == 0
        await until(lambda: not Path(f"/proc/{parent}").exists(), 5)

    async def test_that_gets_no_memory_is_told_and_not_waited_for(
        self, hub: Hub, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Site() as site:
            limit = "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (24 * 2**20, 24 * 2**20))\n"
            (site.path / "sitecustomize.py").write_text(limit)
            parent = WarmParent(site.list, [], site.environ, logging.getLogger("hub"))
            parent.start()
            await until(lambda: "The warm parent has ended." in caplog.text, 20)
            assert await fork_or_not(parent, hub.request("alice", site)) is None
            await parent.stop()


class TestAHubThatIsNotRoot:
    async def test_forks_for_itself_and_for_nobody_else_and_as_long_as_it_may(self, hub: Hub) -> None:
        with Site() as site:
            carol, alice = (dataclasses.asdict(hub.request(userid, site)) for userid in ("carol", "alice"))
            script = NOT_ROOT.format(environ=site.environ, carol=carol, alice=alice)
            said = await asyncio.to_thread(can, "carol", script)
        assert said == "carol's as carol, alice's not, and none when there are too many processes"


def children_of(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


NOT_ROOT = """
import asyncio, logging, os, resource, signal
from pathlib import Path
from learning_lab.forking.parents import Request, Root, listen
from learning_lab.warm.start import WarmParent

def request(fields):
    return Request(**(fields | {{"root": Root(**fields["root"])}}))

async def main():
    parent = WarmParent(Path('/list-that-cannot-be-written'), [], {environ!r}, logging.getLogger())
    parent.start()
    while not parent.ready:
        await asyncio.sleep(0.05)
    own = await parent.fork(request({carol!r}), listen('127.0.0.1', []))
    status = open(f"/proc/{{own.pid}}/status").read()
    assert f"Uid:\\t{{os.getuid()}}\\t{{os.getuid()}}\\t" in status, status
    assert await parent.fork(request({alice!r}), listen('127.0.0.1', [])) is None
    with open(f"/proc/{{own.pid}}/stat") as stat:
        pid = int(stat.read().rpartition(")")[2].split()[1])
    resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
    assert await parent.fork(request({carol!r}), listen('127.0.0.1', [])) is None
    assert parent.ready
    os.kill(own.pid, signal.SIGKILL)
    print("carol's as carol, alice's not, and none when there are too many processes")

asyncio.run(main())
"""

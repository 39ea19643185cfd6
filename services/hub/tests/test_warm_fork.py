"""What a forked server is: nothing of the parent's and of another's is in it, and else it is one started plainly."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import resource
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from lab_testing.forked_servers import (
    Hub,
    Site,
    asked,
    can,
    fork,
    memory_of,
    opened,
    parent_of,
    plain_parent,
    status_of,
    warm_parent,
)
from lab_testing.registry_double import Wire, secured
from learning_lab.forking.parents import Request
from learning_lab.user_ids import NOBODY
from learning_lab.warm import start
from learning_lab.warm.start import WarmParent

pytestmark = [
    pytest.mark.usefixtures("in_sandbox"),
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

PARENTS_HOME = "/tmp/home-of-the-parent"
# numpy's own threads would keep it out of the parent on a machine with more than one core.
FOR_ALL = {"OPENBLAS_NUM_THREADS": "1"}


RIGHTS = """
import contextlib, os
BY, IDS = os.getpid(), (os.getresuid(), os.getresgid(), os.getgroups())
PASSED_ON = []
for each in map(int, os.listdir("/proc/self/fd")):
    with contextlib.suppress(OSError):  # the one that listed them
        if each > 2 and os.get_inheritable(each):
            PASSED_ON.append(os.readlink(f"/proc/self/fd/{each}"))
"""


@pytest.fixture(scope="module")
def site(in_sandbox: None) -> Iterator[Site]:
    with Site() as site:
        site.extend("sums", "import numpy.random\nnumpy.random.random()\n")
        site.extend("rights", RIGHTS)
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm(site: Site) -> AsyncIterator[WarmParent]:
    async with warm_parent(site, HOME=PARENTS_HOME, **FOR_ALL) as parent:
        yield parent


@dataclasses.dataclass
class Server:
    request: Request
    pid: int
    process: dict[str, Any]
    random: dict[str, Any]

    @classmethod
    async def known(cls, request: Request, pid: int) -> Server:
        return cls(request, pid, await asked(request, "process"), await asked(request, "random_things"))


@dataclasses.dataclass
class Servers:
    alice: Server
    bob: Server
    plain: Server  # alice's

    @property
    def parent(self) -> int:
        return parent_of(self.alice.pid)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(warm: WarmParent, hub: Hub, site: Site) -> AsyncIterator[Servers]:
    """A server of alice's and one of bob's that were forked, and one of alice's that was started plainly."""
    requests = [hub.request(userid, site, **FOR_ALL) for userid in ("alice", "bob", "alice")]
    async with plain_parent() as plain:
        started = [await fork(parent, each) for parent, each in zip((warm, warm, plain), requests, strict=True)]
        yield Servers(*[await Server.known(each, one.pid) for each, one in zip(requests, started, strict=True)])
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)


@pytest.fixture
def https(tmp_path: Path) -> Iterator[str]:
    wire = Wire()
    wire.objects["/"] = {"said": "hello"}
    secured(wire, tmp_path)
    threading.Thread(target=wire.serve_forever, daemon=True).start()
    yield wire.url
    wire.shutdown()
    wire.server_close()


def links_of(pid: int, descriptor: int | None = None) -> list[str]:
    """What its descriptors are, or one of them is."""
    directory = Path(f"/proc/{pid}/fd")
    return [str(each.readlink()) for each in directory.iterdir() if descriptor in (None, int(each.name))]


class TestTwoServers:
    @pytest.mark.parametrize(
        "what",
        [
            *("random", "bits", "secrets", "uuid1", "uuid4", "numpy", "TLS", "temporary name"),
            *("temporary name of multiprocessing", "key of multiprocessing", "cookie secret", "token", "port"),
            *("session", "kernel key", "kernel port", "mask of aiohttp"),
        ],
    )
    async def test_have_nothing_alike_that_is_to_be_random(self, servers: Servers, what: str) -> None:
        assert servers.alice.random[what] != servers.bob.random[what]

    async def test_were_both_imported_by_the_same_parent(self, servers: Servers) -> None:
        assert servers.alice.process["imported by"] == servers.bob.process["imported by"] == servers.parent
        assert "sums" in servers.alice.process["modules"]

    async def test_know_nothing_of_each_other(self, servers: Servers) -> None:
        token = servers.alice.request.env["JUPYTERHUB_API_TOKEN"]
        assert token.encode() in memory_of(servers.alice.pid), "this way of looking finds it"
        assert token.encode() not in memory_of(servers.bob.pid)
        assert not [value for value in servers.bob.process["environment"].values() if "alice" in value]

    async def test_are_closed_to_each_other(self, servers: Servers) -> None:
        for what in ("environ", "maps", "mem", "fd", "root", "cwd", "stack", "syscall", "io", "map_files"):
            assert opened("bob", servers.alice.pid, what) in {"Permission denied", "Operation not permitted"}
        assert opened("alice", servers.alice.pid, "environ") == "opened", "her own process is hers"

    async def test_cannot_end_each_other(self, servers: Servers) -> None:
        said = can("bob", f"import os; os.kill({servers.alice.pid}, 15)")
        assert said == "PermissionError: [Errno 1] Operation not permitted"


class TestTheParent:
    async def test_has_a_clean_environment(self, servers: Servers) -> None:
        given = Path(f"/proc/{servers.parent}/environ").read_bytes().split(b"\0")
        names = {each.partition(b"=")[0].decode() for each in given} - {""}
        assert names <= {*start.ENVIRONMENT, "JUPYTER_CONFIG_PATH", "LC_CTYPE", "HOME", *FOR_ALL}

    async def test_imports_as_nobody_and_is_root_again_when_it_is_warm(self, servers: Servers) -> None:
        nobody = [NOBODY, NOBODY, 0]
        rights = (await asked(servers.alice.request, "constants", "rights"))["rights"]
        assert rights == {"BY": servers.parent, "IDS": [nobody, nobody, []], "PASSED_ON": []}, "Node gets nothing of it"
        own, its = status_of(os.getpid()), status_of(servers.parent)
        for each in ("Uid", "Gid", "Groups"):
            assert its[each] == own[each]

    async def test_has_no_more_memory_than_it_may(self, servers: Servers) -> None:
        soft, hard = resource.prlimit(servers.parent, resource.RLIMIT_DATA)
        assert (soft, hard) == (2 * 1024**3, resource.getrlimit(resource.RLIMIT_DATA)[1])

    async def test_never_learns_the_token_of_a_server(self, servers: Servers) -> None:
        memory = memory_of(servers.parent)
        assert b"learning_lab.warm.parent" in memory, "this way of looking finds what is there"
        for each in (servers.alice, servers.bob):
            assert each.request.env["JUPYTERHUB_API_TOKEN"].encode() not in memory

    async def test_has_one_thread_and_only_its_own_descriptors(self, servers: Servers) -> None:
        assert status_of(servers.parent)["Threads"] == "1"
        links = links_of(servers.parent)
        kinds = Counter(link.partition(":")[0] for link in links if not link.startswith(("/", "pipe")))
        # The control socket and one for each server that has not ended.
        assert kinds == {"socket": 3, "anon_inode": 1}

    async def test_is_closed_to_people(self, servers: Servers) -> None:
        for what in ("environ", "mem", "maps", "fd", "cwd", "root"):
            assert opened("alice", servers.parent, what).endswith("Permission denied")
        said = can("alice", f"import os; os.kill({servers.parent}, 9)")
        assert said == "PermissionError: [Errno 1] Operation not permitted"

    async def test_is_not_the_hubs_child(self, servers: Servers) -> None:
        assert parent_of(servers.parent) != os.getpid()
        assert os.getsid(servers.parent) == servers.parent


class TestLikeOneStartedPlainly:
    @pytest.mark.parametrize(
        "what",
        [
            *("arguments", "flags", "module path", "ids", "groups", "directory", "umask", "limits", "signals"),
            *("threads", "thread count", "locale", "encodings", "time zone", "loop", "loops", "loggers"),
            *("authorities", "trash", "multiprocessing starts in", "username", "lab"),
        ],
    )
    async def test_from_the_inside(self, servers: Servers, what: str) -> None:
        assert servers.alice.process[what] == servers.plain.process[what]

    async def test_it_has_the_same_environment(self, servers: Servers) -> None:
        def given(server: Server) -> dict[str, str]:
            own = ("JUPYTERHUB_API_TOKEN", "JUPYTERHUB_SERVICE_URL")  # the port is in them
            return {name: value for name, value in server.process["environment"].items() if name not in own}

        assert given(servers.alice) == given(servers.plain)
        assert servers.alice.process["environment"]["HOME"] == "/home/alice"

    async def test_the_kernel_says_the_same_of_it(self, servers: Servers) -> None:
        names = [
            *("Name", "Umask", "Uid", "Gid", "Groups", "SigQ", "SigBlk", "SigIgn", "SigCgt", "NoNewPrivs", "Seccomp"),
            *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Cpus_allowed", "CoreDumping", "THP_enabled"),
        ]
        both = [status_of(each.pid) for each in (servers.alice, servers.plain)]
        told = [{name: each.get(name) for name in names if name != "SigQ"} for each in both]
        assert told[0] == told[1]
        assert told[0]["CapEff"] == told[0]["CapPrm"] == "0" * 16
        for file in ("limits", "oom_score_adj", "cgroup", "coredump_filter", "autogroup", "comm", "timerslack_ns"):
            first, second = (Path(f"/proc/{each.pid}/{file}") for each in (servers.alice, servers.plain))
            if first.exists() and file != "autogroup":
                assert first.read_text() == second.read_text(), file

    async def test_it_leads_a_session_of_its_own(self, servers: Servers) -> None:
        for each in (servers.alice, servers.plain):
            assert each.process["session"] == each.process["pid"] == each.process["main thread"] == each.pid

    async def test_ps_shows_the_same(self, servers: Servers) -> None:
        def shown(server: Server) -> str:
            command = ["ps", "-o", "user=,nice=,tty=,comm=,args=", "-p", str(server.pid)]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        assert shown(servers.alice) == shown(servers.plain)

    async def test_it_has_no_descriptors_that_the_other_has_not(self, servers: Servers) -> None:
        def kinds(links: Any) -> Counter[str]:
            return Counter(re.sub(r"\[.*|:|\d", "", link) for link in links)

        async def same() -> bool:
            both = [(await asked(each.request, "process"))["descriptors"] for each in (servers.alice, servers.plain)]
            return kinds(both[0].values()) == kinds(both[1].values())

        async with asyncio.timeout(20):
            while not await same():  # noqa: ASYNC110  until neither is still at its first work
                await asyncio.sleep(0.2)
        for each in (servers.alice, servers.bob):
            shared = {*links_of(each.pid)} & {*links_of(servers.parent)} - {"/dev/null"}
            assert shared <= {"anon_inode:[eventpoll]"}, "not even the hub's log"

    async def test_no_lock_is_held_that_the_other_does_not_hold(self, servers: Servers) -> None:
        both = [await asked(each.request, "held_locks") for each in (servers.alice, servers.plain)]
        assert Counter(both[0]) <= Counter(both[1])
        assert both[1], "this way of looking finds those that are always held"

    async def test_nothing_imported_knows_the_parents_home(self, servers: Servers) -> None:
        assert await asked(servers.alice.request, "strings", "/home/alice"[::-1]), "this way of looking finds some"
        found = await asked(servers.alice.request, "strings", PARENTS_HOME[::-1])
        # Its copy of the parent's clean environment is for CGI, and nothing here serves that.
        assert [each for each in found if not each.startswith("wsgiref.handlers:")] == []

    async def test_nothing_imported_knows_of_the_trial(self, servers: Servers) -> None:
        assert await asked(servers.alice.request, "strings", "learning-lab-trial-"[::-1]) == []

    async def test_libraries_work(self, servers: Servers, https: str) -> None:
        done = await asked(servers.alice.request, "work", https)
        assert done == {"TLS": "hello", "sqlite3": "written", "inproc": "heard", "tcp": "heard", "numpy": 200.0}

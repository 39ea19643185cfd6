"""What a site adds to its servers: extensions and variables that must not, or may, be the parent's too.

One parent follows the other here; each test goes on where the one before ended.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lab_testing.api_server_double import Authority
from lab_testing.forked_servers import (
    Hub,
    Site,
    asked,
    end,
    fork,
    fork_or_not,
    parent_of,
    until,
    until_ready,
    warm_parent,
)
from lab_testing.processes import running
from learning_lab.forking.parents import Forked, Request
from learning_lab.warm.start import WarmParent

pytestmark = [
    pytest.mark.usefixtures("in_sandbox"),
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
PROCESS = "def _load_jupyter_server_extension(app):\n    import subprocess\n    subprocess.Popen(['sleep', '600'])"
EXTENSIONS = {
    "starts_thread": THREAD,
    "knows_home": "HOME = os.path.expanduser('~')",
    "imports_home": "import knows_home\nHOME = knows_home.HOME",
    "starts_thread_below": "import _thread, threading\n_thread.start_new_thread(threading.Event().wait, ())",
    "kept_out": "",
    "flavoured": "FLAVOUR = os.environ.get('FLAVOUR')",
    "versioned": "VERSION = 1",
    "starts_process": PROCESS,
    "keeps_secrets": "import secrets\nKEPT = secrets.token_hex()",
    "keeps_uuid": "import uuid\nKEPT = str(uuid.uuid4())",
    "keeps_random": "import random\nKEPT = random.Random().random()",
    "keeps_generator": "import random\nKEPT = random.Random()",
}


@pytest.fixture(scope="module")
def site(in_sandbox: None) -> Iterator[Site]:
    with Site() as site:
        site.extend_all(EXTENSIONS)
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm(site: Site) -> AsyncIterator[WarmParent]:
    async with warm_parent(site, ["kept_out"], FLAVOUR="sweet") as parent:
        yield parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def first(warm: WarmParent, hub: Hub, site: Site) -> AsyncIterator[tuple[Request, Forked]]:
    request = hub.request("alice", site, FLAVOUR="sweet")
    server = await fork(warm, request)
    yield request, server
    os.kill(server.pid, signal.SIGKILL)


class TestExtensions:
    async def test_that_start_a_thread_do_so_in_the_server(self, first: tuple[Request, Forked]) -> None:
        request, server = first
        said = await asked(request, "constants", "starts_thread")
        assert said["starts_thread"]["IMPORTED_BY"] == server.pid
        assert "Thread-1 (wait)" in (await asked(request, "process"))["threads"]

    async def test_that_start_one_without_the_class_for_it_do_too(self, first: tuple[Request, Forked]) -> None:
        request, server = first
        said = await asked(request, "constants", "starts_thread_below")
        assert said["starts_thread_below"]["IMPORTED_BY"] == server.pid

    @pytest.mark.parametrize("name", ["knows_home", "imports_home"])
    async def test_that_read_the_home_get_that_of_the_user(self, first: tuple[Request, Forked], name: str) -> None:
        request, server = first
        assert await asked(request, "constants", name) == {name: {"IMPORTED_BY": server.pid, "HOME": "/home/alice"}}

    async def test_that_the_site_wants_left_out_are_imported_by_the_server(self, first: tuple[Request, Forked]) -> None:
        request, server = first
        assert await asked(request, "constants", "kept_out") == {"kept_out": {"IMPORTED_BY": server.pid}}

    async def test_that_may_be_forked_are_imported_by_the_parent(self, first: tuple[Request, Forked]) -> None:
        request, server = first
        said = await asked(request, "constants", "flavoured,versioned,starts_process")
        assert {each["IMPORTED_BY"] for each in said.values()} == {parent_of(server.pid)}

    @pytest.mark.parametrize("what", ["secrets", "uuid", "random", "generator"])
    async def test_that_keep_something_random_have_nothing_in_common(
        self, warm: WarmParent, first: tuple[Request, Forked], hub: Hub, site: Site, what: str
    ) -> None:
        request = hub.request("bob", site, FLAVOUR="sweet")
        server = await fork(warm, request)
        both = [(await asked(each, "constants", f"keeps_{what}"))[f"keeps_{what}"] for each in (first[0], request)]
        assert both[0]["KEPT"] != both[1]["KEPT"]
        await end(server)

    async def test_that_are_left_out_leave_a_server_the_limits_that_it_has_plainly(
        self, first: tuple[Request, Forked]
    ) -> None:
        limits = (await asked(first[0], "process"))["limits"]
        assert limits["RLIMIT_DATA"] == list(resource.getrlimit(resource.RLIMIT_DATA))

    async def test_leave_nothing_of_the_trial(self, first: tuple[Request, Forked]) -> None:
        nobody = pwd.getpwnam("nobody").pw_uid
        assert running("", nobody) == []
        assert list(Path("/tmp").glob("learning-lab-trial-*")) == []

    async def test_that_change_are_new_in_the_next_server_and_old_in_those_that_run(
        self, warm: WarmParent, first: tuple[Request, Forked], hub: Hub, site: Site
    ) -> None:
        file = site.path / "versioned.py"
        file.write_text(file.read_text().replace("VERSION = 1", "VERSION = 22"))
        await until(lambda: not warm.ready)
        (site.path / "another-1.0.dist-info").mkdir()  # while the new one gets warm
        await until_ready(warm)
        request = hub.request("bob", site, FLAVOUR="sweet")
        server = await fork(warm, request)
        assert (await asked(request, "constants", "versioned"))["versioned"]["VERSION"] == 22
        assert (await asked(first[0], "constants", "versioned"))["versioned"]["VERSION"] == 1
        await end(server)


class TestAnotherEnvironment:
    @pytest.mark.parametrize("name", ["PYTHONHASHSEED", "PYTHONUTF8", "LD_BIND_NOW", "MALLOC_ARENA_MAX", "LC_ALL"])
    async def test_of_what_the_interpreter_has_read_gives_no_fork(
        self, warm: WarmParent, hub: Hub, site: Site, name: str
    ) -> None:
        value = "POSIX" if name == "LC_ALL" else "1"
        assert await fork_or_not(warm, hub.request("alice", site, FLAVOUR="sweet", **{name: value})) is None
        try:
            assert warm.ready, "others have one"
        finally:
            await until_ready(warm)

    async def test_has_its_own_time_zone(self, warm: WarmParent, hub: Hub, site: Site) -> None:
        request = hub.request("alice", site, FLAVOUR="sweet", TZ="Asia/Tokyo")
        server = await fork(warm, request)
        assert (await asked(request, "process"))["time zone"] == ["JST", "JST"]
        await end(server)

    async def test_that_extensions_have_read_leads_to_a_parent_that_leaves_them_out(
        self, warm: WarmParent, hub: Hub, site: Site
    ) -> None:
        request = hub.request("bob", site, FLAVOUR="sour")
        assert await fork_or_not(warm, request) is None
        await until_ready(warm)
        server = await fork(warm, request)
        said = await asked(request, "constants", "flavoured")
        assert said["flavoured"] == {"IMPORTED_BY": server.pid, "FLAVOUR": "sour"}
        await end(server)

    async def test_trusts_the_authorities_that_it_names(
        self, warm: WarmParent, hub: Hub, site: Site, tmp_path: Path
    ) -> None:
        file = site.path / "authority.crt"
        file.write_bytes(Authority(tmp_path, "of the company").file.read_bytes())
        request = hub.request("alice", site, FLAVOUR="sour", SSL_CERT_FILE=str(file))
        server = await fork_or_not(warm, request)
        if server is None:
            await until_ready(warm)
            server = await fork_or_not(warm, request)
        if server is not None:  # to start it plainly is as good
            assert "of the company" in str((await asked(request, "process"))["authorities"])
            await end(server)


class TestPackages:
    async def test_that_are_installed_lead_to_a_new_parent(self, warm: WarmParent, site: Site) -> None:
        await until_ready(warm)
        (site.path / "one_more-1.0.dist-info").mkdir()
        await until(lambda: not warm.ready)

    async def test_that_change_while_a_parent_gets_warm_are_not_missed(
        self, warm: WarmParent, hub: Hub, site: Site
    ) -> None:
        (place := site.path / "of-anybody").mkdir()
        place.chmod(0o777)
        imported = place / "imported"
        # The trial has no rights at all; the parent has only put its own aside.
        parent = "os.getresuid()[2] == 0"
        text = f"import os, time\nVERSION = 1\nif {parent}:\n    open('{imported}', 'w')\n    time.sleep(1)\n"
        file = site.extend("slow", text)
        await until(imported.exists, 60)
        assert not warm.ready
        file.write_text("VERSION = 22\ndef _load_jupyter_server_extension(app):\n    pass\n")
        async with asyncio.timeout(30):
            while await version_of_slow(warm, hub.request("bob", site, FLAVOUR="sour")) != 22:  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def version_of_slow(warm: WarmParent, request: Request) -> int:
    await until_ready(warm)
    server = await fork(warm, request)
    said = await asked(request, "constants", "slow")
    await end(server)
    return int(said["slow"]["VERSION"])

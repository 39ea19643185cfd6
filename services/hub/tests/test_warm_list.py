"""The list of modules that a warm parent imports: what it tells, when it is used, and when it is made anew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from lab_testing.forked_servers import Hub, Site, asked, fork, fork_or_not, parent_of, until_ready, warm_parent

pytestmark = [pytest.mark.usefixtures("in_sandbox"), pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

EXTENSIONS = {
    "plain": "",
    "starts_thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
    "knows_home": "HOME = os.path.expanduser('~')",
    "keeps_uuid": "import uuid\nKEPT = str(uuid.uuid4())",
    "kept_out": "",
    "flavoured": "FLAVOUR = os.environ.get('FLAVOUR')",
}
SWEET = {"FLAVOUR": "sweet"}


@pytest.fixture(scope="module")
def site(in_sandbox: None) -> Iterator[Site]:
    with Site() as site:
        site.extend_all(EXTENSIONS)
        yield site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def text(site: Site) -> str:
    """The list that the first parent of this site has had made."""
    async with warm_parent(site, ["kept_out"], **SWEET):
        return site.list.read_text()


@pytest.fixture
def made(site: Site, text: str) -> Path:
    """A file with that list."""
    if not site.list.exists() or site.list.read_text() != text:
        site.list.write_text(text)
    return site.list


async def imported(site: Site, hub: Hub, leave_out: list[str], **environ: str) -> dict[str, str]:
    """Who has imported the extensions of a server that is forked now: the "parent" or the "server"."""
    async with warm_parent(site, leave_out, **environ) as parent:
        request = hub.request("bob", site, **environ)
        server = await fork(parent, request)
        said = await asked(request, "constants", ",".join(EXTENSIONS))
        assert said["flavoured"]["FLAVOUR"] == environ["FLAVOUR"]
        who = {parent_of(server.pid): "parent", server.pid: "server"}
        return {name: who[constants["IMPORTED_BY"]] for name, constants in said.items()}


EXPECTED = {name: "parent" if name in {"plain", "flavoured"} else "server" for name in EXTENSIONS}


class TestTheList:
    async def test_tells_what_is_left_to_each_server_and_why(self, made: Path) -> None:
        line, *lines = made.read_text().splitlines()
        assert line.startswith("# For Python 3.")
        left = ("- starts_thread (a-thread)", "- knows_home HOME", "- keeps_uuid (something-random)", "- kept_out")
        for line in (*left, "plain", "flavoured FLAVOUR", "tornado.util TORNADO_EXTENSION TORNADO_NO_EXTENSION"):
            assert line in lines

    async def test_is_used_by_the_next_parent_and_no_trial_is_held(self, made: Path, site: Site, hub: Hub) -> None:
        before = made.stat()
        assert await imported(site, hub, ["kept_out"], **SWEET) == EXPECTED
        assert made.stat() == before

    @pytest.mark.parametrize("what", ["no list", "fewer modules", "a thread that is not noted"])
    async def test_that_does_not_fit_is_made_anew(self, made: Path, text: str, site: Site, hub: Hub, what: str) -> None:
        other = {
            "no list": "-\n\n\0",
            "fewer modules": text.replace("\nplain\n", "\n"),
            "a thread that is not noted": text.replace("- starts_thread (a-thread)", "starts_thread"),
        }
        assert other[what] != text
        made.write_text(other[what])
        assert await imported(site, hub, ["kept_out"], **SWEET) == EXPECTED
        # A set, for instance of encodings to try, may be imported in any order.
        assert sorted(made.read_text().splitlines()) == sorted(text.splitlines())

    async def test_is_made_anew_when_an_extension_is_another_one(self, made: Path, site: Site, hub: Hub) -> None:
        file = site.path / "plain.py"
        before, content = file.stat(), file.read_text()
        file.write_text(f"{content}HOME = os.environ['HOME']\n")
        try:
            assert await imported(site, hub, ["kept_out"], **SWEET) == {**EXPECTED, "plain": "server"}
        finally:
            file.write_text(content)
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    async def test_is_made_anew_for_another_value_of_a_variable_that_a_module_reads(
        self, made: Path, text: str, site: Site, hub: Hub
    ) -> None:
        assert await imported(site, hub, ["kept_out"], FLAVOUR="salty") == EXPECTED
        assert made.read_text().partition("\n")[0] != text.partition("\n")[0]

    async def test_is_made_anew_for_another_setting(self, made: Path, site: Site, hub: Hub) -> None:
        expected = {**EXPECTED, "plain": "server", "kept_out": "parent"}
        assert await imported(site, hub, ["plain"], **SWEET) == expected

    async def test_keeps_what_turned_out_to_be_each_servers_own(self, made: Path, site: Site, hub: Hub) -> None:
        async with warm_parent(site, ["kept_out"], **SWEET) as parent:
            assert await fork_or_not(parent, hub.request("bob", site, FLAVOUR="sour")) is None
            await until_ready(parent)
        assert "- flavoured FLAVOUR" in made.read_text().splitlines()
        assert await imported(site, hub, ["kept_out"], **SWEET) == {**EXPECTED, "flavoured": "server"}

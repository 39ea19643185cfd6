"""People's servers that a real hub has forked: what they and others see, and what happens when something is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab_testing.embedded import HUB, EmbeddedLab
from lab_testing.forked_servers import Site, can, memory_of, opened, parent_of, warm_parents
from lab_testing.person import Person, visible_text

pytestmark = [pytest.mark.usefixtures("in_sandbox"), pytest.mark.timeout(300)]

LINES = """
c.JupyterHub.authenticate_prometheus = False
c.JupyterHub.cleanup_servers = False
c.Spawner.http_timeout = 45
c.Spawner.environment = {"PYTHONPATH": os.environ["PYTHONPATH"]}
"""
ENABLED = Path("/etc/jupyter/jupyter_server_config.d/witness.json")
SECRET = "secret-of-the-hub-in-its-environment"
AT_ONCE = 15  # seconds; what nobody tells it the hub looks for every 30


def configured(directory: Path) -> Path:
    policy = (HUB / "jupyterhub_config.py").read_text()
    file = directory / "config.py"
    file.write_text(policy.replace("\nconfigure(c)\n", f"\n{LINES}\nconfigure(c)\n"))
    return file


@pytest.fixture(scope="module")
def site(in_sandbox: None) -> Iterator[Site]:
    """A site's extension, as one is installed for everybody."""
    ENABLED.parent.mkdir(parents=True, exist_ok=True)
    ENABLED.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"witness": True}}}))
    with Site() as site:
        yield site
    ENABLED.unlink()


def made(tmp_path_factory: pytest.TempPathFactory, site: Site, name: str, **environ: str) -> EmbeddedLab:
    directory = tmp_path_factory.mktemp(name)
    environ = {
        "PYTHONPATH": str(site.path),
        "SECRET": SECRET,
        "CONFIGPROXY_AUTH_TOKEN": "f" * 64,
        "LEARNING_LAB_WARM_MODULES": "warm-modules.txt",  # its own: no other lab has this site's extension
        **environ,
    }
    return EmbeddedLab(directory / "lab", config=configured(directory), environ=environ)


@pytest.fixture(scope="module")
def lab(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLab]:
    with made(tmp_path_factory, site, "warm") as lab:
        wait_until(lambda: "The warm parent is ready" in lab.log.read_text(), "no warm parent")
        yield lab


@pytest.fixture(scope="module")
def people(lab: EmbeddedLab) -> Iterator[dict[str, Person]]:
    """Alice and bob, who have forked servers."""
    people = {userid: Person(lab, userid) for userid in ("alice", "bob")}
    for each in people.values():
        assert each.log_in().status_code == 200
    yield people
    for each in people.values():
        each.stop()
        each.http.close()


@pytest.fixture
def both(lab: EmbeddedLab, people: dict[str, Person]) -> dict[str, int]:
    """The PIDs of their servers, which run."""
    for each in people.values():
        if not each.server():
            each.start(directory="notebooks")
    for each in people.values():
        each.wait_until_ready()
    return {userid: server_of(lab, userid) for userid in people}


def stored(lab: EmbeddedLab, userid: str) -> tuple[int, dict[str, Any]]:
    """What the hub would know of somebody's server after a restart, and the key of that."""
    with sqlite3.connect(lab.directory / "jupyterhub.sqlite") as database:
        query = "select spawners.id, spawners.state from spawners join users on users.id = user_id where users.name = ?"
        ((key, state),) = database.execute(query, (userid,)).fetchall()
    return key, json.loads(state or "{}")


def server_of(lab: EmbeddedLab, userid: str) -> int:
    """Its PID, which must be there."""
    pid = stored(lab, userid)[1].get("pid", 0)
    assert pid > 1, f"the hub knows of no server of {userid}"
    return int(pid)


def wait_until(true: Callable[[], Any], otherwise: str, within: float = 60) -> None:
    until = time.monotonic() + within
    while not true():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


def inside(person: Person, question: str, about: str = "") -> Any:
    answer = person.http.get(f"/user/{person.userid}/witness", params={"ask": question, "about": about})
    assert answer.status_code == 200, answer.text
    return answer.json()


def metrics(person: Person) -> str:
    return person.http.get("/hub/metrics").text


def starts(person: Person, way: str) -> int:
    found = re.search(rf'^learning_lab_server_starts_total{{way="{way}"}} (\S+)$', metrics(person), re.MULTILINE)
    return int(float(found[1])) if found else 0


class TestServersOfTwoPeople:
    def test_were_forked_and_answer_their_owners(self, people: dict[str, Person], both: dict[str, int]) -> None:
        assert starts(people["alice"], "warm") == 2
        assert starts(people["alice"], "plain") == 0
        assert "learning_lab_warm_parent_ready 1.0" in metrics(people["alice"])
        (parent,) = warm_parents()
        for userid, person in people.items():
            assert parent_of(both[userid]) == parent
            assert person.contents()["path"] == ""
            assert person.http.get(f"/user/{userid}/api/status").status_code == 200

    def test_open_to_nobody_else(self, people: dict[str, Person], both: dict[str, int]) -> None:
        assert people["bob"].http.get("/user/alice/api/status").status_code in {403, 404}
        for what in ("environ", "mem", "fd", "maps", "root", "cwd"):
            assert opened("bob", both["alice"], what) == "Permission denied"

    def test_have_no_variable_of_the_hubs_or_of_each_others(
        self, people: dict[str, Person], both: dict[str, int]
    ) -> None:
        environ = inside(people["alice"], "process")["environment"]
        others = {"SECRET", "CONFIGPROXY_AUTH_TOKEN", "LEARNING_LAB_NAMESPACES_FILE", "HUB_PORT", "PROXY_API_PORT"}
        assert others.isdisjoint(environ), environ["USER"]
        assert not [value for value in environ.values() if "bob" in value or SECRET in value]

    def test_have_kernels_with_a_key_and_a_name_of_their_own(
        self, people: dict[str, Person], both: dict[str, int]
    ) -> None:
        keys, random = set(), []
        for userid, person in people.items():
            kernel = person.start_kernel()["id"]
            file = Path(f"/home/{userid}/.local/share/jupyter/runtime/kernel-{kernel}.json")
            wait_until(file.exists, "the kernel has no connection file")
            assert file.stat().st_mode & 0o077 == 0
            assert file.owner() == userid
            keys.add(json.loads(file.read_text())["key"])
            random.append(inside(person, "random_things"))
            assert inside(person, "process")["username"] == userid
        assert len(keys) == 2
        assert {name for name in random[0] if random[0][name] == random[1][name]} == set()

    def test_hold_nothing_of_the_hubs_nor_does_their_parent(
        self, lab: EmbeddedLab, people: dict[str, Person], both: dict[str, int]
    ) -> None:
        cookie_secret = bytes.fromhex((lab.directory / "jupyterhub_cookie_secret").read_text())
        tokens = {
            userid: inside(each, "process")["environment"]["JUPYTERHUB_API_TOKEN"] for userid, each in people.items()
        }
        secrets = [cookie_secret, b"f" * 64, SECRET.encode(), b"jupyterhub.sqlite"]
        memory = {pid: memory_of(pid) for pid in (*warm_parents(), *both.values(), lab.pid)}
        assert len(memory) == 4
        for secret in secrets:
            assert [pid for pid, text in memory.items() if secret in text] in ([], [lab.pid])
        assert SECRET.encode() in memory[lab.pid], "this way of looking finds it"
        for userid, token in tokens.items():
            assert {pid for pid, text in memory.items() if token.encode() in text} - {lab.pid} == {both[userid]}

    def test_have_no_file_of_the_hubs_open(self, lab: EmbeddedLab, both: dict[str, int]) -> None:
        for pid, hubs in ((*warm_parents(), {str(lab.log)}), (both["alice"], set())):
            links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
            assert {link for link in links if link.startswith(str(lab.directory))} == hubs

    def test_cannot_touch_each_other_or_the_parent(self, both: dict[str, int]) -> None:
        for pid in (*warm_parents(), both["bob"]):
            said = can("alice", f"import os; os.kill({pid}, 0)")
            assert said == "PermissionError: [Errno 1] Operation not permitted"
            for what in ("environ", "mem", "fd"):
                assert opened("alice", pid, what) == "Permission denied"

    def test_write_to_a_file_of_their_users_and_not_to_the_hubs_log(
        self, lab: EmbeddedLab, both: dict[str, int]
    ) -> None:
        log = Path("/home/alice/.local/state/learning-lab/server.log")
        assert re.search(r"^\[I \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ServerApp\] ", log.read_text(), re.MULTILINE)
        assert log.owner() == "alice"
        assert log.stat().st_mode & 0o777 == 0o600
        assert "ServerApp]" not in lab.log.read_text()


class TestDeaths:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_of_a_server_are_noticed_at_once(
        self, people: dict[str, Person], both: dict[str, int], number: signal.Signals
    ) -> None:
        os.kill(both["alice"], number)
        wait_until(lambda: people["alice"].server() is None, "the hub has not noticed", AT_ONCE)
        assert "Open" not in visible_text(people["alice"].http.get("/hub/home")).split()
        assert people["bob"].server(), "the other goes on"

    @pytest.mark.parametrize("what", ["import time; time.sleep(60)", "raise SystemExit(3)"])
    def test_of_a_server_before_it_listens_are_told_to_its_person(
        self, lab: EmbeddedLab, people: dict[str, Person], both: dict[str, int], what: str
    ) -> None:
        alice = people["alice"]
        alice.stop()
        config = Path("/home/alice/.jupyter/jupyter_server_config.py")
        config.parent.mkdir(exist_ok=True)
        config.write_text(what)
        try:
            alice.start(directory="notebooks")
            if "sleep" in what:
                wait_until(lambda: "pid" in stored(lab, "alice")[1], "no server", AT_ONCE)
                people["bob"].stop()
                people["bob"].start(directory="notebooks")
                people["bob"].wait_until_ready()
                assert not (alice.server() or {}).get("ready"), "hers takes long, and nobody waits for it"
                os.kill(server_of(lab, "alice"), signal.SIGKILL)
            wait_until(lambda: alice.http.get("/hub/spawn-pending/alice").status_code == 500, "no page", AT_ONCE)
        finally:
            config.unlink()
        page = visible_text(alice.http.get("/hub/spawn-pending/alice"))
        assert "JupyterLab ended as soon as it began. Tell the people who run this lab." in page

    def test_of_the_parent_leave_servers_and_the_next_start_is_plain_and_the_one_after_that_is_not(
        self, lab: EmbeddedLab, people: dict[str, Person], both: dict[str, int]
    ) -> None:
        alice, bob = people["alice"], people["bob"]
        (parent,) = warm_parents()
        bob.stop()
        ready = lab.log.read_text().count("The warm parent is ready")
        plain, warm = starts(bob, "plain"), starts(bob, "warm")
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: "learning_lab_warm_parent_ready 0.0" in metrics(bob), "the hub has not noticed", AT_ONCE)
        bob.start(directory="notebooks")
        bob.wait_until_ready()
        assert starts(bob, "plain") == plain + 1
        assert "No warm parent for the server of bob: starting it plainly" in lab.log.read_text()
        assert alice.contents()["path"] == "", "hers goes on"
        assert server_of(lab, "alice") == both["alice"]
        wait_until(lambda: lab.log.read_text().count("The warm parent is ready") > ready, "no new parent")
        os.kill(both["alice"], signal.SIGKILL)
        wait_until(lambda: alice.server() is None, "the end of a server without a parent is not noticed", AT_ONCE)
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        assert starts(bob, "warm") == warm + 1
        bob.stop()

    def test_of_the_hub_leave_servers_that_it_finds_again_and_no_stranger_is_taken_for_one(
        self, lab: EmbeddedLab, people: dict[str, Person], both: dict[str, int]
    ) -> None:
        (old,) = {parent_of(pid) for pid in both.values()}
        os.kill(lab.pid, signal.SIGKILL)
        os.kill(both["bob"], signal.SIGKILL)
        stranger = subprocess.Popen(["sleep", "600"], user="bob")
        give_server_the_pid(lab, "bob", stranger.pid)
        lab.stop()
        lab.start()
        alice, bob = people["alice"], people["bob"]
        assert alice.server(), "hers is found again"
        assert bob.server() is None
        assert server_of(lab, "alice") == both["alice"]
        assert alice.contents()["path"] == ""
        alice.stop()
        bob.stop()
        assert not Path(f"/proc/{both['alice']}").exists()
        assert stranger.poll() is None, "nobody signals it"
        stranger.kill()
        stranger.wait()
        wait_until(lambda: not Path(f"/proc/{old}").exists(), "the old parent has no server any more", AT_ONCE)


def give_server_the_pid(lab: EmbeddedLab, userid: str, pid: int) -> None:
    """Make what the hub has stored true of another process, as when a PID was used again."""
    key, state = stored(lab, userid)
    assert state["started_at"]
    with sqlite3.connect(lab.directory / "jupyterhub.sqlite") as database:
        database.execute("update spawners set state = ? where id = ?", (json.dumps(state | {"pid": pid}), key))


class TestWithoutAWarmParent:
    def test_a_server_is_started_plainly(self, site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
        before = warm_parents()
        with made(tmp_path_factory, site, "plain", LEARNING_LAB_WARM="false") as lab:
            carol = Person(lab, "carol")
            carol.log_in()
            carol.start(directory="notebooks")
            carol.wait_until_ready()
            assert starts(carol, "plain") == 1
            assert starts(carol, "warm") == 0
            assert "learning_lab_warm_parent_ready 0.0" in metrics(carol)
            assert warm_parents() <= before
            assert parent_of(server_of(lab, "carol")) != lab.pid
            os.kill(server_of(lab, "carol"), signal.SIGKILL)

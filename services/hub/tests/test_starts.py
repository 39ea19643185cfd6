"""Every route to a start, with what is theirs and what is not. A real hub, real PAM, real servers."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person, visible_text

pytestmark = pytest.mark.timeout(300)

NOT_THEIRS = [
    pytest.param("/s/bob/notebooks", id="another user's directory"),
    pytest.param("/s/bob", id="another user's home on the storage"),
    pytest.param("/s/alice", id="the folder above their own directories"),
    pytest.param("notebooks/../../bob/notebooks", id="a way out through a name"),
    pytest.param("/s/alice/notebooks/../../bob", id="a way out through a path"),
    pytest.param("/etc", id="a directory outside the storage"),
    pytest.param("/s", id="the root of the storage"),
    pytest.param("nonsense", id="a name that nothing has"),
    pytest.param("/s/alice/notebooks\0/etc", id="a NUL byte"),
    pytest.param("{user.__class__}", id="a format string"),
    pytest.param("<script>alert(1)</script>", id="markup"),
    pytest.param("a" * 5000, id="five thousand letters"),
]


def as_form(person: Person, choice: str) -> int:
    return person.start(directory=choice).status_code


def as_typed_text(person: Person, choice: str) -> int:
    return person.start(typed=choice).status_code


def as_rest(person: Person, choice: str) -> int:
    return person.api(
        "POST", f"/users/{person.userid}/server", json={"user_options": {"directory": choice}}
    ).status_code


def as_switch(person: Person, choice: str) -> int:
    return person.post("/hub/switch", directory=choice).status_code


ROUTES = [
    pytest.param(as_form, id="by the form"),
    pytest.param(as_typed_text, id="by typed text"),
    pytest.param(as_rest, id="by the REST API"),
    pytest.param(as_switch, id="by a switch"),
]


@pytest.fixture
def folder() -> Iterator[Callable[..., Path]]:
    """Make a folder (or a link) as a user owns it; removed at the end."""
    made: list[Path] = []

    def make(path: str, owner: str, mode: int = 0o700, link_to: str = "") -> Path:
        here = Path(path)
        account = pwd.getpwnam(owner)
        if link_to:
            here.symlink_to(link_to)
        else:
            here.mkdir()
            here.chmod(mode)
        os.chown(here, account.pw_uid, account.pw_gid, follow_symlinks=False)
        made.append(here)
        return here

    yield make
    for path in reversed(made):
        path.unlink() if path.is_symlink() else shutil.rmtree(path)


class TestWhatIsTheirs:
    def test_a_directory_of_the_list_is_the_root_of_the_server(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        assert alice.start(directory="/s/alice/thesis").status_code == 200
        server = alice.wait_until_ready()
        assert server["user_options"] == {"directory": "/s/alice/thesis"}
        expected = sorted(path.name for path in Path("/s/alice/thesis").glob("*.ipynb"))
        assert expected
        assert sorted(item["name"] for item in alice.contents()["content"]) == expected

    def test_a_typed_folder_below_a_name_is_opened(
        self, person: Callable[[str], Person], folder: Callable[..., Path]
    ) -> None:
        folder("/s/alice/notebooks/week 1", "alice")
        alice = person("alice")
        alice.start(typed="notebooks/week 1")
        assert alice.wait_until_ready()["user_options"] == {"directory": "/s/alice/notebooks/week 1"}
        alice.stop()

    def test_a_folder_with_braces_and_percent_signs_in_its_name_is_opened_as_it_is(
        self, person: Callable[[str], Person], folder: Callable[..., Path]
    ) -> None:
        name = "/s/alice/notebooks/{username} %U ~ 100%"
        folder(name, "alice")
        alice = person("alice")
        alice.start(typed=name)
        assert alice.wait_until_ready()["user_options"] == {"directory": name}
        assert alice.contents()["content"] == []

    def test_the_server_runs_as_the_user_with_the_groups_of_the_user(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="climate")
        alice.wait_until_ready()
        status = server_status("alice")
        account = pwd.getpwnam("alice")
        assert status["Uid"].split() == [str(account.pw_uid)] * 4
        assert status["Gid"].split() == [str(account.pw_gid)] * 4
        assert sorted(status["Groups"].split()) == sorted(map(str, os.getgrouplist("alice", account.pw_gid)))
        assert status["Umask"] == "0002", "what one person makes in a shared directory the others can change"

    def test_a_directory_of_their_own_has_the_usual_umask(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="thesis")
        alice.wait_until_ready()
        assert server_status("alice")["Umask"] == "0022"

    def test_the_default_directory_of_a_user_without_a_list_is_made_at_the_first_start(
        self, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        annotate("carol", notebook_dirs=None)
        moved = Path("/s/carol/notebooks").rename("/s/carol/notebooks-kept")
        try:
            carol = person("carol")
            carol.start(directory="notebooks")
            assert carol.wait_until_ready()["user_options"] == {"directory": "/s/carol/notebooks"}
            assert Path("/s/carol/notebooks").owner() == "carol"
            carol.stop()
        finally:
            shutil.rmtree("/s/carol/notebooks", ignore_errors=True)
            moved.rename("/s/carol/notebooks")


class TestWhatIsNot:
    @pytest.mark.parametrize("choice", NOT_THEIRS)
    @pytest.mark.parametrize("route", ROUTES)
    def test_it_is_refused_and_nothing_starts(
        self, person: Callable[[str], Person], route: Callable[[Person, str], int], choice: str
    ) -> None:
        alice = person("alice")
        assert route(alice, choice) == 400
        assert alice.server() is None

    def test_the_refusal_names_what_they_can_open_and_nothing_else(self, person: Callable[[str], Person]) -> None:
        text = visible_text(person("alice").start(typed="/s/bob/forecast"))
        assert '"/s/bob/forecast" is not one of your directories.' in text
        assert "You can open: notebooks, thesis, genomics, climate." in text
        assert "carol" not in text

    def test_a_refusal_is_the_same_whether_the_directory_exists_or_not(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        there = visible_text(alice.start(typed="/s/bob/notebooks")).replace("/s/bob/notebooks", "X")
        not_there = visible_text(alice.start(typed="/s/bob/notebookz")).replace("/s/bob/notebookz", "X")
        assert there == not_there

    def test_markup_in_a_refused_choice_comes_back_as_text(self, person: Callable[[str], Person]) -> None:
        page = person("alice").start(typed="<img src=x onerror=alert(1)>").text
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page

    def test_an_admin_who_starts_for_somebody_else_is_held_to_that_users_list(
        self, person: Callable[[str], Person]
    ) -> None:
        carol = person("carol")  # LAB_ADMINS
        refused = carol.api("POST", "/users/alice/server", json={"user_options": {"directory": "/s/carol/notebooks"}})
        assert refused.status_code in {400, 404}
        alice = person("alice")
        refused = carol.api("POST", "/users/alice/server", json={"user_options": {"directory": "/s/carol/notebooks"}})
        assert refused.status_code == 400
        assert "is not one of your directories" in refused.json()["message"]
        assert alice.server() is None

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"directory": ["/s/alice/notebooks"]}, id="a list"),
            pytest.param({"directory": {"path": "/s/alice/notebooks"}}, id="a mapping"),
            pytest.param({"directory": 7}, id="a number"),
            pytest.param({"directory": True}, id="a truth value"),
        ],
    )
    def test_user_options_of_another_type_are_refused(
        self, person: Callable[[str], Person], options: dict[str, Any]
    ) -> None:
        alice = person("alice")
        assert alice.api("POST", "/users/alice/server", json={"user_options": options}).status_code == 400
        assert alice.server() is None

    def test_a_remembered_choice_that_was_revoked_is_refused(
        self, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        alice = person("alice")
        alice.start(directory="thesis")
        alice.wait_until_ready()
        alice.stop()
        annotate("alice", notebook_dirs="- /s/alice/notebooks")
        refused = alice.api("POST", "/users/alice/server")
        assert refused.status_code == 400
        assert alice.server() is None

    def test_a_refused_choice_is_not_remembered(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="thesis")
        alice.wait_until_ready()
        alice.stop()
        alice.start(directory="/s/bob/notebooks")
        alice.api("POST", "/users/alice/server")
        assert alice.wait_until_ready()["user_options"] == {"directory": "/s/alice/thesis"}

    @pytest.mark.parametrize(
        "target",
        [
            pytest.param("/s/bob/notebooks", id="another user's directory"),
            pytest.param("/etc", id="a place outside the storage"),
            pytest.param("/s/shared", id="a shared folder that is not in the list"),
        ],
    )
    def test_a_link_that_leads_to_what_is_not_granted_is_refused(
        self, person: Callable[[str], Person], folder: Callable[..., Path], target: str
    ) -> None:
        folder("/s/alice/notebooks/link", "alice", link_to=target)
        alice = person("alice")
        assert alice.start(typed="notebooks/link").status_code == 403
        assert alice.server() is None

    def test_a_link_that_leads_to_a_granted_directory_is_opened_there(
        self, person: Callable[[str], Person], folder: Callable[..., Path]
    ) -> None:
        folder("/s/alice/notebooks/link", "alice", link_to="/s/alice/thesis")
        alice = person("alice")
        alice.start(typed="notebooks/link")
        alice.wait_until_ready()
        assert environment_of(alice)["JUPYTERHUB_ROOT_DIR"] == "/s/alice/thesis"

    def test_a_directory_that_is_gone_is_refused_with_a_sentence(
        self, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        annotate("alice", notebook_dirs=["/s/alice/notebooks", "/s/alice/gone"])
        alice = person("alice")
        refused = alice.start(directory="/s/alice/gone")
        assert refused.status_code == 400
        assert "gone cannot be opened. It is not there." in visible_text(refused)

    def test_a_directory_that_is_not_permitted_is_refused_with_a_sentence(
        self, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        annotate("carol", notebook_dirs=["/s/carol/notebooks", "/s/shared/genomics"])
        carol = person("carol")
        refused = carol.start(directory="/s/shared/genomics")
        assert refused.status_code == 403
        assert "You are not permitted to open it." in visible_text(refused)

    def test_a_user_whose_namespace_is_not_marked_as_theirs_gets_nothing(
        self, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        annotate("alice", labels={"learning-lab.dev/user": None})
        alice = person("alice")
        assert "No notebook directories have been set up for you" in visible_text(alice.http.get("/hub/spawn"))
        assert alice.start(directory="/s/alice/notebooks").status_code == 403
        assert alice.server() is None


class TestNoFreshReadNoStart:
    def test_the_menu_shows_the_last_known_list_and_starts_are_refused(
        self, lab: EmbeddedLab, person: Callable[[str], Person], annotate: Callable[..., None]
    ) -> None:
        alice = person("alice")
        assert "Genomics course" in alice.http.get("/hub/spawn").text
        lab.namespaces.write_text("{ half a file")
        time.sleep(0.06)  # a menu may be 50 ms old
        page = visible_text(alice.http.get("/hub/spawn"))
        assert "this is the last known one" in page
        assert "Genomics course" in page
        refused = alice.start(directory="/s/alice/notebooks")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert alice.server() is None


class TestAGetStartsNothing:
    @pytest.mark.parametrize(
        "path",
        [
            pytest.param("/hub/spawn", id="the menu"),
            pytest.param("/hub/spawn?directory=notebooks", id="the menu with an old style option"),
            pytest.param("/hub/spawn?opt-directory=notebooks", id="the menu with a new style option"),
            pytest.param("/hub/spawn/alice?opt-directory=/s/alice/notebooks", id="the menu of a named user"),
            pytest.param("/hub/open?dir=notebooks", id="a link"),
            pytest.param("/hub/switch", id="the switch page"),
            pytest.param("/user/alice/lab", id="the address of a server that is not there"),
        ],
    )
    def test_it_shows_a_page(self, person: Callable[[str], Person], path: str) -> None:
        alice = person("alice")
        alice.http.get(path)
        assert alice.server() is None

    def test_a_link_preselects_its_directory(self, person: Callable[[str], Person]) -> None:
        page = person("alice").http.get("/hub/open?dir=genomics&path=week1.ipynb").text
        checked = [line for line in page.split("<input") if " checked" in line]
        assert len(checked) == 1
        assert 'value="/s/shared/genomics"' in checked[0]
        assert "path=week1.ipynb" in page, "the start leads on to the file"

    def test_a_link_to_a_folder_that_is_not_there_says_so(self, person: Callable[[str], Person]) -> None:
        page = visible_text(person("alice").http.get("/hub/open?dir=genomics/week99"))
        assert "Genomics course / week99 cannot be opened. It is not there." in page

    def test_a_link_to_what_is_not_theirs_says_so_and_still_shows_the_menu(
        self, person: Callable[[str], Person]
    ) -> None:
        page = visible_text(person("alice").http.get("/hub/open?dir=/s/bob/notebooks"))
        assert '"/s/bob/notebooks" is not one of your directories.' in page
        assert "Genomics course" in page


class TestALinkToAFile:
    LINK = "/hub/open?dir=thesis&path=a b.ipynb"

    @staticmethod
    def choose(alice: Person, **fields: str) -> str:
        """Where the start leads, as the page that waits for it is asked to go on."""
        answer = alice.http.post(TestALinkToAFile.LINK, data={**fields, "_xsrf": alice.xsrf()}, follow_redirects=False)
        assert answer.status_code == 307, "the form goes on to JupyterHub's own page"
        assert answer.next_request is not None
        answer = alice.http.send(answer.next_request, follow_redirects=False)
        assert answer.status_code == 302
        return str(answer.headers["Location"])

    def test_the_menu_posts_to_the_link_itself(self, person: Callable[[str], Person]) -> None:
        page = person("alice").http.get(self.LINK).text
        assert 'action="/hub/open?dir=thesis&amp;path=a+b.ipynb"' in page

    def test_who_chooses_its_directory_is_led_to_the_file(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        where = self.choose(alice, directory="/s/alice/thesis")
        assert where == "/hub/spawn-pending/alice?next=%2Fuser%2Falice%2Flab%2Ftree%2Fa%2520b.ipynb"
        assert alice.wait_until_ready()["user_options"] == {"directory": "/s/alice/thesis"}

    @pytest.mark.parametrize(
        "chosen",
        [
            pytest.param({"directory": "/s/shared/genomics"}, id="another card"),
            pytest.param({"directory": "/s/alice/thesis", "typed": "genomics"}, id="a typed name"),
            pytest.param({"directory": "/s/alice/thesis", "open": "/s/shared/genomics"}, id="another card's button"),
        ],
    )
    def test_who_chooses_another_one_is_not(self, person: Callable[[str], Person], chosen: dict[str, str]) -> None:
        alice = person("alice")
        assert self.choose(alice, **chosen) == "/hub/spawn-pending/alice"
        assert alice.wait_until_ready()["user_options"] == {"directory": "/s/shared/genomics"}

    def test_a_refused_choice_keeps_the_link(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        refused = alice.http.post(self.LINK, data={"typed": "nonsense", "_xsrf": alice.xsrf()})
        assert refused.status_code == 400
        assert 'action="/hub/open?dir=thesis&amp;path=a+b.ipynb"' in refused.text
        assert alice.server() is None

    def test_a_post_without_its_token_starts_nothing(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        assert alice.http.post(self.LINK, data={"directory": "/s/alice/thesis"}).status_code == 403
        assert alice.server() is None


class TestSwitch:
    def test_a_switch_stops_the_server_and_starts_it_elsewhere(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        before = server_pid("alice")
        alice.post("/hub/switch", directory="/s/alice/thesis")
        assert alice.wait_until_ready()["user_options"] == {"directory": "/s/alice/thesis"}
        assert server_pid("alice") != before

    def test_a_refused_switch_leaves_the_old_server_running(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        before = server_pid("alice")
        refused = alice.post("/hub/switch", directory="/s/bob/notebooks")
        assert refused.status_code == 400
        assert "is not one of your directories" in visible_text(refused)
        assert server_pid("alice") == before
        server = alice.server()
        assert server is not None
        assert server["ready"]
        assert server["user_options"] == {"directory": "/s/alice/notebooks"}

    def test_a_link_to_the_open_directory_goes_straight_in(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        answer = alice.http.get("/hub/open?dir=notebooks&path=a b.ipynb", follow_redirects=False)
        assert answer.headers["Location"] == "/user/alice/lab/tree/a%20b.ipynb"

    def test_stop_on_the_home_page_needs_no_script(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        assert "/s/alice/notebooks" in alice.http.get("/hub/home").text
        page = alice.post("/hub/stop")
        assert "Nothing is open" in visible_text(page)
        assert alice.server() is None


class TestIsolation:
    def test_a_server_of_a_user_cannot_read_what_the_hub_keeps(
        self, lab: EmbeddedLab, person: Callable[[str], Person]
    ) -> None:
        for name in ("jupyterhub.sqlite", "jupyterhub_cookie_secret", "audit.jsonl", "hub.log"):
            assert (lab.directory / name).exists()
            assert not readable_by("alice", lab.directory / name)
        assert not readable_by("alice", Path(f"/proc/{lab.pid}/environ"))

    def test_the_environment_of_a_server_holds_nothing_of_the_hubs(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        environment = environment_of(alice)
        assert "CONFIGPROXY_AUTH_TOKEN" not in environment
        assert not [name for name in environment if name.startswith("LEARNING_LAB_")]
        assert environment["HOME"] == "/home/alice"

    def test_a_token_taken_from_a_server_opens_that_server_and_nothing_of_the_hubs(
        self, lab: EmbeddedLab, person: Callable[[str], Person]
    ) -> None:
        alice, bob = person("alice"), person("bob")
        for each in (alice, bob):
            each.start(directory="notebooks")
            each.wait_until_ready()
        token = {"Authorization": f"token {environment_of(alice)['JUPYTERHUB_API_TOKEN']}"}

        def ask(method: str, path: str, **json: Any) -> int:
            return httpx.request(method, f"{lab.url}{path}", headers=token, json=json or None).status_code

        assert ask("GET", "/user/alice/api/status") == 200
        assert ask("GET", "/hub/api/user") == 200, "whose it is"
        assert ask("GET", "/user/bob/api/status") in {302, 403}
        refused = [
            ("GET", "/hub/api/users"),
            ("GET", "/hub/api/users/bob"),
            ("GET", "/hub/api/proxy"),
            ("GET", "/hub/api/users/alice/tokens"),
            ("POST", "/hub/api/users/alice/tokens"),
            ("POST", "/hub/api/users/alice/servers/second"),
            ("DELETE", "/hub/api/users/alice/server"),
            ("DELETE", "/hub/api/users/bob/server"),
            ("POST", "/hub/api/shutdown"),
        ]
        assert {ask(*each) for each in refused} <= {403, 404}
        assert ask("POST", "/hub/api/users/bob/activity", last_activity="2026-01-01T00:00:00Z") in {403, 404}

    def test_two_directories_have_two_lab_workspaces(self, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        workspaces = []
        for directory in ("notebooks", "thesis"):
            alice.start(directory=directory)
            alice.wait_until_ready()
            workspaces.append(environment_of(alice)["JUPYTERLAB_WORKSPACES_DIR"])
            alice.stop()
        assert workspaces[0] != workspaces[1]


class TestTheEnd:
    def test_a_stop_leaves_no_traceback_in_the_hubs_log(
        self, lab: EmbeddedLab, person: Callable[[str], Person]
    ) -> None:
        before = lab.log.stat().st_size
        alice = person("alice")
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        alice.stop()
        with lab.log.open() as log:
            log.seek(before)
            assert "Traceback" not in log.read()


class TestAudit:
    def test_every_decision_is_one_line(self, lab: EmbeddedLab, person: Callable[[str], Person]) -> None:
        alice = person("alice")
        alice.start(typed="/s/bob/notebooks\nforged")
        line = json.loads((lab.directory / "audit.jsonl").read_text().splitlines()[-1])
        assert line["by"] == line["user"] == "alice"
        assert line["action"] == "start"
        assert line["asked"] == "/s/bob/notebooks\nforged"
        assert line["allowed"] is False
        assert line["path"] is None
        assert line["address"] == "127.0.0.1"
        assert "is not one of your directories" in line["reason"]


def server_pid(userid: str) -> int:
    uid = pwd.getpwnam(userid).pw_uid
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == uid and b"jupyterhub-singleuser" in (process / "cmdline").read_bytes():
                pids.append(int(process.name))
        except OSError:
            continue
    assert len(pids) == 1, f"{userid} has {len(pids)} servers"
    return pids[0]


def server_status(userid: str) -> dict[str, str]:
    lines = Path(f"/proc/{server_pid(userid)}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def environment_of(person: Person) -> dict[str, str]:
    """The environment of the person's server, as a kernel got it: /proc shows a forked server's no more."""
    person.start_kernel()
    server = server_pid(person.userid)
    children = Path(f"/proc/{server}/task").glob("*/children")
    kernel = next(pid for each in children for pid in each.read_text().split() if is_kernel(int(pid)))
    pairs = Path(f"/proc/{kernel}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def is_kernel(pid: int) -> bool:
    return b"ipykernel_launcher" in Path(f"/proc/{pid}/cmdline").read_bytes()


def readable_by(userid: str, path: Path) -> bool:
    """Whether a process of the user can open a file, found out by one that tries."""
    account = pwd.getpwnam(userid)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            path.open("rb").close()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

"""A tab belongs to its directory: how a server answers a page of another one. With a real hub and real servers."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_testing.embedded import EmbeddedLab
from lab_testing.person import Person

pytestmark = pytest.mark.timeout(300)

HEADER = "X-Learning-Lab-Root"
OTHER = "0123456789abcdef"
CONFIG = re.compile(r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', re.DOTALL)
A_FILE = json.dumps({"type": "file", "format": "text", "content": "stray"})

REQUESTS = [
    ("GET", "api/contents/", None),
    ("PUT", "api/contents/stray.txt", A_FILE),
    ("PUT", "api/contents/first-steps.ipynb", A_FILE),
    ("PATCH", "api/contents/first-steps.ipynb", json.dumps({"path": "stray.ipynb"})),
    ("DELETE", "api/contents/first-steps.ipynb", None),
    ("POST", "api/contents/", json.dumps({"type": "directory"})),
    ("POST", "api/terminals", None),
    ("GET", "terminals/websocket/1", None),
    ("POST", "api/kernels", "{}"),
    ("GET", "api/kernels/00000000-0000-0000-0000-000000000000/channels", None),
    ("PUT", "lab/api/workspaces/default", json.dumps({"data": {}, "metadata": {"id": "default"}})),
    ("GET", "no/such/address", None),
]


class Tab:
    """A page of JupyterLab, reduced to its requests."""

    def __init__(self, person: Person, server: str = "") -> None:
        self.person = person
        self.base = f"/user/{person.userid}/{server}/" if server else f"/user/{person.userid}/"
        self.page = person.http.get(f"{self.base}lab").text
        found = CONFIG.search(self.page)
        assert found, self.page[:1000]
        self.config: dict[str, Any] = json.loads(found[1])
        self.mark: str = self.config["learningLabTab"]["mark"]

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> httpx.Response:
        token = self.person.http.cookies.get("_xsrf", path=self.base) or ""
        headers = {"X-XSRFToken": token, "Content-Type": "application/json", **headers}
        return self.person.http.request(method, self.base + path, content=body, headers=headers)


def tree(top: str) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder with its mode, time and content."""
    paths = [Path(folder, name) for folder, folders, names in os.walk(top) for name in ["", *folders, *names]]
    return {
        str(path): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in paths
    }


@pytest.fixture
def tab(person: Callable[[str], Person]) -> Tab:
    alice = person("alice")
    alice.start(directory="notebooks")
    alice.wait_until_ready()
    return Tab(alice)


def test_a_page_has_the_mark_of_its_directory_and_the_script_before_jupyterlabs_own(tab: Tab) -> None:
    told = tab.config["learningLabTab"]
    assert told["name"] == "notebooks"
    assert re.fullmatch("[0-9a-f]{16}", told["mark"])
    script = tab.page.index("A tab belongs to its directory")
    assert tab.page.index('id="jupyter-config-data"') < script < tab.page.index("/main.")


@pytest.mark.parametrize("path", ["lab/tree/first-steps.ipynb", "lab/workspaces/other", "doc/tree/first-steps.ipynb"])
def test_every_kind_of_page_has_it_once(tab: Tab, path: str) -> None:
    page = tab.person.http.get(tab.base + path).text
    assert page.count("A tab belongs to its directory") == 1


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_what_another_directorys_tab_asks_for_is_refused_and_does_nothing(
    tab: Tab, method: str, path: str, body: str | None
) -> None:
    before = tree("/s/alice/notebooks")
    answer = tab.ask(method, path, body, **{HEADER: OTHER})
    assert answer.status_code == 409
    assert answer.json()["title"] == "notebooks"
    assert answer.headers[HEADER] == tab.config["learningLabTab"]["mark"]
    assert tab.ask(method, f"{path}?learning-lab-root={OTHER}", body).status_code == 409
    assert tree("/s/alice/notebooks") == before
    assert tab.ask("GET", "api/kernels").json() == []
    assert tab.ask("GET", "api/terminals").json() == []


def test_requests_with_the_right_mark_or_none_are_handled_as_usual(tab: Tab) -> None:
    mark = tab.config["learningLabTab"]["mark"]
    assert tab.ask("GET", "api/contents/", **{HEADER: mark}).status_code == 200
    assert tab.ask("GET", f"api/contents/?learning-lab-root={mark}").status_code == 200
    assert tab.ask("GET", "api/contents/").status_code == 200
    made = tab.ask("PUT", "api/contents/made.txt", A_FILE, **{HEADER: mark})
    assert made.status_code == 201
    assert tab.ask("DELETE", "api/contents/made.txt", **{HEADER: mark}).status_code == 204


def test_a_tab_continues_when_its_directory_is_opened_again(tab: Tab) -> None:
    mark = tab.config["learningLabTab"]["mark"]
    tab.person.post("/hub/switch", directory="/s/alice/thesis")
    tab.person.wait_until_ready()
    thesis = Tab(tab.person)
    assert tab.ask("GET", "api/contents/", **{HEADER: mark}).status_code == 409
    tab.person.post("/hub/switch", directory="/s/alice/notebooks")
    tab.person.wait_until_ready()
    again = Tab(tab.person)
    assert again.config["learningLabTab"]["mark"] == mark != thesis.config["learningLabTab"]["mark"]
    assert tab.ask("GET", "api/contents/", **{HEADER: mark}).status_code == 200


def test_a_tab_continues_when_its_server_was_stopped_and_started_again(tab: Tab) -> None:
    tab.person.stop()
    tab.person.start(directory="notebooks")
    tab.person.wait_until_ready()
    assert Tab(tab.person).mark == tab.mark
    assert tab.ask("GET", "api/contents/", **{HEADER: tab.mark}).status_code == 200


def test_a_tab_continues_when_the_hub_was_restarted_meanwhile(tmp_path: Path) -> None:
    with EmbeddedLab(tmp_path / "lab") as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        before = Tab(alice)
        lab.stop()  # together with its servers, as on one machine
        lab.start()
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        assert Tab(alice).mark == before.mark
        assert before.ask("GET", "api/contents/", **{HEADER: before.mark}).status_code == 200
        alice.post("/hub/switch", directory="thesis")
        alice.wait_until_ready()
        assert Tab(alice).mark != before.mark
        assert before.ask("GET", "api/contents/", **{HEADER: before.mark}).status_code == 409


def test_a_second_server_has_its_own_mark(tmp_path: Path) -> None:
    with EmbeddedLab(tmp_path / "lab", environ={"LEARNING_LAB_OPEN_BESIDE": "true"}) as lab:
        alice = Person(lab, "alice")
        alice.log_in()
        alice.start(directory="notebooks")
        alice.wait_until_ready()
        first = Tab(alice)
        alice.post("/hub/switch", directory="thesis", beside="1")
        alice.wait_until_ready("thesis")
        beside = Tab(alice, "thesis")
        assert beside.mark != first.mark
        for tab, other in ((first, beside), (beside, first)):
            assert tab.ask("GET", "api/contents/", **{HEADER: tab.mark}).status_code == 200
            assert tab.ask("PUT", "api/contents/stray.txt", A_FILE, **{HEADER: other.mark}).status_code == 409
        # The address of a stopped server lies below the default server's.
        alice.stop("thesis")
        assert beside.ask("PUT", "api/contents/stray.txt", A_FILE, **{HEADER: beside.mark}).status_code in (403, 409)
        answer = beside.ask("GET", "api/status", **{HEADER: beside.mark})
        assert answer.status_code == 409
        assert answer.json()["base"] == first.base, (
            "or its tab would take the first server for what was opened in its place"
        )
        assert not list(Path("/s/alice").rglob("stray.txt"))


@pytest.mark.parametrize(("method", "path"), [("GET", "api/contents/"), ("PUT", "api/contents/stray.txt")])
def test_a_stranger_does_not_learn_which_directory_is_open(
    tab: Tab, person: Callable[[str], Person], lab: EmbeddedLab, method: str, path: str
) -> None:
    # A mark cannot be computed from the directory's path alone.
    plain = hashlib.blake2b(b"/s/alice/notebooks", digest_size=8).hexdigest()
    assert plain != tab.config["learningLabTab"]["mark"]
    bob = person("bob")
    token = bob.api("POST", "/users/bob/tokens", json={"note": "test"}).json()["token"]
    # The proxy lets requests with a token through to somebody else's server.
    programs = [httpx.Client(base_url=lab.url, headers={"Authorization": f"token {each}"}) for each in (token, "none")]
    for http in programs:
        without = http.request(method, tab.base + path)
        assert without.status_code == 403
        assert without.headers["Content-Type"] == "application/json", "the server's own answer would be different"
        for mark in (OTHER, plain):
            answer = http.request(method, tab.base + path, headers={HEADER: mark})
            assert answer.status_code == 403
            assert answer.text == without.text
            assert HEADER not in answer.headers
    for http in (bob.http, httpx.Client(base_url=lab.url)):  # browsers are led to the hub
        answer = http.request(method, tab.base + path, headers={HEADER: OTHER})
        assert answer.status_code != 409
        assert HEADER not in answer.headers


def test_a_title_with_markup_does_not_leave_the_configuration(
    person: Callable[[str], Person], annotate: Callable[..., None]
) -> None:
    title = "</script><script>alert(1)</script><!-- {{7*7}} \" ' &"
    annotate("alice", notebook_dirs=[{"path": "/s/alice/notebooks", "title": title}])
    alice = person("alice")
    alice.start(directory="notebooks")
    alice.wait_until_ready()
    tab = Tab(alice)
    assert tab.config["learningLabTab"]["title"] == title
    assert "alert(1)</script>" not in tab.page
    answer = tab.ask("GET", "api/contents/", **{HEADER: OTHER})
    assert answer.json()["title"] == title
    assert answer.headers["Content-Type"] == "application/json"


def test_a_users_own_file_that_looks_like_a_page_is_served_unchanged(tab: Tab) -> None:
    page = '<html><head><script id="jupyter-config-data" type="application/json">{}</script></head></html>'
    Path("/s/alice/notebooks/page.html").write_text(page)
    try:
        assert tab.person.http.get(f"{tab.base}files/page.html").text == page
    finally:
        Path("/s/alice/notebooks/page.html").unlink()


@pytest.fixture
def own_configuration() -> Iterator[None]:
    """The home of somebody who has enabled and configured extensions, in both of the possible places."""
    account = pwd.getpwnam("alice")
    folder = Path(account.pw_dir, ".jupyter")
    files = [folder / "jupyter_server_config.json", folder / "jupyter_server_config.d" / "own.json"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"jupyter_lsp": False}}}))
        file.chmod(0o644)
    yield
    for file in files:
        file.unlink()


def test_a_users_own_extensions_do_not_switch_it_off(own_configuration: None, tab: Tab) -> None:
    assert tab.ask("GET", "api/contents/", **{HEADER: OTHER}).status_code == 409

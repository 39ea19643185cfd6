"""What every spawner of the lab does, on a spawner that starts nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest
import traitlets
from prometheus_client import REGISTRY
from tornado import httputil

from k8s_annotations import Grants
from lab_testing.storage_double import Storage
from learning_lab.errors import Refused
from learning_lab.menu import Asked
from learning_lab.services import JUPYTER_CONFIG, Services
from learning_lab.settings import LearningLab
from learning_lab.spawners.mixin import LabSpawnerMixin, read_form

NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata:
  name: alice
  labels: {learning-lab.dev/user: "true"}
  annotations:
    learning-lab.dev/userid: alice
    learning-lab.dev/notebook-dirs: |
      - /s/alice/notebooks
      - {path: /s/alice/thesis, title: Thesis}
      - {path: /s/alice/closed, access: none}
"""
NOTEBOOKS, THESIS, CLOSED = "/s/alice/notebooks", "/s/alice/thesis", "/s/alice/closed"


class JupyterHubsPart(traitlets.HasTraits):
    """What the mixin finds below it: JupyterHub's spawner, as far as it is touched."""

    options_form = traitlets.Any()
    options_from_form = traitlets.Any()
    apply_user_options = traitlets.Any()

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.active = False
        self.handler: Any = None
        self.log = logging.getLogger("hub")
        self.user_options: dict[str, Any] = {}
        self.orm_spawner = SimpleNamespace(user_options={})
        self.hub: Any = None
        self.user: Any = SimpleNamespace(name="alice", spawners={"": self})
        self.given: dict[str, str] = {"PATH": "/bin"}
        self.cleared = False
        self.loaded: dict[str, Any] = {}

    def get_env(self) -> dict[str, str]:
        return dict(self.given)

    def get_state(self) -> dict[str, Any]:
        return {"pid": 7}

    def load_state(self, state: dict[str, Any]) -> None:
        self.loaded = state

    def clear_state(self) -> None:
        self.cleared = True


class Spawner(LabSpawnerMixin, JupyterHubsPart):
    """The lab's part on JupyterHub's."""


@pytest.fixture
def storage() -> Storage:
    return Storage().has(NOTEBOOKS).has(THESIS)


@pytest.fixture
def lab(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    file = tmp_path / "namespaces.yaml"
    file.write_text(NAMESPACE)
    settings = LearningLab(
        reader="file", namespaces_file=str(file), audit_log=str(tmp_path / "audit.jsonl"), warm=False
    )
    lab = Services(settings, logging.getLogger("hub"))
    lab.access.prober = storage
    monkeypatch.setattr(Services, "_instance", lab)
    yield lab
    lab.close()


@pytest.fixture
def spawner(lab: Services) -> Spawner:
    return Spawner()


@pytest.fixture
def audited(lab: Services, tmp_path: Path) -> Callable[[], dict[str, Any]]:
    def last() -> dict[str, Any]:
        lab.access.audit.close()
        line: dict[str, Any] = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
        return line

    return last


def checked(outcome: str) -> float:
    return REGISTRY.get_sample_value("learning_lab_starts_checked_total", {"outcome": outcome}) or 0.0


# The form


@pytest.mark.parametrize(
    ("form", "options", "asked"),
    [
        pytest.param({"directory": ["/s/a"]}, {"directory": "/s/a"}, Asked(preselect="/s/a"), id="the checked card"),
        pytest.param(
            {"directory": ["/s/a"], "typed": [" b "]}, {"directory": "b"}, Asked(typed="b"), id="typed text before it"
        ),
        pytest.param(
            {"directory": ["/s/a"], "typed": ["b"], "open": ["/s/c", "/s/d"]},
            {"directory": "/s/c"},
            Asked(preselect="/s/c"),
            id="a pressed button before both",
        ),
        pytest.param(
            {"directory": ["/s/a"], "typed": [" "], "open": []},
            {"directory": "/s/a"},
            Asked(preselect="/s/a"),
            id="spaces are nothing typed",
        ),
        pytest.param(
            {"typed": ["x" * 201]}, {"directory": "x" * 201}, Asked(typed="x" * 200), id="a long text is shown cut off"
        ),
        pytest.param({}, {}, Asked(), id="nothing at all"),
        pytest.param({"something": ["/s/a"]}, {}, Asked(), id="another field"),
    ],
)
def test_the_form_says_one_choice(form: dict[str, list[str]], options: dict[str, str], asked: Asked) -> None:
    assert read_form(form) == (options, asked)


def test_a_link_starts_nothing() -> None:
    with pytest.raises(Refused, match="A link cannot start a server") as refused:
        Spawner().options_from_query({"directory": ["notebooks"]})
    assert refused.value.status_code == 400


# The check before a start


async def test_a_choice_is_checked_remembered_and_told(spawner: Spawner, audited: Callable[[], dict[str, Any]]) -> None:
    before = checked("allowed")
    assert (spawner.last_path, spawner.last_title) == ("", "")
    await spawner.apply_user_options(spawner, {"directory": "Thesis"})
    decision = spawner.decided()
    assert decision.directory.path == decision.real == THESIS
    assert spawner.user_options == spawner.orm_spawner.user_options == {"directory": THESIS}
    assert (spawner.last_path, spawner.last_title) == (THESIS, "Thesis")
    assert len(spawner._seen) == 3, "the whole list is seen, what is closed too"
    assert [step["message"] for step in spawner._steps] == ["Checking your directory", "Starting JupyterLab in Thesis"]
    assert checked("allowed") == before + 1
    line = audited()
    assert (line["by"], line["user"], line["action"], line["server"]) == ("alice", "alice", "start", "")
    assert (line["asked"], line["path"], line["allowed"], line["reason"]) == ("Thesis", THESIS, True, "")
    await spawner._apply_choice({})
    assert spawner.decided().real == THESIS, "nothing said is the same again"
    assert len(spawner._steps) == 2, "the steps are those of this start"


async def test_a_refused_choice_leaves_what_was_remembered_and_nothing_to_start(
    spawner: Spawner, audited: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    await spawner._apply_choice({"directory": "notebooks"})
    before = checked("400")
    with pytest.raises(Refused):
        await spawner._apply_choice({"directory": "/s/bob"})
    assert spawner.last_path == NOTEBOOKS
    assert spawner.user_options == spawner.orm_spawner.user_options == {"directory": NOTEBOOKS}
    with pytest.raises(Refused, match="This start was not checked") as refused:
        spawner.decided()
    assert refused.value.status_code == 403
    assert checked("400") == before + 1
    line = audited()
    assert (line["asked"], line["path"], line["allowed"]) == ("/s/bob", None, False)
    assert "is not one of your directories" in line["reason"]
    assert "Refused to start for user 'alice': \"/s/bob\" is not one" in caplog.text


async def test_a_first_choice_that_is_refused_is_forgotten_everywhere(spawner: Spawner) -> None:
    spawner.user_options = spawner.orm_spawner.user_options = {"directory": "/s/bob"}
    with pytest.raises(Refused):
        await spawner._apply_choice(spawner.user_options)
    assert spawner.user_options == spawner.orm_spawner.user_options == {}


async def test_a_directory_that_is_not_there_is_in_the_audit_log_with_its_path(
    spawner: Spawner, storage: Storage, audited: Callable[[], dict[str, Any]]
) -> None:
    storage.has(THESIS, "missing")
    with pytest.raises(Refused):
        await spawner.decide("Thesis", "switch")
    line = audited()
    assert (line["action"], line["path"], line["allowed"]) == ("switch", THESIS, False)


async def test_who_asks_for_somebody_else_is_in_the_audit_log(
    spawner: Spawner, audited: Callable[[], dict[str, Any]]
) -> None:
    spawner.handler = SimpleNamespace(current_user=SimpleNamespace(name="carol"), request=SimpleNamespace())
    spawner.name = "beside"
    await spawner.decide("notebooks")
    line = audited()
    assert (line["by"], line["user"], line["server"]) == ("carol", "alice", "beside")


async def test_a_start_reads_the_list_once_and_never_does_without(
    spawner: Spawner, lab: Services, audited: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    fresh = lab.access.source.fresh

    async def noted(userid: str) -> Grants:
        reads.append(userid)
        return await fresh(userid)

    monkeypatch.setattr(lab.access.source, "fresh", noted)
    await spawner._apply_choice({"directory": "notebooks"})
    assert reads == ["alice"]
    Path(lab.settings.namespaces_file).write_text("{ half a file")
    with pytest.raises(Refused) as refused:
        await spawner._apply_choice({"directory": "notebooks"})
    assert refused.value.status_code == 503
    line = audited()
    assert (line["asked"], line["path"], line["allowed"]) == ("notebooks", None, False)
    assert "cannot be read at the moment" in line["reason"]


# What a server is given


async def test_a_server_is_rooted_at_the_real_path_with_a_workspace_and_a_mark_of_its_directory(
    spawner: Spawner, storage: Storage
) -> None:
    storage.has(THESIS, real="/s/alice/notebooks/real")
    await spawner._apply_choice({"directory": "thesis"})
    env = spawner.get_env()
    assert env["JUPYTERHUB_ROOT_DIR"] == "/s/alice/notebooks/real"
    assert env["JUPYTERLAB_WORKSPACES_DIR"].startswith("/home/alice/.jupyter/lab/workspaces-")
    assert env["PATH"] == "/bin"
    assert env["JUPYTER_CONFIG_PATH"] == JUPYTER_CONFIG
    tab = json.loads(env["LAB_TAB"])
    assert (tab["title"], tab["name"]) == ("Thesis", "thesis")
    spawner.given["JUPYTER_CONFIG_PATH"] = "/site"
    assert spawner.get_env()["JUPYTER_CONFIG_PATH"] == f"/site:{JUPYTER_CONFIG}"

    await spawner._apply_choice({"directory": "notebooks"})
    other = spawner.get_env()
    assert other["JUPYTERLAB_WORKSPACES_DIR"] != env["JUPYTERLAB_WORKSPACES_DIR"]
    assert json.loads(other["LAB_TAB"])["mark"] != tab["mark"]


async def test_a_server_that_was_not_checked_is_given_nothing(spawner: Spawner) -> None:
    with pytest.raises(Refused, match="This start was not checked"):
        spawner.get_env()


async def test_the_mark_of_a_directory_is_a_secret_of_the_server_that_outlives_the_hub(spawner: Spawner) -> None:
    def mark(of: Spawner) -> str:
        told: str = json.loads(of.get_env()["LAB_TAB"])["mark"]
        return told

    await spawner._apply_choice({"directory": "thesis"})
    another, later = Spawner(), Spawner()
    later.load_state(spawner.get_state())
    for each in (another, later):
        await each._apply_choice({"directory": "thesis"})
    assert mark(another) != mark(spawner)
    assert mark(later) == mark(spawner)


async def test_what_outlives_a_server_is_in_its_state(spawner: Spawner) -> None:
    await spawner._apply_choice({"directory": "thesis"})
    state = spawner.get_state()
    assert state["pid"] == 7
    later = Spawner()
    later.load_state(json.loads(json.dumps(state)))
    assert later.loaded == state
    assert (later.last_path, later.last_title, later._seen) == (THESIS, "Thesis", spawner._seen)
    spawner.clear_state()
    assert spawner.cleared
    assert spawner.last_path == THESIS
    with pytest.raises(Refused):
        spawner.decided()


def test_a_state_from_before_the_lab_is_as_a_first_visit() -> None:
    spawner = Spawner()
    salt = spawner._salt
    spawner.load_state({"pid": 7})
    assert (spawner.last_path, spawner.last_title, spawner._seen, spawner._salt) == ("", "", [], salt)
    assert len(salt) == 32


# The menu


def a_visit(uri: str = "/hub/spawn", method: str = "GET", **headers: str) -> Any:
    named = httputil.HTTPHeaders(
        {"Host": "lab.example"} | {name.replace("_", "-"): value for name, value in headers.items()}
    )
    line = httputil.RequestStartLine(method, uri, "HTTP/1.1")
    return SimpleNamespace(request=httputil.HTTPServerRequest(start_line=line, headers=named))


@pytest.mark.parametrize(
    ("handler", "straight"),
    [
        pytest.param(a_visit(), True, id="a plain visit"),
        pytest.param(a_visit("/base/hub/spawn/"), True, id="with a slash"),
        pytest.param(a_visit(Sec_Fetch_Site="same-origin"), True, id="from a page of the lab"),
        pytest.param(a_visit(Sec_Fetch_Site="cross-site"), False, id="from a page of another site"),
        pytest.param(a_visit("/hub/spawn?a=1"), False, id="with something to say"),
        pytest.param(a_visit("/hub/spawn/alice"), False, id="of a named user"),
        pytest.param(a_visit(method="POST"), False, id="a form that was refused"),
        pytest.param(None, False, id="without a request"),
    ],
)
def test_a_plain_visit_may_go_straight_in(handler: Any, straight: bool) -> None:
    spawner = Spawner()
    spawner.handler = handler
    assert spawner._asked_by_page().straight_in is straight


async def test_the_menu_shows_the_list_as_it_is_now(spawner: Spawner, storage: Storage) -> None:
    menu = await spawner.menu(Asked())
    assert [card.path for card in menu.cards] == [NOTEBOOKS, THESIS, CLOSED]
    assert storage.shown == {NOTEBOOKS, THESIS}, "what is closed is not looked at"
    assert (menu.error, menu.typed) == (None, "")
    assert not [card for card in menu.cards if card.new]


async def test_the_menu_looks_at_a_folder_that_was_last_or_is_asked_for(spawner: Spawner, storage: Storage) -> None:
    storage.has(f"{THESIS}/week 1").has(f"{NOTEBOOKS}/x")
    await spawner._apply_choice({"directory": "thesis/week 1"})
    menu = await spawner.menu(Asked(preselect="notebooks/x"))
    assert storage.shown == {NOTEBOOKS, THESIS, f"{THESIS}/week 1", f"{NOTEBOOKS}/x"}
    assert menu.error is None


async def test_what_was_asked_for_and_is_not_theirs_is_said_and_can_be_corrected(spawner: Spawner) -> None:
    menu = await spawner.menu(Asked(preselect="/s/bob/" + "x" * 300))
    assert menu.error is not None
    assert "is not one of your directories" in menu.error
    assert menu.typed == ("/s/bob/" + "x" * 300)[:200]
    told = await spawner.menu(Asked(preselect="/s/bob", error="It is closed."))
    assert told.error == "It is closed."


async def test_a_list_that_cannot_be_read_is_the_last_known_one_with_a_notice(spawner: Spawner, lab: Services) -> None:
    await spawner.menu(Asked())
    Path(lab.settings.namespaces_file).write_text("{ half a file")
    await asyncio.sleep(0.06)  # a menu may be 50 ms old
    menu = await spawner.menu(Asked(straight_in=True))
    assert menu.stale
    assert any("last known" in notice for notice in menu.notices)
    assert [card.path for card in menu.cards] == [NOTEBOOKS, THESIS, CLOSED]


def shown_by(spawner: Spawner) -> None:
    """Have a template that says what the menu was asked with."""
    text = "{{ menu.typed }}|{{ menu.asked.preselect }}|{{ menu.asked.straight_in }}|{{ lab_title }}|{{ base_url }}"
    environment = jinja2.Environment(loader=jinja2.DictLoader({"menu.html": text}), autoescape=True)
    Services.instance().templates = environment
    spawner.hub = SimpleNamespace(base_url="/base/hub/")
    spawner.handler = a_visit()


async def test_jupyterhubs_page_shows_a_plain_visit_its_menu(spawner: Spawner) -> None:
    shown_by(spawner)
    assert await spawner.options_form(spawner) == "||True|Learning Lab|/base/hub/"


async def test_a_menu_that_says_the_same_is_not_made_again_and_any_other_is(
    spawner: Spawner, lab: Services, storage: Storage
) -> None:
    shown_by(spawner)
    count = iter(range(100))
    lab.templates.globals["made"] = lambda: next(count)
    lab.templates.loader = jinja2.DictLoader({"menu.html": "{{ made() }}"})
    asked = Asked()
    assert await spawner.render_menu(asked) == "0"
    assert await spawner.render_menu(asked) == "0"
    assert await spawner.render_menu(Asked(typed="x")) == "1"
    storage.has(THESIS, "missing")
    assert await spawner.render_menu(Asked(typed="x")) == "2", "what is there has changed"
    file = Path(lab.settings.namespaces_file)
    file.write_text(file.read_text().replace("title: Thesis", "title: Other"))
    await asyncio.sleep(0.06)  # a menu may be 50 ms old
    assert await spawner.render_menu(Asked(typed="x")) == "3", "the list has changed"
    await spawner._apply_choice({"directory": "notebooks"})
    assert await spawner.render_menu(Asked(typed="x")) == "4", "what was last used has changed"
    spawner.active = True
    assert await spawner.render_menu(Asked(typed="x")) == "5", "what is open has changed"
    assert await spawner.render_menu(Asked(typed="x")) == "5"
    spawner.user.name = "somebody else"
    assert await spawner.render_menu(Asked(typed="x")) == "6"


async def test_jupyterhubs_page_shows_what_was_just_posted_to_it(spawner: Spawner) -> None:
    shown_by(spawner)
    assert spawner.options_from_form({"typed": ["<b>"]}) == {"directory": "<b>"}
    assert await spawner.options_form(spawner) == "&lt;b&gt;||False|Learning Lab|/base/hub/"
    asked = await spawner.render_menu(Asked(preselect="thesis"))
    assert asked == f"|{THESIS}|False|Learning Lab|/base/hub/", "a page of ours says itself what it was asked"


@pytest.mark.parametrize("active", [True, False])
async def test_the_menu_tells_what_is_open(spawner: Spawner, active: bool) -> None:
    await spawner._apply_choice({"directory": "thesis"})
    spawner.active = active
    menu = await spawner.menu(Asked())
    assert menu.primary is not None
    assert menu.primary.path == THESIS
    assert menu.primary.running is active

"""With an address for each person: the whole way through the lab, and what a hostile page gets from somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from lab_testing.embedded import EmbeddedLab, free_ports
from lab_testing.hostile_server import HostileServer
from lab_testing.running_server import CELL, REST
from lab_testing.tls_front import TlsFront
from lab_testing.visitor import Visitor, forget_tabs

pytestmark = pytest.mark.timeout(300)

HOST = "lab.localhost"

# What a page of alice's tries in the browser of whoever opens it.
ATTACK = """async ([hub, bobs]) => {
    const got = [];
    const read = async (url, how) => {
        const answer = await fetch(url, {credentials: "include", ...how}).catch(() => null);
        const text = answer ? await answer.text().catch(() => "") : "";
        if (text) got.push([url, how.mode, text.slice(0, 100)]);
    };
    for (const path of ["/hub/token", "/hub/api/user", "/hub/home"])
        for (const mode of ["cors", "no-cors"]) await read(hub + path, {mode});
    for (const mode of ["cors", "no-cors"]) await read(bobs + "/user/bob/api/contents", {mode});
    await read(hub + "/hub/api/users/bob/tokens", {mode: "no-cors", method: "POST", body: "{}"});
    for (const url of [hub + "/hub/token", bobs + "/user/bob/lab"]) {
        const other = window.open(url);
        await new Promise((done) => setTimeout(done, 2000));
        try { got.push([url, "window", other.document.title]); } catch {}
        other?.close();
        const frame = document.createElement("iframe");
        frame.src = url;
        document.body.append(frame);
        await new Promise((done) => setTimeout(done, 1500));
        try { if (frame.contentDocument?.title) got.push([url, "frame", frame.contentDocument.title]); } catch {}
    }
    if (/_xsrf=|jupyterhub/.test(document.cookie)) got.push(["cookies", document.cookie]);
    return got;
}"""


@dataclass(frozen=True)
class Served:
    """A lab, and the address that people open."""

    lab: EmbeddedLab
    address: str

    def of(self, userid: str) -> str:
        return self.address.replace("//", f"//{userid}.")


@pytest.fixture(scope="module", params=["http", "https"])
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Served]:
    if request.config.getoption("base_url", default=None):
        pytest.skip("the lab on a cluster has only one address")
    directory = tmp_path_factory.mktemp("addresses")
    forget_tabs()  # from other modules: with an open tab, JupyterLab shows no launcher
    if request.param == "http":
        with EmbeddedLab(directory, host=HOST) as lab:
            yield Served(lab, lab.address)
        return
    (port,) = free_ports(1)
    address = f"https://{HOST}:{port}"
    with (
        EmbeddedLab(directory, environ={"LEARNING_LAB_ADDRESS": address}) as lab,
        TlsFront(HOST, port, lab.port, directory),
    ):
        yield Served(lab, address)


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, Any], served: Served) -> dict[str, Any]:
    return {**browser_context_args, "base_url": served.address, "ignore_https_errors": True}


@pytest.fixture
def person(new_context: Callable[..., BrowserContext]) -> Iterator[Callable[[str], Visitor]]:
    made: list[Visitor] = []

    def make(userid: str) -> Visitor:
        context = new_context()
        context.set_default_timeout(30_000)
        made.append(Visitor(context.new_page(), userid))
        made[-1].log_in()
        made[-1].see_menu()
        return made[-1]

    yield make
    for visitor in made:
        visitor.stop()


def open_lab(visitor: Visitor, served: Served, title: str) -> Page:
    visitor.choose(title)
    visitor.start()
    visitor.wait_for_lab()
    assert visitor.page.url.startswith(f"{served.of(visitor.userid)}/user/{visitor.userid}/lab")
    return visitor.page


def test_log_in_work_switch_link_and_log_out(person: Callable[[str], Visitor], served: Served) -> None:
    alice = person("alice")
    page = open_lab(alice, served, "Thesis")
    expect(page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    static = page.evaluate(
        """() => performance.getEntriesByType("resource").map((each) => each.name)
            .filter((name) => name.includes("/hub/jupyterlab/"))"""
    )
    assert len(static) > 10, "JupyterLab's files come from the hub"
    assert all(name.startswith(served.address) for name in static)

    page.goto(f"{served.of('alice')}/user/alice/static/logo/logo.png")
    kernel = page.evaluate(
        f"async () => JSON.parse((await ({REST})(['POST', '/user/alice/api/kernels', '{{}}'])).text)"
    )
    cell = ["/user/alice/api/kernels/" + kernel["id"] + "/channels", "session", "print(6 * 7)", 60]
    assert page.evaluate(CELL, cell).strip() == "42"

    page.goto("/hub/switch")
    alice.choose("Genomics course")
    alice.start()
    alice.wait_for_lab()
    page.goto("/hub/open?dir=genomics&path=week1.ipynb")
    page.wait_for_url(f"{served.of('alice')}/user/alice/lab/tree/week1.ipynb**")

    page.goto("/hub/logout")
    page.goto(f"{served.of('alice')}/user/alice/lab/tree/week1.ipynb")
    page.goto("/hub/home")
    expect(page.get_by_label("User id")).to_be_visible()
    alice.log_in()


def test_another_address_leads_to_the_labs(person: Callable[[str], Visitor], served: Served) -> None:
    page = person("bob").page
    page.goto(f"{served.lab.url}/hub/open?dir=forecast")
    assert page.url == f"{served.address}/hub/open?dir=forecast"
    page.goto(f"{served.lab.url}/")
    assert page.url.startswith(served.address)
    page.goto(f"{served.of('alice')}/hub/home")
    assert page.url == f"{served.address}/hub/home", "the hub serves no page at a person's address"
    assert page.request.get(f"{served.lab.url}/hub/health", max_redirects=0).status == 200
    assert page.request.get(f"{served.lab.url}/hub/api/", max_redirects=0).status == 200


def test_a_hostile_page_gets_nothing_from_whoever_opens_it(person: Callable[[str], Visitor], served: Served) -> None:
    with HostileServer("alice"):
        alice = person("alice")
        open_lab(alice, served, "Thesis")
        bob = person("bob")
        page = open_lab(bob, served, "Demand forecast")
        page.goto(f"{served.of('alice')}/user/alice/evil/page")
        assert page.title() == "Results", "he sees it, like any page on the internet"
        assert page.evaluate(ATTACK, [served.address, served.of("bob")]) == []
        # The attack can succeed: on the same address, a page of alice's reads what is hers.
        mine = alice.page
        mine.goto(f"{served.of('alice')}/user/alice/evil/page")
        assert mine.evaluate(ATTACK.replace("/user/bob/", "/user/alice/"), [served.address, served.of("alice")])
        page.goto(f"{served.of('alice')}/user/alice/evil/cookies")
        seen = page.locator("body").inner_text()
        assert "hub-login" not in seen
        assert "jupyterhub-user-bob" not in seen
        page.goto(f"{served.of('alice')}/user/alice/evil/tosses")
        if served.address.startswith("https:"):
            # Without https this is possible: docs/one-address-per-person.md says so.
            logs_in = next(each for each in mine.context.cookies() if "hub-login" in each["name"])
            for name in (logs_in["name"], logs_in["name"].removeprefix("__Host-")):
                for path in ("/", "/hub/", "/hub/home"):
                    cookie = f"{name}={logs_in['value']}; domain={HOST}; path={path}; secure"
                    page.evaluate("(cookie) => { document.cookie = cookie; }", cookie)
        page.goto("/hub/home")
        expect(page.get_by_text("Demand forecast").first).to_be_visible()
        expect(page.get_by_text("Thesis")).to_have_count(0)

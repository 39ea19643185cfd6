"""An address for each person: the whole way through the lab, and what a hostile page gets of somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from embedded import EmbeddedLab
from hostile_server import HostileServer
from running_server import CELL, REST
from visitor import Visitor

pytestmark = pytest.mark.timeout(300)

# What a page of alice's tries with the browser of whoever opens it.
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[EmbeddedLab]:
    if request.config.getoption("base_url", default=None):
        pytest.skip("the lab on a cluster has one address")
    with EmbeddedLab(tmp_path_factory.mktemp("addresses"), host="lab.localhost") as lab:
        yield lab


@pytest.fixture
def person(new_context: Callable[..., BrowserContext], lab: EmbeddedLab) -> Iterator[Callable[[str], Visitor]]:
    made: list[Visitor] = []

    def make(userid: str) -> Visitor:
        context = new_context(base_url=lab.address)
        context.set_default_timeout(30_000)
        made.append(Visitor(context.new_page(), userid))
        made[-1].log_in()
        made[-1].see_menu()
        return made[-1]

    yield make
    for visitor in made:
        visitor.stop()


def address_of(lab: EmbeddedLab, userid: str) -> str:
    return lab.address.replace("lab.localhost", f"{userid}.lab.localhost")


def open_lab(visitor: Visitor, lab: EmbeddedLab, title: str) -> Page:
    visitor.choose(title)
    visitor.start()
    visitor.wait_for_lab()
    assert visitor.page.url.startswith(f"{address_of(lab, visitor.userid)}/user/{visitor.userid}/lab")
    return visitor.page


def test_log_in_work_switch_link_and_log_out(person: Callable[[str], Visitor], lab: EmbeddedLab) -> None:
    alice = person("alice")
    page = open_lab(alice, lab, "Thesis")
    expect(page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    static = page.evaluate(
        """() => performance.getEntriesByType("resource").map((each) => each.name)
            .filter((name) => name.includes("/hub/jupyterlab/"))"""
    )
    assert len(static) > 10, "JupyterLab's files come from the hub"
    assert all(name.startswith(lab.address) for name in static)

    page.goto(f"{address_of(lab, 'alice')}/user/alice/static/logo/logo.png")
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
    page.wait_for_url(f"{address_of(lab, 'alice')}/user/alice/lab/tree/week1.ipynb**")

    page.goto("/hub/logout")
    page.goto(f"{address_of(lab, 'alice')}/user/alice/lab/tree/week1.ipynb")
    page.goto("/hub/home")
    expect(page.get_by_label("User id")).to_be_visible()
    alice.log_in()


def test_another_address_leads_to_the_labs(person: Callable[[str], Visitor], lab: EmbeddedLab) -> None:
    page = person("bob").page
    page.goto(f"{lab.url}/hub/open?dir=forecast")
    assert page.url == f"{lab.address}/hub/open?dir=forecast"
    page.goto(f"{lab.url}/")
    assert page.url.startswith(lab.address)
    page.goto(f"{address_of(lab, 'alice')}/hub/home")
    assert page.url == f"{lab.address}/hub/home", "the hub has no page at a person's address"
    assert page.request.get(f"{lab.url}/hub/health", max_redirects=0).status == 200
    assert page.request.get(f"{lab.url}/hub/api/", max_redirects=0).status == 200


def test_a_hostile_page_gets_nothing_of_who_opens_it(person: Callable[[str], Visitor], lab: EmbeddedLab) -> None:
    with HostileServer("alice"):
        open_lab(person("alice"), lab, "Thesis")
        bob = person("bob")
        page = open_lab(bob, lab, "Demand forecast")
        page.goto(f"{address_of(lab, 'alice')}/user/alice/evil/page")
        assert page.title() == "Results", "he sees it, as any page of the internet"
        assert page.evaluate(ATTACK, [lab.address, address_of(lab, "bob")]) == []
        page.goto(f"{address_of(lab, 'alice')}/user/alice/evil/cookies")
        seen = page.locator("body").inner_text()
        assert "hub-login" not in seen
        assert "jupyterhub-user-bob" not in seen
        page.goto(f"{address_of(lab, 'alice')}/user/alice/evil/tosses")
        page.goto("/hub/home")
        expect(page.get_by_text("Forecast").or_(page.get_by_text("Demand forecast")).first).to_be_visible()

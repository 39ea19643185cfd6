"""With every server at the hub's own address: what a page on a hostile server gets from the person who opens it.

The attacks run in the browser, in a page of alice's server, which answers whatever she wants. Bob is sent a link to it.
Alice opens it too: she stands for anybody who has a hostile script running in their own server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lab_testing.embedded import EmbeddedLab
from lab_testing.hostile_server import HostileServer
from lab_testing.kind_cluster import Cluster
from lab_testing.visitor import PASSWORDS, Visitor

pytestmark = pytest.mark.timeout(300)

EVIL = "/user/alice/evil"

# Each returns a word about what it got, or nothing.
ATTACKS = {
    "the token page by fetch": """async () => {
        const page = await (await fetch("/hub/token", {mode: "no-cors"})).text();
        return page.match(/xsrf_token: "(.+?)"/)?.[1] && "the XSRF token of a page";
    }""",
    "a token by the REST API": """async ({userid}) => {
        const page = await (await fetch("/hub/token", {mode: "no-cors"})).text();
        const xsrf = page.match(/xsrf_token: "(.+?)"/)?.[1] ?? "";
        const made = await fetch("/hub/api/users/" + userid + "/tokens?_xsrf=" + encodeURIComponent(xsrf),
            {method: "POST", body: "{}", headers: {"Content-Type": "application/json", "X-XSRFToken": xsrf}});
        return made.ok && "a token: " + (await made.json()).token;
    }""",
    "an error page": """async () => {
        const page = await (await fetch("/hub/nothing/there", {method: "POST"})).text();
        return page.match(/xsrf_token: "(.+?)"/)?.[1] && "the XSRF token of an error page";
    }""",
    "the REST API, unread": """async () => {
        const answer = await fetch("/hub/api/user", {mode: "no-cors"});
        return answer.ok && "the user's model: " + await answer.text();
    }""",
    "the browser's cache": """async () => {
        const answer = await fetch("/hub/token", {mode: "same-origin", cache: "only-if-cached"}).catch(() => null);
        return answer?.ok && "a page from the cache: " + (await answer.text()).length;
    }""",
    "the hub's cookies, under its path": """async ({secrets}) => {
        const before = location.pathname;
        history.replaceState({}, "", "/hub/token");
        const found = document.cookie;
        history.replaceState({}, "", before);
        return secrets.some((secret) => found.includes(secret)) && "cookies: " + found;
    }""",
    "a frame": """async () => {
        const frame = document.createElement("iframe");
        frame.src = "/hub/token";
        const loaded = new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
        document.body.append(frame);
        await loaded;
        try { return frame.contentDocument.documentElement.innerHTML.includes("xsrf") && "the token page in a frame"; }
        catch { return null; }
    }""",
    "a window": """async () => {
        const opened = [];
        for (const path of ["/hub/token", "/hub/api/user", "/hub/lab-static/logo.svg", "/hub/health", "/hub/none"]) {
            const other = window.open(path);
            await new Promise((done) => setTimeout(done, 700));
            try { if (other.document.URL.includes("/hub/")) opened.push(path); } catch {}
            other?.close();
        }
        return opened.length && "windows with a document to read: " + opened;
    }""",
    "a service worker for everything": """async () => {
        const made = await navigator.serviceWorker.register("/user/alice/evil/worker.js", {scope: "/"})
            .catch(() => null);
        return made && "a service worker for " + made.scope;
    }""",
    "a service worker from the root": """async () => {
        const made = await navigator.serviceWorker.register("/user%2Falice%2Fevil%2Fworker.js").catch(() => null);
        return made && "a service worker for " + made.scope;
    }""",
}


@pytest.fixture(scope="module")
def one_address(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a lab in which all servers share one address."""
    url = request.config.getoption("base_url", default=None)
    if url:
        yield url
        return
    with EmbeddedLab(tmp_path_factory.mktemp("one")) as lab:
        yield lab.url


@pytest.fixture
def browser_context_args(browser_context_args: dict[str, Any], one_address: str) -> dict[str, Any]:
    return {**browser_context_args, "base_url": one_address}


@pytest.fixture
def evil(visitor: Callable[..., Visitor], whole_cluster: Cluster | None) -> Iterator[Visitor]:
    """Alice, with her hostile server running."""
    with HostileServer("alice", whole_cluster):
        alice = visitor("alice")
        alice.choose("Thesis")
        alice.start()
        alice.wait_for_lab()
        yield alice
        alice.stop()


def attack(page: Page, userid: str) -> list[str]:
    """Run every attack in the page. Returns what they got."""
    got = []
    # Cookies for the server's own path are its own business.
    secrets = [
        cookie["value"] for cookie in page.context.cookies() if cookie["path"] == "/hub/" or "lab" in cookie["name"]
    ]
    assert len(secrets) > 2
    for name, script in ATTACKS.items():
        found = page.evaluate(script, {"userid": userid, "secrets": secrets})
        if found:
            got.append(f"{name}: {found}")
    return got


def test_a_link_to_somebody_elses_server_leads_nowhere(evil: Visitor, visitor: Callable[..., Visitor]) -> None:
    bob = visitor("bob")
    bob.see_menu()
    bob.page.goto(f"{EVIL}/page")
    assert bob.page.title() != "Results"
    # The same for every other way in which a browser loads something.
    loaded = bob.page.evaluate(
        """async (path) => {
            const answer = await fetch(path + "/page").catch(() => null);
            const script = await new Promise((done) => {
                const script = document.createElement("script");
                script.src = path + "/worker.js";
                script.onload = () => done(true);
                script.onerror = () => done(false);
                document.head.append(script);
            });
            return [(await answer?.text() ?? "").includes("Results"), script];
        }""",
        EVIL,
    )
    assert loaded == [False, False]


def test_a_page_of_a_server_gets_nothing_from_the_hub(evil: Visitor) -> None:
    page = evil.page
    page.goto("/hub/token")  # if it ever gets into the browser's cache, it does so now
    page.goto(f"{EVIL}/page")
    assert page.title() == "Results", "its owner can open it"
    assert attack(page, "alice") == []
    page.goto(f"{EVIL}/friend")
    assert attack(page, "alice") == [], "not even a page with the same headers as the hub's pages"


def test_a_server_sets_no_cookie_for_the_hub_and_clears_none(evil: Visitor) -> None:
    page = evil.page
    page.goto(f"{EVIL}/tosses")
    cookies = {cookie["name"]: cookie["path"] for cookie in page.context.cookies()}
    assert not {"a", "b", "c"} & set(cookies)
    assert cookies["own"].startswith("/user/alice/")
    page.goto("/hub/home")
    expect(page.get_by_role("heading", name="Log in")).to_have_count(0)


def test_a_server_sees_no_cookie_that_opens_anything_else(evil: Visitor) -> None:
    evil.page.goto(f"{EVIL}/cookies")
    seen = evil.page.locator("body").inner_text()
    assert "hub-login" not in seen
    assert "learning-lab" not in seen


def test_the_next_password_is_typed_into_the_hubs_own_page(evil: Visitor) -> None:
    page = evil.page
    page.goto(f"{EVIL}/page")
    attack(page, "alice")
    page.context.clear_cookies()
    page.goto("/hub/login")
    expect(page.get_by_label("User id")).to_be_visible()
    evil.log_in(PASSWORDS["alice"])


def test_a_form_in_a_page_of_the_hub_goes_nowhere_else(visitor: Callable[..., Visitor]) -> None:
    page = visitor("bob", log_in=False).page
    page.goto("/hub/login")
    directive = page.evaluate(
        """() => new Promise((done) => {
            addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
            setTimeout(() => done("it was sent"), 3000);
            const form = document.querySelector("form");
            form.action = location.href.replace("127.0.0.1", "localhost");
            HTMLFormElement.prototype.submit.call(form);
        })"""
    )
    assert directive == "form-action"

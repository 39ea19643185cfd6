"""axe finds nothing serious on any page that a person can see, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright._impl._api_structures import ViewportSize
from playwright.sync_api import Page, expect

from lab_testing.visitor import EmbeddedSite, Visitor

pytestmark = pytest.mark.timeout(300)

both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDE: ViewportSize = {"width": 1280, "height": 860}
NARROW: ViewportSize = {"width": 390, "height": 844}


def check(page: Page) -> None:
    """Check that there is no serious or critical finding, and that nothing is wider than the screen."""
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        findings = Axe().run(page).response["violations"]
        bad = [finding for finding in findings if finding["impact"] in {"serious", "critical"}]
        assert not bad, [(finding["id"], [node["html"] for node in finding["nodes"]]) for finding in bad]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"too wide at {size['width']} px"


@both_schemes
def test_log_in(visitor: Callable[..., Visitor], screenshots: Callable[[Page, str], None], scheme: str) -> None:
    alice = visitor("alice", log_in=False, color_scheme=scheme)
    alice.page.goto("/hub/login")
    screenshots(alice.page, f"log-in-{scheme}")
    check(alice.page)
    alice.log_in("wrong")
    expect(alice.page.get_by_role("alert")).to_be_visible()
    check(alice.page)


@both_schemes
def test_menu_with_every_kind_of_card(
    visitor: Callable[..., Visitor], site: EmbeddedSite, screenshots: Callable[[Page, str], None], scheme: str
) -> None:
    site.grant(
        "alice",
        [
            "/s/alice/notebooks",
            {"path": "/s/alice/thesis", "title": "Thesis", "description": "Chapters, figures and the data behind them"},
            {"path": "/s/shared/genomics", "title": "Genomics course", "description": "Week 1 to 12", "access": "ro"},
            {"path": "/s/alice/gone", "title": "A directory that is gone"},
            {"path": "/etc", "title": "A bad entry with a very long title " * 3},
            {"path": "/s/shared/climate", "title": "مناخ"},
        ],
    )
    alice = visitor("alice", color_scheme=scheme)
    alice.see_menu()
    screenshots(alice.page, f"menu-{scheme}")
    check(alice.page)
    alice.page.set_viewport_size(NARROW)
    screenshots(alice.page, f"menu-{scheme}-narrow")


@both_schemes
def test_refused_choice(visitor: Callable[..., Visitor], scheme: str) -> None:
    alice = visitor("alice", color_scheme=scheme)
    alice.type_name("nonsense")
    alice.start()
    expect(alice.page.get_by_role("alert")).to_be_visible()
    expect(alice.page.get_by_label("Or type a name")).to_have_value("nonsense")
    check(alice.page)


@both_schemes
def test_a_filter_that_finds_nothing(visitor: Callable[..., Visitor], site: EmbeddedSite, scheme: str) -> None:
    for number in range(1, 10):
        site.make_folder(f"/s/alice/project{number:02d}", "alice")
    site.grant("alice", [f"/s/alice/project{number:02d}" for number in range(1, 10)])
    alice = visitor("alice", color_scheme=scheme)
    alice.page.get_by_role("searchbox").fill("zzz")
    expect(alice.page.get_by_role("button", name="Show all")).to_be_visible()
    check(alice.page)


@both_schemes
def test_an_empty_list(visitor: Callable[..., Visitor], site: EmbeddedSite, scheme: str) -> None:
    site.grant("carol", [])
    carol = visitor("carol", color_scheme=scheme)
    expect(carol.page.get_by_role("heading", name="There is nothing to open right now")).to_be_visible()
    check(carol.page)


@both_schemes
def test_pending_then_home_then_switch(
    visitor: Callable[..., Visitor], site: EmbeddedSite, screenshots: Callable[[Page, str], None], scheme: str
) -> None:
    alice = visitor("alice", color_scheme=scheme)
    alice.choose("Thesis")
    with site.held("alice"):  # otherwise the start would be over before the page is checked
        alice.start()
        expect(alice.page.get_by_role("listitem").filter(has_text="Starting JupyterLab").first).to_be_visible()
        screenshots(alice.page, f"pending-{scheme}")
        check(alice.page)
    alice.wait_for_lab()
    alice.page.goto("/hub/home")
    expect(alice.page.get_by_role("link", name="Open", exact=True)).to_be_visible()
    screenshots(alice.page, f"home-{scheme}")
    check(alice.page)
    alice.page.goto("/hub/switch")
    check(alice.page)
    alice.stop()
    check(alice.page)


@both_schemes
def test_the_address_of_a_server_that_is_not_open(visitor: Callable[..., Visitor], scheme: str) -> None:
    alice = visitor("alice", color_scheme=scheme)
    alice.page.goto("/user/alice/lab")
    check(alice.page)


@both_schemes
@pytest.mark.parametrize("path", ["/hub/nowhere", "/hub/user/bob/lab"])
def test_error_pages(visitor: Callable[..., Visitor], path: str, scheme: str) -> None:
    alice = visitor("alice", color_scheme=scheme)
    alice.page.goto(path)
    expect(alice.page.get_by_role("link", name="Home").last).to_be_visible()
    check(alice.page)

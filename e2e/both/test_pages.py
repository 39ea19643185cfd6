"""axe finds nothing serious on any page that a person can see, in light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright._impl._api_structures import ViewportSize
from playwright.sync_api import Page, expect

from lab_testing.visitor import EmbeddedSite, Visitor

pytestmark = pytest.mark.timeout(300)

SIZES: dict[str, ViewportSize] = {"": {"width": 1280, "height": 860}, "-narrow": {"width": 390, "height": 844}}

Check = Callable[..., None]


@pytest.fixture
def check(screenshots: Callable[[Page, str], None]) -> Check:
    """Check that there is no serious or critical finding, and that nothing is wider than the screen.

    With a name, pictures of the page are kept too.
    """

    def look(page: Page, name: str = "") -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for width, size in SIZES.items():
                page.set_viewport_size(size)
                if name:
                    screenshots(page, f"{name}-{scheme}{width}")
                findings = Axe().run(page).response["violations"]
                bad = [finding for finding in findings if finding["impact"] in {"serious", "critical"}]
                told = [(finding["id"], [node["html"] for node in finding["nodes"]]) for finding in bad]
                assert not bad, (scheme, width, told)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"too wide at {size}"

    return look


def test_log_in(visitor: Callable[..., Visitor], check: Check) -> None:
    alice = visitor("alice", log_in=False)
    alice.page.goto("/hub/login")
    check(alice.page, "log-in")
    alice.log_in("wrong")
    expect(alice.page.get_by_role("alert")).to_be_visible()
    check(alice.page)


def test_menu_with_every_kind_of_card(visitor: Callable[..., Visitor], site: EmbeddedSite, check: Check) -> None:
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
    alice = visitor("alice")
    alice.see_menu()
    check(alice.page, "menu")


def test_refused_choice(visitor: Callable[..., Visitor], check: Check) -> None:
    alice = visitor("alice")
    alice.type_name("nonsense")
    alice.start()
    expect(alice.page.get_by_role("alert")).to_be_visible()
    expect(alice.page.get_by_label("Or type a name")).to_have_value("nonsense")
    check(alice.page)


def test_a_filter_that_finds_nothing(visitor: Callable[..., Visitor], site: EmbeddedSite, check: Check) -> None:
    for number in range(1, 10):
        site.make_folder(f"/s/alice/project{number:02d}", "alice")
    site.grant("alice", [f"/s/alice/project{number:02d}" for number in range(1, 10)])
    alice = visitor("alice")
    alice.page.get_by_role("searchbox").fill("zzz")
    expect(alice.page.get_by_role("button", name="Show all")).to_be_visible()
    check(alice.page)


def test_an_empty_list(visitor: Callable[..., Visitor], site: EmbeddedSite, check: Check) -> None:
    site.grant("carol", [])
    carol = visitor("carol")
    expect(carol.page.get_by_role("heading", name="There is nothing to open right now")).to_be_visible()
    check(carol.page)


def test_pending_then_home_then_switch(visitor: Callable[..., Visitor], site: EmbeddedSite, check: Check) -> None:
    alice = visitor("alice")
    alice.choose("Thesis")
    with site.held("alice"):  # otherwise the start would be over before the page is checked
        alice.start()
        expect(alice.page.get_by_role("listitem").filter(has_text="Starting JupyterLab").first).to_be_visible()
        check(alice.page, "pending")
    alice.wait_for_lab()
    alice.page.goto("/hub/home")
    expect(alice.page.get_by_role("link", name="Open", exact=True)).to_be_visible()
    check(alice.page, "home")
    alice.page.goto("/hub/switch")
    check(alice.page)
    alice.stop()
    check(alice.page)


def test_the_address_of_a_server_that_is_not_open(visitor: Callable[..., Visitor], check: Check) -> None:
    alice = visitor("alice")
    alice.page.goto("/user/alice/lab")
    check(alice.page)


@pytest.mark.parametrize("path", ["/hub/nowhere", "/hub/user/bob/lab"])
def test_error_pages(visitor: Callable[..., Visitor], path: str, check: Check) -> None:
    alice = visitor("alice")
    alice.page.goto(path)
    expect(alice.page.get_by_role("link", name="Home").last).to_be_visible()
    check(alice.page)

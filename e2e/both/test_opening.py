"""JupyterLab's files are in the browser's cache before a person opens it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from lab_testing.visitor import Visitor

pytestmark = pytest.mark.timeout(300)

SCRIPTS = """() => performance.getEntriesByType("resource")
    .filter((each) => each.initiatorType === "script" && each.name.includes("/jupyterlab/"))
    .map((each) => each.transferSize)"""


def wait_until_fetched(page: Page) -> None:
    """Wait until all the files that JupyterLab loads first have been fetched ahead."""
    files = page.evaluate("async () => (await (await fetch('/hub/jupyterlab/')).json()).files")
    expect(page.locator("link[rel=prefetch]")).to_have_count(len(files), timeout=30_000)
    page.wait_for_load_state("networkidle")


@pytest.fixture
def carol(visitor: Callable[..., Visitor]) -> Visitor:
    """Somebody with JupyterLab open."""
    carol = visitor("carol")
    carol.choose("Archive")
    carol.start()
    carol.wait_for_lab()
    return carol


def test_whoever_has_read_the_menu_already_has_jupyterlabs_scripts(
    carol: Visitor, visitor: Callable[..., Visitor]
) -> None:
    expect(carol.page.locator(".jp-Launcher")).to_have_count(
        1, timeout=60_000
    )  # now the hub has seen which files JupyterLab loads first
    bob = visitor("bob")
    bob.see_menu()
    wait_until_fetched(bob.page)
    bob.start()
    bob.wait_for_lab()
    expect(bob.page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    sizes = bob.page.evaluate(SCRIPTS)
    assert len(sizes) > 10
    assert sum(1 for size in sizes if size) <= len(sizes) / 10, "these were not in the browser's cache"


AHEAD = """() => performance.getEntriesByType("resource")
    .filter((each) => each.initiatorType === "link" && each.name.includes("/hub/jupyterlab/")).length"""


def test_whoever_is_at_the_log_in_page_gets_jupyterlabs_scripts_meanwhile(
    carol: Visitor, visitor: Callable[..., Visitor]
) -> None:
    expect(carol.page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    bob = visitor("bob", log_in=False)
    bob.page.goto("/hub/login")
    wait_until_fetched(bob.page)
    assert bob.page.evaluate(AHEAD) > 10


def test_the_log_in_does_not_wait_for_jupyterlabs_scripts(carol: Visitor, visitor: Callable[..., Visitor]) -> None:
    expect(carol.page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    bob = visitor("bob", log_in=False)
    under_way: list[Route] = []
    bob.page.route("**/hub/jupyterlab/*.js*", lambda route: under_way.append(route))  # never answered
    bob.log_in()
    bob.see_menu()
    assert len(under_way) <= 4, "two at a time, on the log-in page and on the menu"

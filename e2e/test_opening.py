"""What a person waits for between the menu and JupyterLab: its files are there before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from visitor import Visitor

pytestmark = pytest.mark.timeout(300)

SCRIPTS = """() => performance.getEntriesByType("resource")
    .filter((each) => each.initiatorType === "script" && each.name.includes("/jupyterlab/"))
    .map((each) => each.transferSize)"""


@pytest.fixture
def carol(visitor: Callable[..., Visitor]) -> Visitor:
    """Somebody whose JupyterLab is open."""
    carol = visitor("carol")
    carol.choose("Archive")
    carol.start()
    carol.wait_for_lab()
    return carol


def test_who_has_read_the_menu_has_jupyterlabs_scripts_already(carol: Visitor, visitor: Callable[..., Visitor]) -> None:
    expect(carol.page.locator(".jp-Launcher")).to_have_count(
        1, timeout=60_000
    )  # the hub has seen now what JupyterLab begins with
    bob = visitor("bob")
    bob.see_menu()
    bob.page.wait_for_load_state("networkidle")
    bob.start()
    bob.wait_for_lab()
    expect(bob.page.locator(".jp-Launcher")).to_have_count(1, timeout=60_000)
    sizes = bob.page.evaluate(SCRIPTS)
    assert len(sizes) > 10
    assert sum(1 for size in sizes if size) <= len(sizes) / 10, "these were not in the browser's cache"

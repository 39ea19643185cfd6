"""Browser tests of the whole lab: the same ones against the embedded lab and, with `--base-url`, against a cluster.

Without `--base-url` the fixtures start the embedded lab (inside the sandbox) and the site is changed by editing its
namespaces file and its `/s`; with it, `site` will be the one that a cluster's commands change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from embedded import PROJECT, EmbeddedLab
from visitor import EmbeddedSite, Visitor

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-software-rasterizer",  # nothing here draws in 3D, and doing it in software takes a core
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Playwright's own Chromium where it is installed, else the system's."""
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", ""))
    found = None if list(own.glob("chromium*")) else shutil.which("chromium") or shutil.which("chromium-browser")
    return {**browser_type_launch_args, "args": CHROMIUM_ARGUMENTS} | ({"executable_path": found} if found else {})


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[EmbeddedLab | None]:
    if request.config.getoption("base_url", default=None):
        yield None
        return
    if os.geteuid() != 0 or not Path("/s/alice").is_dir():
        pytest.fail("These tests need the emulated accounts: run `make test`.", pytrace=False)
    with EmbeddedLab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def base_url(embedded: EmbeddedLab | None, request: pytest.FixtureRequest) -> str:
    return embedded.url if embedded else str(request.config.getoption("base_url"))


@pytest.fixture
def site(embedded: EmbeddedLab | None) -> Iterator[EmbeddedSite]:
    if embedded is None:
        pytest.skip("changing a cluster's namespaces from these tests comes with the cluster")
    site = EmbeddedSite(embedded)
    yield site
    site.restore()


@pytest.fixture
def visitor(new_context: Callable[..., BrowserContext]) -> Iterator[Callable[..., Visitor]]:
    """Make a person at a browser of their own; logged in unless told otherwise. Their server is stopped at the end."""
    made: list[Visitor] = []

    def make(userid: str, *, log_in: bool = True, **options: Any) -> Visitor:
        context = new_context(**options)
        context.set_default_timeout(30_000)
        visitor = Visitor(context.new_page(), userid)
        if log_in:
            visitor.log_in()
            made.append(visitor)
        return visitor

    yield make
    for visitor in made:
        visitor.stop()


@pytest.fixture
def screenshots() -> Callable[[Page, str], None]:
    """Keep a picture of a page that the documentation shows, when LAB_SCREENSHOTS=1."""

    def keep(page: Page, name: str) -> None:
        if os.environ.get("LAB_SCREENSHOTS"):
            folder = PROJECT / "docs" / "pictures"
            folder.mkdir(exist_ok=True)
            page.screenshot(path=folder / f"{name}.png")

    return keep

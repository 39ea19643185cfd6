"""Browser tests of the whole lab: the same ones against the embedded lab and, with `--base-url`, against a cluster.

Without `--base-url` the fixtures start the embedded lab (inside the sandbox) and the site is changed by editing its
namespaces file and its `/s`; with it, `site` will be the one that a cluster's commands change.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from embedded import PROJECT, EmbeddedLab
from playwright.sync_api import Browser, BrowserContext, Page, expect

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORDS = {"alice": "pass1", "bob": "pass2", "carol": "pass3"}
LAB_SECONDS = 90  # a server may wait for a busy machine

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Playwright's own Chromium where it is installed, else the system's."""
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", ""))
    found = None if list(own.glob("chromium*")) else shutil.which("chromium") or shutil.which("chromium-browser")
    return {**browser_type_launch_args, "args": CHROMIUM_ARGUMENTS} | ({"executable_path": found} if found else {})


class EmbeddedSite:
    """Changes the embedded lab as the people who run it do."""

    def __init__(self, lab: EmbeddedLab) -> None:
        self._lab = lab
        self._before = lab.namespaces.read_text()
        self._moved: list[tuple[Path, Path]] = []
        self._modes: list[tuple[Path, int]] = []
        self._made: list[Path] = []

    def grant(self, userid: str, directories: list[Any]) -> None:
        """Set the user's list."""
        documents = [document for document in yaml.safe_load_all(self._lab.namespaces.read_text()) if document]
        for document in documents:
            if document["metadata"]["annotations"]["learning-lab.dev/userid"] == userid:
                document["metadata"]["annotations"]["learning-lab.dev/notebook-dirs"] = json.dumps(directories)
        self._lab.namespaces.write_text(yaml.safe_dump_all(documents))

    def make_folder(self, path: str, owner: str) -> None:
        """Make a folder as its owner would."""
        account = pwd.getpwnam(owner)
        Path(path).mkdir()
        os.chown(path, account.pw_uid, account.pw_gid)
        self._made.append(Path(path))

    def remove(self, path: str) -> None:
        """Take a directory away."""
        aside = Path(path + ".aside")
        Path(path).rename(aside)
        self._moved.append((aside, Path(path)))

    def forbid(self, path: str) -> None:
        """Take away everybody's permission, and the ownership with it."""
        status = Path(path).stat()
        self._modes.append((Path(path), status.st_mode & 0o7777))
        os.chown(path, 0, status.st_gid)
        Path(path).chmod(0o700)

    def log(self) -> str:
        """What a failure's reader wants to see."""
        return self._lab.tail()

    def restore(self) -> None:
        """Put everything back."""
        self._lab.namespaces.write_text(self._before)
        for path, mode in self._modes:
            owner = path.parent.stat().st_uid
            os.chown(path, owner, -1)
            path.chmod(mode)
        for aside, path in self._moved:
            aside.rename(path)
        for path in self._made:
            shutil.rmtree(path, ignore_errors=True)


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


class Visitor:
    """A person at a browser."""

    def __init__(self, page: Page, userid: str) -> None:
        self.page = page
        self.userid = userid

    def log_in(self, password: str | None = None) -> None:
        self.page.goto("/hub/login")
        self.page.get_by_label("User id").fill(self.userid)
        self.page.get_by_label("Password", exact=True).fill(password or PASSWORDS[self.userid])
        self.page.get_by_role("button", name="Log in").click()

    def see_menu(self) -> None:
        expect(self.page.get_by_role("heading", name="Where do you want to work?")).to_be_visible()

    def choose(self, title: str) -> None:
        self.page.get_by_role("radio", name=title).check()

    def type_name(self, text: str) -> None:
        self.page.get_by_label("or type a name").fill(text)

    def start(self) -> None:
        self.page.locator("#lab-start").click()

    def wait_for_lab(self) -> None:
        self.page.wait_for_url(f"**/user/{self.userid}/lab**", timeout=LAB_SECONDS * 1000)

    def root(self) -> list[str]:
        """The names that the running server lists at its root."""
        answer = self.page.request.get(f"/user/{self.userid}/api/contents/")
        assert answer.ok, answer.text()
        return sorted(item["name"] for item in answer.json()["content"])

    def directory(self) -> str | None:
        """The directory of the running server, from the hub; None when nothing runs."""
        xsrf = next(c["value"] for c in self.page.context.cookies() if c["name"] == "_xsrf" and c["path"] == "/hub/")
        answer = self.page.request.get(f"/hub/api/users/{self.userid}", headers={"X-XSRFToken": xsrf})
        server = answer.json()["servers"].get("")
        return server["user_options"]["directory"] if server and server["ready"] else None

    def stop(self) -> None:
        """Stop what runs, whatever state it is in."""
        until = time.monotonic() + LAB_SECONDS
        while time.monotonic() < until:
            self.page.goto("/hub/home")
            if self.page.get_by_role("heading", name="Nothing is open right now").is_visible():
                return
            stop = self.page.get_by_role("button", name="Stop")
            if stop.count():
                stop.first.click()
            self.page.wait_for_timeout(300)
        raise AssertionError(f"the server of {self.userid} did not stop")


@pytest.fixture
def visitor(new_context: Callable[..., BrowserContext], base_url: str) -> Iterator[Callable[..., Visitor]]:
    """Make a person at a browser of their own; logged in unless told otherwise. Their server is stopped at the end."""
    made: list[Visitor] = []

    def make(userid: str, *, log_in: bool = True, **options: Any) -> Visitor:
        context = new_context(base_url=base_url, **options)
        visitor = Visitor(context.new_page(), userid)
        if log_in:
            visitor.log_in()
            made.append(visitor)
        return visitor

    yield make
    for visitor in made:
        visitor.stop()


@pytest.fixture
def screenshots(browser: Browser) -> Callable[[Page, str], None]:
    """Keep a picture of a page that the documentation shows, when LAB_SCREENSHOTS=1."""

    def keep(page: Page, name: str) -> None:
        if os.environ.get("LAB_SCREENSHOTS"):
            folder = PROJECT / "docs" / "pictures"
            folder.mkdir(exist_ok=True)
            page.screenshot(path=folder / f"{name}.png")

    return keep

"""The vocabulary of the browser tests: a person at a browser, and the site that is changed around them."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import yaml
from playwright.sync_api import Page, expect

from lab_testing.embedded import EmbeddedLab
from lab_testing.processes import running, server_pid

PASSWORDS = {"alice": "pass1", "bob": "pass2", "carol": "pass3"}
LAB_SECONDS = 90  # a server may wait for a busy machine


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
        # Click the title, as a person would: the whole card is the target.
        self.page.locator("#menu label").get_by_text(title, exact=True).click()
        expect(self.page.get_by_role("radio", name=title, exact=True)).to_be_checked()

    def type_name(self, text: str) -> None:
        self.page.get_by_label("Or type a name").fill(text)

    def start(self) -> None:
        self.page.locator(".actions").get_by_role("button").click()

    def wait_for_lab(self) -> None:
        self.page.wait_for_url(f"**/user/{self.userid}/lab**", timeout=LAB_SECONDS * 1000, wait_until="commit")

    def root(self) -> list[str]:
        """The names that the running server lists at its root."""
        return sorted(item["name"] for item in self._read(f"/user/{self.userid}/api/contents/")["content"])

    def directory(self) -> str | None:
        """The directory of the running server, from the hub; None if no server is running."""
        server = self._read(f"/hub/api/users/{self.userid}")["servers"].get("")
        return server["user_options"]["directory"] if server and server["ready"] else None

    def _read(self, path: str) -> Any:
        """What the person's browser gets, in another tab: it resolves names that other programs here cannot."""
        tab = self.page.context.new_page()
        try:
            answer = tab.goto(path)
            assert answer is not None
            assert answer.ok, answer.text()
            return answer.json()
        finally:
            tab.close()

    def stop(self) -> None:
        """Stop the server, whatever state it is in."""
        until = time.monotonic() + LAB_SECONDS
        while time.monotonic() < until:
            self.page.goto("/hub/home")
            if self.page.get_by_role("heading", name="Nothing is open").is_visible():
                return
            stop = self.page.get_by_role("button", name="Stop")
            if stop.count():
                stop.first.click()
            self.page.wait_for_timeout(300)
        raise AssertionError(f"the server of {self.userid} did not stop")


class Site(Protocol):
    """What a lab's administrators change around a person: `EmbeddedSite` and `cluster_site.ClusterSite`."""

    def grant(self, userid: str, directories: list[Any]) -> None:
        """Set the user's list; the next page shows it."""
        ...

    def make_folder(self, path: str, owner: str) -> None:
        """Make a folder as its owner would."""
        ...

    def forget_tabs(self) -> None:
        """Make JupyterLab open as if for the first time, without earlier tabs."""
        ...

    def remove(self, path: str) -> None:
        """Take a directory away."""
        ...

    def forbid(self, path: str) -> None:
        """Take away everybody's permission."""
        ...

    def held(self, userid: str) -> contextlib.AbstractContextManager[None]:
        """Hold any start that the user makes within the block: the warm parent, or the server as soon as it exists."""
        ...

    def log(self) -> str:
        """What somebody who reads about a failure wants to see."""
        ...

    def restore(self) -> None:
        """Put everything back."""
        ...


def forget_tabs() -> None:
    """Make JupyterLab open as if for the first time, without earlier tabs, for all homes on this machine."""
    for userid in PASSWORDS:
        for workspaces in Path(pwd.getpwnam(userid).pw_dir).glob(".jupyter/lab/workspaces*"):
            shutil.rmtree(workspaces, ignore_errors=True)


class EmbeddedSite:
    """Changes the embedded lab as its administrators would."""

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
        time.sleep(0.06)  # a menu may be 50 ms old

    def make_folder(self, path: str, owner: str) -> None:
        """Make a folder as its owner would."""
        account = pwd.getpwnam(owner)
        Path(path).mkdir()
        os.chown(path, account.pw_uid, account.pw_gid)
        self._made.append(Path(path))

    def forget_tabs(self) -> None:
        """Make JupyterLab open as if for the first time, without earlier tabs."""
        forget_tabs()

    def remove(self, path: str) -> None:
        """Take a directory away."""
        aside = Path(path + ".aside")
        Path(path).rename(aside)
        self._moved.append((aside, Path(path)))

    def forbid(self, path: str) -> None:
        """Take away everybody's permissions, and the owner's ownership too."""
        status = Path(path).stat()
        self._modes.append((Path(path), status.st_mode & 0o7777))
        os.chown(path, 0, status.st_gid)
        Path(path).chmod(0o700)

    @contextlib.contextmanager
    def held(self, userid: str) -> Iterator[None]:
        """Hold any start that the user makes within the block."""
        parent = next(iter(running("learning_lab.warm.parent", 0)), None)
        if parent:
            parent.suspend()
            try:
                yield
            finally:
                parent.resume()
            return
        with ThreadPoolExecutor(1) as watching:
            held = watching.submit(self._hold, pwd.getpwnam(userid).pw_uid)
            try:
                yield
            finally:
                os.kill(held.result(), signal.SIGCONT)

    def _hold(self, uid: int) -> int:
        pid = self._wait_for_server(uid)
        os.kill(pid, signal.SIGSTOP)
        return pid

    def _wait_for_server(self, uid: int) -> int:
        until = time.monotonic() + LAB_SECONDS
        while time.monotonic() < until:
            if pid := server_pid(uid):
                return pid
            time.sleep(0.05)
        raise AssertionError("no server was started")

    def log(self) -> str:
        """What somebody who reads about a failure wants to see."""
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

"""Fixtures: a real hub in the sandbox, and a person's client that talks to it as a browser without JavaScript does."""

from __future__ import annotations

import html
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from embedded import EmbeddedLab

PASSWORDS = {"alice": "pass1", "bob": "pass2", "carol": "pass3"}
START_SECONDS = 60


@pytest.fixture(scope="session")
def in_sandbox() -> None:
    if os.geteuid() != 0 or not Path("/s/alice").is_dir():
        pytest.fail(
            "This test needs the emulated accounts: run `make test`, or put `sandbox.py --` before pytest.", False
        )


@pytest.fixture(scope="module")
def lab(in_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLab]:
    with EmbeddedLab(tmp_path_factory.mktemp("lab"), environ={"LAB_ADMINS": "carol"}) as lab:
        yield lab


class Person:
    """A person with a browser: keeps cookies, sends the XSRF token, follows redirects."""

    def __init__(self, lab: EmbeddedLab, userid: str) -> None:
        self.lab = lab
        self.userid = userid
        self.http = httpx.Client(base_url=lab.url, follow_redirects=True, timeout=30)

    def xsrf(self) -> str:
        return self.http.cookies.get("_xsrf", path="/hub/") or ""

    def log_in(self, password: str | None = None) -> httpx.Response:
        self.http.get("/hub/login")
        form = {"username": self.userid, "password": password or PASSWORDS[self.userid], "_xsrf": self.xsrf()}
        return self.http.post("/hub/login", data=form)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.http.post(path, params={"_xsrf": self.xsrf()}, data={**fields, "_xsrf": self.xsrf()})

    def start(self, **fields: str) -> httpx.Response:
        return self.post("/hub/spawn", **fields)

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"X-XSRFToken": self.xsrf(), "Referer": f"{self.lab.url}/hub/home"}
        return self.http.request(method, f"/hub/api{path}", headers=headers, **options)

    def server(self, name: str = "") -> dict[str, Any] | None:
        """The model of the server as the REST API gives it; None when there is none."""
        model = self.api("GET", f"/users/{self.userid}").json()
        return model.get("servers", {}).get(name)

    def wait_until_ready(self, name: str = "") -> dict[str, Any]:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            server = self.server(name)
            if server and server["ready"]:
                return server
            time.sleep(0.2)
        raise AssertionError(f"the server did not start; the hub's log ends with\n{self.lab.tail()}")

    def stop(self, name: str = "") -> None:
        self.api("DELETE", f"/users/{self.userid}/servers/{name}" if name else f"/users/{self.userid}/server")
        until = time.monotonic() + START_SECONDS
        while (server := self.server(name)) and (server["ready"] or server["pending"]) and time.monotonic() < until:
            time.sleep(0.2)

    def contents(self, path: str = "") -> dict[str, Any]:
        """What the server lists: `GET /user/<id>/api/contents/`."""
        self.http.get(f"/user/{self.userid}/lab")  # the first visit brings the server's own cookies
        response = self.http.get(f"/user/{self.userid}/api/contents/{path}")
        response.raise_for_status()
        model: dict[str, Any] = response.json()
        return model


@pytest.fixture
def person(lab: EmbeddedLab) -> Iterator[Callable[[str], Person]]:
    """Make a person who is logged in; their servers are stopped at the end."""
    made: list[Person] = []

    def make(userid: str) -> Person:
        person = Person(lab, userid)
        assert person.log_in().status_code == 200
        made.append(person)
        return person

    yield make
    for each in made:
        each.stop()
        each.http.close()


@pytest.fixture
def annotate(lab: EmbeddedLab) -> Iterator[Callable[..., None]]:
    """Change annotations (and labels) of a user's namespace in the file the hub reads; put back at the end."""
    before = lab.namespaces.read_text()

    def change(userid: str, labels: dict[str, str | None] | None = None, **annotations: Any) -> None:
        documents = [document for document in yaml.safe_load_all(lab.namespaces.read_text()) if document]
        for document in documents:
            metadata = document["metadata"]
            if metadata.get("annotations", {}).get("learning-lab.dev/userid") != userid:
                continue
            for name, value in annotations.items():
                key = "learning-lab.dev/" + name.replace("_", "-")
                if value is None:
                    metadata["annotations"].pop(key, None)
                else:
                    metadata["annotations"][key] = value if isinstance(value, str) else json.dumps(value)
            for key, label in (labels or {}).items():
                if label is None:
                    metadata["labels"].pop(key, None)
                else:
                    metadata["labels"][key] = label
        lab.namespaces.write_text(yaml.safe_dump_all(documents))

    yield change
    lab.namespaces.write_text(before)


def visible_text(response: httpx.Response) -> str:
    """The page's text without tags, for looking for sentences and for names that must not be there."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.text)))

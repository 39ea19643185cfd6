"""A person who uses the hub with a browser without JavaScript."""

from __future__ import annotations

import html
import re
import time
from typing import Any, Protocol

import httpx

PASSWORDS = {"alice": "pass1", "bob": "pass2", "carol": "pass3"}
START_SECONDS = 60


class Lab(Protocol):
    """A lab that somebody can log in to."""

    address: str

    def tail(self) -> str:
        """The end of the hub's log, to show when a test fails."""
        ...


class AsBrowsersFindIt(httpx.HTTPTransport):
    """Resolves every host below `localhost` to this machine, as browsers do. Resolvers may not."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.host.endswith(".localhost"):
            return super().handle_request(request)
        here = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,  # including Host
            stream=request.stream,
            extensions=request.extensions,
        )
        return super().handle_request(here)


class Person:
    """A person with a browser: keeps cookies, sends the XSRF token, follows redirects."""

    def __init__(self, lab: Lab, userid: str) -> None:
        self.lab = lab
        self.userid = userid
        self.http = httpx.Client(base_url=lab.address, transport=AsBrowsersFindIt(), follow_redirects=True, timeout=30)

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

    def start_named(self, name: str, **fields: str) -> httpx.Response:
        return self.post(f"/hub/spawn/{self.userid}/{name}", **fields)

    def api(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"X-XSRFToken": self.xsrf(), "Referer": f"{self.lab.address}/hub/home"}
        return self.http.request(method, f"/hub/api{path}", headers=headers, **options)

    def server(self, name: str = "") -> dict[str, Any] | None:
        """The server's model from the REST API; None if there is no server."""
        model = self.api("GET", f"/users/{self.userid}").json()
        server: dict[str, Any] | None = model.get("servers", {}).get(name)
        return server

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

    def start_kernel(self) -> dict[str, Any]:
        """Start a kernel in the server. Returns its model from `POST /user/<id>/api/kernels`."""
        self.http.get(f"/user/{self.userid}/lab")  # the first visit brings the server's own cookies
        token = self.http.cookies.get("_xsrf", path=f"/user/{self.userid}/")
        response = self.http.post(f"/user/{self.userid}/api/kernels", json={}, headers={"X-XSRFToken": token or ""})
        response.raise_for_status()
        model: dict[str, Any] = response.json()
        return model

    def contents(self, path: str = "") -> dict[str, Any]:
        """What the server lists in answer to `GET /user/<id>/api/contents/`."""
        self.http.get(f"/user/{self.userid}/lab")  # the first visit brings the server's own cookies
        response = self.http.get(f"/user/{self.userid}/api/contents/{path}")
        response.raise_for_status()
        model: dict[str, Any] = response.json()
        return model


def visible_text(response: httpx.Response) -> str:
    """The page's text without tags, for finding sentences, and names that must not be there."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.text)))

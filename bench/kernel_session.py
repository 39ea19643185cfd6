"""A person who keeps working while the lab is edited: a running server, and a kernel that keeps a variable."""

from __future__ import annotations

import asyncio

from tornado.httpclient import HTTPError
from tornado.websocket import WebSocketError

from lab_testing.kernel_channels import Channels
from lab_testing.kind_cluster import Cluster
from lab_testing.person import Person

REMEMBER = "import os; answer = 'kept'"
TELL = "print(os.getppid(), os.getpid(), answer)"


class LostWork(RuntimeError):
    """The server or the kernel is not the same as before, or does not respond."""


class WorkingPerson:
    """Alice in her notebooks: her server's process, her kernel's process, and a variable in it."""

    def __init__(self, cluster: Cluster) -> None:
        self._person = Person(cluster, "alice")
        self._person.log_in()
        self._person.stop()
        self._person.start(directory="/s/alice/notebooks")
        self._person.wait_until_ready()
        http = self._person.http
        http.get("/user/alice/lab")  # the first visit brings the server's own cookies
        xsrf = http.cookies.get("_xsrf", path="/user/alice/") or ""
        made = http.post("/user/alice/api/kernels", headers={"X-XSRFToken": xsrf}, json={})
        made.raise_for_status()
        self._kernel = made.json()["id"]
        self._run(REMEMBER)
        self._before = self._run(TELL)

    def go_on(self) -> None:
        """Check that server, kernel and variable are the same as before.

        Raises:
            LostWork: they are not.
        """
        try:
            now = self._run(TELL)
        except (OSError, HTTPError, WebSocketError, TimeoutError) as error:
            raise LostWork(f"Alice's kernel does not respond any more: {error}") from None
        if now != self._before:
            raise LostWork(f"Alice's server, kernel and variable were {self._before!r} and are {now!r}.")

    def leave(self) -> None:
        """StepFailed the server."""
        self._person.stop()

    def _run(self, code: str) -> str:
        """Run a cell. Returns what it prints."""

        async def run() -> str:
            async with asyncio.timeout(30), Channels.of(self._person, self._kernel) as channels:
                return "".join([text async for text in channels.execute(code)]).strip()

        return asyncio.run(run())

"""A person at work while the lab is edited: a running server, and a kernel that keeps a variable."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import Any, cast

import websocket

from lab_testing.person import Person

REMEMBER = "import os; answer = 'kept'"
TELL = "print(os.getppid(), os.getpid(), answer)"


class LostWork(RuntimeError):
    """The server or the kernel is another one than before, or does not answer."""


def person(url: str, userid: str) -> Person:
    """Somebody logged in to the lab at that address, with nothing running."""
    somebody = Person(cast(Any, SimpleNamespace(address=url, tail=lambda: "kubectl logs has it")), userid)
    somebody.log_in()
    somebody.stop()
    return somebody


class AtWork:
    """Alice in her notebooks: her server's process, her kernel's process, and a variable in it.

    Args:
        url: where the lab answers.
    """

    def __init__(self, url: str) -> None:
        self._person = person(url, "alice")
        self._person.start(directory="/s/alice/notebooks")
        self._person.wait_until_ready()
        http = self._person.http
        http.get("/user/alice/lab")  # the first visit brings the server's own cookies
        xsrf = http.cookies.get("_xsrf", path="/user/alice/") or ""
        made = http.post("/user/alice/api/kernels", headers={"X-XSRFToken": xsrf}, json={})
        made.raise_for_status()
        cookies = "; ".join(f"{each.name}={each.value}" for each in http.cookies.jar if each.path != "/hub/")
        self._session = uuid.uuid4().hex
        self._cookies = cookies
        self._channels = f"ws{url.removeprefix('http')}/user/alice/api/kernels/{made.json()['id']}/channels"
        self._run(REMEMBER)
        self._before = self._run(TELL)

    def go_on(self) -> None:
        """Look whether server, kernel and variable are what they were.

        Raises:
            LostWork: they are not.
        """
        try:
            now = self._run(TELL)
        except (OSError, websocket.WebSocketException) as error:
            raise LostWork(f"The kernel of alice does not answer any more: {error}") from None
        if now != self._before:
            raise LostWork(f"Server, kernel and variable of alice were {self._before!r} and are {now!r}.")

    def leave(self) -> None:
        """Stop the server."""
        self._person.stop()

    def _run(self, code: str) -> str:
        """Run a cell; returns what it prints. https://jupyter-client.readthedocs.io/en/stable/messaging.html"""
        message = uuid.uuid4().hex
        header = {"msg_id": message, "session": self._session, "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        request = {"channel": "shell", "parent_header": {}, "metadata": {}, "buffers": [], "content": content}
        request["header"] = header | {"msg_type": "execute_request", "date": "2026-01-01T00:00:00Z"}
        channels = websocket.create_connection(self._channels, timeout=30, cookie=self._cookies)
        try:
            channels.send(json.dumps(request))
            printed = ""
            while True:
                answer = json.loads(channels.recv())
                if answer["parent_header"].get("msg_id") != message:
                    continue
                content = answer["content"]
                if answer["msg_type"] == "stream":
                    printed += content["text"]
                elif answer["msg_type"] == "error":
                    printed += content["evalue"]
                elif answer["msg_type"] == "status" and content["execution_state"] == "idle":
                    return printed.strip()
        finally:
            channels.close()

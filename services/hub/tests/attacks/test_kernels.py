"""What people's kernels say is heard by nobody else on the machine."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from attack_target import Outcome, Target
from person import Person

pytestmark = pytest.mark.timeout(300)

SECRET = "salary_of_bob = 123456"
# What a cell is, and what it prints, goes to everybody who listens: a hundred times over.
CELL = f"import time\nfor _ in range(100):\n    print({SECRET!r}, flush=True)\n    time.sleep(0.1)\n{SECRET}"


def run_cell(person: Person, kernel: str, code: str, began: threading.Event) -> list[str]:
    """Run code in a kernel as JupyterLab does; what it printed."""
    printed: list[str] = []

    async def run() -> None:
        address = f"{person.http.base_url}/user/{person.userid}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
        cookies = "; ".join(f"{each.name}={each.value}" for each in person.http.cookies.jar if "hub" not in each.path)
        socket = await websocket_connect(HTTPRequest(address.replace("//user", "/user"), headers={"Cookie": cookies}))
        header = {"msg_id": uuid.uuid4().hex, "session": "s", "username": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header | {"msg_type": "execute_request", "date": ""}, "content": content}
        await socket.write_message(
            json.dumps(message | {"parent_header": {}, "metadata": {}, "buffers": [], "channel": "shell"})
        )
        while (said := await socket.read_message()) is not None:
            told = json.loads(said)
            if told["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if told["msg_type"] == "stream":
                printed.append(told["content"]["text"])
                began.set()
            if told["msg_type"] == "execute_reply":
                return

    asyncio.run(asyncio.wait_for(run(), 60))
    return printed


def test_nobody_listens_to_somebody_elses_kernel(
    target: Target, people: Callable[[str], Person], attack: Callable[..., Outcome]
) -> None:
    bob = people("bob")
    bob.start(directory="notebooks")
    bob.wait_until_ready()
    kernel = bob.start_kernel()["id"]
    printed: list[str] = []
    began = threading.Event()
    working = threading.Thread(target=lambda: printed.extend(run_cell(bob, kernel, CELL, began)))
    working.start()
    try:
        assert began.wait(30), "bob's cell does not run, so there is nothing to hear"
        outcome = attack("kernels_in_the_clear", userid="carol", victim="bob", words=SECRET, listen=5)
    finally:
        working.join()
    assert SECRET in "".join(printed)
    assert outcome.tried > 0
    assert outcome.got == []

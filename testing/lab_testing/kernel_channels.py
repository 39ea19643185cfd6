"""Talks to a kernel as JupyterLab does: with messages over the WebSocket of a user's server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from lab_testing.person import Person


class Channels:
    """The channels of a kernel."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket

    @classmethod
    @asynccontextmanager
    async def at(cls, address: str, headers: Mapping[str, str]) -> AsyncIterator[Channels]:
        """Connect to the channels at this http address, with headers that identify the user."""
        socket = await websocket_connect(HTTPRequest(address.replace("http", "ws", 1), headers=dict(headers)))
        try:
            yield cls(socket)
        finally:
            socket.close()

    @classmethod
    @asynccontextmanager
    async def of(cls, person: Person, kernel: str) -> AsyncIterator[Channels]:
        """Connect to a kernel in a user's server."""
        base = str(person.http.base_url).rstrip("/")
        cookies = "; ".join(f"{each.name}={each.value}" for each in person.http.cookies.jar if "hub" not in each.path)
        address = f"{base}/user/{person.userid}/api/kernels/{kernel}/channels"
        async with cls.at(address, {"Cookie": cookies}) as channels:
            yield channels

    async def send(self, message_type: str, content: dict[str, Any], channel: str = "shell") -> AsyncIterator[Any]:
        """Send a message. Returns what the kernel sends in answer, up to its reply."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": message_type, "session": "s", "username": "", "date": ""}
        message = {"header": header | {"version": "5.3"}, "content": content, "channel": channel}
        await self.socket.write_message(json.dumps(message | {"parent_header": {}, "metadata": {}, "buffers": []}))
        while (said := await self.socket.read_message()) is not None:
            told = json.loads(said)
            if told["parent_header"].get("msg_id") == header["msg_id"]:
                yield told
                if told["msg_type"] == message_type.replace("_request", "_reply"):
                    return

    async def execute(self, code: str) -> AsyncIterator[str]:
        """Run code. Returns its output, part by part."""
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        async for told in self.send("execute_request", content):
            if told["msg_type"] == "stream":
                yield told["content"]["text"]

    async def debug(self, number: int, command: str, within: float = 3, **arguments: Any) -> dict[str, Any] | None:
        """Send the debugger a request, as JupyterLab does. Returns its answer, or None if there is none."""
        request = {"seq": number, "type": "request", "command": command, "arguments": arguments}

        async def answer() -> dict[str, Any] | None:
            reply = None
            async for told in self.send("debug_request", request, "control"):
                reply = told["content"] if told["msg_type"] == "debug_reply" else reply
            return reply

        try:
            return await asyncio.wait_for(answer(), within)
        except TimeoutError:
            return None

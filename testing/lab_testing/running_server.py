"""Works in a user's running server as JupyterLab does: with REST and WebSockets from the user's own browser."""

from __future__ import annotations

import json
import uuid

from lab_testing.visitor import Visitor

# A page at the server's own origin and path that, unlike JupyterLab, does nothing by itself.
QUIET_PAGE = "/user/{userid}/static/logo/logo.png"

REST = """async ([method, path, body]) => {
  const xsrf = document.cookie.split("; ").find(each => each.startsWith("_xsrf="))?.slice(6) ?? "";
  const answer = await fetch(path, {method, body, headers: {"X-XSRFToken": xsrf}});
  return {ok: answer.ok, status: answer.status, text: await answer.text()};
}"""

# https://jupyter-client.readthedocs.io/en/stable/messaging.html
CELL = """([path, session, code, seconds]) => new Promise((done, failed) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + path + "?session_id=" + session);
  const id = crypto.getRandomValues(new Uint32Array(4)).join("-");
  const header = {msg_id: id, session, username: "", version: "5.3", msg_type: "execute_request",
                  date: new Date().toISOString()};
  const content = {code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false,
                   stop_on_error: true};
  let text = "";
  const late = setTimeout(() => { socket.close(); failed(new Error("the cell did not end; so far: " + text)); },
                          seconds * 1000);
  socket.onopen = () => socket.send(JSON.stringify(
    {header, parent_header: {}, metadata: {}, content, buffers: [], channel: "shell"}));
  socket.onerror = () => { clearTimeout(late); failed(new Error("the kernel's WebSocket failed; so far: " + text)); };
  socket.onmessage = event => {
    const message = JSON.parse(event.data);
    if (message.parent_header?.msg_id !== id) return;
    if (message.msg_type === "stream") text += message.content.text;
    if (message.msg_type === "error") text += message.content.ename + ": " + message.content.evalue;
    if (message.msg_type === "status" && message.content.execution_state === "idle") {
      clearTimeout(late); socket.close(); done(text);
    }
  };
})"""

TERMINAL = """([path, line, end, seconds]) => new Promise((done, failed) => {
  const socket = new WebSocket(location.origin.replace("http", "ws") + path);
  let text = "";
  const late = setTimeout(() => { socket.close(); failed(new Error("the terminal said only: " + text)); },
                          seconds * 1000);
  socket.onerror = () => { clearTimeout(late); failed(new Error("the terminal's WebSocket failed")); };
  socket.onmessage = event => {
    const [kind, data] = JSON.parse(event.data);
    if (kind === "setup") socket.send(JSON.stringify(["stdin", line + "\\r"]));
    if (kind === "stdout") text += data;
    if (text.includes(end)) { clearTimeout(late); socket.close(); done(text); }
  };
})"""


class Server:
    """What a person does in their running server.

    Args:
        visitor: the person. Their page is navigated away from JupyterLab.
    """

    def __init__(self, visitor: Visitor) -> None:
        self._visitor = visitor
        self._page = visitor.page
        self._below = f"/user/{visitor.userid}/"
        self._session = uuid.uuid4().hex
        self._page.wait_for_load_state()
        self._page.goto(QUIET_PAGE.format(userid=visitor.userid))

    def rest(self, method: str, path: str, body: str | None = None) -> str:
        """Call the server's REST API.

        Returns:
            The body of the answer.

        Raises:
            AssertionError: the server refused.
        """
        answer = self._page.evaluate(REST, [method, self._below + path, body])
        assert answer["ok"], f"{method} {path}: {answer['status']} {answer['text'][:500]}"
        text: str = answer["text"]
        return text

    def kernel(self) -> Kernel:
        """Start a Python kernel."""
        return Kernel(self, self._json_id("api/kernels", "id"))

    def terminal(self, command: str, seconds: float = 30) -> str:
        """Type a command into a new terminal.

        Returns:
            What the terminal shows, including the prompt and the typed line.
        """
        name = self._json_id("api/terminals", "name")
        # The terminal also shows what is typed, so the end marker is typed in two parts that only the output joins.
        end = uuid.uuid4().hex
        line = f"{command}; printf '%s%s\\n' {end[:16]} {end[16:]}"
        path = f"{self._below}terminals/websocket/{name}"
        text: str = self._page.evaluate(TERMINAL, [path, line, end, seconds])
        self.rest("DELETE", f"api/terminals/{name}")
        return text

    def run_cell(self, kernel: str, code: str, seconds: float) -> str:
        """Run code in an existing kernel: see `Kernel.run`."""
        path = f"{self._below}api/kernels/{kernel}/channels"
        text: str = self._page.evaluate(CELL, [path, self._session, code, seconds])
        return text

    def _json_id(self, path: str, key: str) -> str:
        found: str = json.loads(self.rest("POST", path, "{}"))[key]
        return found


class Kernel:
    """A kernel in a user's server. It is a separate process of that user."""

    def __init__(self, server: Server, kernel: str) -> None:
        self._server = server
        self.id = kernel

    def run(self, code: str, seconds: float = 60) -> str:
        """Run a cell.

        Returns:
            What it printed, and the error that it ended with, if any.
        """
        return self._server.run_cell(self.id, code, seconds).strip()

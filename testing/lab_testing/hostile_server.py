"""A user's server that is hostile to whoever opens it, which is possible because its owner fully controls it."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

from lab_testing.kind_cluster import Cluster

# Any user can put this into their own ~/.jupyter: the server then answers `evil/...` as they like, to anybody.
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
        owner: whose server it is.
        cluster: the cluster that has their home; None for a home on this machine.
    """

    def __init__(self, owner: str, cluster: Cluster | None = None) -> None:
        self._owner = owner
        self._cluster = cluster

    def __enter__(self) -> HostileServer:
        html = {"Content-Type": ["text/html"]}
        answers = {
            "page": (html, "<title>Results</title>"),
            "worker.js": ({"Content-Type": ["text/javascript"], "Service-Worker-Allowed": ["/"]}, WORKER),
            # The same header as the hub's pages send, to stay in one group of windows with them.
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
        self._write(".jupyter/jupyter_server_config.py", CONFIG)
        self._write(".jupyter/answers.json", json.dumps(answers))
        return self

    def __exit__(self, *error: object) -> None:
        if self._cluster is not None:
            self._cluster.in_pod("put-back")
            return
        for name in ("jupyter_server_config.py", "answers.json"):
            Path(pwd.getpwnam(self._owner).pw_dir, ".jupyter", name).unlink()

    def _write(self, name: str, text: str) -> None:
        if self._cluster is not None:
            self._cluster.in_pod("write-home", self._owner, name, text)
            return
        account = pwd.getpwnam(self._owner)
        path = Path(account.pw_dir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for each in (path.parent, path):
            os.chown(each, account.pw_uid, account.pw_gid)

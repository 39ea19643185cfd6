"""A tab belongs to its directory: an extension of every user's server.

A user's servers all have the same address, one after the other. A tab of an earlier server keeps saving, and would
write into the directory that is open now. Rules kept here:
- a page gets a mark of the server's root, and a script (`tab.js`) that sends the mark with every request of the page;
- a request with another root's mark is handled by `Refused`, whatever it asks for. A request without a mark is handled
  as usual: programs with a token send none, and neither do links;
- only people who may use the server are told what is open instead. The mark is made with a secret (`mixin.get_env`),
  so nobody can find out where somebody else works by trying marks;
- the script is inside the page, before JupyterLab's own, so no page can fail to load it.

This module reads nothing from the environment on import: servers are forked from a process that has imported it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import APIHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, OutputTransform

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

VARIABLE = "LAB_TAB"  # in a server's environment: JSON with the mark, title and name of its directory
HEADER = "X-Learning-Lab-Root"  # in a request: the page's mark; in an answer: refused because of another mark
ARGUMENT = "learning-lab-root"  # the same for WebSockets, where a page cannot set headers
PAGE_CONFIG = "learningLabTab"

# Every page of Jupyter's (Lab, Notebook 7, extensions' own) has this element, and no other page does.
_CONFIG_ELEMENT = b'id="jupyter-config-data"'
_END = b"</script>"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Set up a server. One that the lab did not start for a directory, such as a trial, is left alone."""
    told = os.environ.get(VARIABLE)
    if not told:
        return
    directory: dict[str, str] = json.loads(told)
    application = server.web_app
    application.settings.setdefault("page_config_data", {})[PAGE_CONFIG] = directory
    script = b"<script>" + Path(__file__).with_name("tab.js").read_bytes() + b"</script>"
    # Before every other transform, because a later one may compress.
    application.transforms.insert(0, _with_script(script))
    refused = {"mark": directory["mark"], "title": directory["title"]}
    # Before every other route, including those of extensions that are loaded later.
    application.default_router.rules.insert(0, Rule(OtherRoot(directory["mark"]), Refused, refused))


class OtherRoot(Matcher):
    """Matches requests with the mark of another root.

    Args:
        mark: the mark of this server's root.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Match a request, as Tornado asks: None means that it does not match."""
        sent = request.headers.get_list(HEADER)
        sent += [value.decode("utf-8", "replace") for value in request.query_arguments.get(ARGUMENT, [])]
        return {} if any(each != self._mark for each in sent) else None


class Refused(APIHandler):
    """Answers 409 to a tab of another directory if its user may use the server; to anybody else 403, as elsewhere."""

    _track_activity = False  # a forgotten tab must not keep a server alive

    def initialize(self, mark: str, title: str) -> None:
        """Keep the route's arguments."""
        self._mark, self._title = mark, title

    async def prepare(self) -> None:  # type: ignore[override]
        """Answer the request. Tornado calls this before the method's own handler."""
        await super().prepare()
        if self.current_user is None:
            raise HTTPError(403)
        self.set_status(409)
        self.set_header(HEADER, self._mark)
        message = f"This tab belongs to another directory; {self._title} is open now. Nothing was changed."
        # A stopped second server's address lies below the first server's, so the first one answers for it. From `base`
        # the tab can tell.
        await self.finish(json.dumps({"message": message, "title": self._title, "base": self.base_url}))


def _with_script(script: bytes) -> type[OutputTransform]:
    class WithScript(OutputTransform):
        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            # Pages are written in one piece; anything that is streamed is somebody's file.
            if finishing and headers.get("Content-Type", "").startswith("text/html"):
                at = chunk.find(_CONFIG_ELEMENT)
                end = chunk.find(_END, at) + len(_END) if at >= 0 else 0
                if end >= len(_END):
                    chunk = chunk[:end] + script + chunk[end:]
                    headers["Content-Length"] = str(len(chunk))
            return status_code, headers, chunk

    return WithScript

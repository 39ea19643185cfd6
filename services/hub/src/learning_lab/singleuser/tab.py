"""A tab belongs to its directory: an extension of every user's server.

All servers that a person has one after the other have the same address. A tab of an earlier one goes on sending what
it has to save, and would write it into the directory that is open now. Rules kept here:
- a page gets a mark of the server's root, and a script (`tab.js`) that sends the mark with every request of the page;
- a request with another root's mark meets no handler but `Refused`, whatever it asks for; one without a mark is as
  before: programs with a token, and links, have none;
- only people who may use the server are told what is open instead. The mark is made with a secret (`mixin.get_env`),
  so nobody can find out where somebody else works by trying marks;
- the script is inside the page, before JupyterLab's own, so no page can fail to load it.

Nothing of the environment is read when this is imported: servers are forked from a process that has imported it.
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

VARIABLE = "LAB_TAB"  # of a server: JSON with mark, title and name of its directory
HEADER = "X-Learning-Lab-Root"  # of a request: the page's mark; of an answer: this is a refusal for that reason
ARGUMENT = "learning-lab-root"  # the same where a page can set no header: WebSockets
PAGE_CONFIG = "learningLabTab"

# Every page of Jupyter's (Lab, Notebook 7, extensions' own) has it, and nothing else has.
_CONFIG_ELEMENT = b'id="jupyter-config-data"'
_END = b"</script>"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Set up a server. One that the lab did not start for a directory, such as a trial, is left as it is."""
    told = os.environ.get(VARIABLE)
    if not told:
        return
    directory: dict[str, str] = json.loads(told)
    application = server.web_app
    application.settings.setdefault("page_config_data", {})[PAGE_CONFIG] = directory
    script = b"<script>" + Path(__file__).with_name("tab.js").read_bytes() + b"</script>"
    # Before every other transform: the next one may compress.
    application.transforms.insert(0, _with_script(script))
    refused = {"mark": directory["mark"], "title": directory["title"]}
    # Before every other route, those of extensions that are loaded later too.
    application.default_router.rules.insert(0, Rule(OtherRoot(directory["mark"]), Refused, refused))


class OtherRoot(Matcher):
    """Matches requests with the mark of another root.

    Args:
        mark: of this server's root.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Tornado's question: None for a request that is none of ours."""
        sent = request.headers.get_list(HEADER)
        sent += [value.decode("utf-8", "replace") for value in request.query_arguments.get(ARGUMENT, [])]
        return {} if any(each != self._mark for each in sent) else None


class Refused(APIHandler):
    """Answers 409 to what comes from a tab of another directory: to a person, else 403 as everything does."""

    def initialize(self, mark: str, title: str) -> None:
        """Take over what the route says."""
        self._mark, self._title = mark, title

    async def prepare(self) -> None:  # type: ignore[override]
        """Answer; it is called before any method."""
        await super().prepare()
        if self.current_user is None:
            raise HTTPError(403)
        self.set_status(409)
        self.set_header(HEADER, self._mark)
        message = f"This tab belongs to another directory, and {self._title} is open now. Nothing was done."
        # The address of a second server that was stopped is one below the first server's; its tab can tell.
        await self.finish(json.dumps({"message": message, "title": self._title, "base": self.base_url}))

    def update_api_activity(self) -> None:
        """Record nothing: a forgotten tab keeps no server alive."""


def _with_script(script: bytes) -> type[OutputTransform]:
    class WithScript(OutputTransform):
        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            # A page is written as a whole; what is streamed is somebody's file.
            if finishing and headers.get("Content-Type", "").startswith("text/html"):
                at = chunk.find(_CONFIG_ELEMENT)
                end = chunk.find(_END, at) + len(_END) if at >= 0 else 0
                if end >= len(_END):
                    chunk = chunk[:end] + script + chunk[end:]
                    headers["Content-Length"] = str(len(chunk))
            return status_code, headers, chunk

    return WithScript

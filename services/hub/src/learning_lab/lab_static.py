"""JupyterLab's own scripts and styles, served by the hub to everybody.

Every user's server has the same files. Here they have one address for all people, known before a server runs: what
JupyterLab begins with goes into the browser's cache while a person logs in, reads the menu or waits for a start
(`fetchesAhead` in lab.js). Rules kept here:
- only files with a mark of their content in the name are served, so a browser may keep them for good;
- a file is compressed once, in a thread, and stays in memory: about 4 MB when each one has been asked for;
- nobody has to be logged in: the files are the same in every JupyterLab of that version, and a person at the log-in
  page is who gains most;
- which files JupyterLab begins with is learned from what browsers ask for, so no version of it has to be known.
"""

from __future__ import annotations

import asyncio
import gzip
import mimetypes
import re
import sys
from collections import Counter
from pathlib import Path

from tornado import web

ADDRESS = "jupyterlab/"  # below the hub's base URL
VARIABLE = "LAB_JUPYTERLAB_URL"  # of a user's server: where its pages find the files
AHEAD_AT_MOST = 80  # files; a browser that asks for all of them at random must not make everybody load them

# jlab_core.8811dd2733d03721.js, 620019ed9d1100b6.woff2
_MARKED = re.compile(r"(?:\w+\.)?[0-9a-f]{16,64}\.(?:js|css|svg|png|woff2?|ttf|eot|wasm)")
# As JupyterLab's pages ask for it: the same address, or the browser would fetch it twice.
_SCRIPT = re.compile(r"(?:\w+\.)?([0-9a-f]{16,64})\.js(?:\?v=\1)?")
_COMPRESSED_ALREADY = (".png", ".woff", ".woff2")


class JupyterLabFiles:
    """The files of one JupyterLab.

    Args:
        directory: where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._compressed: dict[str, asyncio.Task[bytes]] = {}
        self._asked: Counter[str] = Counter()

    @property
    def there(self) -> bool:
        """Whether there is a JupyterLab."""
        return (self._directory / "index.html").is_file()

    async def read(self, name: str, *, compressed: bool) -> bytes:
        """A file's content.

        Args:
            name: its name; hostile.
            compressed: whether to gzip it.

        Raises:
            FileNotFoundError: there is none of that name, or it has no mark of its content.
        """
        path = self._directory / name
        if not _MARKED.fullmatch(name) or not path.is_file():
            raise FileNotFoundError(name)
        if not compressed:
            return await asyncio.to_thread(path.read_bytes)
        if name not in self._compressed:
            self._compressed[name] = asyncio.create_task(asyncio.to_thread(_compress, path))
        try:
            return await asyncio.shield(self._compressed[name])
        except OSError:
            self._compressed.pop(name, None)
            raise

    def asked(self, address: str) -> None:
        """Learn that a browser asked for a script: its name, and what follows it in the address. Hostile."""
        if _SCRIPT.fullmatch(address):
            self._asked[address] += 1

    def begins_with(self) -> list[str]:
        """The scripts that at least every second page asked for, as it asks for them; most wanted first."""
        # Those of a JupyterLab that has been replaced meanwhile are not there any more.
        asked = [each for each in self._asked.most_common() if (self._directory / each[0].partition("?")[0]).is_file()]
        pages = max((count for address, count in asked if address.startswith("main.")), default=0)
        return [address for address, count in asked[:AHEAD_AT_MOST] if pages and 2 * count >= pages]


class JupyterLabFilesHandler(web.StaticFileHandler):
    """`GET /hub/jupyterlab/<name>`: a file. `GET /hub/jupyterlab/`: the addresses to fetch ahead, as JSON.

    It is a StaticFileHandler because JupyterHub does not write those into its log.
    """

    def initialize(self, files: JupyterLabFiles) -> None:  # type: ignore[override]
        """Take over what the route says."""
        self._files = files

    async def get(self, path: str, include_body: bool = True) -> None:  # noqa: ARG002  Tornado's own
        """Answer with the file or the list. Tornado sends no body to a HEAD."""
        self.set_header("X-Content-Type-Options", "nosniff")
        # They are the same for everybody, and wanted by pages of each person's own address (fonts ask for the first).
        self.set_header("Access-Control-Allow-Origin", "*")
        self.set_header("Cross-Origin-Resource-Policy", "cross-origin")
        if not path:
            self.set_header("Cache-Control", "no-cache")
            self.finish({"files": [self.request.path + each for each in self._files.begins_with()]})
            return
        gzipped = "gzip" in self.request.headers.get("Accept-Encoding", "") and not path.endswith(_COMPRESSED_ALREADY)
        try:
            content = await self._files.read(path, compressed=gzipped)
        except OSError:
            raise web.HTTPError(404) from None
        # Only what a page of JupyterLab asks for tells what it begins with. What is fetched ahead is often broken off
        # after the first files, and would make the others look unwanted.
        if not self.request.headers.get("Sec-Purpose", "").startswith("prefetch"):
            self._files.asked(f"{path}?{self.request.query}" if self.request.query else path)
        self.set_header("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream")
        self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.set_header("Vary", "Accept-Encoding")
        if gzipped:
            self.set_header("Content-Encoding", "gzip")
        self.finish(content)

    def compute_etag(self) -> None:
        """None: the address has the content's mark in it, and to make one of 2 MB takes time."""


def _compress(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6, mtime=0)


# The JupyterLab of this Python: servers that are processes beside the hub have the same one.
FILES = JupyterLabFiles(Path(sys.prefix, "share/jupyter/lab/static"))
HANDLERS = [(f"/{ADDRESS}(.*)", JupyterLabFilesHandler, {"files": FILES})]

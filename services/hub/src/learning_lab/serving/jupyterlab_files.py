"""JupyterLab's own scripts and styles, served by the hub to everybody.

Every user's server has the same files. Here they have one address for all users, known before a server runs: the files
that JupyterLab loads first go into the browser's cache while a person logs in, reads the menu or waits for a start
(`fetchesAhead` in lab.js). Rules kept here:
- only files with a hash of their content in the name are served, so a browser may cache them forever;
- a file is compressed once, in a thread, and stays in memory: about 4 MB once every file has been requested;
- no log-in is needed: the files are the same in every JupyterLab of that version, and people at the log-in page gain
  the most;
- which files JupyterLab loads first is learned from browsers' requests, so this works with any version of JupyterLab.
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
VARIABLE = "LAB_JUPYTERLAB_URL"  # tells a user's server where its pages find the files
AHEAD_AT_MOST = 80  # files; a client that requests them all at random must not make everybody load them

# jlab_core.8811dd2733d03721.js, 620019ed9d1100b6.woff2
_MARKED = re.compile(r"(?:\w+\.)?[0-9a-f]{16,64}\.(?:js|css|svg|png|woff2?|ttf|eot|wasm)")
# The address exactly as JupyterLab's pages request it; with any other, the browser would fetch the file twice.
_SCRIPT = re.compile(r"(?:\w+\.)?([0-9a-f]{16,64})\.js(?:\?v=\1)?")
_COMPRESSED_ALREADY = (".png", ".woff", ".woff2")


class JupyterLabFiles:
    """The files of one JupyterLab installation.

    Args:
        directory: where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._compressed: dict[str, asyncio.Task[bytes]] = {}
        self._asked: Counter[str] = Counter()

    @property
    def there(self) -> bool:
        """Whether JupyterLab is installed there."""
        return (self._directory / "index.html").is_file()

    async def read(self, name: str, *, compressed: bool) -> bytes:
        """A file's content.

        Args:
            name: its name; hostile.
            compressed: whether to gzip it.

        Raises:
            FileNotFoundError: there is no such file, or its name has no hash of its content.
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
        """Count a browser's request for a script.

        Args:
            address: the script's name and query; hostile.
        """
        if _SCRIPT.fullmatch(address):
            self._asked[address] += 1

    def begins_with(self) -> list[str]:
        """The addresses of the scripts that at least half of all pages requested, the most requested first."""
        # If JupyterLab has been replaced in the meantime, its old files are gone.
        asked = [each for each in self._asked.most_common() if (self._directory / each[0].partition("?")[0]).is_file()]
        pages = max((count for address, count in asked if address.startswith("main.")), default=0)
        return [address for address, count in asked[:AHEAD_AT_MOST] if pages and 2 * count >= pages]


class JupyterLabFilesHandler(web.StaticFileHandler):
    """`GET /hub/jupyterlab/<name>`: a file. `GET /hub/jupyterlab/`: the addresses to fetch ahead, as JSON.

    It is a StaticFileHandler because JupyterHub does not log requests to those.
    """

    def initialize(self, files: JupyterLabFiles) -> None:  # type: ignore[override]
        """Keep the route's arguments."""
        self._files = files

    async def get(self, path: str, include_body: bool = True) -> None:  # noqa: ARG002  Tornado's own
        """Answer with the file or the list. Tornado sends no body in answer to a HEAD."""
        self.set_header("X-Content-Type-Options", "nosniff")
        # The files are the same for everybody, and pages at each person's own address load them (fonts need CORS).
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
        # Count only requests from JupyterLab's own pages. Fetching ahead is often cut short after the first files,
        # which would make the others look unwanted.
        if not self.request.headers.get("Sec-Purpose", "").startswith("prefetch"):
            self._files.asked(f"{path}?{self.request.query}" if self.request.query else path)
        self.set_header("Content-Type", mimetypes.guess_type(path)[0] or "application/octet-stream")
        self.set_header("Cache-Control", "public, max-age=31536000, immutable")
        self.set_header("Vary", "Accept-Encoding")
        if gzipped:
            self.set_header("Content-Encoding", "gzip")
        self.finish(content)

    def compute_etag(self) -> None:
        """None: the address already contains a hash of the content, and hashing 2 MB takes time."""


def _compress(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), 6, mtime=0)


# This Python's JupyterLab: servers that run as processes beside the hub use the same one.
FILES = JupyterLabFiles(Path(sys.prefix, "share/jupyter/lab/static"))
HANDLERS = [(f"/{ADDRESS}(.*)", JupyterLabFilesHandler, {"files": FILES})]

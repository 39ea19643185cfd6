"""The lab's own pages beside JupyterHub's: links, switching, stopping, and our static files.

Rules kept here:
- a GET starts nothing and stops nothing; it shows a page or leads on;
- a switch checks the new directory first: a refused one leaves the running server as it is;
- every start is JupyterHub's own `POST /hub/spawn`: a page that has made room for one has the browser send its form
  there (307), so there is one way to a start and one check of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import quote

from jupyterhub.handlers import BaseHandler
from jupyterhub.scopes import needs_scope
from jupyterhub.user import User
from jupyterhub.utils import url_path_join
from tornado import web
from tornado.httputil import url_concat

from learning_lab.access.directories import NotGranted, resolve
from learning_lab.errors import Refused
from learning_lab.menu import Asked
from learning_lab.serving import jupyterlab_files
from learning_lab.spawners.mixin import LabSpawnerMixin, read_form

STATIC = Path(__file__).with_name("static")

_LOOK_AGAIN = 0.5  # seconds: who edits a style sheet sees it on the next load, and a busy hub reads it twice a second

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _File:
    """A file or folder that a link asks for: its name in a directory, and the path of that directory."""

    directory: str
    name: str


class _MenuPage(BaseHandler):  # type: ignore[misc]
    """What the pages below share: whose server, and the menu with something already said."""

    def _own_spawner(self, server_name: str) -> LabSpawnerMixin:
        user = self.current_user
        if server_name and server_name not in user.orm_spawners:
            raise web.HTTPError(404, f"You have no server called {server_name}.")
        spawner: LabSpawnerMixin = user.get_spawner(server_name, replace_failed=True)
        spawner.handler = self
        return spawner

    async def _show_menu(self, spawner: LabSpawnerMixin, page: str, action: str, asked: Asked) -> None:
        """Show the menu; `page` is the template, `action` the address that its form posts to."""
        user = self.current_user
        auth_state = await user.get_auth_state()
        html = await self.render_template(
            page,
            for_user=user,
            auth_state=auth_state,
            spawner=spawner,
            spawner_options_form=await spawner.render_menu(asked),
            error_message=asked.error,
            url=action,
            server_name=spawner.name,
            allow_named_servers=self.allow_named_servers,
        )
        self.finish(html)

    async def _start_chosen(self, spawner: LabSpawnerMixin, action: str, address: str, file: _File | None) -> None:
        """Stop what is open, and have what the posted menu chose started.

        With the field `beside` it is started next to what is open, where that is allowed.

        Args:
            spawner: the person's server.
            action: what it is in the audit log.
            address: where the menu posts to when it has to be shown again.
            file: what a link asked for; it is opened where the link's own directory was chosen.
        """
        user = self.current_user
        server_name = spawner.name
        options, asked = read_form(
            {
                key: [value.decode("utf-8", "replace") for value in values]
                for key, values in self.request.body_arguments.items()
            }
        )
        try:
            decision = await spawner.decide(options.get("directory", ""), action)
        except Refused as error:
            self.set_status(error.status_code)
            for name, value in error.headers.items():
                self.set_header(name, value)
            page = "switch.html" if spawner.active else "spawn.html"
            await self._show_menu(spawner, page, address, replace(asked, error=error.jupyterhub_message))
            return
        path = decision.directory.path
        if self.get_body_argument("beside", "") and self.allow_named_servers and spawner.active:
            server_name = self._new_server_name(decision.directory.entry.name)
        elif spawner.ready and path == spawner.last_path:
            self.redirect(lab_url(user.server_url(server_name), file.name if file and file.directory == path else ""))
            return
        elif spawner.active and not await self._stopped(spawner):
            raise Refused(503, "Your server is still stopping. Wait a moment and try again.", retry_after=5)
        start = url_path_join(
            self.hub.base_url, "spawn", user.escaped_name, *([quote(server_name)] if server_name else [])
        )
        if file and file.directory == path:
            start = url_concat(start, {"next": lab_url(user.server_url(server_name), file.name)})
        self.redirect(start, status=307)

    async def _stopped(self, spawner: LabSpawnerMixin) -> bool:
        if spawner.pending:
            return False
        await self.stop_single_user(self.current_user, spawner.name)
        return not spawner.active

    def _new_server_name(self, name: str) -> str:
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:30] or "second"
        taken = self.current_user.orm_spawners
        return next(
            candidate
            for candidate in (base, *(f"{base}-{number}" for number in range(2, 1000)))
            if candidate not in taken
        )


class OpenHandler(_MenuPage):
    """`/hub/open?dir=<name>&path=<file>`: a link for course pages.

    GET preselects the directory in the menu, or goes straight in when that directory is already open; POST takes the
    menu's fields. `path` is a file or folder in that directory: who chooses another one is not led to it. Without `dir`
    it is the menu, also for a person with a single directory, and `path` is one in the directory used last.
    """

    @web.authenticated
    async def get(self) -> None:
        """Show the menu, or lead to the running server."""
        await self._open(user_name=self.current_user.name)

    @web.authenticated
    async def post(self) -> None:
        """Open what was chosen."""
        await self._choose(user_name=self.current_user.name)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _open(self, user_name: str) -> None:  # noqa: ARG002  the scope is checked for it
        spawner = self._own_spawner("")
        wanted = self.get_query_argument("dir", "")
        if spawner.active and (not wanted or await self._directory(spawner) == spawner.last_path):
            self.redirect(lab_url(self.current_user.server_url(""), self.get_query_argument("path", "")))
            return
        page = "switch.html" if spawner.active else "spawn.html"
        await self._show_menu(spawner, page, self._address(), Asked(preselect=wanted))

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _choose(self, user_name: str) -> None:  # noqa: ARG002
        spawner = self._own_spawner("")
        file = _File(await self._directory(spawner), self.get_query_argument("path", ""))
        await self._start_chosen(spawner, "open", self._address(), file if file.name else None)

    def _address(self) -> str:
        """The link itself, so that the menu knows it when it is posted."""
        given = {name: self.get_query_argument(name, "") for name in ("dir", "path")}
        address: str = url_concat(
            url_path_join(self.hub.base_url, "open"), {name: value for name, value in given.items() if value}
        )
        return address

    async def _directory(self, spawner: LabSpawnerMixin) -> str:
        """The path of the directory that the link is for; "" when it is none of the person's."""
        wanted = self.get_query_argument("dir", "")
        if not wanted:
            return spawner.last_path
        shown = await spawner.shown()
        if shown.grants is None:
            return ""
        try:
            return resolve(wanted, shown.grants).path
        except NotGranted:
            return ""


class SwitchHandler(_MenuPage):
    """`/hub/switch[/<server>]`: GET shows what is open and the menu; POST stops it and starts elsewhere.

    POST takes the menu's fields. With the field `beside` it starts a second server instead, where that is allowed.
    """

    @web.authenticated
    async def get(self, server_name: str = "") -> None:
        """Show the page."""
        await self._page(user_name=self.current_user.name, server_name=server_name)

    @web.authenticated
    async def post(self, server_name: str = "") -> None:
        """Switch."""
        await self._switch(user_name=self.current_user.name, server_name=server_name)

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _page(self, user_name: str, server_name: str) -> None:  # noqa: ARG002
        spawner = self._own_spawner(server_name)
        if not spawner.active:
            self.redirect(url_path_join(self.hub.base_url, "open"))
            return
        await self._show_menu(spawner, "switch.html", self._address(server_name), Asked())

    @needs_scope("servers")  # type: ignore[untyped-decorator]
    async def _switch(self, user_name: str, server_name: str) -> None:  # noqa: ARG002
        await self._start_chosen(self._own_spawner(server_name), "switch", self._address(server_name), None)

    def _address(self, server_name: str) -> str:
        address: str = url_path_join(self.hub.base_url, "switch", *([quote(server_name)] if server_name else []))
        return address


class StopHandler(_MenuPage):
    """`POST /hub/stop[/<server>]`: stop a server from the home page, without JavaScript too."""

    @web.authenticated
    async def post(self, server_name: str = "") -> None:
        """Stop it and go home."""
        await self._stop(user_name=self.current_user.name, server_name=server_name)

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator]
    async def _stop(self, user_name: str, server_name: str) -> None:  # noqa: ARG002
        spawner = self._own_spawner(server_name)
        if spawner.active and not spawner.pending:
            await self.stop_single_user(self.current_user, server_name)
        self.redirect(url_path_join(self.hub.base_url, "home"))


class LabStaticHandler(web.StaticFileHandler):
    """Our style sheet, script and pictures; cached for good, because the address has the content's mark in it."""

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002
        """Keep browsers from guessing another content type."""
        self.set_header("X-Content-Type-Options", "nosniff")


def lab_url(server_url: str, path: str) -> str:
    """The address of a file or folder in a running Lab.

    Args:
        server_url: the server's own address, from JupyterHub.
        path: relative to the server's root, from a link; hostile.

    Returns:
        Lab's address for it, or of Lab itself when the path is empty or tries to leave the root.
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or _CONTROL.search(path) or len(path) > 4096:
        return server_url
    address: str = url_path_join(server_url, "lab/tree", quote("/".join(parts)))
    return address


_marked: dict[str, tuple[float, str]] = {}


def static_url(base_url: str, path: str) -> str:
    """The address of one of our static files, with a mark of its content.

    Args:
        base_url: the hub's, with a slash at the end.
        path: relative to `static/`.
    """
    looked, address = _marked.get(path, (-_LOOK_AGAIN, ""))
    now = monotonic()
    if now - looked >= _LOOK_AGAIN:
        mark = hashlib.blake2b((STATIC / path).read_bytes(), digest_size=6).hexdigest()
        address = f"{base_url}lab-static/{path}?v={mark}"
        _marked[path] = (now, address)
    return address


def servers_of(user: User | None) -> list[dict[str, Any]]:
    """What the home page shows of a person's servers: the default one first.

    Returns:
        name, title and path of the directory, url, state (open, starting, stopping or stopped) and
        started (ISO 8601, UTC), one each.
    """
    if user is None:
        return []
    servers = []
    for name, orm_spawner in sorted(user.orm_spawners.items()):
        spawner = user.spawners[name]
        pending = {"spawn": "starting", "stop": "stopping", "check": "starting"}.get(spawner.pending or "")
        servers.append(
            {
                "name": name,
                "title": spawner.last_title,
                "path": spawner.last_path,
                "url": user.server_url(name),
                "state": pending or ("open" if spawner.ready else "stopped"),
                "started": f"{orm_spawner.started.isoformat()}Z" if orm_spawner.started else "",
            }
        )
    return servers


HANDLERS: list[tuple[Any, ...]] = [
    (r"/open", OpenHandler),
    (r"/switch", SwitchHandler),
    (r"/switch/(?P<server_name>[^/]+)", SwitchHandler),
    (r"/stop", StopHandler),
    (r"/stop/(?P<server_name>[^/]+)", StopHandler),
    (r"/lab-static/(.*)", LabStaticHandler, {"path": str(STATIC)}),
    *jupyterlab_files.HANDLERS,
]

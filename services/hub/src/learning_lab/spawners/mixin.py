"""What every spawner of the lab does: the menu as its options form, and a decision before each start.

Rules kept here (design, "rules of safety"):
- what a request sends is a name or a path, and `access` decides on it. JupyterHub calls `apply_user_options` on every
  route to a start (form, REST, remembered options, an admin for somebody else), and there the decision is asked for;
  `decided` refuses a start without one, for instance because a site set an `apply_user_options` of its own;
- a GET never starts a server: `options_from_query` refuses;
- a refused choice is not remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traitlets import HasTraits, default

from k8s_annotations import Grants
from learning_lab.access.decision import Choice, Decision
from learning_lab.access.directories import NotGranted, resolve
from learning_lab.access.grants_source import Shown
from learning_lab.errors import Refused
from learning_lab.jupyterhub_internals import remember_options
from learning_lab.menu import Asked, Menu, Rendered, build_menu, now_seen
from learning_lab.services import JUPYTER_CONFIG, Services
from learning_lab.serving.hub_server import client_address

_TAB = "LAB_TAB"  # what a server tells its pages of its directory: tab.py, which only servers import
_OWN = "learning_lab"  # our key in the spawner's state

# What a form posted to JupyterHub's own page says, for the menu that page shows when the choice is refused. JupyterHub
# hands it to no one: it renders the default server's form, also for a named server, and a person may have two tabs. So
# it is kept with the request, which is a task with a context of its own, and not with a spawner.
_posted: ContextVar[Asked | None] = ContextVar("posted", default=None)

_RENDERED = Rendered()


if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner as _Base
else:
    _Base = HasTraits  # JupyterHub lets no subclass of Spawner be without start, stop and poll


class LabSpawnerMixin(_Base):  # type: ignore[misc]
    """The menu and the decision, for any spawner. Put it before the spawner class it extends."""

    decision: Decision | None = None

    def __init__(self, **kwargs: Any) -> None:
        self._last = ""
        self._title = ""
        self._seen: list[str] = []
        self._salt = secrets.token_hex(16)
        self._steps: list[dict[str, object]] = []
        self._step_came = asyncio.Event()
        super().__init__(**kwargs)

    # --- The menu -------------------------------------------------------------------------------------------------

    @default("options_form")
    def _options_form_default(self) -> Any:
        return type(self).render_menu

    async def render_menu(self, asked: Asked | None = None) -> str:
        """Render the form of the menu page, as JupyterHub's `options_form` asks.

        JupyterHub puts the text into its page unescaped; the templates used here escape.

        Args:
            asked: what the request says; None, as JupyterHub calls it, for what its own page was sent.
        """
        lab = Services.instance()
        known = await self._known(asked or _posted.get() or self._asked_by_page())
        template = lab.templates.get_template("menu.html")  # another one when its file has changed
        whose, made_of = (self.user.name, self.name), (template, known)
        html = _RENDERED.get(whose, made_of)
        if html is None:
            html = template.render(
                menu=build_menu(**known),
                lab_title=lab.settings.title,
                lab_help_url=lab.settings.help_url,
                base_url=self.hub.base_url,
            )
            _RENDERED.keep(whose, made_of, html)
        return html

    async def menu(self, asked: Asked) -> Menu:
        """The data of this user's menu: a fresh list, or the last known one with a notice."""
        return build_menu(**await self._known(asked))

    async def _known(self, asked: Asked) -> dict[str, Any]:
        """What the menu is built from: the arguments of `build_menu`."""
        lab = Services.instance()
        shown = await self.shown()
        found = {}
        if shown.grants:
            asked = _preselected(asked, shown.grants)
            paths = {entry.path for entry in shown.grants.usable} | set(filter(None, (self._last, asked.preselect)))
            found = await lab.access.prober.states(self.user.name, paths, lab.settings.menu_probe_wait)
        running = self._last if self.user.spawners[self.name].active else None
        return {
            "userid": self.user.name,
            "grants": shown.grants,
            "found": found,
            "notices": (shown.notice,) if shown.notice else (),
            "stale": shown.stale,
            "last": self._last,
            "seen": self._seen,
            "running": running,
            "asked": asked,
        }

    async def shown(self) -> Shown:
        """This user's list for display: it may be the last known one."""
        return await Services.instance().access.source.for_display(self.user.name)

    def _asked_by_page(self) -> Asked:
        """What the page itself says: a plain visit may go straight in when there is only one directory."""
        request = getattr(self.handler, "request", None)
        if request is None or request.method != "GET" or request.arguments:
            return Asked()
        # A page of another site may link here; it must not make the browser start something (no CSRF by redirect).
        from_elsewhere = request.headers.get("Sec-Fetch-Site", "none") == "cross-site"
        plain = request.path.rstrip("/").endswith("/spawn")
        return Asked(straight_in=plain and not from_elsewhere)

    # --- From a request to user options ---------------------------------------------------------------------------

    @default("options_from_form")
    def _options_from_form_default(self) -> Any:
        return self._options_from_posted

    def _options_from_posted(self, form_data: dict[str, list[str]]) -> dict[str, str]:
        """JupyterHub's hook for a form that was posted to its page."""
        options, asked = read_form(form_data)
        _posted.set(asked)
        return options

    def options_from_query(self, query_data: dict[str, list[str]]) -> dict[str, Any]:  # noqa: ARG002
        """Refuse: a link must not start a server (kubespawner#189). `/hub/open` is for links.

        Raises:
            Refused: always.
        """
        raise Refused(400, "A link cannot start a server. Choose a directory below.")

    # --- The decision before a start --------------------------------------------------------------------------------

    @default("apply_user_options")
    def _apply_user_options_default(self) -> Any:
        return type(self)._apply_choice

    async def _apply_choice(self, user_options: dict[str, Any]) -> None:
        """JupyterHub's hook on every route to a start.

        Raises:
            Refused: the choice is not started; the remembered choice is as it was.
        """
        self.decision = None
        self._steps.clear()
        self._step(10, "Checking your directory")
        try:
            decision = await self.decide(user_options.get("directory"))
        except Refused:
            remember_options(self, {"directory": self._last} if self._last else {})
            raise
        self.decision = decision
        self._last, self._title = decision.directory.path, decision.directory.title
        self._seen = now_seen(self._seen, decision.listed)
        remember_options(self, {"directory": self._last})
        self._step(30, f"Starting JupyterLab in {self._title}")

    async def decide(self, asked: object, action: str = "start") -> Decision:
        """Have it decided whether a server of this person's may be rooted there (`Access.decide`).

        Args:
            asked: a name or a path as it came; None or "" for the remembered, default or only directory.
            action: what it is for, in the audit log.

        Raises:
            Refused: with the sentence for the person.
        """
        visitor = getattr(self.handler, "current_user", None)
        choice = Choice(
            userid=self.user.name,
            asked=asked,
            last=self._last,
            action=action,
            by=visitor.name if visitor is not None else self.user.name,
            server=self.name,
            address=client_address(self.handler),
        )
        return await Services.instance().access.decide(choice)

    def decided(self) -> Decision:
        """What was decided for the start that is under way.

        Raises:
            Refused: the start did not come through `apply_user_options`.
        """
        if self.decision is None:
            self.log.error("A start for user %r did not pass apply_user_options; refused", self.user.name)
            raise Refused(403, "This start was not checked, so it was refused. Tell the people who run this lab.")
        return self.decision

    # --- What a server is given -----------------------------------------------------------------------------------

    def get_env(self) -> dict[str, str]:
        """The server's environment: rooted at the real path, with a Lab workspace of the directory's own.

        The root is set here and not through `notebook_dir`: that trait passes `str.format` and replaces `%U`, and a
        directory may have braces or `%U` in its name.
        """
        decision = self.decided()
        env: dict[str, str] = super().get_env() | decision.environment
        # JSON: a title may have any letter, which a variable may not.
        env[_TAB] = json.dumps(
            {
                # With a secret of this server's: nobody else can try which directory is open.
                "mark": hashlib.blake2b(decision.mark.encode(), key=self._salt.encode(), digest_size=8).hexdigest(),
                "title": decision.directory.title,
                "name": decision.directory.name,
            }
        )
        # Lab asks everybody whether it may fetch news from the internet; here it does not ask.
        env["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [env.get("JUPYTER_CONFIG_PATH"), JUPYTER_CONFIG]))
        return env

    # --- State that outlives a server -----------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """JupyterHub's state of the server, and the last choice and the seen directories, which outlive it."""
        state: dict[str, Any] = super().get_state()
        state[_OWN] = {"last": self._last, "title": self._title, "seen": self._seen, "salt": self._salt}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` saved."""
        super().load_state(state)
        own = state.get(_OWN, {})
        self._last = own.get("last", "")
        self._title = own.get("title", "")
        self._seen = own.get("seen", [])
        self._salt = own.get("salt", self._salt)

    def clear_state(self) -> None:
        """Forget the server, not the person's last choice."""
        super().clear_state()
        self.decision = None

    @property
    def last_path(self) -> str:
        """The directory of the running server, or of the last one."""
        return self._last

    @property
    def last_title(self) -> str:
        """What people call that directory."""
        return self._title

    # --- Progress -------------------------------------------------------------------------------------------------

    def _step(self, progress: int, message: str) -> None:
        self._steps.append({"progress": progress, "message": message})
        self._step_came.set()

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the pending page shows while the server starts. JupyterHub ends it when the server is ready."""
        told = 0
        while True:
            self._step_came.clear()
            while told < len(self._steps):  # more may come while the reader takes one
                told += 1
                yield self._steps[told - 1]
            await self._step_came.wait()


def read_form(form_data: Mapping[str, list[str]]) -> tuple[dict[str, str], Asked]:
    """Take the choice from the form: the pressed card's button, else the typed text, else the checked card.

    Returns:
        The user options, and what the menu shows when they are refused.
    """
    for field in ("open", "typed", "directory"):
        value = (form_data.get(field) or [""])[0].strip()
        if value:
            return {"directory": value}, Asked(typed=value[:200]) if field == "typed" else Asked(preselect=value)
    return {}, Asked()


def _preselected(asked: Asked, grants: Grants) -> Asked:
    """What a request asked for with the path in place of a name; an error when it is not theirs."""
    if not asked.preselect:
        return asked
    try:
        return replace(asked, preselect=resolve(asked.preselect, grants).path)
    except NotGranted as error:
        return replace(asked, preselect="", typed=asked.preselect[:200], error=asked.error or str(error))

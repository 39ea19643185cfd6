"""Renders pages with the loader that JupyterHub uses, from hostile data, and parses them for tests."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH

import learning_lab
from learning_lab.menu import Asked, Card, Menu
from learning_lab.pages.handlers import static_url

OURS = Path(learning_lab.__file__).with_name("pages") / "templates"
STATIC = OURS.with_name("static")
STOCK = Path(DATA_FILES_PATH) / "templates"

# If any of this is not escaped, the page gets an element, an attribute or a script that is not ours.
HOSTILE = """"><img src=x onerror=alert(1)><script>alert(2)</script>' onfocus=alert(3) {{7*7}} {% raw %} \u202egnp"""


def environment(*, is_async: bool) -> Environment:
    """Make the environment as `JupyterHub.init_tornado_settings` does."""
    loader = ChoiceLoader(
        [PrefixLoader({"templates": FileSystemLoader([STOCK])}, "/"), FileSystemLoader([OURS, STOCK])]
    )
    return Environment(loader=loader, autoescape=True, enable_async=is_async)


ASYNC = environment(is_async=True)
SYNC = environment(is_async=False)


def hostile_card(**changes: Any) -> Card:
    fields: dict[str, Any] = {name: HOSTILE + name for name in ("name", "title", "description", "path", "value")}
    return Card(**(fields | {"writing": "unwanted", "where": "shared", "new": True} | changes))


def plain_card(name: str, **changes: Any) -> Card:
    fields: dict[str, Any] = {"name": name, "title": name.title(), "description": "", "path": f"/s/alice/{name}"}
    return Card(**(fields | {"value": f"/s/alice/{name}", "writing": "free", "where": "yours"} | changes))


def menu_of(primary: Card | None, *cards: Card, **changes: Any) -> Menu:
    usable = tuple(card.name for card in (primary, *cards) if card is not None and not card.problem)
    fields: dict[str, Any] = {"userid": "alice", "notices": (), "stale": False, "suggestions": usable}
    return Menu(primary=primary, cards=cards, **(fields | changes))


HOSTILE_MENU = menu_of(
    hostile_card(last_used=True, checked=True),
    hostile_card(),
    hostile_card(problem=HOSTILE),
    *(plain_card(f"project-{number}") for number in range(8)),
    notices=(HOSTILE,),
    stale=True,
    running=HOSTILE,
    asked=Asked(typed=HOSTILE, error=HOSTILE),
)


class Spawner:
    """As much of a spawner as the templates use."""

    name = HOSTILE
    last_path = HOSTILE
    options_form = True

    async def get_options_form(self) -> str:
        return await ASYNC.get_template("menu.html").render_async(variables(menu=HOSTILE_MENU))


def variables(**more: Any) -> dict[str, Any]:
    """The variables that JupyterHub's `template_namespace` and our `template_vars` give every page, and `more`."""
    spawner = Spawner()
    user = SimpleNamespace(
        name=HOSTILE,
        escaped_name="alice",
        json_escaped_name="alice",
        spawner=spawner,
        spawners={HOSTILE: spawner},
        server_url=lambda _name="": "/user/alice/",
    )
    return {
        "base_url": "/hub/",
        "prefix": "/",
        "user": user,
        "for_user": SimpleNamespace(name=HOSTILE + "other"),
        "login_url": "/hub/login",
        "login_service": "",
        "logout_url": "/hub/logout",
        "static_url": lambda path, include_version=True: f"/hub/static/{path}",
        "services": [SimpleNamespace(name=HOSTILE, href="/services/one")],
        "parsed_scopes": {"admin-ui": True, "tokens": True},
        "xsrf": "the-xsrf",
        "xsrf_token": "the-xsrf",
        "lab_title": HOSTILE,
        "lab_help_url": "https://help.example/",
        "lab_update": HOSTILE,
        "lab_jupyterlab": "/hub/jupyterlab/",
        "lab_static": functools.partial(static_url, "/hub/"),
        "lab_servers": lambda: [
            {
                "name": name,
                "title": HOSTILE,
                "path": HOSTILE,
                "url": "/user/alice/",
                "state": state,
                "started": "2026-11-23T05:12:00Z",
            }
            for name, state in (("", "open"), (HOSTILE, "starting"), ("old", "stopped"))
        ],
        "spawner": spawner,
        "server_name": HOSTILE,
        "url": "/hub/spawn?_xsrf=the-xsrf",
        "error_message": HOSTILE,
        "spawner_options_form": "",
        "allow_named_servers": True,
        "authenticator": SimpleNamespace(request_otp=True, otp_prompt=HOSTILE),
        "authenticator_login_url": "/hub/login",
        "login_error": HOSTILE,
        "username": HOSTILE,
        "progress_url": "/hub/api/users/alice/server/progress",
        "spawn_url": "/hub/spawn/alice",
        "failed": True,
        "failed_message": HOSTILE,
        "status_code": 503,
        "status_message": HOSTILE,
        "message": HOSTILE,
        "message_html": "",
        "menu": HOSTILE_MENU,
    } | more


class Page(HTMLParser):
    """A parsed page: every element with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


async def render(name: str, **more: Any) -> Page:
    given = variables(**more)
    if name in {"spawn.html", "switch.html"}:
        fragment = await ASYNC.get_template("menu.html").render_async(given)
        given["spawner_options_form"] = more.get("spawner_options_form", fragment)
    if name in {"error.html", "404.html"}:  # JupyterHub renders errors synchronously
        return Page(SYNC.get_template(name).render(given))
    return Page(await ASYNC.get_template(name).render_async(given))

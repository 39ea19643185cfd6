"""What the lab uses of JupyterHub and Jupyter Server without a promise, looked at in those that are installed."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jupyterhub.apihandlers
import jupyterhub.handlers
import pytest
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.contents import filemanager
from jupyterhub import __version__ as hub_version
from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from jupyterhub.user import User
from tornado.web import RequestHandler

import learning_lab
from learning_lab.jupyterhub_internals import Prepare, guard_every_handler

SOURCES = Path(learning_lab.__file__).parent
# Who may name what is private to Jupyter: these say why, and the tests below look whether it is still there.
USERS = {"jupyterhub_internals.py", "singleuser/inherited_descriptors.py"}
PYTHONS_OWN = {"_exit", "_getframe", "_set_native_id"}  # of os, sys and threading


def moved(owner: type | ModuleType, name: str, parameters: list[str], use: str) -> str:
    """What to say when a function is not as the lab knows it; "" when it is."""
    where = f"{getattr(owner, '__module__', '')}.{owner.__name__}.{name}".lstrip(".")
    function = getattr(owner, name, None)
    if function is None:
        return f"{where} is gone (JupyterHub {hub_version}). {use}"
    found = list(inspect.signature(function).parameters)
    if found != parameters:
        return f"{where} takes {found} by now, and took {parameters} (JupyterHub {hub_version}). {use}"
    return ""


def unsaid(function: Callable[..., Any], line: str, use: str) -> str:
    """What to say when a function's source does not have a line that the lab counts on; "" when it has."""
    if line in inspect.getsource(function):
        return ""
    return f"{function.__qualname__} does not say {line!r} any more (JupyterHub {hub_version}). {use}"


GUARDED = (
    "jupyterhub_internals.guard_every_handler replaces it, so that serving/origins.py sees every request first: find"
    " what all handlers begin with now."
)
OPTIONS = "jupyterhub_internals.remember_options writes the options that JupyterHub takes when a start has none."
STATE = "jupyterhub_internals.save_state writes what JupyterHub loads when it starts again."
BIND = "singleuser/inherited_descriptors.py replaces it, so that a server serves on the socket that the hub has bound."
TRASH = "singleuser/inherited_descriptors.py replaces it, so that a deleted file's own path is in the trash."


def of_handlers() -> str:
    if found := moved(BaseHandler, "prepare", ["self"], GUARDED):
        return found
    if not inspect.iscoroutinefunction(inspect.unwrap(BaseHandler.prepare)):
        return f"BaseHandler.prepare is no coroutine any more (JupyterHub {hub_version}). {GUARDED}"
    return ""


CHECKS: list[Callable[[], str]] = [
    of_handlers,
    lambda: unsaid(User.spawn, "spawner.orm_spawner.user_options = options", OPTIONS),
    lambda: unsaid(User.spawn, "options = spawner.orm_spawner.user_options or {}", OPTIONS),
    lambda: "" if hasattr(orm.Spawner, "user_options") else f"orm.Spawner.user_options is gone. {OPTIONS}",
    lambda: unsaid(User.spawn, "spawner.orm_spawner.state = spawner.get_state()", STATE),
    lambda: unsaid(User._new_spawner, "spawner.load_state(orm_spawner.state or {})", STATE),
    lambda: moved(ServerApp, "_find_http_port", ["self"], BIND),
    lambda: moved(ServerApp, "_bind_http_server_tcp", ["self"], BIND),
    lambda: unsaid(ServerApp.init_httpserver, "self._find_http_port()", BIND),
    lambda: unsaid(ServerApp._bind_http_server, "self._bind_http_server_tcp()", BIND),
    lambda: moved(filemanager, "send2trash", ["paths"], TRASH),
]


@pytest.mark.parametrize("check", CHECKS)
def test_what_the_lab_leans_on_is_where_it_was(check: Callable[[], str]) -> None:
    assert not check(), check()


@pytest.mark.parametrize(
    ("owner", "name", "sentence"),
    [
        pytest.param(BaseHandler, "prepare", "prepare is no coroutine any more", id="another kind of function"),
        pytest.param(ServerApp, "_find_http_port", "_find_http_port takes ['there'] by now", id="another signature"),
        pytest.param(User, "spawn", "does not say", id="another way of saving"),
    ],
)
def test_a_jupyterhub_that_changes_one_of_them_is_noticed(
    owner: type, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(self: Any) -> None:
        """As a later version might have it."""

    def elsewhere(there: Any) -> None:
        """With another parameter."""

    monkeypatch.setattr(owner, name, elsewhere if name.startswith("_") else changed)
    told = [found for check in CHECKS if (found := check())]
    assert any(sentence in each for each in told), told


def test_one_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ServerApp, "_bind_http_server_tcp")
    assert any("_bind_http_server_tcp is gone" in check() for check in CHECKS)


def test_every_handler_of_jupyterhubs_begins_with_the_prepare_that_is_guarded() -> None:
    files = {"CacheControlStaticFilesHandler", "LogoHandler"}  # they tell nothing that is anybody's
    routes = [*jupyterhub.handlers.default_handlers, *jupyterhub.apihandlers.default_handlers]
    assert len(routes) > 50
    for handler in {route[1] for route in routes}:
        if handler.__name__ in files:
            continue
        assert issubclass(handler, BaseHandler), f"{handler} is none of JupyterHub's usual ones. {GUARDED}"
        for owner in inspect.getmro(handler):
            if owner is BaseHandler:
                break
            own = vars(owner).get("prepare")
            assert owner is not RequestHandler, f"{handler} does not come to BaseHandler.prepare. {GUARDED}"
            assert own is None or "super().prepare()" in inspect.getsource(own), (
                f"{handler} does not call the prepare of its base. {GUARDED}"
            )


async def test_a_guard_stands_around_the_handlers_own_and_replaces_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    async def prepare(handler: object) -> None:
        happened.append(f"prepare {handler}")

    def noting(name: str) -> Callable[[Prepare], Prepare]:
        def guard(inner: Prepare) -> Prepare:
            async def guarded(handler: object) -> None:
                happened.append(name)
                await inner(handler)

            return guarded

        return guard

    monkeypatch.setattr("learning_lab.jupyterhub_internals._PREPARE", prepare)
    monkeypatch.setattr(BaseHandler, "prepare", prepare)
    guard_every_handler(noting("an earlier one"))
    guard_every_handler(noting("guard"))
    await BaseHandler.prepare("it")
    assert happened == ["guard", "prepare it"]


def private_names() -> set[str]:
    """Private attributes that a module of the lab's uses and no module of the lab's defines: `file: name`."""
    trees = {file: ast.parse(file.read_text()) for file in SOURCES.rglob("*.py")}
    ours = set(PYTHONS_OWN)
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                ours.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                ours.add(node.id)
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id in {"self", "cls"}
            ):
                ours.add(node.attr)
    return {
        f"{file.relative_to(SOURCES)}: {node.attr}"
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if node.attr not in ours
    }


def test_no_other_module_uses_what_is_private_to_jupyter() -> None:
    elsewhere = {each for each in private_names() if each.partition(":")[0] not in USERS}
    assert not elsewhere, f"{elsewhere}: is there a public way? If not, it belongs into jupyterhub_internals.py"
    assert private_names(), "what inherited_descriptors.py uses is found"


def test_nobody_else_writes_in_jupyterhubs_tables() -> None:
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                written = ast.unparse(node)
                assert "orm_" not in written or file.name in USERS, f"{file} writes {written}"
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("db.commit"):
                assert file.name in USERS, f"{file} commits"


def test_no_template_reaches_past_the_page_that_it_extends() -> None:
    for file in (SOURCES / "pages/templates").glob("*.html"):
        assert "super.super" not in file.read_text(), f"{file.name} counts how many pages JupyterHub puts in between"

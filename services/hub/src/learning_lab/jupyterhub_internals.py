"""Everything that relies on parts of JupyterHub that it does not promise to keep.

Everything else that the lab uses is public. `test_jupyterhub_internals.py` checks each of these against the installed
JupyterHub, says in a sentence what has changed, and makes sure that no other module uses private API.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.spawner import Spawner

Prepare = Callable[[Any], Awaitable[None]]
_PREPARE: Prepare = BaseHandler.prepare


def guard_every_handler(guard: Callable[[Prepare], Prepare]) -> None:
    """Replace `BaseHandler.prepare`, with which every handler begins: of JupyterHub, authenticators and services.

    Considered instead: `transforms` in `tornado_settings` see answers only, and `extra_handlers` come after those of
    JupyterHub.

    Args:
        guard: makes the new one from JupyterHub's. A second call replaces the guard of the first.
    """
    BaseHandler.prepare = guard(_PREPARE)


def remember_options(spawner: Spawner, options: dict[str, Any]) -> None:
    """Replace the user options that JupyterHub uses for the next start that comes without any.

    JupyterHub saves the request before `apply_user_options` can refuse it, and never again: the next start would ask
    for a refused directory again. The public `spawner.user_options` alone does not survive a restart of the hub.
    JupyterHub commits the change when the start continues or fails.
    """
    spawner.user_options = spawner.orm_spawner.user_options = options


def save_state(spawner: Spawner, state: dict[str, Any]) -> None:
    """Save a server's state now.

    JupyterHub saves it only once the server responds. If the hub ended between the fork and that moment, nobody would
    know about the server. There is no public call for this.
    """
    spawner.orm_spawner.state = state
    spawner.user.db.commit()

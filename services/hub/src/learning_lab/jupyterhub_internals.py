"""Everything that the lab uses of JupyterHub without JupyterHub promising to keep it.

Whatever else the lab uses is public: documented, or a name without an underscore that JupyterHub's own documentation
tells spawners, authenticators and handlers to use. `test_jupyterhub_internals.py` looks at each of these in the
JupyterHub that is installed and says what has moved, and it keeps other modules from adding one elsewhere.
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
    """Replace the user options that JupyterHub keeps for the next start without any.

    JupyterHub has saved what was asked for before `apply_user_options` can refuse it, and saves nothing afterwards: a
    refused directory would be asked for again at the next start. `spawner.user_options` alone, which is public, is
    lost when the hub restarts. JupyterHub commits this when the start goes on, or is given up.
    """
    spawner.user_options = spawner.orm_spawner.user_options = options


def save_state(spawner: Spawner, state: dict[str, Any]) -> None:
    """Save a server's state now.

    JupyterHub saves it when the server answers. A hub that ends between the fork and that moment would leave a server
    that nobody knows. There is no public call for it.
    """
    spawner.orm_spawner.state = state
    spawner.user.db.commit()

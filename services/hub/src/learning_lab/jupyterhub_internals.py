"""Everything that the lab uses of JupyterHub without JupyterHub promising to keep it.

Whatever else the lab uses is public: documented, or a name without an underscore that JupyterHub's own documentation
tells spawners, authenticators and handlers to use. `test_jupyterhub_internals.py` looks at each of these in the
JupyterHub that is installed and says what has moved, and it keeps other modules from adding one elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.handlers import BaseHandler
from jupyterhub.spawner import Spawner

_PREPARE = BaseHandler.prepare


def guard_every_handler(before: Callable[[Any], None], after: Callable[[Any], None]) -> None:
    """Have every handler, of JupyterHub, authenticators and services, run these around its own `prepare`.

    It replaces `BaseHandler.prepare`, with which all of them begin. Considered instead: `transforms` in
    `tornado_settings` see answers only, and `extra_handlers` come after JupyterHub's own.

    Args:
        before: called before JupyterHub knows who asks. It may raise `tornado.web.Finish` to answer itself.
        after: called when `handler.current_user` is known.
    """

    @functools.wraps(_PREPARE)
    async def prepare(handler: Any) -> None:
        before(handler)
        prepared: Awaitable[None] = _PREPARE(handler)
        await prepared
        after(handler)

    BaseHandler.prepare = prepare


def remember_options(spawner: Spawner, options: dict[str, Any]) -> None:
    """Replace the user options that JupyterHub keeps for the next start without any.

    JupyterHub has saved what was asked for before `apply_user_options` can refuse it, and saves nothing afterwards: a
    refused directory would be asked for again at the next start. `spawner.user_options` alone, which is public, is
    lost when the hub restarts. JupyterHub commits this when the start goes on, or is given up.
    """
    spawner.user_options = spawner.orm_spawner.user_options = options


def save_state(spawner: Spawner) -> None:
    """Save `get_state()` now.

    JupyterHub saves it when the server answers. A hub that ends between the fork and that moment would leave a server
    that nobody knows. There is no public call for it.
    """
    spawner.orm_spawner.state = spawner.get_state()
    spawner.db.commit()

"""A proxy that runs by itself, in a pod of its own: the hub notices within a second that it was restarted.

A proxy keeps its routes in its memory, so one that has just started sends everybody to the hub. JupyterHub puts the
routes back when it next reads the activity of them all, a minute later or more. This asks once a second for one small
thing instead: a mark that the hub has left among the routes.

Rules kept here:
- the mark is no route of JupyterHub's (it lacks `jupyterhub`), so JupyterHub neither counts nor removes it;
- it is left last: a proxy that has it has had all the routes;
- a proxy that does not answer is asked again, and nothing is logged each second.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientError
from jupyterhub.httpclient import fetch
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from traitlets import Float

# Under the hub's own address, and it leads to the hub, so who types it gets the hub's "not found".
MARK = "/hub/routes-are-known"
NOT_FOUND = 404
ANSWER_SECONDS = 5


class SeparateProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """The proxy in a pod of its own."""

    look_interval = Float(1.0, help="How many seconds there are between two looks whether it was restarted.").tag(
        config=True
    )
    _looking: PeriodicCallback | None = None
    _services: Any = None

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """Put right what the proxy lacks or has too much; from the first time on, look for its restarts."""
        self._services = service_dict
        await super().check_routes(user_dict, service_dict, routes)
        await self.api_request(MARK, method="POST", body={"target": self.hub.host})
        if self._looking is None:
            self._looking = PeriodicCallback(self.look, 1e3 * self.look_interval)
            self._looking.start()

    async def look(self) -> bool:
        """Put the routes back when the proxy was restarted; whether it was."""
        if not await self._was_restarted():
            return False
        self.log.warning("The proxy was restarted: its routes are put back")
        await self.check_routes(self.app.users, self._services)
        return True

    async def _was_restarted(self) -> bool:
        """Whether it answers and has no mark."""
        url = url_path_join(self.api_url, "api/routes", MARK)
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await fetch(url, headers=headers, raise_for_status=False)
        except (ClientError, OSError, TimeoutError):  # it is away
            return False
        answer.release()
        return bool(answer.status == NOT_FOUND)

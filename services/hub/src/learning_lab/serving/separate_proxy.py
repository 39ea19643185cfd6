"""A proxy that runs separately, in its own pod: the hub notices within a second when it was restarted.

A proxy keeps its routes in memory, so one that has just started sends everybody to the hub. JupyterHub restores the
routes only when it next reads the activity of all of them, a minute later or more. This class instead checks once a
second for one small thing: a marker that the hub leaves among the routes.

Rules kept here:
- the marker is not one of JupyterHub's routes (it lacks `jupyterhub`), so JupyterHub neither counts nor removes it;
- it is added last, so a proxy that has it has been given all the routes;
- a proxy that does not answer is asked again, without a line in the log each second.
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

# It lies below the hub's own address and leads to the hub, so anybody who types it gets the hub's "not found" page.
MARK = "/hub/routes-are-known"
NOT_FOUND = 404
ANSWER_SECONDS = 5


class SeparateProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """The proxy in its own pod."""

    look_interval = Float(1.0, help="Seconds between two checks whether the proxy was restarted.").tag(config=True)
    _looking: PeriodicCallback | None = None

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """Add missing routes and remove stale ones; from the first call on, also watch for restarts of the proxy."""
        await super().check_routes(user_dict, service_dict, routes)
        await self.api_request(MARK, method="POST", body={"target": self.hub.host})
        if self._looking is None:
            self._looking = PeriodicCallback(self.look, 1e3 * self.look_interval)
            self._looking.start()

    async def look(self) -> bool:
        """Restore the routes if the proxy was restarted. Returns whether it was."""
        if not await self._was_restarted():
            return False
        self.log.warning("The proxy was restarted; restoring its routes")
        await self.check_routes(self.app.users, self.app._service_map)
        return True

    async def _was_restarted(self) -> bool:
        """Whether the proxy answers but lacks the marker."""
        url = url_path_join(self.api_url, "api/routes", MARK)
        headers = {"Authorization": f"token {self.auth_token}"}
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await fetch(url, headers=headers, raise_for_status=False)
        except (ClientError, OSError, TimeoutError):  # the proxy is down
            return False
        answer.release()
        return bool(answer.status == NOT_FOUND)

"""The lab's own errors: for the user of a page or the API, and for whoever starts the hub."""

from __future__ import annotations

from jupyterhub.spawner import SpawnException
from tornado import web


class Refused(SpawnException):  # type: ignore[misc]
    """A refusal with a message for the user. JupyterHub shows `jupyterhub_message` and sends `headers`.

    JupyterHub counts failed starts, and stops itself after several in a row where a site asks for that. It does not
    count a SpawnException, whatever its status: storage or a cluster that does not answer is not the hub's fault.

    Args:
        status: the HTTP status.
        message: one or two sentences that say what is wrong and what to do. It may quote what was typed; pages escape
            it.
        retry_after: seconds after which another attempt is worthwhile (429, 503).
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason="refused", status_code=status)
        self.jupyterhub_message = message
        self.headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else {}


class StartFailed(web.HTTPError):
    """A server was started and did not come up. It has a message for the user, and JupyterHub counts it.

    Args:
        message: what happened and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(500, "%s", message)
        self.jupyterhub_message = message


class SettingError(ValueError):
    """An option has an unusable value. The message is one line and names the option."""

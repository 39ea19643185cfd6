"""What can go wrong in the lab itself: for the person at a page or an API, and for who starts the hub."""

from __future__ import annotations

from jupyterhub.spawner import SpawnException
from tornado import web


class Refused(SpawnException):  # type: ignore[misc]
    """A refusal with a sentence for the person. JupyterHub shows `jupyterhub_message` and sends `headers`.

    JupyterHub counts failed starts, and where a site says so it ends itself after some in a row. It does not count a
    SpawnException, whatever its status is: a storage or a cluster that does not answer is no fault of the hub's.

    Args:
        status: the HTTP status.
        message: one or two sentences: what is wrong and what to do. It may quote what was typed; pages escape it.
        retry_after: seconds after which it is worth another try (429, 503).
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, reason="refused", status_code=status)
        self.jupyterhub_message = message
        self.headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else {}


class StartFailed(web.HTTPError):
    """A server that was started and did not come up, with a sentence for the person. JupyterHub counts it.

    Args:
        message: what has happened and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(500, "%s", message)
        self.jupyterhub_message = message


class SettingError(ValueError):
    """An option has a value that cannot be used. The text is one line and names the option."""

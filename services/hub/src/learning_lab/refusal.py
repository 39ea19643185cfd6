"""What a person is told when something is refused, in pages and in the REST API alike."""

from __future__ import annotations

from tornado import web


class Refused(web.HTTPError):
    """A refusal with a sentence for the person. JupyterHub shows `jupyterhub_message` and sends `headers`.

    Args:
        status: the HTTP status.
        message: one or two sentences: what is wrong and what to do. It may quote what was typed; pages escape it.
        retry_after: seconds after which it is worth another try (429, 503).
    """

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(status, "%s", message)
        self.jupyterhub_message = message
        self.headers = {"Retry-After": str(max(1, round(retry_after)))} if retry_after else {}

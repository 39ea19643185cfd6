"""The hub's pages are for a person who looks at them: no script of somebody's server reads or acts through them.

Where all people's servers have the hub's own address, a browser takes their pages for one site. Rules kept here:
- a page of the hub is answered when a browser goes to it in a tab or window of its own, and only then: what fetches,
  frames or embeds it, or takes it for a script or a service worker, gets a line of text. Browsers say what it is for in
  Sec-Fetch-*, which no script can set (https://www.w3.org/TR/fetch-metadata/);
- calls of the REST API prove themselves by a token or the XSRF token, also those that JupyterHub lets through because
  their answer could not be read (`no-cors`): within one address it can be. The XSRF token is in the page, and in a
  cookie that scripts cannot read;
- a window of the hub's is severed from whoever opened it, whatever is shown in it, and nothing of it stays in the
  browser's cache, which scripts of the same address may read;
- a page that is opened at another address than the lab's leads to it: to 127.0.0.1, or to a person's own address, where
  the hub answers for a server that does not run;
- what a form on a person's own address sends to the hub's pages is refused;
- where people have no addresses of their own, each browser carries a signed mark of who is logged in with it, and the
  proxy leads only a server's owner to it (`services/proxy/one_origin.js`).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.apihandlers import APIHandler
from jupyterhub.handlers import PrefixRedirectHandler, UserUrlHandler
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.handlers.metrics import MetricsHandler
from jupyterhub.handlers.pages import HealthCheckHandler
from tornado import httputil, web

from learning_lab.errors import Refused
from learning_lab.jupyterhub_internals import Prepare, guard_every_handler

OWN_COOKIE = "learning-lab-own"
OWN_DAYS = 31
_PURPOSE = b"learning-lab: whose browser this is"

_IN_ANOTHER_PAGE = {"iframe", "frame", "embed", "object", "fencedframe"}

NOT_FOR_SCRIPTS = "This page of the lab is for people: open it in a tab of its own.\n"
NOT_HERE = '{"message": "This server is not open in this browser. Open it from the menu."}'
NOT_YOURS = (
    "This server is {owner}'s. In this lab all servers have one address, so a page of somebody else's server could act "
    "in your name; only {owner} can open it."
)

SEVERED = {"Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"}


class Severed(web.OutputTransform):
    """Marks every answer of the hub, its files too. tornado makes one for each (`Application(transforms=...)`)."""

    def __init__(self, request: httputil.HTTPServerRequest) -> None:
        """Nothing is kept."""

    def transform_first_chunk(
        self, status_code: int, headers: httputil.HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, httputil.HTTPHeaders, bytes]:
        """Called by tornado before the headers are sent."""
        for name, value in SEVERED.items():
            headers.setdefault(name, value)
        if headers.get("Content-Type", "").startswith(("text/html", "application/json")):
            headers.setdefault("Cache-Control", "no-store")
        return status_code, headers, chunk


def refusal(headers: Mapping[str, str], *, api: bool) -> bool:
    """Whether a request is not one that the hub answers.

    Args:
        headers: of the request. Browsers that do not say what a request is for, and programs, are believed.
        api: whether it goes to the REST API, whose answers are for scripts.
    """
    if headers.get("Service-Worker") or headers.get("Sec-Fetch-Dest") in _IN_ANOTHER_PAGE:
        return True
    mode = headers.get("Sec-Fetch-Mode", "navigate")
    return mode == "no-cors" if api else mode != "navigate"


@functools.lru_cache(maxsize=1024)
def own_mark(secret: str, userid: str, now: float) -> str:
    """The mark of a browser in which this user is logged in: `<seconds>.<proof>`; `one_origin.js` checks it.

    Args:
        secret: what hub and proxy share.
        userid: whose browser it is.
        now: seconds since the epoch.
    """
    key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)
    until = int(now) + OWN_DAYS * 24 * 3600
    proof = hmac.digest(key, f"{until}\n{userid}".encode(), hashlib.sha256)
    return f"{until}.{proof.hex()}"


def install() -> None:
    """Have every handler of JupyterHub's and the lab's keep the rules, before it does anything."""
    guard_every_handler(_guarded)


def _guarded(prepare: Prepare) -> Prepare:
    @functools.wraps(prepare)
    async def guarded(handler: Any) -> None:
        # These tell nothing, or only lead on.
        exempt = isinstance(handler, HealthCheckHandler | PrefixRedirectHandler)
        lost = _is_of_a_server(handler)  # JupyterLab, whose server has ended: it asks the person then
        if (lost or not exempt) and refusal(handler.request.headers, api=isinstance(handler, APIHandler)):
            # Not an error page: that has the XSRF token in it.
            handler.set_status(424 if lost else 403)
            handler.set_header("Content-Type", "application/json" if lost else "text/plain; charset=utf-8")
            raise web.Finish(NOT_HERE if lost else NOT_FOR_SCRIPTS)
        if not exempt and not isinstance(handler, APIHandler | MetricsHandler):
            _lead_to_the_address(handler)
            _refuse_a_persons_form(handler)
        await prepare(handler)
        if not handler.subdomain_host and not exempt and not isinstance(handler, APIHandler):
            _mark_owner(handler)

    return guarded


def _is_of_a_server(handler: Any) -> bool:
    """Whether it is asked for what a person's server would answer, if it ran."""
    if isinstance(handler, PrefixRedirectHandler):
        # Where people have addresses of their own, a script could not follow to the hub's.
        return bool(handler.request.path.startswith(handler.base_url + "user/"))
    return isinstance(handler, UserUrlHandler)


def _lead_to_the_address(handler: Any) -> None:
    """Answer a page that was opened at another address than the lab's."""
    public = handler.settings.get("public_url")
    if not public or handler.request.host_name.lower() == public.hostname:
        return
    if handler.request.method not in {"GET", "HEAD"}:
        handler.set_status(421)
        raise web.Finish(f"The lab is at {public.geturl()}\n")
    handler.redirect(f"{public.scheme}://{public.netloc}{handler.request.uri}")
    raise web.Finish


def _refuse_a_persons_form(handler: Any) -> None:
    """Refuse what a page of a person's address sends.

    It may set cookies for the hub's, so the XSRF token's proves nothing of a browser in which nobody is logged in: that
    could be logged in as the page's owner. Such a page can hide its own address (Referrer-Policy), but not its site.
    """
    headers = handler.request.headers
    if not handler.subdomain_host or handler.request.method in {"GET", "HEAD"}:
        return
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-site":
        return
    sender = urlsplit(headers.get("Origin", "")).hostname
    if sender is None or sender.endswith(f".{handler.domain}"):
        handler.set_status(403)
        handler.set_header("Content-Type", "text/plain; charset=utf-8")
        raise web.Finish(NOT_FOR_SCRIPTS)


def _mark_owner(handler: Any) -> None:
    user = handler.current_user
    if user is None or not hasattr(user, "base_url"):  # nobody, or a service
        return
    if isinstance(handler, LogoutHandler):
        handler.clear_cookie(OWN_COOKIE, path=user.base_url)
        return
    if isinstance(handler, UserUrlHandler):
        owner = handler.path_args[0] if handler.path_args else handler.path_kwargs["user_name"]
        found = handler.find_user(owner) if owner != user.name else None
        if found is not None and any(spawner.ready for spawner in found.spawners.values()):
            raise Refused(403, NOT_YOURS.format(owner=owner))
    handler.set_cookie(
        OWN_COOKIE,
        own_mark(handler.proxy.auth_token, user.name, time.time() // 3600 * 3600),  # the same for an hour
        path=user.base_url,
        max_age=OWN_DAYS * 24 * 3600,
        httponly=True,
        samesite="Lax",
        secure=handler.request.protocol == "https",
    )

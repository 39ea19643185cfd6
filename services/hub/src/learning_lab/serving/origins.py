"""The hub's pages are for people to look at: no script from anybody's server can read them or act through them.

Where all servers share the hub's address, a browser treats all their pages as one site. Rules kept here:
- the hub serves a page only when a browser navigates to it in its own tab or window. A request that fetches, frames or
  embeds the page, or loads it as a script or a service worker, gets a line of text. Browsers say what a request is for
  in Sec-Fetch-*, which no script can set (https://www.w3.org/TR/fetch-metadata/);
- calls to the REST API need a token or the XSRF token. That includes the calls that JupyterHub lets through because
  their answer cannot be read (`no-cors`): within one address it can be. The XSRF token is in the page, and in a cookie
  that scripts cannot read;
- a window of the hub is severed from whoever opened it, whatever it shows, and nothing of it stays in the browser's
  cache, which scripts at the same address may read;
- a page that is opened at an address other than the lab's redirects there. That may be 127.0.0.1, or a person's own
  address, where the hub answers for a server that is not running;
- the hub's pages refuse forms that are sent from a person's own address;
- where people have no addresses of their own, each browser carries a signed mark of who is logged in with it, and the
  proxy forwards only the owner's requests to a server (`services/proxy/one_origin.js`).
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

NOT_FOR_SCRIPTS = "This page of the lab is for people, not for scripts. Open it in its own tab.\n"
SERVER_NOT_RUNNING = '{"message": "This server is not open in this browser. Open it from the menu."}'
NOT_YOURS = (
    "This server belongs to {owner}. All servers in this lab share one address, so a page on somebody else's server "
    "could act in your name. That's why only {owner} can open it."
)

SEVERED = {"Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"}


class IsolationHeaders(web.OutputTransform):
    """Adds headers to every answer of the hub, files included (`Application(transforms=...)` makes one for each)."""

    def __init__(self, request: httputil.HTTPServerRequest) -> None:
        """Keep nothing of the request."""

    def transform_first_chunk(
        self, status_code: int, headers: httputil.HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, httputil.HTTPHeaders, bytes]:
        """Add the headers. Tornado calls this before it sends them."""
        for name, value in SEVERED.items():
            headers.setdefault(name, value)
        if headers.get("Content-Type", "").startswith(("text/html", "application/json")):
            headers.setdefault("Cache-Control", "no-store")
        return status_code, headers, chunk


def refusal(headers: Mapping[str, str], *, api: bool) -> bool:
    """Whether the hub refuses a request because of what it is for.

    Args:
        headers: those of the request. One that does not say what it is for (old browsers, programs) is not refused.
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
        secret: the secret that the hub and the proxy share.
        userid: who is logged in.
        now: seconds since the epoch.
    """
    key = hmac.digest(secret.encode(), _PURPOSE, hashlib.sha256)
    until = int(now) + OWN_DAYS * 24 * 3600
    proof = hmac.digest(key, f"{until}\n{userid}".encode(), hashlib.sha256)
    return f"{until}.{proof.hex()}"


def install() -> None:
    """Make every handler, JupyterHub's and the lab's, keep the rules before it does anything."""
    guard_every_handler(_guarded)


def _guarded(prepare: Prepare) -> Prepare:
    @functools.wraps(prepare)
    async def guarded(handler: Any) -> None:
        # These reveal nothing, or only redirect.
        exempt = isinstance(handler, HealthCheckHandler | PrefixRedirectHandler)
        lost = _is_of_a_server(handler)  # from a JupyterLab whose server has ended; it then asks the person what to do
        if (lost or not exempt) and refusal(handler.request.headers, api=isinstance(handler, APIHandler)):
            # Not an error page, because that contains the XSRF token.
            handler.set_status(424 if lost else 403)
            handler.set_header("Content-Type", "application/json" if lost else "text/plain; charset=utf-8")
            raise web.Finish(SERVER_NOT_RUNNING if lost else NOT_FOR_SCRIPTS)
        if not exempt and not isinstance(handler, APIHandler | MetricsHandler):
            _redirect_to_public_address(handler)
            _refuse_forms_from_user_hosts(handler)
        await prepare(handler)
        if not handler.subdomain_host and not exempt and not isinstance(handler, APIHandler):
            _set_owner_cookie(handler)

    return guarded


def _is_of_a_server(handler: Any) -> bool:
    """Whether the request is for a user's server, which is not running."""
    if isinstance(handler, PrefixRedirectHandler):
        # Where people have their own addresses, a script could not follow the redirect to the hub's.
        return bool(handler.request.path.startswith(handler.base_url + "user/"))
    return isinstance(handler, UserUrlHandler)


def _redirect_to_public_address(handler: Any) -> None:
    """Redirect a page that was opened at an address other than the lab's."""
    public = handler.settings.get("public_url")
    if not public or handler.request.host_name.lower() == public.hostname:
        return
    if handler.request.method not in {"GET", "HEAD"}:
        handler.set_status(421)
        raise web.Finish(f"The lab is at {public.geturl()}\n")
    handler.redirect(f"{public.scheme}://{public.netloc}{handler.request.uri}")
    raise web.Finish


def _refuse_forms_from_user_hosts(handler: Any) -> None:
    """Refuse what a page at a person's own address sends.

    Such a page may set cookies for the hub's address, so in a browser where nobody is logged in the XSRF cookie proves
    nothing: the page could log that browser in as its own owner. It can hide its address (Referrer-Policy), but not its
    site.
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


def _set_owner_cookie(handler: Any) -> None:
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

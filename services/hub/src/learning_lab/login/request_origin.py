"""Where a log-in request comes from: its address, and whether the browser is a known one.

Rules kept here:
- one IPv6 customer has a /64 or more, so a /64 is one address;
- a known browser carries a cookie that is signed with the hub's cookie secret and names the user id. It gives no
  rights; it only keeps failures of other people away from its owner (`limits`).
"""

from __future__ import annotations

import ipaddress
import secrets

from tornado import web

BROWSER_COOKIE = "learning-lab-browser"
BROWSER_COOKIE_DAYS = 31


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one; other text is kept as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False).network_address) + "/64"
    return str(parsed)


def known_browser(handler: web.RequestHandler | None, userid: str) -> str:
    """The mark of a browser in which this user id has logged in before, "" for any other."""
    if handler is None:
        return ""
    try:
        value = handler.get_signed_cookie(BROWSER_COOKIE, max_age_days=BROWSER_COOKIE_DAYS)
    except Exception:
        return ""
    mark, _, owner = (value or b"").decode("utf-8", "replace").partition(":")
    return mark if owner == userid else ""


def remember_browser(handler: web.RequestHandler | None, userid: str, path: str) -> None:
    """Make the browser that has just logged in a known one.

    Args:
        handler: of the log-in.
        userid: the account's own name. Who types it otherwise (`Alice`) counts as a new browser.
        path: the path of the log-in page: the cookie goes nowhere else.
    """
    if handler is None or known_browser(handler, userid):
        return
    handler.set_signed_cookie(
        BROWSER_COOKIE,
        f"{secrets.token_urlsafe(12)}:{userid}",
        expires_days=BROWSER_COOKIE_DAYS,
        path=path,
        httponly=True,
        samesite="Lax",
        secure=handler.request.protocol == "https",
    )

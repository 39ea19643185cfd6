"""The hub's HTTP server: which headers of a request it believes, and how much of a body it reads.

JupyterHub makes a `tornado.httpserver.HTTPServer`, which is configurable; `install` replaces it with this one.

Rules kept here:
- a browser's address and protocol are believed only when the lab's own proxy reports them. The proxy proves itself with
  a header derived from the secret that it shares with the hub (CONFIGPROXY_AUTH_TOKEN). Any other client of the hub,
  such as a user's server, has the address of its connection;
- this is the only place that reads forwarding headers. Tornado, JupyterHub and the lab find the result where they look
  for it: in `request.remote_ip`, `request.protocol` and `X-Forwarded-Proto`;
- every cookie is Secure where the browser uses https; JupyterHub does not do that for its XSRF cookie;
- the proof is removed before anything can log it or pass it on;
- a body larger than `LARGEST_BODY` is refused before it is read.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, cast

from tornado import httputil, web
from tornado.httpserver import HTTPServer

from .forwarded import TrustedProxies, browser

PROOF_HEADER = "X-Learning-Lab-Proxy"
PURPOSE = b"learning-lab: this request comes through the proxy"  # the same as in services/proxy/hub_proof.js

LARGEST_BODY = 1024 * 1024  # bytes; the same as in services/proxy/body_limit.js
BODY_SECONDS = 60.0  # the body must have arrived within this time

# Every forwarding header that some code in this process might believe.
_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Real-Ip", "X-Scheme")


def proof(secret: str) -> str:
    """The value of `PROOF_HEADER` in the proxy's requests to the hub."""
    return hmac.new(secret.encode(), PURPOSE, hashlib.sha256).hexdigest()


def install(secret: str, trusted: TrustedProxies) -> None:
    """Make every HTTP server in this process (the hub has one) a `HubServer`.

    Args:
        secret: the secret that the hub and its proxy share. Empty: no forwarding header is believed.
        trusted: the proxies in front of the lab's own.
    """
    expected = proof(secret) if secret else ""
    HTTPServer.configure(
        HubServer, expected=expected, trusted=trusted, max_body_size=LARGEST_BODY, body_timeout=BODY_SECONDS
    )


def client_address(handler: web.RequestHandler | None) -> str:
    """The address that a request comes from, or "" if unknown.

    It is the one that this server decided on. With any other server, `request.remote_ip` may come from a header that
    anybody can set, so this returns the address of the connection's peer.
    """
    if handler is None:
        return ""
    request = handler.request
    if issubclass(HTTPServer.configured_class(), HubServer):
        return str(request.remote_ip)
    context = getattr(getattr(request, "connection", None), "context", None)
    peer = getattr(context, "address", None)
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""


class HubServer(HTTPServer):
    """Tornado's server, which believes the headers that `_Forwarding` leaves."""

    def initialize(  # type: ignore[override]  # two more options than Tornado's
        self, request_callback: Any, *, expected: str = "", trusted: TrustedProxies | None = None, **options: Any
    ) -> None:
        """Set up the server. Tornado calls this in place of __init__."""
        self._expected, self._trusted = expected, trusted or TrustedProxies()
        super().initialize(request_callback, **options)

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        """Rewrite the headers before anything reads them."""
        answering = _SecureCookies(request_conn)
        inner = super().start_request(server_conn, cast(httputil.HTTPConnection, answering))
        return _Forwarding(inner, answering, self._expected, self._trusted)


class _SecureCookies:
    """A connection that marks the cookies of its response as Secure where the browser uses https."""

    def __init__(self, connection: httputil.HTTPConnection) -> None:
        self._connection = connection
        self.secure = getattr(connection, "context").protocol == "https"  # noqa: B009  Tornado does not declare it

    def write_headers(self, start_line: Any, headers: httputil.HTTPHeaders, chunk: bytes | None = None) -> Any:
        if self.secure:
            cookies = headers.get_list("Set-Cookie")
            headers.pop("Set-Cookie", None)
            for cookie in cookies:
                attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
                headers.add("Set-Cookie", cookie if "secure" in attributes else f"{cookie}; Secure")
        return self._connection.write_headers(start_line, headers, chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _Forwarding(httputil.HTTPMessageDelegate):
    """Replaces a request's claims about where it comes from with what the hub believes."""

    def __init__(
        self,
        inner: httputil.HTTPMessageDelegate,
        answering: _SecureCookies,
        expected: str,
        trusted: TrustedProxies,
    ) -> None:
        self._inner, self._answering, self._expected, self._trusted = inner, answering, expected, trusted

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Any:
        shown = headers.pop(PROOF_HEADER, "")
        told = {name: headers.pop(name, "") for name in _FORWARDING}
        if self._expected and hmac.compare_digest(shown.encode(errors="replace"), self._expected.encode()):
            found = browser(told["X-Forwarded-For"], told["X-Forwarded-Proto"], self._trusted)
            if found.address:
                headers["X-Forwarded-For"] = found.address
            headers["X-Forwarded-Proto"] = found.protocol
            self._answering.secure = found.protocol == "https"
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()

"""The hub's HTTP server: what it believes of a request, and how much it reads of one.

JupyterHub makes a `tornado.httpserver.HTTPServer`, which is configurable; `install` makes that this one.

Rules kept here:
- a browser's address and protocol are believed from the lab's own proxy only. It proves itself with a header that is
  made from the secret it shares with the hub (CONFIGPROXY_AUTH_TOKEN). Everybody else who reaches the hub, as people's
  servers do, is at the address of the connection;
- this is the one place that reads forwarding headers: tornado, JupyterHub and the lab find what was decided here in
  the place where they look, `request.remote_ip`, `request.protocol` and `X-Forwarded-Proto`;
- every cookie is Secure where the browser's side is https: JupyterHub leaves that of the XSRF token as it is;
- the proof is taken away before anything can log it or hand it on;
- nothing that is sent to the hub is larger than `LARGEST_BODY`: it is refused before it is read.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, cast

from tornado import httputil, web
from tornado.httpserver import HTTPServer

from .forwarded import TrustedProxies, browser

PROOF_HEADER = "X-Learning-Lab-Proxy"
PURPOSE = b"learning-lab: this request comes through the proxy"  # as in services/proxy/hub_requests.js

LARGEST_BODY = 1024 * 1024  # bytes; as in services/proxy/bodies.js
BODY_SECONDS = 60.0  # in which it must be there

# All that somebody in this process or before it might believe.
_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Real-Ip", "X-Scheme")


def proof(secret: str) -> str:
    """What the proxy's requests to the hub carry in `PROOF_HEADER`."""
    return hmac.new(secret.encode(), PURPOSE, hashlib.sha256).hexdigest()


def install(secret: str, trusted: TrustedProxies) -> None:
    """Make every HTTP server of this process, which is the hub's one, a `HubServer`.

    Args:
        secret: what the hub and its proxy share. Empty: nobody is believed.
        trusted: the proxies in front of the lab's own.
    """
    expected = proof(secret) if secret else ""
    HTTPServer.configure(
        HubServer, expected=expected, trusted=trusted, max_body_size=LARGEST_BODY, body_timeout=BODY_SECONDS
    )


def client_address(handler: web.RequestHandler | None) -> str:
    """The address that a request comes from, "" when it cannot be told.

    It is what this server has decided. Where another serves, `request.remote_ip` is any header's word, so it is the
    peer's.
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
    """tornado's server, which believes what `_Forwarding` leaves."""

    def initialize(  # type: ignore[override]  # two options more than tornado's
        self, request_callback: Any, *, expected: str = "", trusted: TrustedProxies | None = None, **options: Any
    ) -> None:
        """What tornado has in place of __init__."""
        self._expected, self._trusted = expected, trusted or TrustedProxies()
        super().initialize(request_callback, **options)

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        """Put the decision before everything that reads headers."""
        answering = _SecureCookies(request_conn)
        inner = super().start_request(server_conn, cast(httputil.HTTPConnection, answering))
        return _Forwarding(inner, answering, self._expected, self._trusted)


class _SecureCookies:
    """A connection that marks the cookies of its response."""

    def __init__(self, connection: httputil.HTTPConnection) -> None:
        self._connection = connection
        self.secure = getattr(connection, "context").protocol == "https"  # noqa: B009  tornado declares it nowhere

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
    """Replaces what a request says of where it comes from with what is believed."""

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

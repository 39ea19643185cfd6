"""Where a log-in comes from, and whether its browser is known."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from http.cookies import Morsel, SimpleCookie
from types import SimpleNamespace
from typing import Any

import pytest
from tornado import httputil, web
from tornado.httpserver import HTTPServer

from learning_lab.login.request_origin import known_browser, network, remember_browser
from learning_lab.serving.forwarded import TrustedProxies
from learning_lab.serving.hub_server import client_address, install

SECRET = "cookie secret of a test" * 2
DAY = 24 * 3600


def a_request(peer: object = ("192.0.2.1", 50_000), protocol: str = "http", **headers: str) -> web.RequestHandler:
    context = SimpleNamespace(address=peer, remote_ip="203.0.113.7", protocol=protocol)
    request = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("POST", "/hub/login", "HTTP/1.1"),
        headers=httputil.HTTPHeaders({"Host": "lab.example", **headers}),
        connection=SimpleNamespace(context=context, set_close_callback=lambda _: None),  # type: ignore[arg-type]
    )
    return web.RequestHandler(web.Application(cookie_secret=SECRET), request)


def cookie_after(first: web.RequestHandler) -> str:
    """The header of the browser's next request."""
    return "; ".join(f"{each.key}={each.value}" for each in new_cookies(first).values())


def new_cookies(handler: web.RequestHandler) -> SimpleCookie | dict[str, Morsel[str]]:
    return getattr(handler, "_new_cookie", {})


def coming_back(userid: str) -> web.RequestHandler:
    """A request from a browser in which the user has logged in."""
    first = a_request()
    remember_browser(first, userid, "/hub/login")
    return a_request(Cookie=cookie_after(first))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="an IPv4 address is itself"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="an IPv6 address is its /64"),
        pytest.param("2001:db8:1:2:8000::1", "2001:db8:1:2::/64", id="the other half of the /64 too"),
        pytest.param("2001:db8:1:3:3:4:5:6", "2001:db8:1:3::/64", id="the next /64 is another one"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="an IPv4 address inside IPv6 is itself"),
        pytest.param("", "", id="unknown"),
        pytest.param("x" * 1000, "x" * 64, id="text that is none is shortened"),
    ],
)
def test_one_customer_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        pytest.param(("192.0.2.1", 50_000), "192.0.2.1", id="IPv4"),
        pytest.param(("2001:db8::1", 50_000, 0, 0), "2001:db8::1", id="IPv6"),
        pytest.param("", "", id="a Unix socket has no address"),
        pytest.param((), "", id="a socket that is gone has none"),
        pytest.param(None, "", id="a server that does not tell"),
    ],
)
def test_where_another_server_serves_the_address_is_the_peers(peer: object, address: str) -> None:
    assert client_address(a_request(peer)) == address


def test_without_a_request_there_is_no_address_and_no_browser() -> None:
    assert client_address(None) == ""
    assert known_browser(None, "alice") == ""
    remember_browser(None, "alice", "/hub/login")


@pytest.fixture
def hubs_own_server() -> Iterator[None]:
    before = HTTPServer._save_configuration()
    install("", TrustedProxies.parse(""))
    yield
    HTTPServer._restore_configuration(before)


@pytest.mark.usefixtures("hubs_own_server")
def test_where_the_hubs_own_server_serves_the_address_is_what_that_has_decided() -> None:
    assert client_address(a_request()) == "203.0.113.7"


def test_a_browser_is_known_to_who_has_logged_in_there_and_to_nobody_else() -> None:
    again = coming_back("alice")
    mark = known_browser(again, "alice")
    assert len(mark) >= 16
    assert known_browser(coming_back("alice"), "alice") != mark, "another browser has another mark"
    for other in ("bob", "Alice", "", mark):
        assert known_browser(again, other) == ""
    assert known_browser(a_request(), "") == "", "no cookie is nobody's mark"
    assert known_browser(a_request(Cookie="learning-lab-browser=made up"), "alice") == ""


def test_a_user_id_with_a_colon_has_a_mark_of_its_own() -> None:
    assert known_browser(coming_back("a:b"), "a:b")
    assert not known_browser(coming_back("a:b"), "b")


@pytest.mark.parametrize(("days", "known"), [(30.9, True), (31.1, False)])
def test_a_browser_is_known_for_a_month(days: float, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    again = coming_back("alice")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + days * DAY)
    assert bool(known_browser(again, "alice")) is known


def test_without_a_cookie_secret_no_browser_is_known_and_nobody_is_kept_out() -> None:
    again = coming_back("alice")
    again.application.settings.pop("cookie_secret")
    assert known_browser(again, "alice") == ""


@pytest.mark.parametrize(("protocol", "secure"), [("http", ""), ("https", True)])
def test_the_cookie_goes_to_the_log_in_page_only_and_no_script_reads_it(protocol: str, secure: Any) -> None:
    handler = a_request(protocol=protocol)
    remember_browser(handler, "alice", "/base/hub/login")
    cookie = new_cookies(handler)["learning-lab-browser"]
    assert cookie["path"] == "/base/hub/login"
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "Lax"
    assert cookie["secure"] == secure
    until = calendar.timegm(time.strptime(cookie["expires"], "%a, %d %b %Y %H:%M:%S GMT"))
    assert 30.5 * DAY < until - time.time() < 31.5 * DAY


def test_a_browser_that_is_known_keeps_its_mark_and_another_persons_gets_one() -> None:
    again = coming_back("alice")
    remember_browser(again, "alice", "/hub/login")
    assert not new_cookies(again)
    remember_browser(again, "bob", "/hub/login")
    assert known_browser(a_request(Cookie=cookie_after(again)), "bob")

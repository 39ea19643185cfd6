"""Who is believed about a browser's address and protocol. The lab's own proxy has added the last entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning_lab.serving.forwarded import Browser, TrustedProxies, browser


@pytest.mark.parametrize(
    ("trusted", "forwarded", "address"),
    [
        pytest.param("", "192.0.2.1", "192.0.2.1", id="no proxy in front"),
        pytest.param("", "10.9.9.9, 192.0.2.1", "192.0.2.1", id="a made-up header, and no proxy in front"),
        pytest.param("10.0.0.0/8", "192.0.2.1, 10.0.0.5", "192.0.2.1", id="an ingress"),
        pytest.param(
            "10.0.0.0/8", "198.51.100.1, 192.0.2.1, 10.0.0.5", "192.0.2.1", id="a made-up header in front of an ingress"
        ),
        pytest.param("10.0.0.5", "192.0.2.1, 10.0.0.6", "10.0.0.6", id="only the ingress is believed"),
        pytest.param(
            "10.0.0.0/8, 203.0.113.9",
            "6.6.6.6, 192.0.2.1, 203.0.113.9,10.0.0.5",
            "192.0.2.1",
            id="two proxies in front",
        ),
        pytest.param("10.0.0.0/8", "10.1.1.1, 10.0.0.5", "10.1.1.1", id="a browser in the proxies' network"),
        pytest.param("1", "6.6.6.6, 192.0.2.1, 10.0.0.5", "192.0.2.1", id="one hop"),
        pytest.param("2", "6.6.6.6, 192.0.2.1, 203.0.113.9, 10.0.0.5", "192.0.2.1", id="two hops"),
        pytest.param("2", "10.0.0.5", "10.0.0.5", id="fewer hops than configured"),
        pytest.param(
            "1", "<script>, 10.0.0.5", "10.0.0.5", id="an entry that is not an address: the nearest proxy is taken"
        ),
        pytest.param("1", "192.0.2.1:51234, 10.0.0.5", "192.0.2.1", id="with a port"),
        pytest.param("1", "[2001:db8::1]:51234, 10.0.0.5", "2001:db8::1", id="IPv6 with a port"),
        pytest.param("fd00::/8", "2001:DB8::1, fd00::7", "2001:db8::1", id="IPv6"),
        pytest.param("10.0.0.0/8", "192.0.2.1, ::ffff:10.0.0.5", "192.0.2.1", id="IPv4 inside IPv6"),
        pytest.param("", "fe80::1%eth0", "fe80::1", id="the zone is not part of an address"),
        pytest.param("", "", "", id="no header"),
    ],
)
def test_the_browser_is_whom_the_outermost_trusted_proxy_has_seen(trusted: str, forwarded: str, address: str) -> None:
    assert browser(forwarded, "", TrustedProxies.parse(trusted)).address == address


@pytest.mark.parametrize(
    ("trusted", "told", "protocol"),
    [
        pytest.param("", "http", "http", id="no proxy in front"),
        pytest.param("", "https", "https", id="the lab's proxy has the certificate"),
        pytest.param("", "https,http", "http", id="a made-up header"),
        pytest.param("10.0.0.5", "https,http", "https", id="an ingress sets it"),
        pytest.param("10.0.0.5", "http,https,http", "https", id="an ingress appends to a made-up header"),
        pytest.param("1", "https,http", "https", id="one hop"),
        pytest.param("1", "wss,ws", "https", id="a WebSocket"),
        pytest.param("1", "HTTPS,http", "https", id="capitals"),
        pytest.param("10.0.0.6", "https,http", "http", id="only the ingress is believed"),
        pytest.param("1", "http", "http", id="an ingress that sets nothing"),
        pytest.param("1", "", "http", id="no header"),
    ],
)
def test_the_protocol_is_what_a_trusted_proxy_says(trusted: str, told: str, protocol: str) -> None:
    assert browser("192.0.2.1, 10.0.0.5", told, TrustedProxies.parse(trusted)).protocol == protocol


def test_an_ingress_that_sends_only_the_protocol_is_believed() -> None:
    assert browser("10.0.0.5", "https,http", TrustedProxies.parse("10.0.0.0/8")) == Browser("10.0.0.5", "https")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("0", "from 1 to 9", id="zero hops"),
        pytest.param("100", "from 1 to 9", id="too many hops"),
        pytest.param("-1", "does not appear to be", id="a negative number"),
        pytest.param("10.0.0.1/8", "host bits", id="an address with a mask"),
        pytest.param("0.0.0.0/0", "every address", id="every address"),
        pytest.param("::/0", "every address", id="every IPv6 address"),
        pytest.param("ingress.example.com", "does not appear to be", id="a name"),
        pytest.param("10.0.0.0/8, 1", "1", id="both an address and a number"),
    ],
)
def test_a_wrong_setting_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TrustedProxies.parse(text)


@given(made_up=st.text(alphabet=" ,.:[]%0123456789abcdefgh", max_size=80), hops=st.booleans())
def test_made_up_headers_do_not_change_who_a_browser_is(made_up: str, hops: bool) -> None:
    trusted = TrustedProxies.parse("2" if hops else "203.0.113.0/24, 10.0.0.5")
    added = "192.0.2.1, 203.0.113.9, 10.0.0.5"
    assert browser(f"{made_up},{added}", f"{made_up},http", trusted).address == "192.0.2.1"

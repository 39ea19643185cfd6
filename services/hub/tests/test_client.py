"""Where a log-in comes from."""

from __future__ import annotations

import pytest

from learning_lab.client import forwarded_address, network


@pytest.mark.parametrize(
    ("forwarded", "trusted", "address"),
    [
        pytest.param("", (), "", id="no header"),
        pytest.param("192.0.2.1", (), "192.0.2.1", id="the proxy's own addition"),
        pytest.param("10.9.9.9, 192.0.2.1", (), "192.0.2.1", id="what the browser made up comes before it"),
        pytest.param("192.0.2.1, 10.0.0.5", ("10.0.0.5",), "192.0.2.1", id="a trusted proxy is skipped"),
        pytest.param("10.0.0.5", ("10.0.0.5",), "10.0.0.5", id="only a trusted proxy"),
        pytest.param("192.0.2.1, <script>", (), "", id="no address"),
        pytest.param("2001:DB8::1", (), "2001:db8::1", id="IPv6"),
    ],
)
def test_the_address_is_the_one_that_the_nearest_proxy_has_seen(
    forwarded: str, trusted: tuple[str, ...], address: str
) -> None:
    assert forwarded_address(forwarded, trusted) == address


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="an IPv4 address is itself"),
        pytest.param("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="an IPv6 address is its /64"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="an IPv4 address inside IPv6 is itself"),
        pytest.param("", "", id="unknown"),
        pytest.param("x" * 1000, "x" * 64, id="text that is none is shortened"),
    ],
)
def test_one_customer_counts_as_one_address(address: str, counted: str) -> None:
    assert network(address) == counted

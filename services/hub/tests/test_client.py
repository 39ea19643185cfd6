"""Where a log-in comes from."""

from __future__ import annotations

import pytest

from learning_lab.client import network


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

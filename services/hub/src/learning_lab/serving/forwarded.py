"""Who a browser is behind proxies: its address and protocol, from what the proxies say of it. Pure.

Each proxy adds the address that it sees to the end of X-Forwarded-For; ours adds the last one. What stands before the
additions of trusted proxies anybody may have made up, so it is never read:

    X-Forwarded-For: <made up>, <browser>, <outer proxy>        the last one added by the lab's proxy

Rules kept here:
- which proxies are in front is the site's decision (`c.LearningLab.trusted_proxies`); without it the browser is
  whoever speaks to the lab's proxy;
- an entry that is no address ends the reading: the browser is then taken to be the last proxy that was understood, so
  that a wrong setting makes many people one address and nobody a free choice of one.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_HOPS = 9
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[0-9.]+))(?::\d+)?")


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies in front of the lab's own.

    Attributes:
        networks: where they are; all in a row that are there are believed.
        hops: how many they are, where their addresses are not known; then `networks` is empty.
    """

    networks: tuple[Network, ...] = ()
    hops: int = 0

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Read the setting.

        Args:
            text: addresses and networks (CIDR) with commas between them, or one number, or nothing.

        Raises:
            ValueError: it is neither; the text says what is wrong.
        """
        if text.strip().isdecimal():
            hops = int(text)
            if not 1 <= hops <= MOST_HOPS:
                raise ValueError(f"a number of proxies is from 1 to {MOST_HOPS}")
            return cls(hops=hops)
        networks = []
        for each in filter(None, (part.strip() for part in text.split(","))):
            try:
                network = ipaddress.ip_network(each)
            except ValueError as error:
                raise ValueError(f"{error}; give networks such as 10.0.0.0/8, or the number of proxies") from None
            if network.prefixlen == 0:
                raise ValueError(f"{each} is every address: then anybody may say who they are")
            networks.append(network)
        return cls(networks=tuple(networks))

    def count(self, chain: list[str]) -> int:
        """How many entries at the end of X-Forwarded-For are trusted proxies."""
        if self.hops:
            return self.hops
        trusted = 0
        for entry in reversed(chain):
            address = parse_address(entry)
            # ipaddress: an address of the other family is in no network.
            if address is None or not any(address in network for network in self.networks):
                break
            trusted += 1
        return trusted


@dataclass(frozen=True, slots=True)
class Browser:
    """Who has sent a request.

    Attributes:
        address: its address; "" when it cannot be told.
        protocol: http or https, as the browser speaks it.
    """

    address: str
    protocol: str


def browser(forwarded_for: str, forwarded_proto: str, trusted: TrustedProxies) -> Browser:
    """Find the browser. Call it only for a request that has come through the lab's own proxy.

    Args:
        forwarded_for: X-Forwarded-For; its last entry is the lab's proxy's own.
        forwarded_proto: X-Forwarded-Proto, likewise.
        trusted: the proxies in front.
    """
    chain = _entries(forwarded_for)
    count = trusted.count(chain)
    address: Address | None = None
    for entry in reversed(chain[max(0, len(chain) - count - 1) :]):
        nearer, address = address, parse_address(entry)
        if address is None:
            address = nearer
            break
    *told, own = _entries(forwarded_proto) or ["http"]
    # A proxy sets this header, or adds to it as the lab's does: the outermost trusted one has the word.
    protocol = told[max(0, len(told) - count)] if told and count else own
    secure = protocol.lower() in {"https", "wss"}
    return Browser(str(address or ""), "https" if secure else "http")


@functools.lru_cache(maxsize=1024)
def parse_address(entry: str) -> Address | None:
    """An entry of X-Forwarded-For, which may have a port; None when it is no address."""
    with_port = _WITH_PORT.fullmatch(entry)
    try:
        address = ipaddress.ip_address((with_port["v6"] or with_port["v4"]) if with_port else entry)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))  # without a zone
    return address


def _entries(header: str) -> list[str]:
    return [entry.strip() for entry in header.split(",")] if header.strip() else []

"""The address and protocol of a browser behind proxies, as the proxies report them. Pure.

Each proxy appends the address that it sees to X-Forwarded-For; the lab's own proxy appends the last entry. Anybody may
have made up the entries before those of the trusted proxies, so they are never read:

    X-Forwarded-For: <made up>, <browser>, <outer proxy>        the last entry is from the lab's proxy

Rules kept here:
- the site decides which proxies to trust (`c.LearningLab.trusted_proxies`); without that setting the browser is
  whoever connects to the lab's proxy;
- reading stops at an entry that is not an address, and the last proxy that was understood is then taken for the
  browser. So a wrong setting gives many people the same address, but lets nobody choose one.
"""

from __future__ import annotations

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
        networks: where they are. Consecutive entries from these networks are believed.
        hops: how many there are, if their addresses are not known; then `networks` is empty.
    """

    networks: tuple[Network, ...] = ()
    hops: int = 0

    @classmethod
    def parse(cls, text: str) -> TrustedProxies:
        """Read the setting.

        Args:
            text: addresses and networks (CIDR) separated by commas, or one number, or nothing.

        Raises:
            ValueError: it is none of these; the message says what is wrong.
        """
        if text.strip().isdecimal():
            hops = int(text)
            if not 1 <= hops <= MOST_HOPS:
                raise ValueError(f"the number of proxies must be from 1 to {MOST_HOPS}")
            return cls(hops=hops)
        networks = []
        for each in filter(None, (part.strip() for part in text.split(","))):
            try:
                network = ipaddress.ip_network(each)
            except ValueError as error:
                raise ValueError(f"{error}; give networks such as 10.0.0.0/8, or the number of proxies") from None
            if network.prefixlen == 0:
                raise ValueError(f"{each} covers every address, so anybody could claim any address")
            networks.append(network)
        return cls(networks=tuple(networks))

    def count(self, chain: list[str]) -> int:
        """How many entries at the end of X-Forwarded-For are trusted proxies."""
        if self.hops:
            return self.hops
        trusted = 0
        for entry in reversed(chain):
            address = parse_address(entry)
            # In ipaddress, an address of the other family is in no network.
            if address is None or not any(address in network for network in self.networks):
                break
            trusted += 1
        return trusted


@dataclass(frozen=True, slots=True)
class Browser:
    """The browser that sent a request.

    Attributes:
        address: its address; "" if unknown.
        protocol: http or https, as the browser uses it.
    """

    address: str
    protocol: str


def browser(forwarded_for: str, forwarded_proto: str, trusted: TrustedProxies) -> Browser:
    """Find the browser. Call this only for a request that came through the lab's own proxy.

    Args:
        forwarded_for: X-Forwarded-For; the lab's own proxy added its last entry.
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
    # A proxy either sets this header or appends to it, as the lab's does: believe the outermost trusted one.
    protocol = told[max(0, len(told) - count)] if told and count else own
    secure = protocol.lower() in {"https", "wss"}
    return Browser(str(address or ""), "https" if secure else "http")


def parse_address(entry: str) -> Address | None:
    """Parse an entry of X-Forwarded-For, which may have a port. None if it is not an address."""
    with_port = _WITH_PORT.fullmatch(entry)
    try:
        address = ipaddress.ip_address((with_port["v6"] or with_port["v4"]) if with_port else entry)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))  # drops the zone
    return address


def _entries(header: str) -> list[str]:
    return [entry.strip() for entry in header.split(",")] if header.strip() else []

"""The lab's public address, and the one below it that each person's server has. Pure.

Rules kept here:
- two user ids never have one address, however hostile they are: names that are no plain DNS label, or that look like
  one of ours, become one with 80 bits of a hash. JupyterHub's own rule has 28 bits, takes `Alice` and `alice` for two,
  which no browser does, and lets letters of other alphabets through that browsers fold into ours;
- only a host name has names below it: an IP address has none, and browsers share no cookie below `localhost` alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from urllib.parse import urlsplit

_PLAIN = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)


def is_address(text: str) -> bool:
    """Whether it is http:// or https:// and a host in lower case, perhaps with a port, and nothing more."""
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname or "", parts.port
        if parts.scheme not in {"http", "https"} or text != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
            return False
        if parts.netloc != parts.netloc.lower():
            return False
        return bool(_HOST.fullmatch(host)) or bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def has_names_below(address: str) -> bool:
    """Whether people can have addresses of their own below this one.

    Args:
        address: one for which `is_address` is true, or "".
    """
    host = urlsplit(address).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host
    return False


def host_of(name: str, domain: str, kind: str) -> str:
    """The host of somebody's server, or of a service: what JupyterHub calls a `subdomain_hook`.

    Args:
        name: a user id or a service's name; hostile.
        domain: the host of the lab.
        kind: `user` or `service`.
    """
    label = name
    if not _PLAIN.fullmatch(name) or "--" in name or kind != "user":
        stub = re.sub(r"[^a-z0-9]", "", name.lower(), flags=re.ASCII)[:8] or "x"
        mark = hashlib.sha256(f"{kind}\n{name}".encode(errors="surrogatepass")).hexdigest()[:20]
        label = f"{kind[0]}-{stub}--{mark}"
    return f"{label}.{domain}"


def of_everybody(address: str) -> str:
    """A source for a Content-Security-Policy that stands for the addresses below this one."""
    parts = urlsplit(address)
    return f"{parts.scheme}://*.{parts.netloc}"

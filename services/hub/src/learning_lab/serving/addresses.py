"""The lab's public address, and the address below it that each user's server has. Pure.

Rules kept here:
- two user ids never share an address, however hostile they are: a name that is not a plain DNS label, or that looks
  like one of our labels, gets a label with an 80-bit hash in it. JupyterHub's own rule uses 28 bits, tells `Alice` from
  `alice`, which no browser does, and lets through letters of other alphabets that browsers fold into ours;
- only a host name can have names below it: an IP address cannot, and browsers do not share cookies directly below
  `localhost`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from urllib.parse import urlsplit

_PLAIN = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)


def is_address(text: str) -> bool:
    """Whether it is http:// or https:// with a lower-case host, perhaps a port, and nothing more."""
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
    """Whether people can have their own addresses below this one.

    Args:
        address: one that passes `is_address`, or "".
    """
    host = urlsplit(address).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host
    return False


def host_of(name: str, domain: str, kind: str) -> str:
    """The host of a user's server, or of a service. It is JupyterHub's `subdomain_hook`.

    Args:
        name: a user id or a service's name; hostile.
        domain: the lab's host.
        kind: `user` or `service`.
    """
    label = name
    if not _PLAIN.fullmatch(name) or "--" in name or kind != "user":
        stub = re.sub(r"[^a-z0-9]", "", name.lower(), flags=re.ASCII)[:8] or "x"
        mark = hashlib.sha256(f"{kind}\n{name}".encode(errors="surrogatepass")).hexdigest()[:20]
        label = f"{kind[0]}-{stub}--{mark}"
    return f"{label}.{domain}"


def of_everybody(address: str) -> str:
    """A Content-Security-Policy source that matches every address below this one."""
    parts = urlsplit(address)
    return f"{parts.scheme}://*.{parts.netloc}"

"""Bind ports that others trust or are about to use, in every possible way, keep them, and read what is sent to them.

Arguments: `ports`, and `seconds` to continue for. Optional: `ipv6`, those ports that anybody looks for at an IPv6
address; `addresses`, additional addresses of this machine; `often`, a port to try between all the others;
`harmless`, ports that may be bound as long as nobody connects.
"""

import json
import select
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
REUSE = [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]
IPV4 = [(socket.AF_INET, each, None) for each in ["127.0.0.1", "0.0.0.0", *arguments.get("addresses", [])]]
BOTH = [(socket.AF_INET6, "::", 0)]
IPV6 = [(socket.AF_INET6, "::", 1), (socket.AF_INET6, "::1", 1)]

often, harmless = arguments.get("often", []), arguments.get("harmless", [])
tried, got, taken = 0, [], {}


def bind(port, family, address, only_ipv6, options):
    try:
        one = socket.socket(family)
    except OSError:
        return
    try:
        for option in options:
            one.setsockopt(socket.SOL_SOCKET, option, 1)
        if only_ipv6 is not None:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        one.bind((address, port))
        one.listen()
    except OSError:
        one.close()
        return
    taken[one] = port
    if port not in harmless:
        got.append(f"bound {address} port {port}")


def attempt(port):
    global tried
    ways = IPV4 + BOTH + (IPV6 if port in arguments.get("ipv6", []) else [])
    for way in ways:
        for options in REUSE:
            if port in taken.values():
                return
            tried += 1
            bind(port, *way, options)


until = time.monotonic() + arguments["seconds"]
while time.monotonic() < until and len(got) < 5:
    for port in [*harmless, *arguments["ports"]]:
        for each in often:
            attempt(each)
        attempt(port)
        if time.monotonic() >= until:
            break
    for one in select.select(list(taken), [], [], 0)[0] if taken else []:
        connection, _ = one.accept()
        connection.settimeout(0.5)
        try:
            got.append(f"port {taken[one]} was told: {connection.recv(4096)!r:.300}")
        except OSError:
            pass
print(json.dumps({"tried": tried, "got": got[:5]}))

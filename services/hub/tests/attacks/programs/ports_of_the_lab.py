"""Binds the ports of the lab in every way, for some seconds: who gets one gets what people send to it.

Arguments: `ports`, and `during` (seconds), and `only_ipv4`, those of them that nobody looks for at an IPv6 address.
"""

import errno
import json
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
WAYS = [
    (socket.AF_INET, "127.0.0.1", []),
    (socket.AF_INET, "0.0.0.0", []),
    (socket.AF_INET6, "::1", []),
    (socket.AF_INET6, "::", [(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)]),
    (socket.AF_INET6, "::", [(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)]),
]
REUSE = [(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)]

tried, got = 0, set()
until = time.monotonic() + arguments["during"]
while time.monotonic() < until:
    for port in arguments["ports"]:
        for family, host, options in WAYS:
            for reuse in ([], REUSE[:1], REUSE[1:], REUSE):
                if family == socket.AF_INET6 and port in arguments.get("only_ipv4", []):
                    continue
                tried += 1
                attempt = socket.socket(family, socket.SOCK_STREAM)
                try:
                    for option in (*options, *reuse):
                        attempt.setsockopt(*option)
                    attempt.bind((host, port))
                    attempt.listen()
                    got.add(f"{host} port {port}")
                except OSError as error:
                    if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
                        raise
                finally:
                    attempt.close()
print(json.dumps({"tried": tried, "got": sorted(got)}))

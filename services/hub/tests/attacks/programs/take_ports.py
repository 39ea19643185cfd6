"""Bind ports that others are about to use, in every way there is, and read what then comes."""

import json
import select
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
tried, got, taken = 0, [], {}
until = time.monotonic() + arguments["seconds"]
ways = [
    (family, address, option)
    for family, address in (
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
        (socket.AF_INET6, "::1"),
    )
    for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT)
]
while time.monotonic() < until:
    for port in arguments["ports"]:
        for family, address, option in ways:
            tried += 1
            try:
                one = socket.socket(family)
            except OSError:
                continue
            try:
                if option is not None:
                    one.setsockopt(socket.SOL_SOCKET, option, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address == "::1"))
                one.bind((address, port))
                one.listen()
            except OSError:
                one.close()
                continue
            if family == socket.AF_INET6 and address == "::1":
                one.close()  # nobody here uses that address
                continue
            if not arguments.get("listen_only"):  # to bind a port is no harm as long as nobody is led there
                got.append(f"{address}:{port}")
            taken[one] = port
    for one in select.select(list(taken), [], [], 0.01)[0] if taken else []:
        connection, _ = one.accept()
        connection.settimeout(0.5)
        try:
            got.append(f"port {taken[one]} was told: {connection.recv(4096)!r:.300}")
        except OSError:
            pass
print(json.dumps({"tried": tried, "got": got}))

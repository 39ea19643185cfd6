"""Be the hub, the proxy or somebody's server: bind their ports, for as long as is asked, and listen who comes."""

import json
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
tried, got = 0, []
listening = []


def bind(family, address, port):
    taken = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        taken.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        taken.bind((address, port))
        taken.listen(16)
    except OSError:
        taken.close()
        return False
    taken.setblocking(False)
    listening.append((port, taken))
    return True


# What is no port of the lab's in this pod may be bound; nobody must come.
for port in arguments["others"]:
    tried += 1
    if not bind(socket.AF_INET, "0.0.0.0", port):
        got.append(f"{port} is in use here")
until = time.monotonic() + arguments["lasting"]
first, last = arguments["servers"]
while time.monotonic() < until:
    for port in [arguments["hub"], *range(first, last + 1)]:
        # The hub's own between all the others: it is free for a short time only.
        for wanted in (arguments["hub"], port):
            for family, address in (
                (socket.AF_INET, "0.0.0.0"),
                (socket.AF_INET, arguments["pod"]),
                (socket.AF_INET6, "::"),
            ):
                tried += 1
                if bind(family, address, wanted):
                    got.append(f"bound {address} port {wanted}")
    for port, taken in listening:
        try:
            visitor, _ = taken.accept()
        except OSError:
            continue
        visitor.settimeout(1)
        got.append(f"on port {port}: {visitor.recv(300)!r}")
    if got:
        break
print(json.dumps({"tried": tried, "got": got[:5]}))

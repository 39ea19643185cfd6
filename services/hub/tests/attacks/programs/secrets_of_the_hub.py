"""Read the hub's secrets: in /proc, in its directories, in shared memory and in /tmp."""

import json
import os
import sys

arguments = json.loads(sys.argv[1])
tried, got = 0, []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if os.stat(f"/proc/{pid}").st_uid != 0:
            continue
    except OSError:
        continue
    for what in ("environ", "mem", "maps"):
        tried += 1
        try:
            with open(f"/proc/{pid}/{what}", "rb") as file:
                if what == "mem" or file.read(1):
                    got.append(f"/proc/{pid}/{what}")
        except OSError:
            pass
    for what in ("fd", "cwd", "root"):
        tried += 1
        try:
            os.listdir(f"/proc/{pid}/{what}")
            got.append(f"/proc/{pid}/{what}")
        except OSError:
            pass
for path in arguments["paths"]:
    tried += 1
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read(1)
        got.append(path)
    except OSError:
        pass
print(json.dumps({"tried": tried, "got": got}))

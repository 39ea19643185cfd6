"""A registry and an API server for tests: a real HTTP server that speaks both protocols."""

from __future__ import annotations

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from image_updater.registry import Image
from lab_testing.api_server_double import Authority

OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
HUB = Image("registry.example.com", "lab/hub", "staging")
MANIFEST = "/v2/lab/hub/manifests/staging"


class Wire(ThreadingHTTPServer):
    """A registry and an API server in one, with an answer for each path and a record of requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("", 0), Handler)  # on every address: a registry is not always on this machine
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tags: dict[str, str] = {}
        self.token: str | None = None  # the bearer token that the registry requires
        self.challenge = ""
        self.objects: dict[str, dict[str, Any]] = {}
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.broken: int | None = None
        self.refuses = ""  # a path that may not be changed
        self.asked: list[dict[str, str]] = []  # the headers of the registry's requests


class Handler(BaseHTTPRequestHandler):
    server: Wire

    def do_HEAD(self) -> None:
        self.server.asked.append(dict(self.headers))
        if self.server.broken:
            self.answer(self.server.broken)
        elif self.server.token and self.headers.get("Authorization") != self.server.token:
            self.answer(401, {"WWW-Authenticate": self.server.challenge})
        elif "application/vnd.oci.image.index.v1+json" not in self.headers.get("Accept", ""):
            self.answer(404)
        else:
            digest = self.server.tags.get(self.path)
            self.answer(200 if digest else 404, {"Docker-Content-Digest": digest} if digest else {})

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers))
        found = self.server.objects.get(self.path)
        self.answer(200 if found is not None else 403, body=found if found is not None else {"kind": "Status"})

    def do_PATCH(self) -> None:
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.patches.append((self.path, body))
        self.answer(403 if self.path == self.server.refuses else 200, body={})

    def answer(self, status: int, headers: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def secured(wire: Wire, directory: Path) -> Authority:
    """Make the server speak https, with a certificate from an authority that nobody trusts yet."""
    authority = Authority(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("registry", "127.0.0.1"))
    wire.socket = context.wrap_socket(wire.socket, server_side=True)
    wire.url = wire.url.replace("http:", "https:")
    return authority

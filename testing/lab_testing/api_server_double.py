"""A Kubernetes API server for tests: real HTTPS in threads, its own CA, tokens and client certificates.

It supports GET for a namespace and for the list, with labelSelector, limit and continue, and returns errors as Status
objects, like the real one. A test can make it misbehave with `Server.misbehave`.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TOKEN = "a-very-secret-token"


class Authority:
    """A certificate authority that keeps its files in a directory."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = directory / f"{name.replace(' ', '-')}.crt"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def data(self) -> str:
        """The certificate in the form that a kubeconfig uses."""
        return base64.b64encode(self.file.read_bytes()).decode()

    def issue(self, common_name: str, *hosts: str) -> tuple[Path, Path]:
        """Issue a certificate. Returns the files of the certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        extensions: list[x509.ExtensionType] = [x509.BasicConstraints(ca=False, path_length=None)]
        if names:
            extensions.append(x509.SubjectAlternativeName(names))
        certificate = self._signed(subject, key, *extensions)
        stem = common_name.replace(" ", "-")
        certificate_file, key_file = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate_file, key_file

    def _signed(self, subject: x509.Name, key: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


def namespace(name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Any:
    """A namespace as the API server returns it."""
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "labels": {"kubernetes.io/metadata.name": name} | (labels or {}),
            "annotations": annotations or {},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    """A Status object, which is the body of every error."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


@dataclass
class Request:
    """A request that the server received."""

    path: str
    query: dict[str, str]
    authorization: str | None
    connection: int


# Answers a request in its own way, or returns False to let the server answer as usual.
Misbehaviour = Callable[["Handler", Request], bool]


@dataclass
class Server:
    """A running server: what it contains, whom it admits, and what it was asked."""

    namespaces: dict[str, Any]
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    forbidden: set[str] = field(default_factory=set)
    misbehave: Misbehaviour | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    scheme: str = "https"
    open_sockets: list[socket.socket] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def drop_connections(self) -> None:
        """Close every connection without an answer, as a load balancer does."""
        for sock in self.open_sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.open_sockets.clear()


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server: _HTTPServer
    common_name: str | None = None
    number = 0
    disable_nagle_algorithm: ClassVar[bool] = True

    def setup(self) -> None:
        state = self.server.state
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(10)
            self.request.do_handshake()  # here, and not in the thread that accepts connections
            certificate: Any = self.request.getpeercert()
            subject = certificate.get("subject", ()) if certificate else ()
            self.common_name = next((value for part in subject for key, value in part if key == "commonName"), None)
        with self.server.lock:
            state.connections += 1
            self.number = state.connections
            state.open_sockets.append(self.request)
        super().setup()

    def do_GET(self) -> None:
        state = self.server.state
        parts = urlsplit(self.path)
        request = Request(
            parts.path,
            {key: values[-1] for key, values in parse_qs(parts.query).items()},
            self.headers.get("Authorization"),
            self.number,
        )
        with self.server.lock:
            state.requests.append(request)
        if state.misbehave is not None and state.misbehave(self, request):
            return
        token = (request.authorization or "").removeprefix("Bearer ")
        if self.common_name is None and token not in state.tokens:
            self.answer(401, status(401, "Unauthorized", "Unauthorized"))
        elif request.path == "/api/v1/namespaces":
            self.answer(200, self._listed(request.query))
        elif request.path.startswith("/api/v1/namespaces/"):
            self._read(request.path.rpartition("/")[2])
        else:
            self.answer(404, status(404, "NotFound", "the server could not find the requested resource"))

    def answer(self, code: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send an answer: an object as JSON, bytes unchanged."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def drip(self, data: bytes, pause: float) -> None:
        """Send byte by byte, until the other side or the test ends."""
        for byte in data:
            if self.server.state.ended.wait(pause):
                break
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
        self.close_connection = True

    def wait(self, seconds: float) -> None:
        """Do nothing for a while, but no longer than the test lasts."""
        self.server.state.ended.wait(seconds)

    def _read(self, name: str) -> None:
        state = self.server.state
        if name in state.forbidden:
            message = f'namespaces "{name}" is forbidden: User "test" cannot get resource "namespaces"'
            self.answer(403, status(403, "Forbidden", message))
        elif name in state.namespaces:
            self.answer(200, state.namespaces[name])
        else:
            self.answer(404, status(404, "NotFound", f'namespaces "{name}" not found'))

    def _listed(self, query: dict[str, str]) -> Any:
        wanted = [part.partition("=")[::2] for part in query.get("labelSelector", "").split(",") if part]
        found = [
            item
            for _, item in sorted(self.server.state.namespaces.items())
            if all(item["metadata"]["labels"].get(key) == value for key, value in wanted)
        ]
        first, limit = int(query.get("continue", "0")), int(query.get("limit", "500"))
        metadata = {"resourceVersion": "1"}
        if first + limit < len(found):
            metadata["continue"] = str(first + limit)
        # In a real list the items have no kind.
        items = [{"metadata": item["metadata"]} for item in found[first : first + limit]]
        return {"kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items}

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, state: Server, context: ssl.SSLContext | None) -> None:
        self.state = state
        self.lock = threading.Lock()
        super().__init__((state.host, 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that go away or do not trust the certificate: that is what the tests are about."""


@contextlib.contextmanager
def running(
    namespaces: dict[str, Any] | None = None,
    certificate: tuple[Path, Path] | None = None,
    clients: Authority | None = None,
) -> Iterator[Server]:
    """Run a server on a free port of 127.0.0.1.

    Args:
        namespaces: the namespaces, by name; by default, alice's.
        certificate: the files of its certificate; without them it serves plain HTTP.
        clients: the authority that issues client certificates.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if clients is not None:
            context.load_verify_locations(clients.file)
            context.verify_mode = ssl.CERT_OPTIONAL
    state = Server(namespaces if namespaces is not None else {"alice": alice()}, scheme="https" if context else "http")
    server = _HTTPServer(state, context)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        state.drop_connections()
        server.shutdown()
        server.server_close()
        thread.join(5)


def alice() -> Any:
    """The namespace of the user alice."""
    return namespace(
        "alice",
        {"learning-lab.dev/user": "true"},
        {"learning-lab.dev/userid": "alice", "learning-lab.dev/notebook-dirs": "- /s/alice/notebooks"},
    )


def kubeconfig(
    path: Path,
    server: str,
    user: dict[str, Any],
    *,
    cluster: dict[str, Any] | None = None,
    context: str = "test",
    current: bool = True,
) -> Path:
    """Write a kubeconfig with one cluster, one user and one context."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server} | (cluster or {})}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    }
    if current:
        content["current-context"] = context
    path.write_text(yaml.safe_dump(content))
    return path


def service_account(directory: Path, authority: Authority, token: str = TOKEN) -> Path:
    """Write the files of a pod's service account."""
    directory.mkdir(exist_ok=True)
    (directory / "token").write_text(token + "\n")
    (directory / "ca.crt").write_bytes(authority.file.read_bytes())
    return directory

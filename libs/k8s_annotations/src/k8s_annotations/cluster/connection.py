"""Calls of a Kubernetes API server.

Rules kept here:
- in a pod the service account is used; elsewhere only a kubeconfig (``KUBECONFIG``, else ``~/.kube/config``), with its
  current context or a named one (see `credentials`);
- connections are kept alive and shared by threads. A call whose connection is dropped is retried once, and so is a 401,
  with freshly read credentials (kubernetes-client/python#1768);
- a call keeps its deadline whatever the server does, even if it sends its answer byte by byte, and whatever an exec
  plugin or a name server does (see `deadline`);
- no more than `LARGEST_ANSWER` is read, and no redirect is followed;
- no exception of urllib3 or the Kubernetes client leaves this module, and no message contains a token.

Both libraries are imported on the first call, so a program that only parses lists, or reads a file, does not pay for
them.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from k8s_annotations.errors import ClusterUnavailable, NotConfigured

from .responses import read_answer

if TYPE_CHECKING:
    from .credentials import Access
    from .deadline import Task

LARGEST_ANSWER = 2 * 2**20  # bytes; etcd stores no object above 1.5 MiB
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HANGING = 60.0  # seconds after which another exec plugin is started if one does not end


@dataclass(frozen=True, slots=True)
class Sent:
    """What a call sends.

    Attributes:
        method: of HTTP.
        body: None for none.
        content_type: of the body.
    """

    method: str = "GET"
    body: bytes | None = None
    content_type: str = "application/json"


READ = Sent()


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster, and how long to wait for it.

    Attributes:
        kubeconfig: the file; None for the service account in a pod, else ``KUBECONFIG`` or ``~/.kube/config``.
        context: the kubeconfig's context; None for its current one.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds between two chunks of an answer.
        deadline: seconds for a whole call, including its retry.
        service_account: where a pod has its token and CA.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    connect_timeout: float = 2.0
    read_timeout: float = 5.0
    deadline: float = 8.0
    service_account: Path = SERVICE_ACCOUNT


class Connection:
    """The way to one cluster. Threads may share one; nothing is read before the first call."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._access: Access | None = None
        self._loading: Task[Access] | None = None

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        with self._lock:
            access, self._access = self._access, None
        if access is not None:
            access.pools.clear()

    def call(self, path: str, what: str, largest: int = LARGEST_ANSWER, sent: Sent = READ) -> dict[str, Any]:
        """Make one call.

        Args:
            path: with its query.
            what: is asked for, in messages.
            largest: bytes of the answer that are taken.
            sent: the method and the body. It must do no harm when it is made twice.

        Returns:
            The answer's JSON object.

        Raises:
            NamespaceNotFound, AccessDenied, Conflict, Invalid, ClusterUnavailable, NotConfigured: see `errors`.
        """
        until = monotonic() + self._where.deadline
        for last_try in (False, True):
            access = self._connected(until)
            try:
                status, headers, body = self._send(access, path, largest, until, sent)
            except _Dropped as error:
                if error.outdated:
                    self._forget(access)
                if last_try:
                    raise ClusterUnavailable(
                        f"{access.host} closed the connection twice, asked for {what} ({error}). Try again later."
                    ) from None
                continue
            if status == 401 and not last_try:
                self._forget(access)  # the token was rotated, or an exec plugin's has expired
                continue
            return read_answer(status, headers, body, what, access.host, largest, reads=sent is READ)
        raise AssertionError("the loop above returns or raises")

    def _send(
        self, access: Access, path: str, largest: int, until: float, sent: Sent
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one request. Raises _Dropped if the connection broke before the answer ended."""
        import urllib3
        from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, SSLError
        from urllib3.exceptions import TimeoutError as SlowError

        from .deadline import Overdue

        left = max(until - monotonic(), 0.001)
        timeout = urllib3.Timeout(
            connect=min(self._where.connect_timeout, left), read=min(self._where.read_timeout, left)
        )
        headers = {"Accept": "application/json", **access.authorization()}
        if sent.body is not None:
            headers["Content-Type"] = sent.content_type
        try:
            return access.pools.request(sent.method, access.host + path, sent.body, headers, timeout, largest, until)
        except NewConnectionError as error:
            raise ClusterUnavailable(
                f"{access.host} cannot be reached: {_reason(error)}. Check that the cluster is up, and that nothing in"
                " between blocks the connection."
            ) from None
        except (Overdue, SlowError):
            raise ClusterUnavailable(
                f"{access.host} did not answer in time (deadline {self._where.deadline:g} s). Try again later, and"
                " check that the cluster is up."
            ) from None
        except SSLError as error:
            cause = error.args[0] if error.args else error
            if isinstance(cause, FileNotFoundError):
                raise _Dropped("the CA file is gone", outdated=True) from None
            if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
                raise _Dropped("TLS ended") from None
            raise ClusterUnavailable(
                f"TLS with {access.host} fails: {_reason(cause)}. Check the CA and the server name of the kubeconfig or"
                " service account."
            ) from None
        except ProtocolError as error:
            gone = any(isinstance(part, FileNotFoundError) for part in error.args)  # the client certificate's file
            raise _Dropped(_reason(error), outdated=gone) from None
        except (HTTPError, OSError, ValueError) as error:
            raise ClusterUnavailable(
                f"{access.host} cannot be reached: {_reason(error)}. Check that the cluster is up, and that nothing in"
                " between blocks the connection."
            ) from None

    def _connected(self, until: float) -> Access:
        from .deadline import Overdue, Task

        with self._lock:  # never wait while holding it: the other threads have deadlines too
            if self._access is not None:
                return self._access
            loading = self._loading
            if loading is None or monotonic() - loading.began > HANGING:
                loading = self._loading = Task(self._load, "cluster-credentials")
        try:
            access = loading.result(until)
        except Overdue:
            raise ClusterUnavailable(
                "Getting the credentials took too long (an exec plugin?). To see why, run the command of the"
                " kubeconfig's user by hand."
            ) from None
        except BaseException:
            self._loaded(loading, None)
            raise
        self._loaded(loading, access)
        return access

    def _loaded(self, loading: Task[Access], access: Access | None) -> None:
        with self._lock:
            if self._loading is loading:  # this thread is the first to see the end
                self._loading, self._access = None, access

    def _forget(self, access: Access) -> None:
        with self._lock:
            if self._access is access:
                self._access = None

    def _load(self) -> Access:
        from .credentials import from_kubeconfig, from_service_account

        where = self._where
        named = where.kubeconfig is not None or where.context is not None
        try:
            in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and where.service_account.is_dir()
        except OSError as error:
            raise NotConfigured(f"{where.service_account} cannot be read: {error.strerror}. Check its mode.") from None
        if in_pod and not named:
            return from_service_account(where.service_account)
        return from_kubeconfig(where.kubeconfig, where.context)


class _Dropped(Exception):
    """The connection broke before there was an answer."""

    def __init__(self, reason: str, *, outdated: bool = False) -> None:
        super().__init__(reason)
        # The client keeps certificates in temporary files, which a clean-up of /tmp may delete after weeks of uptime.
        self.outdated = outdated


def _reason(error: BaseException) -> str:
    """The innermost reason, which is the one that people can act on."""
    through = getattr(error, "original_error", None)  # set when a proxy failed
    inner = getattr(through or error, "__cause__", None) or through or error
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None) or str(inner)
    told = str(text).splitlines()[0][:200].rstrip(".") if text else type(inner).__name__
    return f"its proxy: {told}" if through else told

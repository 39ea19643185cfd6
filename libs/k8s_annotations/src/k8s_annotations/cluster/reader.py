"""The reader of a Kubernetes cluster: one call, one GET.

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
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from k8s_annotations.errors import ClusterUnavailable, NamespaceNotFound, NotConfigured
from k8s_annotations.namespaces import PREFIX, Namespace, user_namespace

from .responses import THE_LIST, read_answer, to_namespace

if TYPE_CHECKING:
    from .credentials import Access
    from .deadline import Task

LARGEST_ANSWER = 2 * 2**20  # bytes; etcd stores no object above 1.5 MiB
LARGEST_PAGE = 64 * 2**20  # bytes per page of a listing
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HANGING = 60.0  # seconds after which another exec plugin is started if one does not end

_PAGE = 100  # namespaces per page of a listing
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ClusterReader:
    """Reads namespaces from a Kubernetes API server. Threads may share a reader.

    Args:
        kubeconfig: the file; None for the service account in a pod, else ``KUBECONFIG`` or ``~/.kube/config``.
        context: the kubeconfig's context; None for its current one.
        connect_timeout: seconds to reach the server.
        read_timeout: seconds between two chunks of an answer.
        deadline: seconds for a whole call, including its retry.
        service_account: where a pod has its token and CA.

    Nothing is read before the first call.
    """

    def __init__(
        self,
        kubeconfig: Path | None = None,
        context: str | None = None,
        *,
        connect_timeout: float = 2.0,
        read_timeout: float = 5.0,
        deadline: float = 8.0,
        service_account: Path = SERVICE_ACCOUNT,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._deadline = deadline
        self._service_account = service_account
        self._lock = threading.Lock()
        self._access: Access | None = None
        self._loading: Task[Access] | None = None

    def read(self, namespace: str) -> Namespace:
        """Read one namespace with one GET.

        Raises:
            NamespaceNotFound, AccessDenied, ClusterUnavailable, NotConfigured: see `errors`.
        """
        if not _NAME.fullmatch(namespace):  # and ".." would request something else
            raise NamespaceNotFound(
                f"No namespace can be called {namespace[:80]!r}: it is not a DNS label. Check the name."
            )
        found = to_namespace(self._get(f"/api/v1/namespaces/{namespace}", f"namespace {namespace!r}"))
        if found.name != namespace:
            raise ClusterUnavailable(f"When asked for namespace {namespace!r}, the cluster returned another one.")
        return found

    def peek(self, namespace: str, age: float) -> Namespace | None:  # noqa: ARG002
        """None: nothing read from a cluster is kept."""
        return None

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        """Read all namespaces, or those that a label selector matches, page by page. Each page has its own deadline.

        Raises:
            AccessDenied, ClusterUnavailable, NotConfigured: see `errors`.
        """
        parameters = {"limit": str(_PAGE)} | ({"labelSelector": label_selector} if label_selector else {})
        while True:
            page = self._get(f"/api/v1/namespaces?{urlencode(parameters)}", THE_LIST, LARGEST_PAGE)
            items = page.get("items")
            for item in items if isinstance(items, list) else []:
                yield to_namespace(item)
            metadata = page.get("metadata")
            following = metadata.get("continue") if isinstance(metadata, dict) else None
            if not following:
                return
            parameters["continue"] = str(following)

    def close(self) -> None:
        """Close the connections. The next call opens new ones."""
        with self._lock:
            access, self._access = self._access, None
        if access is not None:
            access.pools.clear()

    def _get(self, path: str, what: str, largest: int = LARGEST_ANSWER) -> dict[str, Any]:
        until = monotonic() + self._deadline
        for last_try in (False, True):
            access = self._connected(until)
            try:
                status, headers, body = self._send(access, path, largest, until)
            except _Dropped as error:
                if error.outdated:
                    self._forget(access)
                if last_try:
                    raise ClusterUnavailable(
                        f"{access.host} closed the connection twice while sending {what} ({error}). Try again later."
                    ) from None
                continue
            if status == 401 and not last_try:
                self._forget(access)  # the token was rotated, or an exec plugin's has expired
                continue
            return read_answer(status, headers, body, what, access.host, largest)
        raise AssertionError("the loop above returns or raises")

    def _send(self, access: Access, path: str, largest: int, until: float) -> tuple[int, Mapping[str, str], bytes]:
        """Make one GET. Raises _Dropped if the connection broke before the answer ended, else ClusterUnavailable."""
        import urllib3
        from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, SSLError
        from urllib3.exceptions import TimeoutError as SlowError

        from .deadline import Overdue

        left = max(until - monotonic(), 0.001)
        timeout = urllib3.Timeout(connect=min(self._connect_timeout, left), read=min(self._read_timeout, left))
        headers = {"Accept": "application/json", **access.authorization()}
        try:
            return access.pools.get(access.host + path, headers, timeout, largest, until)
        except NewConnectionError as error:
            raise ClusterUnavailable(
                f"{access.host} cannot be reached: {_reason(error)}. Check that the cluster is up, and that nothing in"
                " between blocks the connection."
            ) from None
        except (Overdue, SlowError):
            raise ClusterUnavailable(
                f"{access.host} did not answer in time (deadline {self._deadline:g} s). Try again later, and check that"
                " the cluster is up."
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

        named = self._kubeconfig is not None or self._context is not None
        try:
            in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and self._service_account.is_dir()
        except OSError as error:
            raise NotConfigured(f"{self._service_account} cannot be read: {error.strerror}. Check its mode.") from None
        if in_pod and not named:
            return from_service_account(self._service_account)
        return from_kubeconfig(self._kubeconfig, self._context)


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


_shared = threading.Lock()
_reader: ClusterReader | None = None


def _default_reader() -> ClusterReader:
    global _reader
    with _shared:
        if _reader is None:
            _reader = ClusterReader()
        return _reader


def get_ns_annotations(namespace: str) -> dict[str, str]:
    """Read the annotations of a namespace, by the namespace's name.

    Args:
        namespace: the name of the namespace.

    Returns:
        A mapping from annotation keys to values.

    Raises:
        AnnotationError: one of its subclasses; see `errors`.

    Example:
        >>> get_ns_annotations("alice")["learning-lab.dev/userid"]   # doctest: +SKIP
        'alice'
    """
    return dict(_default_reader().read(namespace).annotations)


def get_namespace_annotations(userid: str, prefix: str = PREFIX) -> dict[str, str]:
    """Read the annotations of a user's namespace, by user id.

    In a pod this uses the service account; elsewhere the cluster and the credentials come from ``KUBECONFIG`` or
    ``~/.kube/config``.

    Args:
        userid: the user id; `names.namespace_name` says which namespace is theirs.
        prefix: the prefix of the label and the annotation that mark the namespace as theirs.

    Returns:
        A mapping from annotation keys to values.

    Raises:
        InvalidUserId: the text cannot be a user id.
        NamespaceNotFound: there is none, or it is not marked as theirs, so no user can get that of ``kube-system``.
        AnnotationError: another of its subclasses; see `errors`.

    Example:
        >>> get_namespace_annotations("alice")["learning-lab.dev/userid"]   # doctest: +SKIP
        'alice'
    """
    return dict(user_namespace(_default_reader(), userid, prefix).annotations)

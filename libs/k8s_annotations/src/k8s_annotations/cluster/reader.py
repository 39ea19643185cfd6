"""The reader of a Kubernetes cluster: one call, one GET. `connection` makes the calls."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from k8s_annotations.errors import ClusterUnavailable, NamespaceNotFound
from k8s_annotations.namespaces import PREFIX, Namespace, user_namespace

from .connection import SERVICE_ACCOUNT, Connection, Where
from .responses import THE_LIST, to_namespace

LARGEST_PAGE = 64 * 2**20  # bytes per page of a listing

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
        self._connection = Connection(
            Where(kubeconfig, context, connect_timeout, read_timeout, deadline, service_account)
        )

    def read(self, namespace: str) -> Namespace:
        """Read one namespace with one GET.

        Raises:
            NamespaceNotFound, AccessDenied, ClusterUnavailable, NotConfigured: see `errors`.
        """
        if not _NAME.fullmatch(namespace):  # and ".." would request something else
            raise NamespaceNotFound(
                f"No namespace can be called {namespace[:80]!r}: it is not a DNS label. Check the name."
            )
        found = to_namespace(self._connection.call(f"/api/v1/namespaces/{namespace}", f"namespace {namespace!r}"))
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
            page = self._connection.call(f"/api/v1/namespaces?{urlencode(parameters)}", THE_LIST, LARGEST_PAGE)
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
        self._connection.close()


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

"""Writing to a cluster: server-side apply, with field managers of our own.

Rules kept here:
- only the named fields are written. Writing a field that another manager owns is refused (`Conflict`), unless it is to
  be taken over;
- a list only replaces the version that was read: if it was changed in between, that is a `Conflict` too, and the
  caller must read again;
- the template's objects and the lists have separate managers, because applying removes what the same manager wrote
  before and no longer names.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

from k8s_annotations.errors import Invalid, NamespaceNotFound

from .connection import READ, Connection, Sent, Where

LISTS, OBJECTS = "k8s-annotations", "k8s-annotations-create"  # field managers

_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"
_PAGE = 500  # objects a page of a listing
_LARGEST_PAGE = 64 * 2**20  # bytes

Object = dict[str, Any]


class ClusterWriter:
    """Reads and writes whole objects. Threads may share one.

    Args:
        where: which cluster.
    """

    def __init__(self, where: Where) -> None:
        self._connection = Connection(where)
        self._kinds: dict[str, dict[str, tuple[str, bool]]] = {}  # by API version, then kind: plural, has a namespace
        self._lock = threading.Lock()

    def get(self, wanted: Object) -> Object | None:
        """The object of this kind and name as the cluster has it; None when it has none.

        Raises:
            AccessDenied, ClusterUnavailable, Invalid, NotConfigured: see `errors`.
        """
        try:
            return self._connection.call(self._path(wanted), described(wanted))
        except NamespaceNotFound:
            return None

    def apply(self, wanted: Object, manager: str, *, dry_run: bool = False, take_over: bool = False) -> Object:
        """Write an object, or these fields of it.

        Args:
            wanted: with the fields to write. With `metadata.resourceVersion`, only over that version.
            manager: `LISTS` or `OBJECTS`.
            dry_run: let the cluster check and answer without writing.
            take_over: write fields that another manager owns.

        Returns:
            The whole object as it is then.

        Raises:
            Conflict: see above.
            AccessDenied, ClusterUnavailable, Invalid, NamespaceNotFound, NotConfigured: see `errors`.
        """
        asked = {"fieldManager": manager, "force": "true" if take_over else "false"}
        if dry_run:
            asked["dryRun"] = "All"
        sent = Sent("PATCH", json.dumps(wanted).encode(), _APPLY)
        return self._connection.call(f"{self._path(wanted)}?{urlencode(asked)}", described(wanted), sent=sent)

    def remove_label(self, namespace: str, key: str, version: str, *, dry_run: bool = False) -> Object:
        """Take a label from a namespace, whoever wrote it.

        Args:
            namespace: its name.
            key: of the label.
            version: the `metadata.resourceVersion` that was read.
            dry_run: as above.

        Raises:
            As `apply`.
        """
        wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        asked = {"fieldManager": LISTS} | ({"dryRun": "All"} if dry_run else {})
        change = {"metadata": {"resourceVersion": version, "labels": {key: None}}}
        sent = Sent("PATCH", json.dumps(change).encode(), _MERGE)
        return self._connection.call(f"{self._path(wanted)}?{urlencode(asked)}", described(wanted), sent=sent)

    def namespaces(self) -> Iterator[Object]:
        """All namespaces, page by page.

        Raises:
            AccessDenied, ClusterUnavailable, NotConfigured: see `errors`.
        """
        asked = {"limit": str(_PAGE)}
        while True:
            page = self._connection.call(
                f"/api/v1/namespaces?{urlencode(asked)}", "the list of namespaces", _LARGEST_PAGE
            )
            yield from (each for each in page.get("items") or [] if isinstance(each, dict))
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return
            asked["continue"] = str(following)

    def close(self) -> None:
        """Let go of connections."""
        self._connection.close()

    def _path(self, wanted: Object) -> str:
        version, kind, metadata = str(wanted["apiVersion"]), str(wanted["kind"]), wanted["metadata"]
        base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        plural, namespaced = self._kind(version, base, kind)
        if namespaced:
            base = f"{base}/namespaces/{quote(str(metadata.get('namespace')), safe='')}"
        return f"{base}/{plural}/{quote(str(metadata['name']), safe='')}"

    def _kind(self, version: str, base: str, kind: str) -> tuple[str, bool]:
        """What the API calls a kind, and whether its objects are in namespaces (API discovery)."""
        with self._lock:
            known = self._kinds.get(version)
        if known is None:
            try:
                found = self._connection.call(base, f"the kinds of {version}", sent=READ)
            except NamespaceNotFound:
                raise Invalid(f"The cluster has no API {version}.") from None
            known = {
                str(each["kind"]): (str(each["name"]), bool(each.get("namespaced")))
                for each in found.get("resources") or []
                if "/" not in str(each.get("name"))  # no part of another kind, such as namespaces/status
            }
            with self._lock:
                self._kinds[version] = known
        if kind not in known:
            raise Invalid(f"The cluster has no kind {kind} in {version}.")
        return known[kind]


def described(wanted: Object) -> str:
    """An object for messages: "namespace 'alice'"."""
    metadata = wanted["metadata"]
    inside = f" in {metadata['namespace']!r}" if "namespace" in metadata else ""
    kind = str(wanted["kind"])
    return f"{kind[0].lower() + kind[1:]} {metadata['name']!r}{inside}"

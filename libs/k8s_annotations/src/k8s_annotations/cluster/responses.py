"""Turns an API server's answer into a namespace, or into the matching error. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/; an error's body is a Status object.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from k8s_annotations.errors import AccessDenied, ClusterUnavailable, NamespaceNotFound
from k8s_annotations.namespaces import Namespace

THE_LIST = "the list of namespaces"


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, what: str, host: str, largest: int
) -> dict[str, Any]:
    """Turn an HTTP answer into its JSON object, or raise the matching error.

    Args:
        status: the HTTP status.
        headers: the headers, for Retry-After.
        body: at most `largest` bytes and one more.
        what: what was asked for; used in messages.
        host: which server was asked; used in messages.
        largest: the most bytes that are accepted.

    Raises:
        NamespaceNotFound, AccessDenied, ClusterUnavailable: see `errors`.
    """
    if status in {401, 403}:
        whose = "did not accept the credentials (401)" if status == 401 else "does not let this account read it (403)"
        raise AccessDenied(
            f"{host} {whose}: {what}. Check the token, certificate or exec plugin, and the ClusterRole with the verb"
            " get on namespaces."
        )
    answer = _json_object(body) if len(body) <= largest else None
    if status == 404 and what != THE_LIST and answer is not None and answer.get("kind") == "Status":
        raise NamespaceNotFound(f"There is no {what} in the cluster at {host}. Create and mark it first.")
    if status != 200:
        # A 404 without a Status object is not from an API server, so it says nothing about the namespace.
        raise ClusterUnavailable(
            f"{host} answered {status} when asked for {what}. Try again later; if it keeps happening, check that it is"
            " an API server.",
            _retry_after(headers),
        )
    if len(body) > largest:
        raise ClusterUnavailable(
            f"The answer from {host} for {what} is larger than {largest} bytes. Check that it is an API server."
        )
    if answer is None:
        raise ClusterUnavailable(
            f"The answer from {host} for {what} is cut off or not a JSON object. Check that it is an API server."
        )
    return answer


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def to_namespace(item: Any) -> Namespace:
    """Take the metadata from a namespace's JSON object.

    Raises:
        ClusterUnavailable: the object is not a namespace.
    """
    metadata = item.get("metadata") if isinstance(item, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ClusterUnavailable(
            "The cluster answered with something that is not a namespace. Check that it is an API server."
        )
    return Namespace(metadata["name"], _texts(metadata.get("labels")), _texts(metadata.get("annotations")))


def _texts(values: Any) -> dict[str, str]:
    if not isinstance(values, dict):
        return {}
    return {key: value for key, value in values.items() if isinstance(value, str)}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    with contextlib.suppress(KeyError, ValueError):
        return max(0.0, min(float(headers["Retry-After"]), 3600.0))
    return None

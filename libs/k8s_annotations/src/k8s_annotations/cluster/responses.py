"""Turns an API server's answer into a namespace, or into the matching error. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/; an error's body is a Status object.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from k8s_annotations.errors import AccessDenied, ClusterUnavailable, Conflict, Invalid, NamespaceNotFound
from k8s_annotations.namespaces import Namespace
from k8s_annotations.untrusted_text import escaped

THE_LIST = "the list of namespaces"

_LONGEST_MESSAGE = 500  # characters of a server's words


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, what: str, host: str, largest: int, *, reads: bool = True
) -> dict[str, Any]:
    """Turn an HTTP answer into its JSON object, or raise the matching error.

    Args:
        status: the HTTP status.
        headers: for Retry-After.
        body: no more than one byte above `largest`.
        what: was asked for, for messages.
        host: was asked, for messages.
        largest: bytes that are taken.
        reads: the call changes nothing.

    Raises:
        NamespaceNotFound, AccessDenied, Conflict, Invalid, ClusterUnavailable: see `errors`.
    """
    if not reads:
        _check_written(status, _json_object(body) or {}, what, host)
    if status in {401, 403}:
        whose = "did not accept the credentials (401)" if status == 401 else "does not let this account read it (403)"
        raise AccessDenied(
            f"{host} {whose}: {what}. Check the token, certificate or exec plugin, and the ClusterRole with the verb"
            " get on namespaces."
        )
    answer = _json_object(body) if len(body) <= largest else None
    if status == 404 and what != THE_LIST and answer is not None and answer.get("kind") == "Status":
        raise NamespaceNotFound(f"There is no {what} in the cluster at {host}. Create and mark it first.")
    if status not in ({200} if reads else {200, 201}):
        # A 404 that is no Status object is not an API server's: nothing is known about the namespace.
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


def _check_written(status: int, answer: dict[str, Any], what: str, host: str) -> None:
    """Raise what an answer to a change stands for, where the server says more than its status."""
    said = escaped(str(answer.get("message", "")), _LONGEST_MESSAGE)
    if status == 403 and said:
        raise AccessDenied(f"{host} does not allow it (403): {what}. It says: {said}")
    if status == 409:
        details = answer.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        fields = [each for each in causes if isinstance(each, dict)] if isinstance(causes, list) else []
        told = "; ".join(escaped(f"{each.get('field')}: {each.get('message')}", 200) for each in fields[:5]) or said
        owned = any(each.get("reason") == "FieldManagerConflict" for each in fields)
        advice = "Take it over (--take-over) when it is yours to change." if owned else "Try again."
        raise Conflict(f"Somebody else has written {what}: {told.rstrip('.')}. {advice}", owned=owned)
    if status in {400, 413, 415, 422} and said:
        raise Invalid(f"{host} does not take {what}. It says: {said}")


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

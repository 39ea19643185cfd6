"""What a reader of namespaces is, and the rule by which a namespace is a user's.

Rules kept here:
- a namespace is a user's only when it carries the label ``<prefix>/user: "true"`` and the annotation
  ``<prefix>/userid`` equal to the user id exactly: a user called ``kube-system`` or ``default`` gets nothing;
- the reader knows nothing of users, the rule knows nothing of clusters and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .errors import NamespaceNotFound
from .names import namespace_name

PREFIX = "learning-lab.dev"


@dataclass(frozen=True, slots=True)
class Namespace:
    """The metadata of one namespace, as far as it is read here.

    Attributes:
        name: its name.
        labels: label key to value.
        annotations: annotation key to value.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """Reads namespaces from somewhere. Calls block; they may come from several threads at once."""

    def read(self, namespace: str) -> Namespace:
        """Read one namespace now.

        Raises:
            AnnotationError: one of its kinds.
        """
        ...

    def peek(self, namespace: str, age: float) -> Namespace | None:
        """A namespace as it was at most `age` seconds ago, without any I/O; None when that is not known."""
        ...

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        """Read all namespaces, or those that a label selector ("a=b,c=d") matches.

        Raises:
            AnnotationError: one of its kinds.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def user_namespace(reader: Reader, userid: str, prefix: str = PREFIX) -> Namespace:
    """Read the namespace of a user.

    Args:
        reader: where namespaces come from.
        userid: the user id.
        prefix: of the label and the annotation that mark it.

    Raises:
        InvalidUserId: the text cannot be a user id.
        NamespaceNotFound: there is none, or it is not marked as this user's.
        AnnotationError: another kind, from the reader.
    """
    namespace = reader.read(namespace_name(userid))
    problem = marking_problem(namespace, userid, prefix)
    if problem:
        raise NamespaceNotFound(f"The namespace {namespace.name!r} is not the one of user {userid!r}: {problem}")
    return namespace


def marking_problem(namespace: Namespace, userid: str, prefix: str = PREFIX) -> str | None:
    """Why a namespace is not a user's, as a sentence that says what to do; None when it is."""
    if namespace.labels.get(f"{prefix}/user") != "true":
        return f"it lacks the label {prefix}/user=true. If it is theirs, add it with kubectl label."
    if namespace.annotations.get(f"{prefix}/userid") != userid:
        return (
            f"its annotation {prefix}/userid does not equal the user id. If it is theirs, set it with kubectl annotate."
        )
    return None

"""The interface of a reader of namespaces, and the rule that says when a namespace is a user's.

Rules kept here:
- a namespace is a user's only if it has the label ``<prefix>/user: "true"`` and the annotation ``<prefix>/userid`` with
  exactly the user id: a user called ``kube-system`` or ``default`` gets nothing;
- readers know nothing about users, and the rule knows nothing about clusters and files.
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
    """The part of a namespace's metadata that this package reads.

    Attributes:
        name: the namespace's name.
        labels: its labels, by key.
        annotations: its annotations, by key.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """Reads namespaces from some source. Its methods block, and several threads may call them at once."""

    def read(self, namespace: str) -> Namespace:
        """Read one namespace now.

        Raises:
            AnnotationError: one of its subclasses.
        """
        ...

    def peek(self, namespace: str, age: float) -> Namespace | None:
        """A namespace as it was at most `age` seconds ago, without any I/O; None if that is not known."""
        ...

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        """Read all namespaces, or those that a label selector ("a=b,c=d") matches.

        Raises:
            AnnotationError: one of its subclasses.
        """
        ...

    def close(self) -> None:
        """Close any connections."""
        ...


def user_namespace(reader: Reader, userid: str, prefix: str = PREFIX) -> Namespace:
    """Read the namespace of a user.

    Args:
        reader: where namespaces come from.
        userid: the user id.
        prefix: the prefix of the label and the annotation that mark the namespace.

    Raises:
        InvalidUserId: the text cannot be a user id.
        NamespaceNotFound: there is none, or it is not marked as this user's.
        AnnotationError: another of its subclasses, from the reader.
    """
    namespace = reader.read(namespace_name(userid))
    problem = marking_problem(namespace, userid, prefix)
    if problem:
        raise NamespaceNotFound(f"The namespace {namespace.name!r} does not belong to user {userid!r}: {problem}")
    return namespace


def marking_problem(namespace: Namespace, userid: str, prefix: str = PREFIX) -> str | None:
    """Why a namespace is not a user's, as a sentence that says what to do; None if it is."""
    if namespace.labels.get(f"{prefix}/user") != "true":
        return f"it lacks the label {prefix}/user=true. If it is theirs, add it with kubectl label."
    if namespace.annotations.get(f"{prefix}/userid") != userid:
        return (
            f"its annotation {prefix}/userid does not equal the user id. If it is theirs, set it with kubectl annotate."
        )
    return None

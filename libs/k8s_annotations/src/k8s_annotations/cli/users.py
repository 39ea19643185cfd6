"""Finds the users among namespaces, and what is granted to each. Pure: callers pass the namespaces in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from k8s_annotations.errors import InvalidUserId
from k8s_annotations.grants import Grants, parse_grants
from k8s_annotations.names import namespace_name
from k8s_annotations.namespaces import PREFIX, Namespace, marking_problem


@dataclass(frozen=True, slots=True)
class Site:
    """A site's settings for lists of directories, named like the hub's settings.

    Attributes:
        prefix: the prefix of the label and the annotations.
        roots: canonical absolute paths.
        default_directory: a path with ``{userid}``; "" for none.
    """

    prefix: str = PREFIX
    roots: tuple[str, ...] = ("/s",)
    default_directory: str = "/s/{userid}/notebooks"

    def grants(self, userid: str, namespace: Namespace) -> Grants:
        """What the namespace grants to the user."""
        return parse_grants(
            userid,
            namespace.annotations,
            namespace.labels,
            roots=self.roots,
            prefix=self.prefix,
            default_directory=self.default_directory,
        )

    def userid(self, namespace: Namespace) -> str | None:
        """The user id in the namespace's annotation; None if it has none."""
        return namespace.annotations.get(f"{self.prefix}/userid")

    def problem(self, namespace: Namespace) -> str | None:
        """Why a namespace is not a user's, as a sentence; None if it is."""
        userid = self.userid(namespace)
        if userid is None:
            return f"It has no annotation {self.prefix}/userid. Set it to the user id."
        try:
            expected = namespace_name(userid)
        except InvalidUserId as error:
            return str(error)
        if expected != namespace.name:
            return f"The namespace of this user id is {expected}, not {namespace.name}."
        marking = marking_problem(namespace, userid, self.prefix)
        return f"The namespace is not the user's: {marking}" if marking else None


def users(namespaces: Iterable[Namespace], site: Site) -> Iterator[Grants]:
    """What is granted to each user. Namespaces that are not a user's are skipped."""
    for namespace in namespaces:
        userid = site.userid(namespace)
        if userid is not None and site.problem(namespace) is None:
            yield site.grants(userid, namespace)

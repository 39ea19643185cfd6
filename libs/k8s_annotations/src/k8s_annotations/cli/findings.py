"""Finds what is wrong with namespaces, for the people who write them: every bad entry, and where it is. Pure.

Rules kept here:
- a namespace is checked if it has anything of ours: the label of a user, one of our annotations, or a label that
  grants. Other namespaces are ignored;
- anything that the hub would show as disabled or as a notice is a finding, and so is anything that keeps a namespace
  from being a user's;
- `ManifestReader` can serve every file that has no findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from k8s_annotations.errors import AnnotationError
from k8s_annotations.grants import Notice
from k8s_annotations.manifests import Located, NotManifests, located_namespaces, parse_manifests
from k8s_annotations.namespaces import Namespace

from .users import Site


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake.

    Attributes:
        place: ``file:line``, or ``namespace/name``, for an annotation with the line in it.
        user: the user id, or the namespace if it has none.
        reason: one sentence.
    """

    place: str
    user: str
    reason: str


def check_manifests(text: bytes, source: str, site: Site) -> list[Finding]:
    """Check a file of manifests.

    Args:
        text: the file's bytes.
        source: what to call the file in findings.
        site: prefix, roots and default directory.
    """
    try:
        located = located_namespaces(text)
    except NotManifests as error:
        return [Finding(f"{source}:{error.line}", "-", str(error))]
    found: list[tuple[int, Finding]] = []
    for each in located:
        user = _user(each.namespace, site)
        for line, reason in [*each.problems, *_problems(each, site)]:
            found.append((line, Finding(f"{source}:{line}", user, reason)))
    for again, first in _repeated(located, site):
        reason = f"This user is already in line {first.line}."
        found.append((again.line, Finding(f"{source}:{again.line}", _user(again.namespace, site), reason)))
    if not found:
        try:
            parse_manifests(text, source)
        except AnnotationError as error:
            return [Finding(f"{source}:1", "-", str(error))]
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def check_namespaces(namespaces: Iterable[Namespace], site: Site) -> list[Finding]:
    """Check namespaces read from a cluster.

    Args:
        namespaces: the namespaces.
        site: prefix, roots and default directory.
    """
    located = [Located(namespace, 0) for namespace in namespaces]
    findings = []
    for each in located:
        each.block.add(("annotations", f"{site.prefix}/notebook-dirs"))  # report its lines, counted from 1
        place = f"namespace/{each.namespace.name}"
        for line, reason in _problems(each, site):
            findings.append(Finding(f"{place}:{line}" if line else place, _user(each.namespace, site), reason))
    for again, first in _repeated(located, site):
        reason = f"This user already has the namespace {first.namespace.name}."
        findings.append(Finding(f"namespace/{again.namespace.name}", _user(again.namespace, site), reason))
    return findings


def _problems(located: Located, site: Site) -> Iterator[tuple[int, str]]:
    """The line and the reason of each mistake in one namespace."""
    namespace = located.namespace
    annotation = f"{site.prefix}/notebook-dirs"
    granting = [key for key in namespace.labels if key.startswith(f"dir.{site.prefix}/")]
    ours = {f"{site.prefix}/user", f"{site.prefix}/userid", annotation}
    if not granting and not ours & {*namespace.labels, *namespace.annotations}:
        return
    problem = site.problem(namespace)
    if problem:
        yield located.line_in("annotations", f"{site.prefix}/userid"), problem
    grants = site.grants(site.userid(namespace) or "", namespace)
    for entry in grants.entries:
        if entry.problem is not None and entry.source == "annotation":
            yield located.line_in("annotations", annotation, entry.line), f"{entry.path or entry.name}: {entry.problem}"
        elif entry.problem is not None and entry.source == "setting" and not problem:
            yield located.line, f"{entry.path}: {entry.problem}"
    for notice in grants.notices:
        line = notice.line if isinstance(notice, Notice) else None
        reason = notice.reason if isinstance(notice, Notice) else notice
        yield located.line_in("annotations", annotation, line), reason
    for key in granting:
        # One label at a time, because an entry does not record which label it comes from.
        alone = site.grants("", Namespace(namespace.name, labels={key: namespace.labels[key]}))
        for entry in alone.entries:
            if entry.problem is not None:
                yield located.line_in("labels", key), f"{key}: {entry.problem}"


def _repeated(located: list[Located], site: Site) -> Iterator[tuple[Located, Located]]:
    """Namespaces with a user or a name that an earlier namespace already has, each with that earlier one."""
    first: dict[str, Located] = {}
    for each in located:
        userid = site.userid(each.namespace)
        keys = [f"namespace {each.namespace.name}", *([f"user {userid}"] if userid is not None else [])]
        before = next((first[key] for key in keys if key in first), None)
        if before is not None:
            yield each, before
        for key in keys:
            first.setdefault(key, each)


def _user(namespace: Namespace, site: Site) -> str:
    return site.userid(namespace) or f"namespace/{namespace.name}"

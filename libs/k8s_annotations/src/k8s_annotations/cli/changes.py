"""Decides what `grant`, `revoke`, `create` and `apply` change. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from k8s_annotations.grants import InvalidPath, canonical_path, fold
from k8s_annotations.grants.editing import CannotEdit, with_directory, without_directory
from k8s_annotations.namespaces import Namespace, marking_problem
from k8s_annotations.people import Person, Template
from k8s_annotations.people.template import Object, fingerprint

from .users import Site


class Refused(ValueError):
    """Nothing is changed. `str()` says why, and what to do next."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one user's list.

    Attributes:
        text: of the annotation; None leaves it as it is.
        labels: keys to take away.
        notes: sentences for the administrator.
    """

    text: str | None = None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def granting(userid: str, namespace: Namespace, site: Site, path: str, wanted: Mapping[str, str]) -> Change:
    """Grant a directory.

    Args:
        userid: whose namespace it is.
        namespace: as it was read.
        site: prefix, roots and default directory.
        path: as it was typed.
        wanted: other keys of the entry.

    Raises:
        Refused: the path cannot be granted, or the list cannot be changed.
    """
    try:
        path = canonical_path(path, site.roots)
    except InvalidPath as error:
        raise Refused(f"{path!r} cannot be granted. {error}") from None
    key = f"{site.prefix}/notebook-dirs"
    before, text, notes = site.grants(userid, namespace), namespace.annotations.get(key), []
    there = next((entry for entry in before.usable if entry.path == path), None)
    if there is not None and there.source != "annotation" and not wanted:
        return Change()
    try:
        if text is None and any(entry.source == "setting" for entry in before.entries):
            # Whoever has a list has no default directory any more.
            own = before.entries[0].path
            text = with_directory(None, {"path": own}) if own != path else None
            notes.append(f"{own} came from the site's default and is in the list now, so that it stays.")
        new = with_directory(text, {"path": path, **wanted})
    except CannotEdit as error:
        raise Refused(str(error)) from None
    annotations = {**namespace.annotations, key: new}
    after = site.grants(userid, replace(namespace, annotations=annotations))
    entry = next((entry for entry in after.entries if entry.path == path), None)
    if entry is None or entry.problem is not None:
        told = entry.problem if entry is not None else "The list is full."
        raise Refused(f"{path} cannot be granted. {told}")
    notes += [notice for notice in after.notices if notice not in before.notices]
    return Change(new if new != namespace.annotations.get(key) else None, notes=tuple(notes))


def revoking(userid: str, namespace: Namespace, site: Site, directory: str) -> Change:
    """Take a directory away: from the list, and from the labels.

    Args:
        userid: whose namespace it is.
        namespace: as it was read.
        site: prefix, roots and default directory.
        directory: a path, or the name of an entry.

    Raises:
        Refused: there are several of that name, or the list cannot be changed.
    """
    before = site.grants(userid, namespace)
    try:
        if directory.startswith("/"):
            path = canonical_path(directory, site.roots)
        else:
            meant = sorted({path for entry, path in before.meant(fold(directory)) if path == entry.path})
            if len(meant) > 1:
                raise Refused(f"{userid} has several directories of that name: {', '.join(meant)}. Name the path.")
            if not meant:
                return Change(notes=(f"{userid} has no directory {directory!r}.",))
            path = meant[0]
    except InvalidPath as error:
        raise Refused(f"{directory!r} is no directory. {error}") from None
    text = namespace.annotations.get(f"{site.prefix}/notebook-dirs")
    labels = tuple(
        key
        for key, value in namespace.labels.items()
        if key.startswith(f"dir.{site.prefix}/")
        and [each.path for each in site.grants("", Namespace("", labels={key: value})).entries] == [path]
    )
    try:
        new = without_directory(text, path) if text else text
    except CannotEdit as error:
        raise Refused(str(error)) from None
    left_labels = {key: value for key, value in namespace.labels.items() if key not in labels}
    fallback = any(entry.path == path and entry.source == "setting" for entry in before.entries)
    if fallback or (not new and labels and not any(key.startswith(f"dir.{site.prefix}/") for key in left_labels)):
        new = new or "[]\n"  # without it the site's default would come back
    key = f"{site.prefix}/notebook-dirs"
    annotations = {**namespace.annotations, **({key: new} if new is not None else {})}
    after = site.grants(userid, replace(namespace, labels=left_labels, annotations=annotations))
    notes = []
    if text == new and not labels:
        notes.append(f"{userid} has no entry {path}.")
    above = after.nearest(path)
    if above is not None and above.problem is None:
        notes.append(f"It can still be opened: it lies in {above.path}, which is granted.")
    return Change(new if new != text else None, labels, tuple(notes))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a person is to have.

    Attributes:
        person: who.
        objects: of the template, the Namespace first. Where there are more, it has the mark of all of them.
        changes: what is different from what is there, in words; empty when nothing is.
    """

    person: Person
    objects: list[Object] = field(default_factory=list)
    changes: tuple[str, ...] = ()


def planned(person: Person, namespace: Namespace | None, template: Template, site: Site) -> Plan:
    """Compare what a person is to have with what is there.

    Args:
        person: of the list.
        namespace: theirs; None when there is none of that name.
        template: what every person has.
        site: the prefix.

    Raises:
        Refused: a namespace of that name is there and is not the person's.
        InvalidTemplate: see `Template.objects`.
    """
    objects = template.objects(person, site.prefix)
    metadata = objects[0]["metadata"]
    if len(objects) > 1:
        metadata["annotations"][made_from(site)] = fingerprint(objects)
    if namespace is None:
        if person.namespace == "default" or person.namespace.startswith("kube-"):
            raise Refused(f"{person.userid}: {person.namespace!r} is a name of Kubernetes' own, so it can be nobody's.")
        return Plan(person, objects, ("new",))
    if marking_problem(namespace, person.userid, site.prefix) is not None:
        raise Refused(
            f"{person.userid}: there is a namespace {namespace.name!r} already that is not marked as this person's."
            " Mark it by hand if it is (docs: how to grant a directory)."
        )
    there: dict[str, Mapping[str, str]] = {"labels": namespace.labels, "annotations": namespace.annotations}
    changes = [
        key.removeprefix(f"{site.prefix}/")
        for kind in ("labels", "annotations")
        for key, value in metadata[kind].items()
        if there[kind].get(key) != value
    ]
    listed = f"{site.prefix}/notebook-dirs"
    if person.directories is not None and namespace.annotations.get(listed) != person.directories:
        changes.append("notebook-dirs")
    return Plan(person, objects, tuple(changes))


def made_from(site: Site) -> str:
    """The annotation that tells what a person's objects were made from, written when all of them are there."""
    return f"{site.prefix}/made-from"

"""Where changes are written: to a cluster, or to a file of manifests."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from difflib import unified_diff
from pathlib import Path
from typing import Protocol

import yaml

from k8s_annotations.cluster.connection import Where
from k8s_annotations.cluster.responses import to_namespace
from k8s_annotations.cluster.writer import LISTS, OBJECTS, ClusterWriter, Object, described
from k8s_annotations.errors import Conflict, NamespaceNotFound, NotConfigured
from k8s_annotations.manifests.editing import CannotEdit, with_value
from k8s_annotations.manifests.reader import parse_manifests
from k8s_annotations.names import namespace_name
from k8s_annotations.namespaces import Namespace, marking_problem

from .changes import Change, Plan, Refused, made_from
from .output import Blocks
from .users import Site

_TRIES = 4  # when somebody else changes the same list at the same time
_NOT_OURS = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink")
_BETWEEN = re.compile(r"^---(?:[ \t].*)?\n", re.MULTILINE)


class Store(Protocol):
    """Namespaces that can be read and changed. `dry_run` writes nothing, and still returns the difference."""

    def read(self, userid: str) -> Namespace | None:
        """The namespace of that user id's name; None when there is none."""
        ...

    def everybody(self) -> dict[str, Namespace]:
        """All namespaces by name, also those that are no user's, so that none is taken to be missing."""
        ...

    def change(self, namespace: Namespace, change: Change, site: Site, *, dry_run: bool) -> str:
        """Change a list.

        Returns:
            The difference, as `diff -u` has it.

        Raises:
            Conflict: the list was changed after it was read.
        """
        ...

    def make(self, plan: Plan, site: Site, *, dry_run: bool, tell: bool) -> str:
        """Create a person's objects, or update those that differ.

        Returns:
            The difference if `tell` is set, else "".
        """
        ...

    def finish(self, *, dry_run: bool) -> None:
        """Write whatever has not been written yet."""
        ...


class ClusterStore:
    """A cluster. Threads may share one.

    Args:
        where: which one.
        take_over: write fields that another field manager owns.
    """

    def __init__(self, where: Where, *, take_over: bool) -> None:
        self._writer = ClusterWriter(where)
        self._take_over = take_over
        self._versions: dict[str, str] = {}

    def read(self, userid: str) -> Namespace | None:
        """One GET."""
        found = self._writer.get(_bare(namespace_name(userid)))
        return self._seen(found) if found is not None else None

    def everybody(self) -> dict[str, Namespace]:
        """All of the cluster, page by page."""
        return {each.name: each for each in map(self._seen, self._writer.namespaces())}

    def change(self, namespace: Namespace, change: Change, site: Site, *, dry_run: bool) -> str:
        """Apply the list, and take labels away, over the version that was read."""
        key = f"{site.prefix}/notebook-dirs"
        version = self._versions[namespace.name]
        if change.text is not None:
            version = self._list(namespace.name, key, change.text, version, dry_run=dry_run)
        for label in change.labels:
            done = self._writer.remove_label(namespace.name, label, version, dry_run=dry_run)
            version = version if dry_run else str(done["metadata"]["resourceVersion"])
        told = ""
        if change.text is not None:
            told = difference(namespace.annotations.get(key, ""), change.text, f"{namespace.name}: {key}")
        return told + "".join(f"-{label}={namespace.labels[label]}\n" for label in change.labels)

    def make(self, plan: Plan, site: Site, *, dry_run: bool, tell: bool) -> str:
        """Apply the objects, the mark of all of them last, and the list."""
        first, *others = self._with_what_is_ours(plan.objects[0]), *plan.objects[1:]
        told = "".join(map(self._difference, [first, *others])) if tell else ""
        if dry_run:
            return told + _listed(plan, site) if tell else ""
        namespace = deepcopy(first)
        namespace["metadata"]["annotations"].pop(made_from(site), None)
        done = self._apply(namespace)
        for each in others:
            self._apply(each)
        if others:
            done = self._apply(first)  # with the mark, now that all of them are there
        if plan.person.directories is not None:
            key, version = f"{site.prefix}/notebook-dirs", str(done["metadata"]["resourceVersion"])
            if (done["metadata"].get("annotations") or {}).get(key) != plan.person.directories:
                self._list(plan.person.namespace, key, plan.person.directories, version, dry_run=False)
        return told + _listed(plan, site) if tell else ""

    def finish(self, *, dry_run: bool) -> None:  # noqa: ARG002
        """Let go of connections."""
        self._writer.close()

    def _with_what_is_ours(self, wanted: Object) -> Object:
        """The Namespace with the labels and annotations that an earlier run wrote and this one does not name.

        Applying would take them away. Which they are is in the object's managed fields.
        """
        live = self._writer.get(wanted)
        if live is None:
            return wanted
        fields = {each["manager"]: each.get("fieldsV1", {}) for each in live["metadata"].get("managedFields", [])}
        ours = fields.get(OBJECTS, {}).get("f:metadata", {})
        whole = deepcopy(wanted)
        for kind in ("labels", "annotations"):
            there = live["metadata"].get(kind) or {}
            kept = {key: value for key, value in there.items() if f"f:{key}" in ours.get(f"f:{kind}", {})}
            whole["metadata"][kind] = kept | wanted["metadata"][kind]
        return whole

    def _apply(self, wanted: Object) -> Object:
        return self._writer.apply(wanted, OBJECTS, take_over=self._take_over)

    def _list(self, name: str, key: str, text: str, version: str, *, dry_run: bool) -> str:
        wanted = _bare(name)
        wanted["metadata"] |= {"resourceVersion": version, "annotations": {key: text}}
        done = self._writer.apply(wanted, LISTS, dry_run=dry_run, take_over=self._take_over)
        return version if dry_run else str(done["metadata"]["resourceVersion"])

    def _difference(self, wanted: Object) -> str:
        live = self._writer.get(wanted)
        try:
            after = self._writer.apply(wanted, OBJECTS, dry_run=True, take_over=self._take_over)
        except NamespaceNotFound:
            after = wanted  # its namespace is not there yet
        return difference(_shown(live) if live is not None else "", _shown(after), described(wanted))

    def _seen(self, found: Object) -> Namespace:
        namespace = to_namespace(found)
        self._versions[namespace.name] = str(found["metadata"].get("resourceVersion", ""))
        return namespace


class FileStore:
    """A file of manifests, for GitOps. It is written once, at the end, and only when it changes.

    Args:
        path: the file; one that is not there is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._before = path.read_text()
        except FileNotFoundError:
            self._before = ""
        except (OSError, UnicodeDecodeError) as error:
            raise NotConfigured(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        # By document, so that each change parses one, and not the whole file.
        ends = [found.end() for found in _BETWEEN.finditer(self._before)]
        self._parts = [self._before[a:b] for a, b in zip([0, *ends], [*ends, None], strict=True)]
        self._namespaces = parse_manifests(self._before.encode(), str(path))
        self._place = {name: number for number, part in enumerate(self._parts) for name in _names(part)}

    def read(self, userid: str) -> Namespace | None:
        """As the file was."""
        return self._namespaces.get(namespace_name(userid))

    def everybody(self) -> dict[str, Namespace]:
        """All of the file."""
        return dict(self._namespaces)

    def change(self, namespace: Namespace, change: Change, site: Site, *, dry_run: bool) -> str:  # noqa: ARG002
        """Change the text of the file's document."""
        if change.text is not None:
            self._set(namespace.name, "annotations", f"{site.prefix}/notebook-dirs", change.text)
        for label in change.labels:
            self._set(namespace.name, "labels", label, None)
        return self._difference()

    def make(self, plan: Plan, site: Site, *, dry_run: bool, tell: bool) -> str:  # noqa: ARG002
        """Change the person's document, or add it at the end, with the template's other objects once."""
        first, *others = deepcopy(plan.objects)
        name, annotations = plan.person.namespace, first["metadata"]["annotations"]
        if plan.person.directories is not None:
            annotations[f"{site.prefix}/notebook-dirs"] = plan.person.directories
        if name not in self._place:
            self._append(name, [first, *others])
            return self._difference() if tell else ""
        before = self._namespaces[name].annotations.get(made_from(site))
        if before is not None and before != annotations.get(made_from(site), before):
            raise Refused(
                f"{plan.person.userid}: the template has changed, and objects of the old one are in {self._path}."
                f" Remove them and the annotation {made_from(site)} by hand, and run this again."
            )
        for kind in ("labels", "annotations"):
            for key, value in first["metadata"][kind].items():
                self._set(name, kind, key, value)
        if others and before is None:
            self._append(name, others)
        return self._difference() if tell else ""

    def finish(self, *, dry_run: bool) -> None:
        """Write the file, if it changes."""
        text = "".join(self._parts)
        if dry_run or text == self._before:
            return
        parse_manifests(text.encode(), str(self._path))
        try:
            mode = self._path.stat().st_mode & 0o777 if self._path.exists() else 0o644
            descriptor, aside = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                    os.fchmod(file.fileno(), mode)
                Path(aside).replace(self._path)  # a reader sees the old file or the new one
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(aside).unlink()
                raise
        except OSError as error:
            raise NotConfigured(f"{self._path} cannot be written: {error.strerror}. Check its mode.") from None

    def _append(self, name: str, objects: list[Object]) -> None:
        if self._parts[-1].strip():
            self._parts[-1] = self._parts[-1].removesuffix("\n") + "\n---\n"
            self._parts.append("")
        self._parts[-1] += yaml.dump_all(objects, Dumper=Blocks, sort_keys=False, allow_unicode=True, width=100_000)
        self._place.setdefault(name, len(self._parts) - 1)

    def _difference(self) -> str:
        return difference(self._before, "".join(self._parts), str(self._path))

    def _set(self, name: str, field: str, key: str, value: str | None) -> None:
        try:
            number = self._place[name]
            self._parts[number] = with_value(self._parts[number], name, field, key, value)
        except (CannotEdit, KeyError) as error:
            raise Refused(f"{self._path}: {error}") from None


def applied(
    store: Store, userid: str, site: Site, decide: Callable[[Namespace], Change], *, dry_run: bool
) -> tuple[Change, str]:
    """Read, decide and change, again when somebody else has changed the list in between.

    Returns:
        The change, and the difference.

    Raises:
        NamespaceNotFound: there is no namespace of the user, or it is not marked as theirs.
    """
    for last in (*[False] * (_TRIES - 1), True):
        namespace = store.read(userid)
        if namespace is None:
            raise NamespaceNotFound(f"There is no namespace of {userid!r}. Make it: k8s-annotations create {userid}")
        problem = marking_problem(namespace, userid, site.prefix)
        if problem is not None:
            raise NamespaceNotFound(f"The namespace {namespace.name!r} is not the one of user {userid!r}: {problem}")
        change = decide(namespace)
        try:
            return change, store.change(namespace, change, site, dry_run=dry_run)
        except Conflict as error:
            if last or error.owned:
                raise
    raise AssertionError("the loop above returns or raises")


def difference(old: str, new: str, what: str) -> str:
    """What `diff -u` would say."""
    return "".join(unified_diff(old.splitlines(True), new.splitlines(True), what, what))


def _listed(plan: Plan, site: Site) -> str:
    text = plan.person.directories
    changes = text is not None and ("new" in plan.changes or "notebook-dirs" in plan.changes)
    return difference("", text or "", f"{plan.person.namespace}: {site.prefix}/notebook-dirs") if changes else ""


def _bare(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _shown(found: Object) -> str:
    kept = {key: value for key, value in found.items() if key != "status"}
    kept["metadata"] = {key: value for key, value in found["metadata"].items() if key not in _NOT_OURS}
    text: str = yaml.dump(kept, Dumper=Blocks, allow_unicode=True, width=100_000)
    return text


def _names(part: str) -> Iterator[str]:
    yield from parse_manifests(part.encode(), "the file")

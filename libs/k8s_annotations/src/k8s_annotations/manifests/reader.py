"""The reader of a file of manifests: it gives the same answers as a cluster, from a ``namespaces.yaml``.

Rules kept here:
- the file contains what ``kubectl apply -f`` accepts: documents of kind Namespace, or a List of them; JSON too;
- it is read again when its times, size or inode change, and also while it is so new that a change might not alter
  them; nothing older than the file is ever served;
- a file that cannot be opened is a configuration error (`NotConfigured`). A file that cannot be parsed or is empty, for
  instance because it is half written, is treated like a cluster that does not answer (`ClusterUnavailable`).
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import yaml

from k8s_annotations.errors import ClusterUnavailable, NamespaceNotFound, NotConfigured
from k8s_annotations.namespaces import Namespace
from k8s_annotations.plain_yaml import DEEPEST, Loader, find_excess

from .lines import located_namespaces

LARGEST_FILE = 64 * 2**20  # bytes: 10,000 namespaces with 6 KiB of annotations
TICK = 100_000_000  # nanoseconds within which a file system may give two changes the same timestamp

_EQUALITY = re.compile(r"([^\s=!()]+)\s*==?\s*([^\s=!()]*)")


class ManifestReader:
    """Serves the namespaces in a file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._version: tuple[int, ...] | None = None
        self._looked = -math.inf  # when the file was last checked, by `time.monotonic`
        self._namespaces: dict[str, Namespace] = {}

    def read(self, namespace: str) -> Namespace:
        """Read one namespace.

        Raises:
            NamespaceNotFound: the file has no namespace of that name.
            NotConfigured: the file cannot be opened.
            ClusterUnavailable: the file cannot be parsed, or has no namespaces at all.
        """
        namespaces = self._load()
        if not namespaces:
            raise ClusterUnavailable(f"{self._path} has no namespaces at all. If it is being written, try again.")
        found = namespaces.get(namespace)
        if found is None:
            raise NamespaceNotFound(f"There is no namespace {namespace!r} in {self._path}. Add it there.")
        return found

    def peek(self, namespace: str, age: float) -> Namespace | None:
        """A namespace as of the last check of the file, if that was at most `age` seconds ago. Does no I/O."""
        return self._namespaces.get(namespace) if monotonic() - self._looked <= age else None

    def list(self, label_selector: str | None = None) -> Iterator[Namespace]:
        """Read all namespaces, or those that a label selector of equalities ("a=b,c=d") matches.

        Raises:
            NotConfigured: the selector has something else in it.
            AnnotationError: as for `read`.
        """
        wanted = _equalities(label_selector or "")
        for namespace in self._load().values():
            if all(namespace.labels.get(key) == value for key, value in wanted.items()):
                yield namespace

    def close(self) -> None:
        """Do nothing: nothing is held open."""

    def _load(self) -> dict[str, Namespace]:
        with self._lock:
            looked, now = monotonic(), time_ns()
            try:
                status = self._path.stat()
                version = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)
                if version == self._version:
                    self._looked = looked
                    return self._namespaces
                if status.st_size > LARGEST_FILE:
                    raise NotConfigured(
                        f"{self._path} is larger than {LARGEST_FILE} bytes, so it is not a list of namespaces."
                    )
                text = self._path.read_bytes()
            except OSError as error:
                self._looked = -math.inf
                raise NotConfigured(
                    f"The file of namespaces {self._path} cannot be read: {error.strerror}. Check its path and mode."
                ) from None
            self._looked, self._version = -math.inf, None  # if parsing fails, don't go on serving the old content
            self._namespaces = parse_manifests(text, str(self._path))
            settled = now - max(status.st_mtime_ns, status.st_ctime_ns) > TICK
            self._looked, self._version = looked, version if settled else None
            return self._namespaces


def _equalities(selector: str) -> dict[str, str]:
    wanted = {}
    for part in filter(None, selector.split(",")):
        found = _EQUALITY.fullmatch(part.strip())
        if found is None:
            raise NotConfigured(f"A file of namespaces supports only label selectors like a=b,c=d, not {part[:80]!r}.")
        wanted[found[1]] = found[2]
    return wanted


def parse_manifests(text: bytes, source: str) -> dict[str, Namespace]:
    """Parse manifests.

    Args:
        text: YAML or JSON, UTF-8.
        source: what to call the file in messages.

    Returns:
        The namespaces by name; documents of other kinds are skipped.

    Raises:
        ClusterUnavailable: the text is not YAML, or a namespace in it is malformed.
    """
    namespaces: dict[str, Namespace] = {}
    for item in _items(text, source):
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            raise ClusterUnavailable(f"{source}: a Namespace has no metadata.name. Fix the file.")
        name = metadata["name"]
        if name in namespaces:
            lines = [str(found.line) for found in located_namespaces(text) if found.namespace.name == name]
            where = f", in lines {' and '.join(lines[:2])}" if len(lines) > 1 else ""  # a merged name (<<) has no line
            raise ClusterUnavailable(f"{source}: the namespace {name!r} appears twice{where}. Remove one.")
        namespaces[name] = Namespace(
            name, _texts(metadata, "labels", name, source), _texts(metadata, "annotations", name, source)
        )
    return namespaces


def _items(text: bytes, source: str) -> Iterator[dict[str, Any]]:
    try:
        excess = find_excess(text)
        if excess is not None and excess.kind == "alias":
            raise ClusterUnavailable(f"{source} has YAML aliases, which are not allowed here. Write the values out.")
        if excess is not None:
            raise ClusterUnavailable(f"{source} is nested deeper than {DEEPEST} levels. Fix the file.")
        documents = list(yaml.load_all(text, Loader=Loader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        what = getattr(error, "problem", None) or "it is not valid text"
        raise ClusterUnavailable(f"{where} cannot be parsed: {what}. Fix the file.") from None
    for document in documents:
        if document is None:
            continue
        listed = document.get("items") if isinstance(document, dict) and "items" in document else [document]
        for item in listed if isinstance(listed, list) else []:
            if isinstance(item, dict) and item.get("kind") == "Namespace":
                yield item


def _texts(metadata: dict[str, Any], field: str, name: str, source: str) -> dict[str, str]:
    values = metadata.get(field) or {}
    if not isinstance(values, dict) or not all(isinstance(part, str) for pair in values.items() for part in pair):
        raise ClusterUnavailable(
            f"{source}: the {field} of namespace {name!r} are not all strings. Quote numbers, true and false."
        )
    return values

"""The namespaces in a file of manifests, with their line numbers, for messages about the file. Pure.

`reader` serves a file; this module finds what is wrong with one. So only a file that is not YAML stops it: a value that
is not a string, or a duplicate key, is reported and skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from k8s_annotations.namespaces import Namespace
from k8s_annotations.plain_yaml import DEEPEST, Loader, find_excess

_TEXT = "tag:yaml.org,2002:str"


class NotManifests(ValueError):
    """The file is not YAML. The message is one plain sentence.

    Attributes:
        line: the 1-based line.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Located:
    """A namespace and where it is in the file. All lines are 1-based.

    Attributes:
        namespace: its metadata, as far as they are strings.
        line: the line of its name.
        lines: the lines of its labels and annotations, by ("labels" or "annotations", key).
        block: those whose value is a literal block (``|``), so that each line of text is a line of the file.
        problems: what is wrong with the manifest itself, each with its line.
    """

    namespace: Namespace
    line: int
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    block: set[tuple[str, str]] = field(default_factory=set)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line_in(self, kind: str, key: str, inside: int | None = None) -> int:
        """The line of a label or annotation, or of a line inside its text if that is a line of the file."""
        line = self.lines.get((kind, key), self.line)
        return line + inside if inside is not None and (kind, key) in self.block else line


def located_namespaces(text: bytes) -> list[Located]:
    """Find the namespaces of a file.

    Args:
        text: YAML or JSON, UTF-8.

    Raises:
        NotManifests: the file cannot be parsed, or is nested too deep.
    """
    try:
        excess = find_excess(text)
        if excess is not None:
            alias = "It has a YAML alias (*), which is not allowed here. Write the value out."
            raise NotManifests(
                alias if excess.kind == "alias" else f"It is nested deeper than {DEEPEST} levels.", excess.line
            )
        return [_located(item) for document in yaml.compose_all(text, Loader=Loader) for item in _items(document)]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed"
        raise NotManifests(f"It is not valid YAML: {what}.", mark.line + 1 if mark else 1) from None
    except UnicodeError:
        raise NotManifests("It is not valid UTF-8.") from None


def _items(document: Any) -> Iterator[yaml.MappingNode]:
    listed = _value(document, "items")
    for item in listed.value if isinstance(listed, yaml.SequenceNode) else [document]:
        kind = _value(item, "kind")
        if isinstance(kind, yaml.ScalarNode) and kind.value == "Namespace":
            yield item


def _located(item: yaml.MappingNode) -> Located:
    metadata = _value(item, "metadata")
    name = _value(metadata, "name")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    named = isinstance(name, yaml.ScalarNode) and name.tag == _TEXT
    found = Located(Namespace(name.value if named else "?", labels, annotations), _line(name or item))
    if not named:
        found.problems.append((found.line, "The namespace has no metadata.name, or it is not a string."))
    for kind, texts in (("labels", labels), ("annotations", annotations)):
        if metadata is not None:
            _read_texts(_value(metadata, kind), kind, texts, found)
    for mapping in (item, metadata):
        found.problems += _repeated(mapping)
    return found


def _read_texts(node: Any, kind: str, texts: dict[str, str], found: Located) -> None:
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        found.problems.append((_line(node), f"The {kind} are not a mapping."))
        return
    found.problems += _repeated(node)
    for key, value in node.value:
        if key.tag != _TEXT or value.tag != _TEXT:
            found.problems.append(
                (_line(key), f"The {kind} are not all strings. Put quotes around numbers, true and false.")
            )
            continue
        texts[key.value] = value.value
        # The text of a block begins on the line after its "|".
        block = value.style == "|"
        found.lines[kind, key.value] = _line(value) if block else _line(key)
        if block:
            found.block.add((kind, key.value))


def _repeated(node: Any) -> list[tuple[int, str]]:
    seen: set[str] = set()
    problems = []
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                problems.append((_line(key), f"The key {key.value} appears twice; only the last one counts."))
            seen.add(key.value)
    return problems


def _value(node: Any, key: str) -> Any:
    """The value of a key (the last one, as loaders do); None if there is none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next(
        (value for name, value in reversed(pairs) if isinstance(name, yaml.ScalarNode) and name.value == key), None
    )


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1

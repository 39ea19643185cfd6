"""Change one annotation or label in a file of manifests, and nothing else. Pure.

The file is changed where the value stands, so that comments, order and quotes of all the rest stay: what a reviewer of
the change sees is the change. The result is read again, and must differ by that value alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from k8s_annotations.namespaces import Namespace

from .reader import parse_manifests

_BLOCK = re.compile(r"[^\s#][^\r\x85\u2028\u2029\ufeff]*\n", re.DOTALL)


class CannotEdit(ValueError):
    """The file cannot be changed like that. `str()` is one plain sentence."""


def with_value(text: str, namespace: str, field: str, key: str, value: str | None) -> str:
    """Set a label or an annotation of a namespace in a file, or take it away.

    Args:
        text: the file.
        namespace: its name.
        field: "labels" or "annotations".
        key: of it.
        value: None takes it away.

    Returns:
        The file's new text.

    Raises:
        CannotEdit: the namespace is not in it, or it is written in a way that cannot be changed here.
        ClusterUnavailable: it is no file of manifests; see `parse_manifests`.
    """
    before = parse_manifests(text.encode(), "the file")
    if namespace not in before:
        raise CannotEdit(f"The namespace {namespace!r} is not in the file.")
    if getattr(before[namespace], field).get(key) == value:
        return text
    new = _changed(text, namespace, field, key, value)
    _verify(before, new, namespace, field, key, value)
    return new


def _changed(text: str, namespace: str, field: str, key: str, value: str | None) -> str:
    metadata = _metadata(text, namespace)
    parent = _value(metadata, field)
    found = next((pair for pair in _pairs(parent) if pair[0].value == key), None)
    if value is None:
        return _without(text, found)
    if found is not None:
        return _put(text, *found, value)
    if isinstance(parent, yaml.MappingNode) and parent.value:
        return _inserted(text, parent, key, value)
    if isinstance(metadata, yaml.MappingNode) and parent is None:
        return _inserted(text, metadata, field, {key: value})
    raise CannotEdit(f"The {field} of the namespace {namespace!r} are written in a way that cannot be changed here.")


def _inserted(text: str, parent: yaml.MappingNode, key: str, value: str | dict[str, str]) -> str:
    """Put a pair in front of those that a mapping has."""
    first = parent.value[0][0]
    place = first.start_mark.index
    if parent.flow_style:
        return f"{text[:place]}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}, {text[place:]}"
    indent = _indent(first)
    if isinstance(value, dict):
        [(inner, inner_value)] = value.items()
        block = f"{_key(key)}:\n{' ' * (indent + 2)}{_key(inner)}: {_written(inner_value, indent + 2)}"
    else:
        block = f"{_key(key)}: {_written(value, indent)}"
    return f"{text[:place]}{block.rstrip(chr(10))}\n{' ' * indent}{text[place:]}"


def _without(text: str, found: tuple[Any, Any] | None) -> str:
    if found is None:
        return text
    start = text.rfind("\n", 0, found[0].start_mark.index) + 1
    if text[start : found[0].start_mark.index].strip():
        raise CannotEdit("It stands in a line with others, in braces. Take it out by hand.")
    end = _end(text, found[1])
    rest = text.find("\n", end)
    if text[end - 1] != "\n":
        end = len(text) if rest < 0 else rest + 1
    return text[:start] + text[end:]


def _put(text: str, key: Any, node: Any, value: str) -> str:
    """Put a value in the place of another one."""
    start, end = int(node.start_mark.index), _end(text, node)
    written = _written(value, _indent(key))
    if node.style in {"|", ">"}:
        return text[:start] + written.rstrip("\n") + "\n" + text[end:]
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    aside = text[end:line_end]
    if written.startswith("|\n") and (not aside.strip() or aside.lstrip().startswith("#")):
        return f"{text[:start]}|{aside.rstrip()}{written[1:].rstrip(chr(10))}{text[line_end:]}"
    return text[:start] + json.dumps(value) + text[end:]


def _end(text: str, node: Any) -> int:
    """Where a value ends; a block's without the empty lines and comments that PyYAML counts to it."""
    end = int(node.end_mark.index)
    if node.style not in {"|", ">"}:
        return end
    lines = text[:end].split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    while lines and (not lines[-1].strip()):
        lines.pop()
    return len("\n".join(lines)) + 1 if len("\n".join(lines)) < end else end


def _metadata(text: str, namespace: str) -> Any:
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        listed = _value(document, "items")
        for item in listed.value if isinstance(listed, yaml.SequenceNode) else [document]:
            metadata = _value(item, "metadata")
            named = [getattr(each, "value", None) for each in (_value(item, "kind"), _value(metadata, "name"))]
            if named == ["Namespace", namespace]:
                return metadata
    raise CannotEdit(f"The namespace {namespace!r} is written in a way that cannot be changed here.")


def _pairs(node: Any) -> list[tuple[Any, Any]]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _value(node: Any, key: str) -> Any:
    return next((value for name, value in _pairs(node) if name.value == key), None)


def _indent(key: Any) -> int:
    return int(key.start_mark.column)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][-A-Za-z0-9_./]*", text) else json.dumps(text)


def _written(value: str, indent: int) -> str:
    """A value as a block where that says the same, else in double quotes, which are JSON's too."""
    if "\n" in value and _BLOCK.fullmatch(value) and not value.endswith("\n\n"):
        lines = value.removesuffix("\n").split("\n")
        return "|\n" + "".join(f"{' ' * (indent + 2)}{line}\n" if line else "\n" for line in lines)
    return json.dumps(value, ensure_ascii=True)


def _verify(before: dict[str, Namespace], new: str, namespace: str, field: str, key: str, value: str | None) -> None:
    after = parse_manifests(new.encode(), "the file")
    expected = {kind: dict(getattr(before[namespace], kind)) for kind in ("labels", "annotations")}
    expected[field] = {name: each for name, each in expected[field].items() if name != key}
    expected[field] |= {key: value} if value is not None else {}
    wanted = {**before, namespace: Namespace(namespace, expected["labels"], expected["annotations"])}
    if after != wanted:
        raise CannotEdit("The file is written in a way that cannot be changed here. Change it by hand.")

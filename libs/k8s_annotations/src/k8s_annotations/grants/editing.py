"""Change the text of a list: add a directory, change one, take one away. Pure.

Rules kept here:
- a block list is edited line by line: everything else stays exactly as it is, comments included. Only comments inside
  a changed entry are lost. JSON stays JSON; any other list in brackets becomes a block list;
- a list that cannot be read is not changed; it must be fixed first;
- the result is parsed again, and only the named directory may differ. So no title can inject an entry, and nothing is
  lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from .items import KEYS, Item, NotAList, begins_item, read_items
from .paths import InvalidPath, fold

_Values = Mapping[str, str]


class CannotEdit(ValueError):
    """The list cannot be changed like that. `str()` is one or two plain sentences."""


def with_directory(text: str | None, wanted: _Values) -> str:
    """Add a directory to a list, or change the entry that is there.

    Args:
        text: the annotation; None or "" when there is none.
        wanted: the entry's keys (`items.KEYS`) with their values as text; ``path`` is canonical. Keys that the entry
            has already and that are not named stay.

    Returns:
        The annotation's new text; the text as it was when it says all that already.

    Raises:
        CannotEdit: the list cannot be read, or the result would not say what was wanted.
    """
    text = (text or "").removeprefix("\ufeff")
    items = _items(text)
    found = _index(items, wanted["path"])
    before = dict(items[found].values) if found is not None else {}
    changed = {**before, **wanted, "path": before.get("path", wanted["path"])}
    if found is not None and changed == before and items[found].problem is None:
        return text
    expected = [(dict(item.values), item.problem) for item in items]
    if wanted.get("default") == "true":
        for number, (values, _) in enumerate(expected):
            if number != found and values.pop("default", None) is not None:
                text = _replaced(text, _items(text), number, values)
    new = _replaced(text, _items(text), found, changed)
    expected[len(expected) if found is None else found : len(expected) if found is None else found + 1] = [
        (changed, None)
    ]
    _verify(new, expected)
    return new


def without_directory(text: str | None, path: str) -> str:
    """Take a directory out of a list.

    Args:
        text: the annotation.
        path: canonical.

    Returns:
        The annotation's new text; the text as it was when the directory is not in it.

    Raises:
        CannotEdit: the list cannot be read.
    """
    text = (text or "").removeprefix("\ufeff")
    items = _items(text)
    expected = [(dict(item.values), item.problem) for item in items]
    while (found := _index(items, path)) is not None:
        text = _replaced(text, items, found, None)
        items = _items(text)
        del expected[found]
    _verify(text, expected)
    return text


def _items(text: str) -> list[Item]:
    try:
        return read_items(text) or []
    except NotAList as error:
        raise CannotEdit(f"The list cannot be read, so it is not changed. Line {error.line}: {error}") from None


def _index(items: Sequence[Item], path: str) -> int | None:
    for number, item in enumerate(items):
        try:
            if item.values.get("path", "").startswith("/") and "/" + fold(item.values["path"]) == path:
                return number
        except InvalidPath:
            continue
    return None


def _replaced(text: str, items: Sequence[Item], number: int | None, values: _Values | None) -> str:
    """The text with one item replaced (None: one appended), or taken out where `values` is None."""
    replaced = slice(len(items), None) if number is None else slice(number, number + 1)
    listed = _json(text)
    if listed is not None:
        listed[replaced] = [] if values is None else [_plain(values)]
        return json.dumps(listed, ensure_ascii=False)
    lines = text.removesuffix("\n").split("\n")
    starts = [item.line - 1 for item in items]
    indents = {begins_item(lines[start]) if start < len(lines) else None for start in starts}
    if len(indents) == 1 and None not in indents:
        return _replaced_lines(lines, starts, number, values, str(indents.pop()))
    wrong = next((item for item in items if item.problem is not None), None)
    if wrong is not None:  # what it was meant to say would be lost
        raise CannotEdit(f"Line {wrong.line} of the list is in the way: {wrong.problem} Fix it first.")
    written = [_written(item.values, "") for item in items]
    written[replaced] = [] if values is None else [_written(values, "")]
    return "".join(written) or "[]\n"


def _replaced_lines(
    lines: list[str], starts: Sequence[int], number: int | None, values: _Values | None, indent: str
) -> str:
    """The same for the lines of a block list, each item of which begins at one of `starts` with that indentation."""
    if "..." in lines:  # ends the document
        lines = lines[: lines.index("...")]
    new = [] if values is None else _written(values, indent).splitlines()
    if number is None:
        lines = [*lines, *new]
    else:
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        while end > starts[number] + 1 and _stands_aside(lines[end - 1], indent):
            end -= 1  # what stands before the next item is about the next item
        lines = [*lines[: starts[number]], *new, *lines[end:]]
        if len(starts) == 1 and values is None:
            lines.append("[]")
    return "\n".join(lines) + "\n"


def _stands_aside(line: str, indent: str) -> bool:
    """Whether a line between two items is empty, or a comment in their column."""
    bare = line.strip()
    return not bare or (bare.startswith("#") and len(line) - len(line.lstrip()) <= len(indent))


def _json(text: str) -> list[Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _plain(values: _Values) -> Any:
    ordered: dict[str, Any] = {key: values[key] for key in KEYS if key in values}
    if ordered.get("default") in {"true", "false"}:
        ordered["default"] = ordered["default"] == "true"
    return ordered["path"] if set(ordered) == {"path"} else ordered


def _written(values: _Values, indent: str) -> str:
    """An item of a block list, with a line break at its end."""
    text: str = yaml.safe_dump([_plain(values)], sort_keys=False, allow_unicode=True, width=100_000)
    return "".join(f"{indent}{line}\n" if line else "\n" for line in text.removesuffix("\n").split("\n"))


def _verify(text: str, expected: Sequence[tuple[_Values, str | None]]) -> None:
    found = [(item.values, item.problem) for item in _items(text)]
    # A problem may tell a line, which is another one now.
    alike = [(values, problem is None) for values, problem in found]
    if alike != [(dict(values), problem is None) for values, problem in expected]:
        raise CannotEdit("The list is written in a way that cannot be changed by this command. Edit it by hand.")

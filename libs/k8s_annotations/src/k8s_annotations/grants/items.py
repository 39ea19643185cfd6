"""Reads the annotation's YAML item by item, so that a bad item never hides the good ones. Pure.

The text is read as a stream of events and never built into objects: no tag is obeyed, no alias is followed, nothing
recurses, and size, number and depth are limited before anything is kept.

Rules kept here (design, "the list"):
- plain scalars are taken as written: ``name: 2024``, ``title: no`` and ``title: .nan`` are strings;
- tags, anchors, aliases, merge keys, duplicate keys and unknown keys make an item bad (a mistyped ``access: ro`` must
  not give more than was meant);
- a syntax error spoils only the item that it is in if the items can be told apart, as in a block list, where each item
  begins with ``- `` in the same column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from k8s_annotations.plain_yaml import Loader
from k8s_annotations.untrusted_text import escaped

LARGEST_ANNOTATION = 16 * 1024  # bytes
MOST_ENTRIES = 500
DEEPEST = 4  # levels: the list, an entry, and two more that no entry needs

KEYS = ("path", "name", "title", "description", "access", "default")

_DEPTH_LIMIT = 200  # levels at which reading stops: a scanner's time grows with the square of the depth

_Opening = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_Closing = (yaml.SequenceEndEvent, yaml.MappingEndEvent)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})  # plain scalars that mean null (YAML 1.1, type null)
_LINE_END = re.compile("\r\n|\r|\n")
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE)
_FIRST_ITEM = re.compile(r"( *)-(?= |$)")
_NO_ITEM = re.compile(r" *(#.*)?$|---( *#.*)?$|%")


class NotAList(ValueError):
    """The annotation cannot be read at all. The message is one plain sentence.

    Attributes:
        line: the 1-based line inside the annotation.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


class Notice(str):
    """A sentence about the whole list, for the user whose list it is.

    Attributes:
        line: the line that it is about, 1-based inside the annotation; None for all of it.
        reason: the same for an administrator, who sees the line number next to it.
    """

    line: int | None
    reason: str

    def __new__(cls, reason: str, line: int | None = None, text: str | None = None) -> Notice:
        """Make a notice. Unless another text is given, its text is the reason after the line number."""
        notice = super().__new__(cls, text or (f"Line {line}: {reason}" if line else reason))
        notice.line, notice.reason = line, reason
        return notice


@dataclass(slots=True)
class Item:
    """One item of the list.

    Attributes:
        line: the 1-based line inside the annotation.
        values: the values that were written, by key, as strings; a bare path is ``{"path": ...}``.
        problem: why the item cannot be used; None if its structure is right.
    """

    line: int
    values: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    def refuse(self, problem: str | None) -> None:
        """Mark the item as bad. The first problem is kept."""
        self.problem = self.problem or problem


def read_items(text: str) -> list[Item] | None:
    """Read the annotation.

    Args:
        text: the annotation's value.

    Returns:
        Its items, good and bad, in order. There are at most `MOST_ENTRIES` + 1, so that a caller can see an overflow.
        None if the annotation is empty.

    Raises:
        NotAList: it is too large, not YAML, or not a list.
    """
    # A character takes at least one byte, so a huge text need not be encoded to find out.
    if len(text) > LARGEST_ANNOTATION or len(text.encode("utf-8", "surrogatepass")) > LARGEST_ANNOTATION:
        raise NotAList(f"It is longer than {LARGEST_ANNOTATION // 1024} KiB.")
    text = text.removeprefix("\ufeff")
    try:
        return _read(text)
    except NotAList as error:
        # JSON writes a character outside the first plane as two escapes, which YAML does not understand.
        as_yaml = _PAIR.sub(_one_escape, text)
        try:
            return _read(as_yaml) if as_yaml != text else _item_by_item(text, error)
        except NotAList as error:
            return _item_by_item(as_yaml, error)


def begins_item(line: str) -> str | None:
    """The indentation of a line that begins an item of a block list; None when it begins none."""
    found = _FIRST_ITEM.match(line)
    return found[1] if found else None


def _read(text: str) -> list[Item] | None:
    try:
        return _items(yaml.parse(text, Loader=Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None)
        why = f": {what}" if isinstance(what, str) else ""
        raise NotAList(f"It is not valid YAML{escaped(why, 120)}.", mark.line + 1 if mark else 1) from None
    except UnicodeError:
        raise NotAList("It is not valid text (a lone surrogate).") from None


def _one_escape(pair: re.Match[str]) -> str:
    character = bytes.fromhex(pair[2] + pair[3]).decode("utf-16-be")
    return f"{pair[1]}\\U{ord(character):08x}"


def _item_by_item(text: str, error: NotAList) -> list[Item]:
    """Read a block list with a syntax error somewhere. If that yields no good item, raise the error."""
    lines = _LINE_END.split(text)
    first = next((number for number, line in enumerate(lines) if not _NO_ITEM.match(line)), None)
    begin = _FIRST_ITEM.match(lines[first]) if first is not None else None
    if begin is None:
        raise error
    starts = [number for number, line in enumerate(lines) if line.startswith(begin[0]) and _FIRST_ITEM.match(line)]
    items: list[Item] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        try:
            found = _read("\n".join(lines[start:end])) or []
        except NotAList as wrong:
            found = [Item(wrong.line, {"path": lines[start].strip(" -").removeprefix("path:").lstrip()}, str(wrong))]
        for item in found:
            item.line += start
        items += found
        if len(items) > MOST_ENTRIES:
            break
    if all(item.problem is not None for item in items):
        raise error
    return items


def _items(events: Iterator[Any]) -> list[Item] | None:
    event = next(events)
    while isinstance(event, (yaml.StreamStartEvent, yaml.DocumentStartEvent)):
        event = next(events)
    if isinstance(event, yaml.StreamEndEvent) or _is_null(event):
        return None
    if not isinstance(event, yaml.SequenceStartEvent):
        raise NotAList("It is not a list.", _line(event))
    if problem := _markup_problem(event):
        raise NotAList(problem, _line(event))
    items: list[Item] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_item(event, events))
        if len(items) > MOST_ENTRIES:
            return items
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            items.append(Item(_line(event), problem="A second document begins here; write a single list."))
            break
    return items


def _item(event: Any, events: Iterator[Any]) -> Item:
    item = Item(_line(event))
    item.refuse(_markup_problem(event))
    if isinstance(event, yaml.MappingStartEvent):
        _read_mapping(item, events)
    elif isinstance(event, yaml.ScalarEvent):
        item.values["path"] = event.value
        if _is_null(event):
            item.refuse("It is empty.")
    else:
        item.refuse(_skip(event, events, depth=1))
        item.refuse("It is neither a path nor a mapping.")
    return item


def _read_mapping(item: Item, events: Iterator[Any]) -> None:
    """Read keys and values up to the end of the mapping."""
    seen = set()
    while not isinstance(key := next(events), yaml.MappingEndEvent):
        item.refuse(_markup_problem(key))
        name = key.value if isinstance(key, yaml.ScalarEvent) else None
        if name is None:
            item.refuse(_skip(key, events, depth=2))
            item.refuse("It has a key that is not text.")
        elif name not in KEYS:
            item.refuse(f"It has an unknown key: {escaped(name, 40)}. The keys are {', '.join(KEYS)}.")
        elif name in seen:
            item.refuse(f"It has the key {name} twice.")
        value = next(events)
        item.refuse(_markup_problem(value))
        if not isinstance(value, yaml.ScalarEvent):
            item.refuse(_skip(value, events, depth=2))
            item.refuse(f"Its {escaped(name, 40) if name else 'value'} is not text.")
        elif name in KEYS and name not in seen and not _is_null(value):
            item.values[name] = value.value
        seen.add(name)


def _skip(event: Any, events: Iterator[Any], depth: int) -> str | None:
    """Skip the rest of a node that begins at `depth`. Returns a problem if it is nested too deep."""
    above = deepest = depth
    if isinstance(event, _Opening):
        depth = deepest = depth + 1
    while depth > above:
        event = next(events)
        depth += isinstance(event, _Opening) - isinstance(event, _Closing)
        deepest = max(deepest, depth)
        if depth > _DEPTH_LIMIT:
            raise NotAList(f"It is nested deeper than {DEEPEST} levels.", _line(event))
    return f"It is nested deeper than {DEEPEST} levels." if deepest > DEEPEST else None


def _markup_problem(event: Any) -> str | None:
    if isinstance(event, yaml.AliasEvent) or event.anchor:
        return "It has an anchor or an alias (& or *); write the text out."
    return "It has a tag (!); write plain text." if event.tag else None


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _is_null(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and not event.style and event.value in _NULL

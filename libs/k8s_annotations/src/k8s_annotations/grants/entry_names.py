"""Gives each directory of a list a name that people can type. Pure.

Rules kept here (design, "the list"):
- a written name has no slash, is not ``.`` or ``..``, and has at most 120 characters: anything that looks like a path
  would be taken for one. Invisible characters are removed;
- without a usable written name, the name is the last segment of the path. Where two would be the same, each takes as
  many segments as it needs (``alice/genomics`` and ``shared/genomics``), so the meaning of a name does not depend on
  the order of the list;
- names must differ in more than case, composition and spacing; good entries get their names before bad ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from k8s_annotations.untrusted_text import clean, escaped, name_key

from .entry import Entry
from .items import Notice
from .paths import LONGEST_PATH

LONGEST_NAME = 120  # characters of a written name
LONGEST_DERIVED = 255  # characters; a path segment has no more

_SEGMENTS = (1, 2, 3, 4, LONGEST_PATH)  # how many segments of the path to try, in this order; the last means all


def with_names(entries: Iterable[Entry], notices: list[Notice]) -> tuple[Entry, ...]:
    """Give every entry a unique name, and a title.

    Args:
        entries: the entries, with names as written, "" for none.
        notices: receives a sentence for every written name that cannot be used.
    """
    entries = list(entries)
    names: dict[int, str] = {}
    taken: set[str] = set()
    for good in (True, False):
        mine = [position for position, entry in enumerate(entries) if (entry.problem is None) is good]
        for position in mine:
            entry = entries[position]
            name = clean(entry.name, len(entry.name))
            problem = _name_problem(name, taken)
            if problem is None:
                names[position] = name
                taken.add(name_key(name))
            elif entry.name and good:
                notices.append(Notice(f"The name {escaped(entry.name, 40)} {problem}.", entry.line))
        _derive([position for position in mine if position not in names], entries, names, taken)
    return tuple(
        replace(entry, name=names[position], title=entry.title or names[position])
        for position, entry in enumerate(entries)
    )


def _name_problem(name: str, taken: set[str]) -> str | None:
    if not name:
        return "has no visible characters"
    if "/" in name or name in {".", ".."}:
        return "looks like a path; a name has no slash"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    return "is already used by another directory" if name_key(name) in taken else None


def _derive(positions: list[int], entries: list[Entry], names: dict[int, str], taken: set[str]) -> None:
    """Name entries after their paths. Nobody gets a suffix that several of them share, or that is taken."""
    waiting = positions
    for count in _SEGMENTS:
        suffixes = {position: _suffix(entries[position].path, count) for position in waiting}
        shared = Counter(name_key(suffix) for suffix in suffixes.values())
        later = []
        for position in waiting:
            key = name_key(suffixes[position])
            if key and shared[key] == 1 and key not in taken and len(suffixes[position]) <= LONGEST_DERIVED:
                names[position] = suffixes[position]
                taken.add(key)
            else:
                later.append(position)
        waiting = later
    numbers: Counter[str] = Counter()
    for position in waiting:
        name = _suffix(entries[position].path, 1) or "directory"
        while name_key(numbered := f"{name}-{numbers[name]}" if numbers[name] else name) in taken:
            numbers[name] += 1 if numbers[name] else 2
        names[position] = numbered
        taken.add(name_key(numbered))


def _suffix(path: str, count: int) -> str:
    """The last segments of a path as a name; "" if one of them cannot be typed."""
    segments = [clean(segment, LONGEST_PATH) for segment in path.strip("/").split("/")[-count:]]
    return "" if {"", ".", ".."} & {*segments} else "/".join(segments)

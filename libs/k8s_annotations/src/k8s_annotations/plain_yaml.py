"""Checks that YAML is safe to give to PyYAML: without aliases, and not nested too deep.

Aliases turn a few bytes into gigabytes, and PyYAML's composer recurses on the C stack, where an overflow ends the
process. So the text is first read as a stream of events, which does neither.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import yaml

DEEPEST = 50  # levels

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a safe loader, in C if libyaml is there


class Excess(NamedTuple):
    """Which limit a text exceeds, and the 1-based line where it does."""

    kind: Literal["alias", "depth"]
    line: int


def find_excess(text: bytes) -> Excess | None:
    """Find the first alias, or the first level below `DEEPEST`; None if there is neither.

    Raises:
        yaml.YAMLError: the text is not YAML.
        UnicodeError: the text is not UTF-8.
    """
    depth = 0
    event: Any  # the stubs say that an event's mark may be missing, but the parser always sets it
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            return Excess("alias" if depth <= DEEPEST else "depth", int(event.start_mark.line) + 1)
    return None

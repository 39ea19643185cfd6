"""What may be handed to PyYAML: a text without aliases and not nested too deep.

Aliases make gigabytes of a few bytes, and PyYAML's composer recurses on the C stack, where the process would end. So a
text is walked as a stream of events first, which does neither.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import yaml

DEEPEST = 50  # levels

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a safe one, in C where there is libyaml


class Excess(NamedTuple):
    """What a text has too much of, and the line (1-based) where it begins."""

    kind: Literal["alias", "depth"]
    line: int


def find_excess(text: bytes) -> Excess | None:
    """Find the first alias, or the first level below `DEEPEST`; None when the text is plain.

    Raises:
        yaml.YAMLError: it is no YAML.
        UnicodeError: it is no UTF-8.
    """
    depth = 0
    event: Any  # the stubs give an event's mark as one that may be missing; the parser sets it
    for event in yaml.parse(text, Loader=Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            return Excess("alias" if depth <= DEEPEST else "depth", int(event.start_mark.line) + 1)
    return None

"""One directory of a list, as everybody passes it on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_TITLE = 120  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One directory of a list.

    Attributes:
        path: canonical; of an entry whose path is bad the text as written, shortened, with escapes.
        name: what people type; unique in the list.
        title: what people read.
        description: one line, may be empty.
        access: "ro" or "rw", as the list says.
        default: preselected when nothing else is.
        source: where it comes from.
        line: 1-based line inside the annotation, None for a label or the default directory.
        problem: None when it is usable, else one plain sentence why it is disabled.
    """

    path: str
    name: str
    title: str
    description: str = ""
    access: Literal["ro", "rw"] = "rw"
    default: bool = False
    source: Literal["annotation", "label", "setting"] = "annotation"
    line: int | None = None
    problem: str | None = None

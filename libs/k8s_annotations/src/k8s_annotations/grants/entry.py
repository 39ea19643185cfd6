"""One directory of a list, in the form that all other modules use. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LONGEST_TITLE = 120  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One directory of a list.

    Attributes:
        path: the canonical path; for an entry with a bad path, the text as written, shortened and escaped.
        name: what people type; unique in the list.
        title: what people read.
        description: one line; may be empty.
        access: "ro" or "rw", as the list says.
        default: whether it is preselected when nothing else is.
        source: where it comes from.
        line: the 1-based line inside the annotation; None for a label or the default directory.
        problem: None if it is usable, else one sentence that says why it is disabled.
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

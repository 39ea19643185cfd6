"""Reads the corpus of hostile inputs, `hostile.jsonl`: one JSON object a line, everything beyond ASCII escaped.

Each has an `id`, a `kind`, an `input` and what is expected of it (`expect`, see the tests of that kind):
- "annotation": a text of the annotation, for the user alice;
- "label": the granting labels, without the prefix of their keys;
- "path": a path as written, for `canonical_path`;
- "choice": what a person typed; the one of kind "list" is the annotation that it is looked up in.

A long text is a list of its parts: a string, or a string and how often it is repeated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOSTILE = Path(__file__).with_name("hostile_annotations.jsonl")


def hostile(kind: str) -> list[dict[str, Any]]:
    """The cases of a kind, with their ids as sentences."""
    cases = [json.loads(line) for line in HOSTILE.read_text("ascii").splitlines()]
    return [case for case in cases if case["kind"] == kind]


def text(parts: str | list[Any] | dict[str, Any]) -> str:
    """A text of the corpus."""
    if isinstance(parts, str):
        return parts
    if isinstance(parts, dict):
        template, count = parts["numbered"]
        return "".join(template.replace("{}", str(number)) for number in range(count))
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)

"""Reads the corpus of hostile inputs, `hostile_annotations.jsonl`: one JSON object per line, with non-ASCII escaped.

Each has an `id`, a `kind`, an `input` and the expected result (`expect`, see the tests of that kind):
- "annotation": the text of an annotation, for the user alice;
- "label": the granting labels, without their keys' prefix;
- "path": a path as written, for `canonical_path`;
- "choice": what a person typed; the case of kind "list" is the annotation in which it is looked up.

A long text is a list of its parts: a string, or a string and how often it is repeated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOSTILE = Path(__file__).with_name("hostile_annotations.jsonl")


def hostile(kind: str) -> list[dict[str, Any]]:
    """The cases of a kind, each with a readable id."""
    cases = [json.loads(line) for line in HOSTILE.read_text("ascii").splitlines()]
    return [case for case in cases if case["kind"] == kind]


def text(parts: str | list[Any] | dict[str, Any]) -> str:
    """Assemble a text of the corpus from its parts."""
    if isinstance(parts, str):
        return parts
    if isinstance(parts, dict):
        template, count = parts["numbered"]
        return "".join(template.replace("{}", str(number)) for number in range(count))
    return "".join(part if isinstance(part, str) else part[0] * part[1] for part in parts)

"""What the command prints: tables for people, JSON and YAML for programs. Pure.

No format prints a character unescaped if it controls the terminal or is invisible. JSON and YAML use their own escapes,
so that a program reads the exact text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml

from k8s_annotations.untrusted_text import escaped

LONGEST_CELL = 200  # characters in one line of a cell


class Blocks(yaml.SafeDumper):
    """Writes multi-line text as a block, as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Blocks.add_representer(str, _text)


def formatted(value: Any, form: str) -> str:
    """Format a value made of dictionaries, lists, strings and numbers as "json" or "yaml"."""
    if form == "json":
        text = json.dumps(value, indent=2, ensure_ascii=False)
        lines = [line if escaped(line) == line else _json_line(line) for line in text.split("\n")]
        return "\n".join(lines) + "\n"
    # PyYAML escapes either all non-ASCII characters or no printable ones, so if one must be escaped, escape them all.
    plain = all(escaped(line) == line for line in _texts(value))
    return str(yaml.dump(value, Dumper=Blocks, allow_unicode=plain, sort_keys=False, width=10_000))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format columns with two spaces between them. A cell of several lines takes up several lines.

    Args:
        header: the names of the columns.
        rows: the cells; untrusted.
    """
    lines = [list(header)]
    for row in rows:
        cells = [[escaped(line, LONGEST_CELL) for line in cell.rstrip("\n").split("\n")] for cell in row]
        height = max(len(cell) for cell in cells)
        lines += [[cell[number] if number < len(cell) else "" for cell in cells] for number in range(height)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _json_line(line: str) -> str:
    return "".join(char if escaped(char) == char else json.dumps(char)[1:-1] for char in line)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split("\n")
    if isinstance(value, dict):
        return [line for pair in value.items() for part in pair for line in _texts(part)]
    return [line for part in value for line in _texts(part)] if isinstance(value, (list, tuple)) else []

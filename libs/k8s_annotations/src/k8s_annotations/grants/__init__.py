"""Turns the text of annotations and labels into the directories that they grant. Pure."""

from __future__ import annotations

from .entry import LONGEST_TITLE, Entry
from .items import Notice
from .parsing import Grants, parse_grants
from .paths import InvalidPath, canonical_path, fold, is_at_or_below, is_segment

__all__ = [
    "LONGEST_TITLE",
    "Entry",
    "Grants",
    "InvalidPath",
    "Notice",
    "canonical_path",
    "fold",
    "is_at_or_below",
    "is_segment",
    "parse_grants",
]

"""The people whom an administrator lists, and what a cluster holds for each of them. Pure."""

from __future__ import annotations

from .identity import Identity, InvalidIdentity, identity_of
from .lists import Listed, Person, read_people
from .template import InvalidTemplate, Template

__all__ = [
    "Identity",
    "InvalidIdentity",
    "InvalidTemplate",
    "Listed",
    "Person",
    "Template",
    "identity_of",
    "read_people",
]

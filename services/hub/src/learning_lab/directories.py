"""From what a person chose or typed to a directory of their list. Pure: no I/O, no Jupyter.

Rules kept here (design, "rules of safety", 1 and 2):
- a choice names an entry, its path, or a folder below either: ``genomics``, ``genomics/week1``,
  ``/s/shared/genomics/week1``; anything else is not theirs, in the same words whether it exists or not;
- the entry that lies nearest decides, and a disabled entry decides too: what is below it is given only by another
  entry in between;
- a path is compared byte by byte; a name without regard to case and composition, where that leaves one;
- a path found by following links must be the user's own or below a usable entry again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

from k8s_annotations import Entry, Grants, InvalidPath, canonical_path, clean, fold
from k8s_annotations.paths import is_at_or_below, is_segment
from k8s_annotations.text import name_key

_LONGEST_ECHO = 80  # characters of a refused text that are shown again
_MOST_MEANT = 5  # names that are offered for an ambiguous one

Kind = Literal["empty", "invalid", "unknown", "ambiguous", "disabled", "elsewhere"]


class NotGranted(ValueError):
    """A choice that is not given. `str()` is for the person: what is wrong and what to do.

    It says nothing about what exists, and nothing of other people's directories.

    Attributes:
        names: what they can open.
        kind: "empty", nothing was chosen; "invalid", it can be no name and no path; "unknown", it is not in the list;
            "ambiguous", more than one could be meant; "disabled", it is in the list with a problem; "elsewhere", it
            leads out of the list.
    """

    def __init__(self, message: str, names: tuple[str, ...] = (), kind: Kind = "unknown") -> None:
        super().__init__(message)
        self.names = names
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that was granted.

    Attributes:
        path: canonical.
        entry: the entry that grants it.
        below: the path relative to the entry's, "" for the entry itself.
    """

    path: str
    entry: Entry
    below: str = ""

    @property
    def name(self) -> str:
        """What people type: the entry's name, and the folder below it."""
        return self.entry.name + (f"/{self.below}" if self.below else "")

    @property
    def title(self) -> str:
        """What people read: the entry's title, and the folder below it."""
        return self.entry.title + (f" / {self.below}" if self.below else "")


def resolve(choice: str, grants: Grants) -> Directory:
    """Find a choice in the list.

    Args:
        choice: a name, a path, or a folder below either; hostile. Spaces around it are taken off, but for a path
            that is in the list as it stands: a folder's name may end in one.
        grants: the user's list.

    Raises:
        NotGranted: it is not in the list.
    """
    if not choice.strip():
        raise NotGranted("Choose a directory of the list, or type its name.", _names(grants), "empty")
    typed = choice.strip()
    if choice != typed and choice.startswith("/"):
        with contextlib.suppress(NotGranted):
            return _resolve(choice, grants)
    return _resolve(typed, grants)


def check_real_path(real: str, directory: Directory, grants: Grants) -> None:
    """Check where a directory's links lead.

    Args:
        real: its path without symlinks, with the roots as they are configured.
        directory: what was granted.
        grants: the user's list.

    Raises:
        NotGranted: it leads out of the roots, or to where nothing is granted.
    """
    if real == directory.path:
        return
    try:
        canonical = canonical_path(real, grants.roots) == real
    except InvalidPath:
        canonical = False
    nearest = grants.nearest(real)
    granted = is_own(real, grants) if nearest is None else nearest.problem is None
    if not (canonical and granted):
        raise NotGranted(
            f"{directory.entry.title} leads to a place that is not in your list. Ask the people who run this lab.",
            _names(grants),
            "elsewhere",
        )


def _resolve(choice: str, grants: Grants) -> Directory:
    try:
        folded = fold(choice)  # before anything else: no "..", nothing that cannot be seen, nothing too long
        path = f"/{folded}" if choice.startswith("/") else _path_by_name(folded, choice, grants)
        nearest = grants.nearest(path)
        if nearest is None:
            raise _refusal(choice, grants, "unknown", "")
        if nearest.problem is not None:
            raise _refusal(choice, grants, "disabled", nearest.problem)
        path = canonical_path(path, grants.roots)  # a folder below may make it too long
    except InvalidPath as error:
        raise _refusal(choice, grants, "invalid", str(error)) from None
    return Directory(path, nearest, path[len(nearest.path) + 1 :])


def _path_by_name(folded: str, choice: str, grants: Grants) -> str:
    """The path that a name, or a folder below a name, stands for.

    Raises:
        NotGranted: no entry has that name, or more than one could be meant.
    """
    meant = grants.meant(folded)
    if len(meant) > 1:
        raise _ambiguous(choice, tuple(entry.name for entry, _ in meant), grants)
    for entry, path in meant:
        if entry.problem is not None:
            raise _refusal(choice, grants, "disabled", entry.problem)
        return path
    first = name_key(folded.partition("/")[0])
    alike = tuple(entry.name for entry in grants.usable if name_key(entry.path).endswith(f"/{first}"))
    if len(alike) > 1:
        raise _ambiguous(choice, alike, grants)
    raise _refusal(choice, grants, "unknown", "")


def _ambiguous(choice: str, meant: tuple[str, ...], grants: Grants) -> NotGranted:
    return _refusal(choice, grants, "ambiguous", f"Say which one: {', '.join(meant[:_MOST_MEANT])}.")


def _refusal(choice: str, grants: Grants, kind: Kind, why: str) -> NotGranted:
    wrong = {"disabled": "cannot be opened.", "ambiguous": "could be more than one of your directories."}
    shown = clean(choice, _LONGEST_ECHO) or "That"
    return NotGranted(
        f'"{shown}" {wrong.get(kind, "is not one of your directories.")} {why}'.rstrip(), _names(grants), kind
    )


def _names(grants: Grants) -> tuple[str, ...]:
    return tuple(entry.name for entry in grants.usable)


def is_own(path: str, grants: Grants) -> bool:
    """Whether a path is the user's own directory below a root (`/s/<userid>`), or lies in it."""
    # A user id such as "" or ".." would make the root, or what is above it, the user's own.
    own = [f"{root.rstrip('/')}/{grants.userid}" for root in grants.roots] if is_segment(grants.userid) else []
    return any(is_at_or_below(path, each) for each in own)

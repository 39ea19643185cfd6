"""From what a person chose or typed to a directory of their list. Pure: no I/O, no Jupyter.

Rules kept here (design, "rules of safety", 1 and 2):
- a choice names an entry, its path, or a folder below either: ``genomics``, ``genomics/week1``,
  ``/s/shared/genomics/week1``; anything else is not theirs, in the same words whether it exists or not;
- a card's title may be typed too (``Genomics course``, ``Genomics course / week1``), but only where no name and no path
  is meant: who writes a title cannot change what a name stands for;
- the entry that lies nearest decides, and a disabled entry decides too: what is below it is given only by another
  entry in between;
- a path is compared byte by byte; a name or title without regard to case and composition, where that leaves one;
- a path found by following links must be the user's own or below a usable entry again.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

from k8s_annotations import Entry, Grants, InvalidPath, canonical_path, clean, fold
from k8s_annotations.grants import LONGEST_TITLE, is_at_or_below, is_segment
from k8s_annotations.untrusted_text import name_key

_LONGEST_ECHO = 80  # characters of a refused text that are shown again
_MOST_MEANT = 5  # names that are offered for an ambiguous one
BETWEEN = " / "  # what stands between a title and the folder below it on a card

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
        return self.entry.title + (f"{BETWEEN}{self.below}" if self.below else "")


def resolve(choice: str, grants: Grants) -> Directory:
    """Find a choice in the list.

    Args:
        choice: a name, a path, a title, or a folder below one of them; hostile. Spaces around it are taken off, but
            for a path that is in the list as it stands: a folder's name may end in one.
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
        # Folded before anything else: no "..", nothing that cannot be seen, nothing too long.
        if choice.startswith("/"):
            path = f"/{fold(choice)}"
        else:
            path = _path_by_name(fold(choice.replace(BETWEEN, "/", 1)), choice, grants)
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
    """The path that a name or title, or a folder below one, stands for.

    Raises:
        NotGranted: no entry is called that, or more than one could be meant.
    """
    meant = grants.meant(folded) or _meant_by_title(fold(choice.replace(BETWEEN, "/")), grants)
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


def _meant_by_title(folded: str, grants: Grants) -> tuple[tuple[Entry, str], ...]:
    """What a title, or a folder below a title, stands for; the answer is that of `Grants.meant`."""
    titled: dict[str, list[Entry]] = {}
    for entry in grants.entries:
        titled.setdefault(_title_key(entry.title), []).append(entry)
    titled.pop("", None)  # a title of slashes alone
    parts = folded.split("/")
    # The longest title first: one may have slashes in it, though no more than characters.
    for count in range(min(len(parts), LONGEST_TITLE), 0, -1):
        written = "/".join(parts[:count])
        alike = titled.get(_title_key(written), [])
        alike = [entry for entry in alike if entry.problem is None] or alike
        alike = [entry for entry in alike if entry.title == written] or alike
        if alike:
            return tuple((entry, "/".join([entry.path, *parts[count:]])) for entry in alike)
    return ()


def _title_key(title: str) -> str:
    """What two titles have in common that people would call the same; spaces beside a slash do not count either."""
    return "/".join(filter(None, map(name_key, title.split("/"))))


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

"""What the menu shows: cards, their order and their marks. Pure.

Rules kept here:
- the last used directory comes first, with its own button; then the others in the order of the list;
- a bad entry is shown disabled with its reason and never hides a good one;
- exactly one usable card is checked when there is any;
- all text in here is untrusted: templates escape it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from k8s_annotations import Entry, Grants

from .directories import is_own
from .probe import Found


@dataclass(frozen=True, slots=True)
class Card:
    """One directory of the menu.

    Attributes:
        name: what people type.
        title: what people read.
        description: one line, may be empty.
        path: shown small.
        value: what choosing it posts.
        access: "ro" when it cannot be written, as the list says or as was found; else "rw".
        where: "yours" or "shared".
        problem: why it is disabled, None when it can be chosen.
        last_used: chosen at the last start.
        new: granted since the last start.
        default: the list's own default.
        checked: preselected.
        running: open right now.
    """

    name: str
    title: str
    description: str
    path: str
    value: str
    access: str
    where: str
    problem: str | None = None
    last_used: bool = False
    new: bool = False
    default: bool = False
    checked: bool = False
    running: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request that shows the menu already says.

    Attributes:
        preselect: a name or path from a link, already resolved to a path, or "".
        typed: refused text, shown again in the text field.
        error: why the last try was refused.
        straight_in: whether a single directory may be opened without asking.
        next: where to go after the start, "" for the lab itself.
    """

    preselect: str = ""
    typed: str = ""
    error: str | None = None
    straight_in: bool = False
    next: str = ""


@dataclass(frozen=True, slots=True)
class Menu:
    """The page's data.

    Attributes:
        primary: the card with its own button, None when there is nothing usable.
        cards: the others, disabled ones included.
        notices: sentences about the whole list.
        stale: the list is the last known one; nothing can be started from it.
        suggestions: names for the completion of the text field.
        running: the path that is open, None when nothing is.
    """

    userid: str
    primary: Card | None
    cards: tuple[Card, ...]
    notices: tuple[str, ...]
    stale: bool
    suggestions: tuple[str, ...]
    asked: Asked = field(default_factory=Asked)
    running: str | None = None

    @property
    def straight_in(self) -> bool:
        """Whether to open the one directory there is without asking."""
        return self.asked.straight_in and not self.stale and self.primary is not None and not self.cards

    @property
    def typed(self) -> str:
        """Refused text."""
        return self.asked.typed

    @property
    def error(self) -> str | None:
        """Why the last try was refused."""
        return self.asked.error


def fingerprint(path: str) -> str:
    """A short mark of a path, for the list of directories that a person has seen (4 bytes, hex)."""
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def build_menu(
    userid: str,
    grants: Grants | None,
    found: Mapping[str, Found],
    *,
    notices: Collection[str] = (),
    stale: bool = False,
    last: str = "",
    seen: Collection[str] = (),
    running: str | None = None,
    asked: Asked | None = None,
) -> Menu:
    """Build the menu.

    Args:
        userid: whose menu.
        grants: the list, None when there is none.
        found: what is known of the paths; a path that is not in it is shown unmarked.
        notices: sentences to show besides those of the list.
        stale: the list is not fresh.
        last: the path of the last start, "" for none. It may be a folder below an entry.
        seen: fingerprints of the directories that were in the list at the last start; empty for a first visit.
        running: the path that is open now.
        asked: what the request says.

    Returns:
        The page's data.
    """
    asked = asked or Asked()
    cards = []
    if grants is not None:
        cards = [_card(entry, grants, found, last=last, seen=seen, running=running) for entry in grants.entries]
    cards = _with_folders_below(cards, [path for path in (last, asked.preselect) if path], found, last, running)
    usable = [card for card in cards if card.problem is None]
    primary = None
    for wanted in (asked.preselect, last):
        primary = primary or next((card for card in usable if card.path == wanted), None)
    primary = primary or next((card for card in usable if card.default), None)
    if primary is None and len(usable) == 1:
        primary = usable[0]
    chosen = primary or next(iter(usable), None)
    return Menu(
        userid=userid,
        primary=replace(primary, checked=True) if primary else None,
        cards=tuple(replace(card, checked=card is chosen) for card in cards if card is not primary),
        notices=(*notices, *(grants.notices if grants else ())),
        stale=stale,
        suggestions=tuple(card.name for card in usable),
        asked=asked,
        running=running,
    )


def _card(
    entry: Entry,
    grants: Grants,
    found: Mapping[str, Found],
    *,
    last: str,
    seen: Collection[str],
    running: str | None,
) -> Card:
    known = found.get(entry.path) if entry.problem is None else None
    problem = entry.problem or (known.sentence if known else None)
    if problem and known and known.state == "missing" and entry.source == "setting":
        problem = None  # the default directory of a new user is made at the first start
    read_only = entry.access == "ro" or bool(known and known.state == "ok" and not known.writable)
    return Card(
        name=entry.name,
        title=entry.title,
        description=entry.description,
        path=entry.path,
        value=entry.path,
        access="ro" if read_only else "rw",
        where="yours" if is_own(entry.path, grants) else "shared",
        problem=problem,
        last_used=entry.path == last,
        new=bool(seen) and fingerprint(entry.path) not in seen,
        default=entry.default,
        running=entry.path == running,
    )


def _with_folders_below(
    cards: list[Card], paths: list[str], found: Mapping[str, Found], last: str, running: str | None
) -> list[Card]:
    """Put a card of its own before the others for a path that is a folder below a card's directory and is there."""
    extra: list[Card] = []
    for path in paths:
        known = found.get(path)
        if any(card.path == path for card in (*cards, *extra)) or (known and known.state == "missing"):
            continue
        above = [card for card in cards if card.problem is None and path.startswith(card.path + "/")]
        if not above:
            continue
        nearest = max(above, key=lambda card: len(card.path))
        below = path.removeprefix(nearest.path + "/")
        extra.append(
            replace(
                nearest,
                name=f"{nearest.name}/{below}",
                title=f"{nearest.title} / {below}",
                path=path,
                value=path,
                problem=known.sentence if known else None,
                last_used=path == last,
                default=False,
                new=False,
                running=path == running,
            )
        )
    return extra + cards

"""What the menu shows: cards, their order and their marks. Pure.

Rules kept here:
- the last used directory comes first, with its own button; then the others in the order of the list;
- a bad entry is shown disabled with its reason and never hides a good one;
- exactly one usable card is checked when there is any;
- a card says "read only" where that was found to be so; what the list only wishes it says in other words;
- all text in here is untrusted: templates escape it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from k8s_annotations import Entry, Grants

from .access.directories import BETWEEN, is_own
from .probing.prober import Found

Writing = Literal["free", "unwanted", "impossible"]

_MOST_KEPT = 100  # people whose last menu is kept: a class that loads it at the same time
_LONGEST_KEPT = 2**15  # characters: about twenty directories
_MOST_SEEN = 1000  # directories of a person's that are remembered: a full list, and as many from before


@dataclass(frozen=True, slots=True)
class Card:
    """One directory of the menu.

    Attributes:
        name: what people type.
        title: what people read.
        description: one line, may be empty.
        path: shown small.
        value: what choosing it posts.
        writing: "impossible", as was found; "unwanted", the list says read only but nothing is known to hold that;
            else "free".
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
    writing: Writing
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
    """

    preselect: str = ""
    typed: str = ""
    error: str | None = None
    straight_in: bool = False


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


class Rendered:
    """The last rendered menu of the people who asked most recently, so that an unchanged menu is not rendered again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[object, str]] = OrderedDict()

    def get(self, whose: object, made_of: object) -> str | None:
        """The kept HTML, or None if it was rendered from anything else than `made_of`."""
        kept, html = self._kept.get(whose, (None, ""))
        return html if kept == made_of else None

    def keep(self, whose: object, made_of: object, html: str) -> None:
        """Keep this HTML instead of the previous one, unless it is too long."""
        self._kept.pop(whose, None)
        if len(html) <= _LONGEST_KEPT:
            self._kept[whose] = (made_of, html)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)


def fingerprint(path: str) -> str:
    """A short mark of a path, for the list of directories that a person has seen (4 bytes, hex)."""
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def now_seen(seen: Iterable[str], paths: Iterable[str]) -> list[str]:
    """What a person has seen by now: the fingerprints of what is in the list, then those from before.

    Args:
        seen: those from before; a directory that is not in the list today may be there again tomorrow.
        paths: the directories of the list.
    """
    return list(dict.fromkeys([*map(fingerprint, paths), *seen]))[:_MOST_SEEN]


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
        seen: fingerprints of the directories that were in the list at earlier starts; empty for a first visit.
        running: the path that is open now.
        asked: what the request says.

    Returns:
        The page's data.
    """
    asked = asked or Asked()
    cards: list[Card] = []
    if grants is not None:
        cards = [_card(entry, grants, found, last=last, seen=seen, running=running) for entry in grants.entries]
    listed = cards
    cards = _with_folders_below(cards, [path for path in (last, asked.preselect) if path], found, last, running)
    usable = [card for card in cards if card.problem is None]
    nearest = ""
    if asked.preselect and not any(card.path == asked.preselect for card in usable):
        card, below = _at_or_above(listed, asked.preselect)
        nearest = card.path if card else ""
        asked = replace(asked, error=asked.error or _cannot_be_opened(card, below, found.get(asked.preselect)))
    primary = None
    for wanted in (asked.preselect, nearest, last):
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
    writing: Writing = "unwanted" if entry.access == "ro" else "free"
    if known and known.state == "ok" and not known.writable:
        writing = "impossible"
    return Card(
        name=entry.name,
        title=entry.title,
        description=entry.description,
        path=entry.path,
        value=entry.path,
        writing=writing,
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
        nearest, below = _at_or_above([card for card in cards if card.problem is None], path)
        if nearest is None:
            continue
        extra.append(
            replace(
                nearest,
                name=f"{nearest.name}/{below}",
                title=f"{nearest.title}{BETWEEN}{below}",
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


def _at_or_above(cards: list[Card], path: str) -> tuple[Card | None, str]:
    """The card of a path, or of the nearest directory above it, and the rest of the path below that."""
    above = [card for card in cards if f"{path}/".startswith(f"{card.path}/")]
    nearest = max(above, key=lambda card: len(card.path), default=None)
    return nearest, path[len(nearest.path) + 1 :] if nearest else ""


def _cannot_be_opened(card: Card | None, below: str, known: Found | None) -> str | None:
    """Why a directory that a link asks for cannot be chosen; None when nothing is known against it."""
    why = (card and card.problem) or (known.sentence if known else None)
    if card is None or why is None:
        return None
    title = f"{card.title}{BETWEEN}{below}" if below else card.title
    return f"{title} cannot be opened. {why} Choose another one."

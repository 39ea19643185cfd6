"""What a user is granted: the entries from the annotation and the labels of the user's namespace. Pure.

Rules kept here (design, "the list"):
- an item is a path or a mapping; a bad item is kept, disabled, with its reason;
- the label ``dir.<prefix>/<owner>: <name>`` grants ``<first root>/<owner>/<name>``;
- a directory that is listed twice is one entry: the first counts, and the annotation's text wins over the label's;
- with neither annotation nor labels, the user gets the default directory; with an unreadable annotation, the default
  directory and a notice. ``[]`` is an empty list; an empty annotation counts as no annotation;
- a mistake that leaves no doubt about the directory (a name that is taken, a second default) is a notice, and the entry
  stays usable.

`parse_grants` is total: it never raises, whatever text it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from k8s_annotations.namespaces import PREFIX
from k8s_annotations.untrusted_text import clean, escaped, name_key

from .entry import LONGEST_TITLE, Entry
from .entry_names import with_names
from .items import LARGEST_ANNOTATION, MOST_ENTRIES, Item, NotAList, Notice, read_items
from .paths import InvalidPath, canonical_path, is_at_or_below, is_segment

LONGEST_DESCRIPTION = 500  # characters
LONGEST_BAD_PATH = 200  # how many characters of a bad path are shown
MOST_NOTICES = 10

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}  # YAML 1.1, type bool


@dataclass(frozen=True, slots=True)
class Grants:
    """What one user is granted.

    Attributes:
        userid: whose list it is.
        entries: good and bad entries; first the annotation's, in its order, then the labels', sorted by path.
        notices: sentences about the whole list.
        roots: the roots below which all paths lie.
    """

    userid: str
    entries: tuple[Entry, ...]
    notices: tuple[str, ...] = ()
    roots: tuple[str, ...] = ("/s",)

    @property
    def usable(self) -> tuple[Entry, ...]:
        """The entries that can be opened, as far as the list is concerned."""
        return tuple(entry for entry in self.entries if entry.problem is None)

    def nearest(self, path: str) -> Entry | None:
        """The entry that decides about a path: the longest one at or above it, even if it is disabled.

        Args:
            path: a canonical path.
        """
        above = [entry for entry in self.entries if is_at_or_below(path, entry.path)]
        return max(above, key=lambda entry: (len(entry.path), entry.problem is None), default=None)

    def meant(self, text: str) -> tuple[tuple[Entry, str], ...]:
        """What a name, or a folder below a name, refers to.

        Args:
            text: as `paths.fold` returns it, without a leading slash.

        Returns:
            Entries, each with the path that is meant: normally one; none if no entry has that name; several if the
            name is ambiguous. Disabled entries are returned only if no usable one has the name.
        """
        parts = text.split("/")
        # The longest name first: a name that was made unique has slashes in it ("shared/genomics").
        for count in range(len(parts), 0, -1):
            named = self._named("/".join(parts[:count]))
            named = [entry for entry in named if entry.problem is None] or named
            if named:
                return tuple((entry, "/".join([entry.path, *parts[count:]])) for entry in named)
        return ()

    def _named(self, name: str) -> list[Entry]:
        """The entries with exactly this name, else those whose names differ only in case, composition or spacing."""
        key = name_key(name)
        alike = [entry for entry in self.entries if key and name_key(entry.name) == key]
        return [entry for entry in alike if entry.name == name] or alike


def parse_grants(
    userid: str,
    annotations: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    roots: Iterable[str] = ("/s",),
    prefix: str = PREFIX,
    default_directory: str = "/s/{userid}/notebooks",
) -> Grants:
    """Read what a user is granted.

    Args:
        userid: whose namespace it is.
        annotations: the namespace's annotations.
        labels: the namespace's labels.
        roots: canonical absolute paths; entries outside them are disabled.
        prefix: the prefix of the annotation and the labels.
        default_directory: a path with ``{userid}`` for the user id; "" for none.

    Returns:
        The list. This never raises: whatever cannot be used becomes a disabled entry or a notice.

    Example:
        >>> parse_grants("alice", {"learning-lab.dev/notebook-dirs": "[/s/alice/thesis]"}, {}).entries[0].name
        'thesis'
    """
    owners = tuple(sorted((key, value) for key, value in labels.items() if key.startswith(f"dir.{prefix}/")))
    text = annotations.get(f"{prefix}/notebook-dirs")
    if text is not None and len(text) > LARGEST_ANNOTATION:
        text = text[: LARGEST_ANNOTATION + 1]  # it is refused anyway, and the cache stays small
    return _parse(userid, text, owners, tuple(roots), default_directory)


@functools.lru_cache(maxsize=1024)  # the menu parses the same text again and again; about 3 KiB for a list of five
def _parse(
    userid: str, text: str | None, owners: tuple[tuple[str, str], ...], roots: tuple[str, ...], default_directory: str
) -> Grants:
    notices: list[Notice] = []
    items: list[Item] | None = None
    unreadable = False
    try:
        items = read_items(text) if text is not None else None
    except NotAList as error:
        unreadable = True
        notices.append(
            Notice(
                str(error),
                error.line,
                f"The list of your directories cannot be read: {str(error).removesuffix('.')} (line {error.line})."
                " Tell the people who run this lab.",
            )
        )
    entries = [_entry(item, roots) for item in items or []]
    notices += _repeated(entries)
    entries += sorted((_label_entry(key, value, roots) for key, value in owners), key=lambda entry: entry.path)
    if default_directory and (unreadable or (items is None and not owners)):
        entries.append(_default_entry(userid, default_directory, roots))
    entries = merged(entries)
    if len(entries) > MOST_ENTRIES:
        notices.append(Notice(f"The list has more than {MOST_ENTRIES} directories; only the first ones count."))
        entries = entries[:MOST_ENTRIES]
    named = with_names(_one_default(entries, notices), notices)
    if len(notices) > MOST_NOTICES:
        notices[MOST_NOTICES - 1 :] = [Notice(f"And {len(notices) - MOST_NOTICES + 1} more like these.")]
    return Grants(userid, named, tuple(notices), roots)


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Keep the first of the usable entries with the same path, and every bad one."""
    seen: set[str] = set()
    kept = []
    for entry in entries:
        if entry.problem is None:
            if entry.path in seen:
                continue
            seen.add(entry.path)
        kept.append(entry)
    return kept


def _entry(item: Item, roots: tuple[str, ...]) -> Entry:
    values = item.values
    path, path_problem = _checked_path(values.get("path", ""), roots)
    access = values.get("access", "rw").strip().lower()
    default = _BOOLEANS.get(values.get("default", "false").strip().lower())
    problem = item.problem or path_problem
    if problem is None and access not in {"ro", "rw"}:
        problem = f"Its access is {escaped(access, 40)!r}; it must be ro or rw."
    if problem is None and default is None:
        problem = f"Its default is {escaped(values['default'], 40)!r}; it must be true or false."
    return Entry(
        path=path,
        name=values.get("name", ""),  # `with_names` checks it
        title=clean(values.get("title", ""), LONGEST_TITLE),
        description=clean(values.get("description", ""), LONGEST_DESCRIPTION),
        access="ro" if access == "ro" else "rw",
        default=problem is None and bool(default),
        line=item.line,
        problem=problem,
    )


def _label_entry(key: str, value: str, roots: tuple[str, ...]) -> Entry:
    owner = key.partition("/")[2]
    root = roots[0].rstrip("/") if roots else ""
    path, problem = _checked_path(f"{root}/{owner}/{value}", roots)
    if not (is_segment(owner) and is_segment(value)):
        problem = "A label must name one owner and one directory."
    return Entry(path=path, name="", title="", source="label", problem=problem)


def _default_entry(userid: str, default_directory: str, roots: tuple[str, ...]) -> Entry:
    path, problem = _checked_path(default_directory.replace("{userid}", userid), roots)
    if not is_segment(userid):  # "." or "a/b" would make it somebody else's directory
        problem = "There is no default directory for this user id."
    return Entry(path=path, name="", title="", source="setting", problem=problem)


def _checked_path(written: str, roots: tuple[str, ...]) -> tuple[str, str | None]:
    """The canonical path and None, or the path in a form that can be shown and what is wrong with it."""
    if not written:
        return "", "It has no path."
    try:
        return canonical_path(written, roots), None
    except InvalidPath as error:
        return escaped(written, LONGEST_BAD_PATH), str(error)


def _repeated(entries: list[Entry]) -> list[Notice]:
    first: dict[str, int | None] = {}
    return [
        Notice(f"This directory is already in line {first[entry.path]}; that line counts.", entry.line)
        for entry in entries
        if entry.problem is None and first.setdefault(entry.path, entry.line) != entry.line
    ]


def _one_default(entries: list[Entry], notices: list[Notice]) -> list[Entry]:
    marked = [entry for entry in entries if entry.default]
    if len(marked) < 2:
        return entries
    notices += [
        Notice("Another directory is already the default; the first one counts.", entry.line) for entry in marked[1:]
    ]
    return [replace(entry, default=entry is marked[0]) if entry.default else entry for entry in entries]

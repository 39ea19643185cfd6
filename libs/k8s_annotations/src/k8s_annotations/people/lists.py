"""Lists of people for `k8s-annotations apply`: a YAML file, or a table with commas. Pure.

    - user: alice                 user,uid,gid,groups,directories,labels
      uid: 10001                  alice,10001,10001,20001;20002,/s/alice/notebooks;/s/shared/genomics,team=bio
      gid: 10001                  bob,10002,10002,,,
      groups: [20001, 20002]
      directories:
        - /s/alice/notebooks
        - {path: /s/shared/genomics, access: ro}
      labels: {team: bio}

Only `user` is needed. What is not named is not touched; an empty list of directories is one of nothing. A person with
a mistake is told and left out, the others are taken.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from k8s_annotations.errors import InvalidUserId
from k8s_annotations.grants import parse_grants
from k8s_annotations.names import namespace_name
from k8s_annotations.namespaces import PREFIX
from k8s_annotations.plain_yaml import Loader, find_excess
from k8s_annotations.untrusted_text import escaped

from .identity import Identity, InvalidIdentity, read_identity

KEYS = ("user", "uid", "gid", "groups", "directories", "labels")

_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Person:
    """One person of a list.

    Attributes:
        userid: the user id.
        identity: who their pod runs as; None where the list does not say.
        directories: the text of the annotation; None where the list does not say.
        labels: of the namespace, besides the one that marks it.
    """

    userid: str
    identity: Identity | None = None
    directories: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The name of the person's namespace."""
        return namespace_name(self.userid)


@dataclass(slots=True)
class Listed:
    """What a list says.

    Attributes:
        people: in order, each once.
        problems: lines (1-based) with one sentence each.
    """

    people: list[Person] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)


class _Wrong(ValueError):
    """A person of the list cannot be taken."""


def read_people(text: str, *, table: bool, roots: tuple[str, ...] = ("/s",), prefix: str = PREFIX) -> Listed:
    """Read a list.

    Args:
        text: the file.
        table: it is a table with commas, not YAML.
        roots: what directories lie below.
        prefix: of labels and annotations.
    """
    listed = Listed()
    seen: dict[str, int] = {}
    for line, values in _table(text, listed) if table else _yaml(text, listed):
        try:
            person = _person(values, roots, prefix)
            if person.namespace in seen:
                raise _Wrong(f"{person.userid} is in line {seen[person.namespace]} already.")
        except (_Wrong, InvalidIdentity, InvalidUserId) as error:
            listed.problems.append((line, str(error)))
            continue
        seen[person.namespace] = line
        listed.people.append(person)
    return listed


def _yaml(text: str, listed: Listed) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        excess = find_excess(text.encode("utf-8", "surrogatepass"))
        if excess is not None:
            listed.problems.append((excess.line, "It has a YAML alias, or is nested too deep."))
            return
        node = yaml.compose(text, Loader=Loader)
        values = yaml.load(text, Loader=Loader)  # noqa: S506  a safe loader
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it is not valid text"
        listed.problems.append((mark.line + 1 if mark else 1, f"It is not valid YAML: {escaped(str(what), 120)}."))
        return
    if values is None:
        return
    if not isinstance(values, list) or not isinstance(node, yaml.SequenceNode):
        listed.problems.append((1, "It is not a list of people: begin each with `- user: ...`."))
        return
    for item, each in zip(node.value, values, strict=True):
        line = item.start_mark.line + 1
        if isinstance(each, dict) and all(isinstance(key, str) for key in each):
            yield line, each
        else:
            listed.problems.append((line, "It is no person: begin it with `- user: ...`."))


def _table(text: str, listed: Listed) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), restkey="", restval="")
    try:
        unknown = [name for name in reader.fieldnames or [] if name not in KEYS]
        if unknown or "user" not in (reader.fieldnames or []):
            told = f"{escaped(unknown[0], 40)!r} is not known" if unknown else "`user` is missing"
            listed.problems.append((1, f"The first line names the columns, of {', '.join(KEYS)}: {told}."))
            return
        for row in reader:
            if row.pop("", None):
                listed.problems.append((reader.line_num, "It has more values than the first line has columns."))
                continue
            values: dict[str, Any] = {key: value.strip() for key, value in row.items() if value.strip()}
            if "directories" in values:
                values["directories"] = [each.strip() for each in values["directories"].split(";") if each.strip()]
            if "labels" in values:
                pairs = [each.partition("=") for each in values["labels"].split(";") if each.strip()]
                values["labels"] = {key.strip(): value.strip() for key, _, value in pairs}
            if values:
                yield reader.line_num, values
    except csv.Error as error:
        listed.problems.append((reader.line_num, f"It is no table with commas: {escaped(str(error), 120)}."))


def _person(values: dict[str, Any], roots: tuple[str, ...], prefix: str) -> Person:
    unknown = [key for key in values if key not in KEYS]
    if unknown:
        raise _Wrong(f"It has a key that is not known: {escaped(unknown[0], 40)}. The keys are {', '.join(KEYS)}.")
    userid = values.get("user")
    if not isinstance(userid, str):
        raise _Wrong("Its user is no text. Put quotes around numbers, true and false.")
    namespace_name(userid)
    identity = None
    if values.get("uid") is not None or values.get("gid") is not None or values.get("groups") is not None:
        uid, gid = values.get("uid"), values.get("gid")
        if uid is None or gid is None:
            raise _Wrong(f"{escaped(userid, 80)} has only one of uid and gid, or only groups.")
        groups = values.get("groups") or ""
        listed = groups if isinstance(groups, list) else [groups]
        identity = read_identity(str(uid), str(gid), ",".join(map(str, listed)))
    return Person(
        userid, identity, _directories(userid, values, roots, prefix), _labels(userid, values.get("labels"), prefix)
    )


def _directories(userid: str, values: dict[str, Any], roots: tuple[str, ...], prefix: str) -> str | None:
    listed = values.get("directories")
    if listed is None:
        return None
    if not isinstance(listed, list):
        raise _Wrong(f"The directories of {escaped(userid, 80)} are no list.")
    text: str = yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=100_000)
    grants = parse_grants(userid, {f"{prefix}/notebook-dirs": text}, {}, roots=roots, prefix=prefix)
    for entry in grants.entries:
        if entry.problem is not None:
            raise _Wrong(f"{escaped(userid, 80)}, {entry.path or 'a directory'}: {entry.problem}")
    if grants.notices:
        raise _Wrong(f"{escaped(userid, 80)}: {grants.notices[0]}")
    return text


def _labels(userid: str, values: Any, prefix: str) -> dict[str, str]:
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(each, str) for pair in values.items() for each in pair):
        raise _Wrong(f"The labels of {escaped(userid, 80)} are not texts. Put quotes around numbers, true and false.")
    for key, value in values.items():
        if not (_LABEL_KEY.fullmatch(key) and len(key) <= 317 and _LABEL_VALUE.fullmatch(value)):
            raise _Wrong(f"{escaped(userid, 80)} has a label that Kubernetes does not take: {escaped(key, 80)}.")
        if key == f"{prefix}/user":
            raise _Wrong(f"The label {key} of {escaped(userid, 80)} is set by this command.")
    return dict(values)

"""The company that the emulation stands in for: the one place that defines its people, groups and storage.

Only development uses it: the sandbox, and a stage of the container image. The same people's namespaces are in
`k8s/base/namespaces.yaml`, and their notebooks in `notebooks/`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """An account. The passwords here are public: they give access to nothing but the emulation.

    Attributes:
        expired: the account expired long ago; its password is right and must still not let anybody in.
        locked: the password is locked; the account is not.
    """

    userid: str
    uid: int
    password: str
    full_name: str
    expired: bool = False
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory on the storage. Mode bit 2000 is setgid: files made in the directory belong to its group."""

    path: str
    owner: str
    group: str
    mode: int


PEOPLE = (
    Person("alice", 10001, "pass1", "Alice Abel"),
    Person("bob", 10002, "pass2", "Bob Berg"),
    Person("carol", 10003, "pass3", "Carol Conti"),
    # PAM's authenticate accepts Dora's password; only its account check refuses her (pamela#27).
    Person("dora", 10004, "pass4", "Dora Dahl", expired=True),
    Person("erik", 10005, "pass5", "Erik Ek", locked=True),
)

SHARED_GROUP = "shared"
SHARED_GID = 10100
SHARED_MEMBERS = ("alice", "bob")

_OWN = {
    "alice": ("notebooks", "thesis"),
    "bob": ("notebooks", "forecast"),
    "carol": ("notebooks", "archive"),
}

DIRECTORIES = (
    Directory("/s", "root", "root", 0o755),
    *(
        Directory(path, person.userid, person.userid, 0o700)
        for person in PEOPLE
        for path in (f"/s/{person.userid}", *(f"/s/{person.userid}/{name}" for name in _OWN.get(person.userid, ())))
    ),
    Directory("/s/shared", "root", SHARED_GROUP, 0o2770),
    Directory("/s/shared/genomics", "root", SHARED_GROUP, 0o2770),
    Directory("/s/shared/climate", "root", SHARED_GROUP, 0o2770),
)

FIRST_EXTRA_UID = 20001


def extra_people(count: int) -> tuple[Person, ...]:
    """More people for benchmarks: u001, u002, ... with the password "pass"."""
    return tuple(
        Person(f"u{number:03d}", FIRST_EXTRA_UID + number - 1, "pass", f"User {number}")
        for number in range(1, count + 1)
    )

"""Build the company under a root directory: accounts in its /etc, homes, storage and notebooks.

    python build.py --root DIR [--etc DIR] [--extra-users N] [--storage-only]

It runs as root (root in a user namespace is enough) and adds to the existing account files, so it works both for the
sandbox and for an image. Building twice is the same as building once. A notebook that somebody changed stays as it is;
a sample notebook that was deleted comes back.

`--storage-only` makes /home and /s and leaves the accounts alone: in a pod, empty volumes cover these two directories
of the image, whose accounts are built in.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import secrets
import shutil
import string
from collections.abc import Iterable
from pathlib import Path

import company

NOTEBOOKS = Path(__file__).with_name("notebooks")
PAM_SERVICE = Path(__file__).with_name("pam") / "learning-lab"

_SALT_CHARACTERS = string.ascii_letters + string.digits + "./"
_EXPIRED_SINCE = 1  # days after 1970-01-01, shadow(5)
_CHANGED = 20000  # days after 1970-01-01: a fixed day, so that two builds are identical


def build(root: Path, etc: Path | None = None, extra_users: int = 0, *, storage_only: bool = False) -> None:
    """Build the company.

    Args:
        root: gets /home and /s.
        etc: gets the accounts and the PAM service; `root`/etc when None.
        extra_users: how many more people to add, for benchmarks.
        storage_only: leave `etc` as it is.
    """
    people = (*company.PEOPLE, *company.extra_people(extra_users))
    if not storage_only:
        etc = etc or root / "etc"
        _write_accounts(etc, people)
        (etc / "pam.d").mkdir(exist_ok=True)
        shutil.copyfile(PAM_SERVICE, etc / "pam.d" / "learning-lab")
    uids = {"root": 0} | {person.userid: person.uid for person in people}
    gids = {"root": 0, company.SHARED_GROUP: company.SHARED_GID} | {person.userid: person.uid for person in people}
    for person in people:
        _make(root / "home" / person.userid, person.uid, person.uid, 0o700)
    for directory in company.DIRECTORIES:
        _make(root / directory.path.lstrip("/"), uids[directory.owner], gids[directory.group], directory.mode)
    for person in company.extra_people(extra_users):
        for path in (f"s/{person.userid}", f"s/{person.userid}/notebooks"):
            _make(root / path, person.uid, person.uid, 0o700)
    _copy_notebooks(root)


def _write_accounts(etc: Path, people: Iterable[company.Person]) -> None:
    files: dict[str, list[str]] = {
        "passwd": [f"{p.userid}:x:{p.uid}:{p.uid}:{p.full_name}:/home/{p.userid}:/bin/bash" for p in people],
        "group": [
            *(f"{p.userid}:x:{p.uid}:" for p in people),
            f"{company.SHARED_GROUP}:x:{company.SHARED_GID}:{','.join(company.SHARED_MEMBERS)}",
        ],
        "shadow": [_shadow_line(person) for person in people],
    }
    for name, lines in files.items():
        path = etc / name
        # Drop lines that already have one of our names or ids: an id with two names would show the wrong one.
        ours = {key for line in lines for key in _keys(name, line)}
        there = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in there if ours.isdisjoint(_keys(name, line))]
        path.write_text("\n".join([*kept, *lines]) + "\n")
        path.chmod(0o600 if name == "shadow" else 0o644)


def _keys(file: str, line: str) -> set[tuple[str, str]]:
    """The parts that must be unique in an account file: the name, and the id where the file has one."""
    name, _, number = (*line.split(":"), "", "", "")[:3]
    return {("name", name)} | ({("id", number)} if file != "shadow" and number else set())


def _shadow_line(person: company.Person) -> str:
    hashed = ("!" if person.locked else "") + hash_password(person.password)
    return f"{person.userid}:{hashed}:{_CHANGED}:0:99999:7::{_EXPIRED_SINCE if person.expired else ''}:"


def hash_password(password: str) -> str:
    """Hash a password as the system's own tools do (SHA-512 crypt, crypt(5)).

    It calls the libcrypt that PAM itself uses, because Python 3.13 has no crypt module.
    """
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice(_SALT_CHARACTERS) for _ in range(16))
    hashed: bytes = libcrypt.crypt(password.encode(), f"$6${salt}".encode())
    return hashed.decode("ascii")


def _make(path: Path, uid: int, gid: int, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, uid, gid)
    path.chmod(mode)


def _copy_notebooks(root: Path) -> None:
    """Copy `notebooks/<owner>/<name>/...` to `/s/<owner>/<name>/...`, with the directory's owner and group."""
    for source in sorted(NOTEBOOKS.glob("*/*/*.ipynb")):
        target = root / "s" / source.relative_to(NOTEBOOKS)
        if not target.parent.is_dir() or target.exists():
            continue
        shutil.copyfile(source, target)
        owner = target.parent.stat()
        os.chown(target, owner.st_uid, owner.st_gid)
        target.chmod(0o660 if owner.st_gid == company.SHARED_GID else 0o600)


def main() -> None:
    """Build under the root given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--etc", type=Path)
    parser.add_argument("--extra-users", type=int, default=0)
    parser.add_argument("--storage-only", action="store_true")
    arguments = parser.parse_args()
    build(arguments.root, arguments.etc, arguments.extra_users, storage_only=arguments.storage_only)


if __name__ == "__main__":
    main()

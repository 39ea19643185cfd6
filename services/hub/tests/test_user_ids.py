"""Becoming a user: for good, with their groups, and in one place."""

from __future__ import annotations

import ast
import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

import learning_lab
from learning_lab.user_ids import NOBODY, become, without_rights

SOURCES = Path(learning_lab.__file__).parent
CHANGES = {"initgroups", "setegid", "seteuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid", "setreuid"}
CHANGES |= {"setuid", "setfsuid", "setfsgid"}
STARTS = {"preexec_fn", "user", "group", "extra_groups"}  # what subprocess does the same with


def test_nothing_else_changes_user_ids() -> None:
    found = set()
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            named = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            if named in CHANGES:
                found.add(str(file.relative_to(SOURCES)))
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("subprocess.", "asyncio.create_sub")):
                assert not STARTS & {each.arg for each in node.keywords}, f"{file} has subprocess change user ids"
    assert found == {"user_ids.py"}


def in_child(act: Callable[[], object]) -> str:
    """What a forked child says of itself after it has acted: an error, or its ids and groups."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told: object = act() or (os.getresuid(), os.getresgid(), sorted(os.getgroups()))
        except OSError as error:
            told = f"{type(error).__name__}: {error.strerror}"
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        answer = said.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.usefixtures("in_sandbox")
def test_root_becomes_a_user_for_good_with_their_groups() -> None:
    alice = pwd.getpwnam("alice")
    groups = sorted(os.getgrouplist("alice", alice.pw_gid))
    told = json.loads(in_child(lambda: become(alice.pw_uid, alice.pw_gid, groups)))
    assert told == [[alice.pw_uid] * 3, [alice.pw_gid] * 3, groups]

    def comes_back() -> None:
        become(alice.pw_uid, alice.pw_gid, groups)
        os.setresuid(0, 0, 0)

    assert in_child(comes_back) == '"PermissionError: Operation not permitted"'


@pytest.mark.usefixtures("in_sandbox")
def test_who_is_not_root_can_only_stay() -> None:
    alice, bob = pwd.getpwnam("alice"), pwd.getpwnam("bob")

    def turn(second: pwd.struct_passwd) -> None:
        become(alice.pw_uid, alice.pw_gid, [])
        become(second.pw_uid, second.pw_gid, [])

    assert in_child(lambda: turn(bob)) == '"PermissionError: only root can become another user"'
    assert json.loads(in_child(lambda: turn(alice)))[0] == [alice.pw_uid] * 3


@pytest.mark.usefixtures("in_sandbox")
def test_without_rights_it_is_nobody_meanwhile_and_root_again() -> None:
    def meanwhile() -> list[object]:
        with without_rights():
            during = (os.getresuid(), os.getgroups())
        return [*during, os.getresuid()]

    assert json.loads(in_child(meanwhile)) == [[NOBODY, NOBODY, 0], [], [0, 0, 0]]

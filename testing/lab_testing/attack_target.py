"""The targets of the attacker's suite: the embedded lab, or the hub's container on a cluster."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab_testing.embedded import EmbeddedLab
from lab_testing.kind_cluster import PYTHON, Cluster
from lab_testing.person import Person

AUDIT_LOG = "/srv/learning-lab/audit.jsonl"  # in the hub's container, by the lab's default

# Becomes the user as a log-in would, and then runs the program on standard input.
AS_PERSON = """
import os, pwd, sys
account = pwd.getpwnam(sys.argv.pop(1))
os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
os.setresgid(*[account.pw_gid] * 3)
os.setresuid(*[account.pw_uid] * 3)
os.chdir("/tmp")
os.environ.clear()
os.environ.update(HOME=account.pw_dir, USER=account.pw_name, PATH="/usr/local/bin:/usr/bin:/bin")
exec(compile(sys.stdin.read(), "attack", "exec"))
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an attack.

    Attributes:
        tried: the number of attempts; with 0, the test could not fail.
        got: what the attacker got, in words.
    """

    tried: int
    got: list[str]


class Target(Protocol):
    """A lab under attack.

    Attributes:
        url: its address.
        embedded: the embedded lab; None if the lab is on a cluster.
        cluster: the cluster; None for the embedded lab.
    """

    url: str

    @property
    def embedded(self) -> EmbeddedLab | None: ...

    @property
    def cluster(self) -> Cluster | None: ...

    def run_as(self, userid: str, program: str, argument: str, seconds: float) -> str:
        """Run a Python program as a user, where users' servers run. Returns what it printed."""

    def person(self, userid: str) -> Person:
        """A person who is logged in."""

    def hub_writes_to(self) -> list[str]:
        """The files that the hub writes to, as /proc shows them: its output and its audit log."""

    def hub_wrote(self) -> str:
        """The text of these."""


class EmbeddedTarget:
    cluster = None

    def __init__(self, lab: EmbeddedLab) -> None:
        self.embedded = lab
        self.url = lab.url

    def run_as(self, userid: str, program: str, argument: str, seconds: float) -> str:
        command = [sys.executable, "-I", "-c", AS_PERSON, userid, argument]
        done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def person(self, userid: str) -> Person:
        return _logged_in(Person(self.embedded, userid))

    def hub_writes_to(self) -> list[str]:
        return [str(self.embedded.log), str(self.embedded.directory / "audit.jsonl")]

    def hub_wrote(self) -> str:
        return "".join(Path(each).read_text() for each in self.hub_writes_to())


class PodTarget:
    embedded = None

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.url = cluster.address

    def run_as(self, userid: str, program: str, argument: str, seconds: float) -> str:
        return self.cluster.in_hub(PYTHON, "-I", "-c", AS_PERSON, userid, argument, text=program, seconds=seconds)

    def person(self, userid: str) -> Person:
        return _logged_in(Person(self.cluster, userid))

    def hub_writes_to(self) -> list[str]:
        open_files = ["/proc/1/fd/1", "/proc/1/fd/2"]
        return [AUDIT_LOG, *open_files, *self.cluster.in_hub("readlink", *open_files).split()]

    def hub_wrote(self) -> str:
        return self.cluster.in_hub("cat", AUDIT_LOG) + self.cluster.tail(lines=1000)


def _logged_in(person: Person) -> Person:
    assert person.log_in().status_code == 200
    return person

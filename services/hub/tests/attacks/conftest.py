"""The attacker's suite: a hostile user who is logged in and has a shell, in the embedded lab and in the pod.

An attack is a program in `programs/`. It uses only the standard library, runs as one of the users (never as root),
reads its arguments as a JSON object from `sys.argv[1]`, and prints ``{"tried": <number>, "got": [<what>, ...]}``.
Without `--base-url` it runs next to the embedded lab in the sandbox; with it, in the container of the hub at that
address (`make e2e`). A run ends with the number of attacks that were tried and that succeeded, which must be 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab_testing.attack_target import EmbeddedTarget, Outcome, PodTarget, Target
from lab_testing.embedded import EmbeddedLab
from lab_testing.kind_cluster import Cluster
from lab_testing.person import Person

PROGRAMS = Path(__file__).with_name("programs")
COUNTS = pytest.StashKey[list[tuple[int, list[str]]]]()


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The lab under attack: embedded, or on the cluster if `--base-url` gives its address."""
    url = request.config.getoption("base_url", default=None)
    if url:
        yield PodTarget(Cluster.of_environment(url))
        return
    request.getfixturevalue("in_sandbox")
    with EmbeddedLab(tmp_path_factory.mktemp("attacked")) as lab:
        yield EmbeddedTarget(lab)


@pytest.fixture
def embedded(target: Target) -> EmbeddedLab:
    """The embedded lab, for attacks on what only it has. In the pod such a test is skipped, with a message."""
    if target.embedded is None:
        pytest.skip("only the embedded lab has this")
    return target.embedded


@pytest.fixture
def in_pod(target: Target) -> Cluster:
    """The cluster, for attacks on what only a pod has. In the embedded lab such a test is skipped, with a message."""
    if target.cluster is None:
        pytest.skip("only the lab on a cluster has this")
    return target.cluster


@pytest.fixture
def people(target: Target) -> Iterator[Callable[[str], Person]]:
    """Make a person who is logged in; their servers are stopped at the end."""
    made: list[Person] = []

    def make(userid: str) -> Person:
        made.append(target.person(userid))
        return made[-1]

    yield make
    for each in made:
        each.stop()
        each.http.close()


@pytest.fixture
def attempted(request: pytest.FixtureRequest) -> Callable[[int, list[str]], Outcome]:
    """Count an attack that is not a program: its attempts, and what they got."""

    def count(tried: int, got: list[str]) -> Outcome:
        request.config.stash.setdefault(COUNTS, []).append((tried, got))
        return Outcome(tried, got)

    return count


@pytest.fixture
def attack(target: Target, attempted: Callable[[int, list[str]], Outcome]) -> Callable[..., Outcome]:
    """Run a program from `programs/` as a user: `attack("name", userid="alice", within=60, argument=...)`."""

    def run(name: str, *, userid: str = "alice", within: float = 60, **arguments: Any) -> Outcome:
        program = (PROGRAMS / f"{name}.py").read_text()
        said = json.loads(target.run_as(userid, program, json.dumps(arguments), within).strip().rpartition("\n")[2])
        return attempted(said["tried"], said["got"])

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Report what the attackers got."""
    counts = config.stash.get(COUNTS, [])
    if counts:
        tried = sum(number for number, _ in counts)
        some = sum(bool(got) for _, got in counts)
        where = "in the pod" if config.getoption("base_url", default=None) else "against the embedded lab"
        terminalreporter.write_line(f"ATTACKS {where}: {len(counts)} kinds, {tried} attempts; {some} got anything")

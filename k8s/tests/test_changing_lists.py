"""The verbs of `k8s-annotations` that change something, on a real API server: server-side apply is its work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab_testing.kind_cluster import Cluster

LIST = "learning-lab.dev/notebook-dirs"
MINE = "made-by=test-changing-lists"
TEMPLATE = """\
apiVersion: v1
kind: Namespace
metadata: {name: "${namespace}"}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: servers, namespace: "${namespace}"}
spec: {hard: {pods: "3"}}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(api_server: Cluster) -> Iterator[Run]:
    """Run the command on that cluster; its exit code, output and errors. What it makes is labelled, and goes."""
    command = [str(Path(sys.executable).with_name("k8s-annotations")), "--context", api_server.context]

    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=100, check=False, env=dict(os.environ)
        )
        return done.returncode, done.stdout, done.stderr

    yield run
    api_server.kubectl(
        "delete", "namespace", "-l", MINE, "--ignore-not-found", "--wait=false", seconds=120, check=False
    )
    api_server.kubectl("wait", "namespace", "-l", MINE, "--for=delete", "--timeout=100s", seconds=120, check=False)


@pytest.fixture
def dora(run: Run) -> Run:
    """The command, and a person called dora-of-the-tests."""
    code, _, said = run("create", "dora-of-the-tests", "--uid", "4001", "--gid", "4001", "--label", MINE)
    assert code == 0, said
    return run


def listed(cluster: Cluster, userid: str = "dora-of-the-tests") -> str:
    found: str = cluster.get("namespace", userid)["metadata"]["annotations"].get(LIST, "")
    return found


def test_a_person_is_made_and_made_again_without_a_change(dora: Run, api_server: Cluster) -> None:
    metadata = api_server.get("namespace", "dora-of-the-tests")["metadata"]
    version = metadata["resourceVersion"]
    assert metadata["labels"]["learning-lab.dev/user"] == "true"
    assert metadata["annotations"]["learning-lab.dev/uid"] == "4001"
    again = dora("create", "dora-of-the-tests", "--uid", "4001", "--gid", "4001", "--label", MINE)
    assert again[:2] == (0, "dora-of-the-tests: nothing to change.\n")
    assert api_server.get("namespace", "dora-of-the-tests")["metadata"]["resourceVersion"] == version


def test_what_an_earlier_run_wrote_and_this_one_does_not_name_stays(dora: Run, api_server: Cluster) -> None:
    code, told, said = dora("create", "dora-of-the-tests", "--label", "team=bio")
    assert code == 0, said
    assert "-    learning-lab.dev/uid" not in told
    metadata = api_server.get("namespace", "dora-of-the-tests")["metadata"]
    assert metadata["labels"]["team"] == "bio"
    assert metadata["labels"][MINE.partition("=")[0]] == MINE.partition("=")[2]
    assert metadata["annotations"]["learning-lab.dev/uid"] == "4001"


def test_a_dry_run_asks_the_cluster_and_writes_nothing(dora: Run, api_server: Cluster) -> None:
    code, told, _ = dora("grant", "dora-of-the-tests", "/s/shared/genomics", "--dry-run")
    assert code == 0
    assert "+- /s/shared/genomics" in told
    assert listed(api_server) == ""


def test_grants_and_revokes_are_seen_at_once(dora: Run, api_server: Cluster) -> None:
    assert dora("grant", "dora-of-the-tests", "/s/shared/genomics", "--access", "ro")[0] == 0
    assert listed(api_server) == ("- /s/dora-of-the-tests/notebooks\n- path: /s/shared/genomics\n  access: ro\n")
    assert dora("revoke", "dora-of-the-tests", "genomics")[0] == 0
    assert listed(api_server) == "- /s/dora-of-the-tests/notebooks\n"


def test_what_somebody_else_wrote_is_told_and_taken_over_only_when_asked(dora: Run, api_server: Cluster) -> None:
    api_server.kubectl("annotate", "namespace", "dora-of-the-tests", f"{LIST}=- /s/by/hand\n")
    code, _, said = dora("grant", "dora-of-the-tests", "/s/shared/genomics")
    assert code == 3
    assert "kubectl-annotate" in said
    assert "--take-over" in said
    assert listed(api_server) == "- /s/by/hand\n"
    assert dora("grant", "dora-of-the-tests", "/s/shared/genomics", "--take-over")[0] == 0
    assert listed(api_server) == "- /s/by/hand\n- /s/shared/genomics\n"


def test_two_who_grant_at_the_same_moment_both_do(dora: Run, api_server: Cluster) -> None:
    directories = [f"/s/shared/at-once-{number}" for number in range(4)]
    with ThreadPoolExecutor(len(directories)) as pool:
        done = list(pool.map(lambda path: dora("grant", "dora-of-the-tests", path), directories))
    assert [code for code, _, _ in done] == [0] * len(directories), done
    assert {f"- {path}" for path in directories} <= set(listed(api_server).splitlines())


def test_a_label_is_revoked_whoever_wrote_it(dora: Run, api_server: Cluster) -> None:
    api_server.kubectl("label", "namespace", "dora-of-the-tests", "dir.learning-lab.dev/shared=genomics")
    assert dora("revoke", "dora-of-the-tests", "/s/shared/genomics")[0] == 0
    assert "dir.learning-lab.dev/shared" not in api_server.get("namespace", "dora-of-the-tests")["metadata"]["labels"]


def test_a_namespace_that_is_there_and_nobodys_is_left_alone(run: Run, api_server: Cluster) -> None:
    api_server.kubectl("create", "namespace", "nobodys-of-the-tests")
    try:
        before = api_server.get("namespace", "nobodys-of-the-tests")["metadata"]["resourceVersion"]
        code, _, said = run("create", "nobodys-of-the-tests", "--uid", "4002", "--gid", "4002")
        assert code == 2
        assert "not marked as this person's" in said
        assert api_server.get("namespace", "nobodys-of-the-tests")["metadata"]["resourceVersion"] == before
    finally:
        api_server.kubectl("delete", "namespace", "nobodys-of-the-tests", "--wait=false")


def test_a_class_is_made_with_a_template_and_made_again(run: Run, api_server: Cluster, tmp_path: Path) -> None:
    template, people = tmp_path / "template.yaml", tmp_path / "people.csv"
    template.write_text(TEMPLATE)
    rows = [f"class-{number}-of-the-tests,{5000 + number},5000,/s/shared/genomics,{MINE}" for number in range(30)]
    people.write_text("\n".join(["user,uid,gid,directories,labels", *rows]) + "\n")
    code, told, said = run("apply", str(people), "--template", str(template))
    assert code == 0, said
    assert told.splitlines()[-1] == "30 new, 0 changed, 0 as they were, 0 with a mistake."
    assert api_server.get("resourcequota", "servers", "-n", "class-7-of-the-tests")["spec"]["hard"] == {"pods": "3"}
    assert listed(api_server, "class-7-of-the-tests") == "- /s/shared/genomics\n"
    again = run("apply", str(people), "--template", str(template))
    assert again[1] == "0 new, 0 changed, 30 as they were, 0 with a mistake.\n"
    people.write_text(people.read_text().replace("5007,5000,/s/shared/genomics", "5007,5000,/s/shared/climate"))
    changed = run("apply", str(people), "--template", str(template))
    assert changed[1].splitlines() == [
        "class-7-of-the-tests: notebook-dirs",
        "0 new, 1 changed, 29 as they were, 0 with a mistake.",
    ]
    assert listed(api_server, "class-7-of-the-tests") == "- /s/shared/climate\n"

"""Who may grant directories, on a real API server: k8s/components/annotation-guard.

Somebody who may change namespaces but is not a member of `learning-lab-admins` tries it in every possible way. Each
attempt is a dry run; the policy is installed for these tests and removed afterwards, unless the cluster has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from k8s_annotations import PREFIX
from lab_testing.embedded import PROJECT
from lab_testing.kind_cluster import Cluster, CommandFailed, wait_until

POLICY = PROJECT / "k8s" / "components" / "annotation-guard" / "policy.yaml"
GUARD = "validatingadmissionpolicy/learning-lab-annotation-guard"
NAME = "annotation-guard-test"
SOMEBODY = ("--as", f"{NAME}-somebody")
ADMINISTRATOR = ("--as", f"{NAME}-administrator", "--as-group", "learning-lab-admins")
LIST = "learning-lab.dev/notebook-dirs"
GRANT = "dir.learning-lab.dev/shared"

RIGHTS = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": NAME},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["namespaces", "namespaces/status", "namespaces/finalize"],
                "verbs": ["get", "create", "update", "patch"],
            }
        ],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
        "subjects": [
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": who[1]}
            for who in (SOMEBODY, ADMINISTRATOR)
        ],
    },
]
USER: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": NAME,
        "labels": {"team": "bio", GRANT: "genomics"},
        "annotations": {LIST: "- /s/somebody/notebooks"},
    },
}


@pytest.fixture(scope="module")
def guarded(api_server: Cluster) -> Iterator[Cluster]:
    """A cluster with the policy, and a namespace with a list and a grant."""
    there = bool(api_server.kubectl("get", GUARD, "--ignore-not-found", "-o", "name"))
    try:
        api_server.apply([*RIGHTS, USER])
        api_server.kubectl("apply", "-f", str(POLICY))
        wait_until(lambda: bool(refusal(api_server, "annotate", f"{LIST}=- /s/other")), 60, "the policy had no effect")
        yield api_server
    finally:
        if not there:
            api_server.kubectl("delete", "-f", str(POLICY), "--ignore-not-found", check=False)
        for kind in ("clusterrolebinding", "clusterrole", "namespace"):
            api_server.kubectl("delete", kind, NAME, "--ignore-not-found", "--wait=false", check=False)


def refusal(cluster: Cluster, verb: str, change: str, who: tuple[str, ...] = SOMEBODY) -> str:
    """Try to change the namespace. Returns why it is refused, or nothing."""
    try:
        cluster.kubectl(verb, "--dry-run=server", "--overwrite", *who, "namespace", NAME, change)
    except CommandFailed as error:
        return error.words
    return ""


@pytest.mark.parametrize(
    ("verb", "change"),
    [
        pytest.param("annotate", f"{LIST}=- /s/bob/thesis", id="changing a list"),
        pytest.param("annotate", f"{LIST}-", id="removing a list"),
        pytest.param("annotate", "learning-lab.dev/userid=bob", id="setting the user id"),
        pytest.param("label", "learning-lab.dev/user=true", id="adding the label that makes it a user's"),
        pytest.param("label", f"{GRANT}=climate", id="changing a grant by label"),
        pytest.param("label", f"{GRANT}-", id="removing a grant by label"),
        pytest.param("label", "dir.learning-lab.dev/bob=thesis", id="adding a grant by label"),
    ],
)
def test_who_may_change_a_namespace_may_not_grant_directories_in_it(guarded: Cluster, verb: str, change: str) -> None:
    assert "Only members of the group learning-lab-admins" in " ".join(refusal(guarded, verb, change).split())
    assert refusal(guarded, verb, change, ADMINISTRATOR) == ""


@pytest.mark.parametrize("part", ["status", "finalize"])
def test_nobody_else_grants_through_a_subresource(guarded: Cluster, part: str) -> None:
    changed = guarded.get("namespace", NAME)
    changed["metadata"]["annotations"][LIST] = "- /s/bob/thesis"
    # kubectl has no command for finalize, so use the path.
    path = f"/api/v1/namespaces/{NAME}/{part}?dryRun=All"
    with pytest.raises(CommandFailed, match="learning-lab-admins"):
        guarded.kubectl("replace", *SOMEBODY, "--raw", path, "-f", "-", text=json.dumps(changed))


def test_nobody_else_creates_a_namespace_with_grants(guarded: Cluster) -> None:
    another = {**USER, "metadata": {**USER["metadata"], "name": f"{NAME}-new"}}
    create = ("create", "--dry-run=server", "-f", "-")
    with pytest.raises(CommandFailed, match="learning-lab-admins"):
        guarded.kubectl(*create, *SOMEBODY, text=json.dumps(another))
    guarded.kubectl(*create, *ADMINISTRATOR, text=json.dumps(another))


@pytest.mark.parametrize(
    ("verb", "change"),
    [
        pytest.param("annotate", "contact=somebody@example.com", id="their own annotation"),
        pytest.param("label", "team=finance", id="their own label"),
        pytest.param("label", "team-", id="removing their own label"),
    ],
)
def test_everything_else_in_a_namespace_stays_theirs(guarded: Cluster, verb: str, change: str) -> None:
    assert refusal(guarded, verb, change) == ""


def test_another_prefix_is_guarded_by_one_line_of_the_policy(guarded: Cluster) -> None:
    line, name = f"expression: \"'{PREFIX}'\"", "learning-lab-annotation-guard"
    policy = POLICY.read_text()
    assert policy.count(line) == 1
    another = policy.replace(line, "expression: \"'lab.example.com'\"").replace(f"name: {name}", f"name: {NAME}-prefix")
    another = another.replace(f"policyName: {name}", f"policyName: {NAME}-prefix")
    try:
        guarded.kubectl("apply", "-f", "-", text=another)
        for verb, key in (("annotate", "lab.example.com/notebook-dirs"), ("label", "dir.lab.example.com/shared")):
            wait_until(lambda: "lab.example.com/" in refusal(guarded, verb, f"{key}=x"), 60, "the change had no effect")  # noqa: B023
        assert refusal(guarded, "label", "example.com/team=x") == ""
    finally:
        guarded.kubectl("delete", "-f", "-", "--ignore-not-found", text=another, check=False)


def test_cluster_administrators_may_grant(guarded: Cluster) -> None:
    assert refusal(guarded, "annotate", f"{LIST}=- /s/bob/thesis", ()) == ""


def test_a_namespace_can_still_be_deleted(guarded: Cluster) -> None:
    guarded.apply([{**USER, "metadata": {**USER["metadata"], "name": f"{NAME}-going"}}])
    # The cluster's own controller finishes the deletion through the subresource `finalize`.
    guarded.kubectl("delete", "namespace", f"{NAME}-going", "--wait", "--timeout=50s")

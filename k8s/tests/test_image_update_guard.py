"""What the image update may change, on a real API server: of all that RBAC lets it patch, only two annotations.

Each attempt is a dry run with its service account, on the Deployments of the running lab.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from image_updater import __main__ as image_update
from lab_testing.embedded import PROJECT
from lab_testing.kind_cluster import LAB, Cluster, CommandFailed, wait_until

POLICY = PROJECT / "k8s" / "components" / "image-update-guard" / "policy.yaml"
ACCOUNT = f"system:serviceaccount:{LAB}:image-update"
SAYS = "The image-update job may restart the lab by setting two annotations of its pods, and change nothing else."
RESTART = {"kubectl.kubernetes.io/restartedAt": "2026-11-27T12:00:00+00:00", image_update.RESTARTED_FOR: "hub=sha256:0"}


def refusal(cluster: Cluster, name: str, patch: dict[str, Any], account: str = ACCOUNT) -> str:
    """Try a change. Returns why it is refused, or nothing."""
    change = ("patch", "deployment", name, "-n", LAB, "--dry-run=server", "--type=merge", "-p", json.dumps(patch))
    try:
        cluster.kubectl(*change, "--as", account)
    except CommandFailed as error:
        return " ".join(error.words.split())
    return ""


def of_pods(**template: Any) -> dict[str, Any]:
    return {"spec": {"template": template}}


@pytest.fixture(scope="module")
def guarded(api_server: Cluster) -> Cluster:
    """The cluster, with the project's policy and rights."""
    api_server.kubectl("apply", "-f", str(POLICY))
    wait_until(lambda: SAYS in refusal(api_server, "proxy", {"spec": {"paused": True}}), 60, "the policy had no effect")
    return api_server


@pytest.mark.parametrize("name", image_update.DEPLOYMENTS)
def test_it_restarts_a_deployment(guarded: Cluster, name: str) -> None:
    assert refusal(guarded, name, of_pods(metadata={"annotations": RESTART})) == ""


@pytest.mark.parametrize("name", image_update.DEPLOYMENTS)
@pytest.mark.parametrize(
    "patch",
    [
        pytest.param(of_pods(spec={"hostPID": True}), id="sharing the node's processes"),
        pytest.param(of_pods(spec={"serviceAccountName": "default"}), id="another account"),
        pytest.param(of_pods(spec={"containers": [{"name": "x", "image": "x"}]}), id="another container"),
        pytest.param(of_pods(metadata={"annotations": {"x": "y"}}), id="another annotation on the pods"),
        pytest.param(
            of_pods(metadata={"annotations": RESTART}, spec={"hostIPC": True}),
            id="a restart together with something else",
        ),
        pytest.param(of_pods(metadata={"labels": {"x": "y"}}), id="a label on the pods"),
        pytest.param({"metadata": {"labels": {"x": "y"}}}, id="a label on the Deployment"),
        pytest.param({"metadata": {"annotations": {"x": "y"}}}, id="an annotation on the Deployment"),
        pytest.param({"metadata": {"finalizers": ["example.com/x"]}}, id="a finalizer"),
        pytest.param({"spec": {"replicas": 0}}, id="no replicas"),
        pytest.param({"spec": {"replicas": 2}}, id="two replicas"),
        pytest.param({"spec": {"paused": True}}, id="pausing the Deployment"),
        pytest.param({"spec": {"strategy": {"type": "RollingUpdate"}}}, id="the update strategy"),
        pytest.param({"spec": {"minReadySeconds": 9}}, id="the time until it counts as ready"),
        pytest.param({"spec": {"progressDeadlineSeconds": 9}}, id="the progress deadline"),
        pytest.param({"spec": {"revisionHistoryLimit": 0}}, id="the revision history"),
    ],
)
def test_it_changes_nothing_else(guarded: Cluster, name: str, patch: dict[str, Any]) -> None:
    assert SAYS in refusal(guarded, name, patch)


def test_others_who_may_change_the_deployment_still_can(guarded: Cluster) -> None:
    guarded.kubectl("patch", "deployment", "proxy", "-n", LAB, "--dry-run=server", "-p", '{"spec": {"replicas": 2}}')


def test_the_policy_covers_every_field_of_a_deployment(guarded: Cluster) -> None:
    """A field that a later Kubernetes adds is not covered: then this test fails, and the policy needs another line."""
    policy = POLICY.read_text()
    for kind, known in (("deployment.spec", {"template"}), ("deployment.spec.template", {"metadata", "spec"})):
        lines = guarded.kubectl("explain", kind).splitlines()
        fields = {
            line.split()[0] for line in lines[lines.index("FIELDS:") + 1 :] if line.startswith("  ") and line[2] != " "
        }
        assert fields, lines
        assert {
            each for each in fields - known if f"object.spec.?{each} == oldObject.spec.?{each}" not in policy
        } == set()

"""What the lab's own namespace accepts, on a real API server: Pod Security's `baseline`; here, hostPath too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab_testing.kind_cluster import Cluster, CommandFailed

NAME = "pod-security-test"


@pytest.fixture(scope="module")
def baseline(api_server: Cluster) -> Iterator[Cluster]:
    """A cluster with a namespace that enforces baseline."""
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    try:
        api_server.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME, "labels": labels}}])
        yield api_server
    finally:
        api_server.kubectl("delete", "namespace", NAME, "--ignore-not-found", "--wait=false", check=False)


def make(cluster: Cluster, spec: dict[str, Any]) -> str:
    """Try to create a pod there. Returns why it is refused, or nothing."""
    without_account = {key: value for key, value in spec.items() if key != "serviceAccountName"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "namespace": NAME}, "spec": without_account}
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
    except CommandFailed as error:
        return error.words
    return ""


def test_baseline_accepts_every_pod(baseline: Cluster, elsewhere: Any) -> None:
    assert [refusal for spec in elsewhere.pods if (refusal := make(baseline, spec))] == []


def test_baseline_refuses_the_nodes_folders_used_on_this_machine(baseline: Cluster, overlays: dict[str, Any]) -> None:
    refusal = make(baseline, overlays["local"].pod())
    assert "hostPath volumes" in refusal
    assert refusal.count("(") == 2, f"hostPath and nothing else: {refusal}"


def test_the_labs_namespace_enforces_baseline(overlay: Any) -> None:
    [namespace] = overlay.of_kind("Namespace")
    enforced = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == ("privileged" if overlay.name == "local" else "baseline")

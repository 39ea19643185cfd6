"""The image-update job against a registry and an API server that speak the wire format."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes import client

from image_updater.__main__ import Cluster, Decision, decide, target, update
from image_updater.registry import Registry, UpdateError
from lab_testing.registry_double import HUB, MANIFEST, NEW, OLD, Wire

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


class TestDecision:
    @pytest.mark.parametrize(
        ("given", "verb"),
        [
            pytest.param({"latest": {"hub": OLD}}, "rest", id="the same digest: nothing happens"),
            pytest.param({}, "announce", id="another digest: it is announced first"),
            pytest.param({"notice": timedelta(0)}, "restart", id="without a notice: it restarts at once"),
            pytest.param({"planned_at": NOW + QUARTER}, "wait", id="announced, but not yet due"),
            pytest.param({"planned_at": NOW}, "restart", id="announced and due"),
            pytest.param(
                {"planned_at": NOW + QUARTER, "notice": timedelta(0)},
                "restart",
                id="announced, and the notice is off now",
            ),
            pytest.param(
                {"restarted_for": f"hub=sha256:{'c' * 64}"}, "announce", id="restarted for another digest before"
            ),
            pytest.param(
                {"restarted_for": f"hub={NEW}"}, "rest", id="already restarted for it: never twice for one digest"
            ),
            pytest.param({"running": {}, "notice": timedelta(0)}, "restart", id="the running image has no digest"),
        ],
    )
    def test_of(self, given: dict[str, Any], verb: str) -> None:
        arguments: dict[str, Any] = {
            "running": {"hub": OLD},
            "latest": {"hub": NEW},
            "restarted_for": "",
            "planned_at": None,
            "now": NOW,
            "notice": QUARTER,
        } | given
        decision = decide(arguments.pop("running"), arguments.pop("latest"), **arguments)
        assert decision.verb == verb
        assert decision.at == (NOW + QUARTER if verb == "announce" else None)

    def test_target_does_not_depend_on_order(self) -> None:
        assert target({"proxy": NEW, "hub": OLD}) == target({"hub": OLD, "proxy": NEW}) == f"hub={OLD},proxy={NEW}"


SELECTOR = {"app.kubernetes.io/name": "learning-lab"}
PROXY_SELECTOR = {"app.kubernetes.io/component": "proxy"}
DEPLOYMENT = "/apis/apps/v1/namespaces/lab/deployments/learning-lab"
PROXY = "/apis/apps/v1/namespaces/lab/deployments/proxy"
PROXY_MANIFEST = "/v2/lab/proxy/manifests/staging"
PROXY_PODS = "/api/v1/namespaces/lab/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dproxy"
NOTICE = "/api/v1/namespaces/lab/configmaps/update-notice"
PODS = "/api/v1/namespaces/lab/pods?labelSelector=app.kubernetes.io%2Fname%3Dlearning-lab"


@pytest.fixture
def cluster(wire: Wire) -> Cluster:
    """A cluster where the hub runs the old digest of a tag that has moved to the new one. The proxy is up to date."""
    beside = {"name": "beside", "image": f"registry.example.com/lab/beside@{OLD}"}
    wire.objects = {
        DEPLOYMENT: deployment("hub", SELECTOR, beside),
        PROXY: deployment("proxy", PROXY_SELECTOR),
        PROXY_PODS: {"items": [pod("2026-11-23T13:00:00Z", OLD, "proxy")]},
        NOTICE: {"data": {}},
        PODS: {
            "items": [
                pod("2026-11-23T13:00:00Z", OLD),
                pod("2026-11-22T13:00:00Z", NEW),  # an old one that is being deleted
            ]
        },
    }
    wire.tags = {MANIFEST: NEW, PROXY_MANIFEST: OLD}
    return Cluster(client.ApiClient(client.Configuration(host=wire.url)), "lab")


def deployment(name: str, selector: dict[str, str], *more: dict[str, str]) -> dict[str, Any]:
    container = {"name": name, "image": f"registry.example.com/lab/{name}:staging", "imagePullPolicy": "Always"}
    template = {"metadata": {"labels": selector}, "spec": {"containers": [container, *more]}}
    return {"spec": {"selector": {"matchLabels": selector}, "template": template}}


def pod(created: str, digest: str, name: str = "hub") -> dict[str, Any]:
    statuses = [
        {"name": name, "imageID": f"registry.example.com/lab/{name}@{digest}"},
        {"name": "beside", "imageID": ""},
    ]
    return {"metadata": {"creationTimestamp": created}, "status": {"containerStatuses": statuses}}


class TestUpdate:
    def look(self, wire: Wire, cluster: Cluster, notice: timedelta = QUARTER) -> Decision:
        return self.look_at_both(wire, cluster, notice)[0]

    def look_at_both(self, wire: Wire, cluster: Cluster, notice: timedelta = QUARTER) -> list[Decision]:
        return update(cluster, Registry({HUB.registry: wire.url}, {}), notice, NOW)

    def test_a_new_proxy_alone_restarts_at_once_without_a_notice(self, wire: Wire, cluster: Cluster) -> None:
        wire.tags = {MANIFEST: OLD, PROXY_MANIFEST: NEW}
        assert [each.verb for each in self.look_at_both(wire, cluster)] == ["rest", "restart"]
        assert [path for path, _ in wire.patches] == [PROXY]

    def test_a_new_proxy_waits_for_the_hub_that_came_with_it(self, wire: Wire, cluster: Cluster) -> None:
        wire.tags = {MANIFEST: NEW, PROXY_MANIFEST: NEW}
        assert [each.verb for each in self.look_at_both(wire, cluster)] == ["announce"]
        wire.patches.clear()
        assert [each.verb for each in self.look_at_both(wire, cluster, timedelta(0))] == ["restart", "restart"]
        assert [path for path, _ in wire.patches] == [DEPLOYMENT, NOTICE, PROXY]

    def test_an_update_is_announced_first(self, wire: Wire, cluster: Cluster) -> None:
        assert self.look(wire, cluster).verb == "announce"
        assert wire.patches == [(NOTICE, {"data": {"planned-at": "2026-11-23T14:15:00+00:00"}})]

    def test_frequent_pushes_do_not_put_it_off(self, wire: Wire, cluster: Cluster) -> None:
        wire.objects[NOTICE] = {"data": {"planned-at": (NOW + QUARTER).isoformat()}}
        wire.tags[MANIFEST] = "sha256:" + "c" * 64  # newer than what was announced
        assert self.look(wire, cluster).verb == "wait"
        assert not wire.patches

    def test_when_it_is_due_the_deployment_restarts_and_the_pages_say_so(self, wire: Wire, cluster: Cluster) -> None:
        wire.objects[NOTICE] = {"data": {"planned-at": NOW.isoformat()}}
        assert self.look(wire, cluster).verb == "restart"
        (first, patch), (second, told) = wire.patches
        assert (first, second) == (DEPLOYMENT, NOTICE)
        assert told["data"] == {"planned-at": None, "updated-at": "2026-11-23T14:00:00+00:00"}
        annotations = patch["spec"]["template"]["metadata"]["annotations"]
        assert annotations["learning-lab.dev/restarted-for"] == f"hub={NEW}"
        assert set(patch["spec"]["template"]) == {"metadata"}, "only annotations may change"

    def test_a_tag_that_moved_back_is_no_longer_announced(self, wire: Wire, cluster: Cluster) -> None:
        wire.tags[MANIFEST] = OLD
        wire.objects[NOTICE] = {"data": {"planned-at": NOW.isoformat()}}
        assert self.look(wire, cluster).verb == "rest"
        assert wire.patches == [(NOTICE, {"data": {"planned-at": None}})]

    def test_a_pod_whose_image_is_still_pulled_is_left_alone(self, wire: Wire, cluster: Cluster) -> None:
        statuses = [{"name": "hub", "imageID": ""}, {"name": "beside", "imageID": f"registry/beside@{OLD}"}]
        starting = {
            "metadata": {"creationTimestamp": "2026-11-23T13:59:00Z"},
            "status": {"containerStatuses": statuses},
        }
        wire.objects[PODS]["items"].append(starting)
        assert self.look(wire, cluster, timedelta(0)).verb == "rest"
        assert not wire.patches

    def test_no_update_that_the_cluster_refused_is_announced(self, wire: Wire, cluster: Cluster) -> None:
        wire.refuses = DEPLOYMENT
        with pytest.raises(UpdateError, match="answered 403 to PATCH"):
            self.look(wire, cluster, timedelta(0))
        assert [path for path, _ in wire.patches] == [DEPLOYMENT]

    def test_nothing_restarts_twice_for_one_digest(self, wire: Wire, cluster: Cluster) -> None:
        self.look(wire, cluster, timedelta(0))
        (_, patch), _ = wire.patches
        wire.objects[DEPLOYMENT]["spec"]["template"]["metadata"] |= patch["spec"]["template"]["metadata"]
        wire.patches.clear()
        decision = self.look(wire, cluster, timedelta(0))
        assert decision.verb == "rest"
        assert "was already restarted for it" in decision.why
        assert not wire.patches

    def test_nothing_is_restarted_when_the_registry_is_broken(self, wire: Wire, cluster: Cluster) -> None:
        wire.broken = 500
        with pytest.raises(UpdateError, match="answered 500"):
            self.look(wire, cluster, timedelta(0))
        assert not wire.patches

    def test_a_tag_that_nodes_do_not_pull_again_is_reported(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"]
        with pytest.raises(UpdateError, match="no imagePullPolicy Always"):
            self.look(wire, cluster)

    def test_images_by_digest_are_not_checked(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]
        assert "by digest" in self.look(wire, cluster).why

    def test_a_missing_right_is_reported(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[NOTICE]
        with pytest.raises(UpdateError, match=re.escape(f"answered 403 to GET {NOTICE}. Is the overlay applied")):
            self.look(wire, cluster)

    def test_outside_of_a_pod_it_says_so(self) -> None:
        command = [sys.executable, "-m", "image_updater"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("image-update: This is not a pod with a service account")
        assert len(done.stderr.splitlines()) == 1

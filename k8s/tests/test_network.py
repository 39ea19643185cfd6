"""Who may talk to whom: the NetworkPolicies of each overlay, read as Kubernetes reads them.

The tests evaluate the policies, because the network of `make up`'s kind cluster may not enforce them. The rules are in
https://kubernetes.io/docs/concepts/services-networking/network-policies/: a pod that no policy selects for a direction
is open in it; otherwise a connection is allowed if any policy allows it, and both ends must allow it.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from lab_testing.kind_cluster import LAB

Document = dict[str, Any]
# An end of a connection: the namespace and labels of a pod, or an address outside the cluster.
INGRESS: Document = {"namespace": "ingress", "labels": {}}
SOMEBODY: Document = {"namespace": "team-bio", "labels": {}}
PERSON: Document = {"namespace": "alice", "labels": {}}
INTERNET, METADATA, METADATA_6 = ({"ip": each} for each in ("93.184.215.14", "169.254.169.254", "fd00:ec2::254"))


def lab(component: str) -> Document:
    labels = {"app.kubernetes.io/name": "learning-lab", "app.kubernetes.io/component": component}
    return {"namespace": LAB, "labels": labels}


HUB, PROXY, UPDATE = lab("hub"), lab("proxy"), lab("image-update")


def allows(overlay: Any, source: Document, target: Document, port: int) -> bool:
    return _direction(overlay, source, target, port, "Egress") and _direction(overlay, target, source, port, "Ingress")


def _direction(overlay: Any, of: Document, other: Document, port: int, direction: str) -> bool:
    policies = [
        each["spec"]
        for each in overlay.of_kind("NetworkPolicy")
        if direction in each["spec"]["policyTypes"]
        and of.get("namespace") == each["metadata"]["namespace"]
        and _labels_match(each["spec"]["podSelector"], of["labels"])
    ]
    rules = [rule for policy in policies for rule in policy.get(direction.lower()) or []]
    peers = "to" if direction == "Egress" else "from"
    return not policies or any(
        (
            "ports" not in rule
            or any(each["port"] <= port <= each.get("endPort", each["port"]) for each in rule["ports"])
        )
        and (peers not in rule or any(_is_peer(each, other) for each in rule[peers]))
        for rule in rules
    )


def _is_peer(peer: Document, other: Document) -> bool:
    if "ipBlock" in peer:
        block, address = peer["ipBlock"], other.get("ip")
        return (
            address is not None
            and _within(address, block["cidr"])
            and not any(_within(address, each) for each in block.get("except", []))
        )
    if "ip" in other:
        return False
    if "namespaceSelector" in peer:
        named = {"kubernetes.io/metadata.name": other["namespace"]}
        return _labels_match(peer["namespaceSelector"], named) and _labels_match(
            peer.get("podSelector", {}), other["labels"]
        )
    return other["namespace"] == LAB and _labels_match(peer["podSelector"], other["labels"])


def _labels_match(selector: Document, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "the evaluation above supports nothing else"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        pytest.param(INGRESS, PROXY, 8000, True, id="users reach the proxy through the ingress"),
        pytest.param(INGRESS, PROXY, 8001, False, id="the ingress does not reach the proxy's API"),
        pytest.param(INGRESS, HUB, 881, False, id="the ingress cannot bypass the proxy"),
        pytest.param(PROXY, HUB, 881, True, id="the proxy reaches the hub"),
        pytest.param(PROXY, HUB, 1024, True, id="the proxy reaches users' servers on the first port"),
        pytest.param(PROXY, HUB, 4095, True, id="the proxy reaches users' servers on the last port"),
        pytest.param(PROXY, HUB, 4096, False, id="the proxy does not reach what users listen on"),
        pytest.param(PROXY, INTERNET, 443, False, id="the proxy does not reach anything else"),
        pytest.param(PROXY, METADATA, 80, False, id="the proxy does not reach cloud metadata"),
        pytest.param(HUB, PROXY, 8001, True, id="the hub sends the proxy its routes"),
        pytest.param(HUB, PROXY, 8000, False, id="users in the hub's pod do not reach the proxy's front"),
        pytest.param(HUB, INTERNET, 443, True, id="notebooks can fetch data"),
        pytest.param(HUB, SOMEBODY, 5432, True, id="notebooks can fetch data from the cluster"),
        pytest.param(HUB, METADATA, 80, False, id="the hub's pod does not get the node's credentials"),
        pytest.param(HUB, METADATA_6, 80, False, id="the hub's pod does not get the node's credentials over IPv6"),
        pytest.param(SOMEBODY, HUB, 881, False, id="nobody else reaches the hub"),
        pytest.param(SOMEBODY, HUB, 2000, False, id="nobody else reaches a server"),
        pytest.param(PERSON, PROXY, 8001, False, id="nobody else reaches the proxy's API"),
        pytest.param(UPDATE, PROXY, 8001, False, id="the image update does not reach the proxy's API"),
        pytest.param(UPDATE, INTERNET, 443, True, id="the image update reaches the registry"),
        pytest.param(UPDATE, METADATA, 80, False, id="the image update does not get the node's credentials"),
        pytest.param(HUB, UPDATE, 80, False, id="nobody reaches the image update"),
    ],
)
def test_who_may_talk_to_whom(elsewhere: Any, source: Document, target: Document, port: int, allowed: bool) -> None:
    assert allows(elsewhere, source, target, port) == allowed


def test_on_this_machine_people_reach_the_proxy_from_outside_the_cluster(overlays: dict[str, Any]) -> None:
    local = overlays["local"]
    assert allows(local, INTERNET, PROXY, 8000)
    assert not allows(local, SOMEBODY, PROXY, 8001)
    assert not allows(local, SOMEBODY, HUB, 881)


def test_every_pod_of_the_lab_has_a_policy_for_both_directions(overlay: Any) -> None:
    selected = [
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for each in overlay.of_kind("NetworkPolicy")
        if set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    ]
    assert sorted(selected) == ["hub", "image-update", "proxy"]

"""What the lab may do in the cluster and on its node: the rules that hold in every overlay."""

from __future__ import annotations

from typing import Any

from image_updater import __main__ as image_update

# The capabilities that root in a container may have: to become its users, stop their processes, audit, bind
# the reserved ports, and make users' directories.
CAPABILITIES = {
    "hub": {"SETUID", "SETGID", "KILL", "AUDIT_WRITE", "NET_BIND_SERVICE"},
    "storage": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"},
}


def test_the_hub_may_read_one_namespace_at_a_time_and_no_more(overlay: Any) -> None:
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
    assert overlay.rights("hub") == [("ClusterRole", rule)]


def test_the_image_update_may_change_two_deployments_and_one_notice(overlay: Any) -> None:
    found = overlay.rights("image-update")
    assert {kind for kind, _ in found} == {"Role"}
    by_resource = {resource: rule for _, rule in found for resource in rule["resources"]}
    assert set(by_resource) == {"deployments", "pods", "configmaps"}
    assert by_resource["pods"]["verbs"] == ["list"]
    names = {"deployments": [*image_update.DEPLOYMENTS], "configmaps": [image_update.NOTICE]}
    for resource, allowed in names.items():
        assert by_resource[resource]["resourceNames"] == allowed
        assert set(by_resource[resource]["verbs"]) == {"get", "patch"}
    assert [each["metadata"]["name"] for each in overlay.of_kind("Deployment")] == [*image_update.DEPLOYMENTS]
    assert overlay.one("ConfigMap", image_update.NOTICE)


def test_nobody_else_gets_rights(overlay: Any) -> None:
    bindings = [each for each in overlay.documents if each["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    subjects = {(subject["kind"], subject["name"]) for each in bindings for subject in each["subjects"]}
    assert subjects == {("ServiceAccount", "hub"), ("ServiceAccount", "image-update")}


def test_no_container_gains_rights(overlay: Any) -> None:
    for container in overlay.containers:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["capabilities"]["drop"] == ["ALL"]
        assert set(context["capabilities"].get("add", [])) == CAPABILITIES.get(container["name"], set())
        assert "privileged" not in context
        if container["name"] not in CAPABILITIES:
            assert context["runAsNonRoot"] is True
            assert context["readOnlyRootFilesystem"] is True


def test_no_pod_shares_anything_with_its_node(overlay: Any) -> None:
    for pod in overlay.pods:
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)


def test_only_the_hub_may_bind_the_ports_of_the_hub_and_the_servers(overlay: Any) -> None:
    sysctls = {each["name"]: each["value"] for each in overlay.pod()["securityContext"]["sysctls"]}
    assert sysctls == {"net.ipv4.ip_unprivileged_port_start": "4096"}
    [port] = overlay.container("hub")["ports"]
    assert port["containerPort"] < 4096


def test_the_proxy_where_passwords_come_in_shares_no_pod(overlay: Any) -> None:
    pod = overlay.pod("proxy")
    assert [each["name"] for each in pod["containers"]] == ["proxy"]
    assert pod["automountServiceAccountToken"] is False
    assert "volumes" not in pod


def test_only_root_in_the_hubs_container_can_read_its_token(overlay: Any) -> None:
    pod = overlay.pod()
    assert pod["automountServiceAccountToken"] is False
    tokens = [
        volume
        for volume in pod["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    ]
    assert [(volume["name"], volume["projected"]["defaultMode"]) for volume in tokens] == [("token", 0o400)]
    having = [
        each["name"]
        for each in [*pod["containers"], *pod.get("initContainers", [])]
        if any(mount["name"] == "token" for mount in each.get("volumeMounts", []))
    ]
    assert having == ["hub"]
    assert "fsGroup" not in pod.get("securityContext", {})  # the kubelet would let that group read the token
    accounts = {each["metadata"]["name"]: each for each in overlay.of_kind("ServiceAccount")}
    assert {name: each["automountServiceAccountToken"] for name, each in accounts.items()} == {
        "hub": False,
        "image-update": False,
    }

"""What the three overlays contain, and that a real API server accepts every field in them.

`make e2e` runs this: kubectl renders each overlay, and the kind cluster's API server checks it (`--dry-run=server`, so
nothing is changed). This checks what differs between the environments; test_rights.py checks what holds in all of them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from image_updater import __main__ as image_update
from lab_testing.embedded import NAMESPACES, PROJECT
from lab_testing.kind_cluster import LAB, Cluster, CommandFailed
from learning_lab.serving.forwarded import TrustedProxies
from learning_lab.settings import LearningLab

NOT_NAMESPACED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PersistentVolume",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
TRUSTED = "LEARNING_LAB_TRUSTED_PROXIES"
NOT_YET = "networks of the ingress controller"
CHECK = ("apply", "--dry-run=server", "--validate=strict")


def test_the_api_server_accepts_every_field(api_server: Cluster, overlay: Any) -> None:
    said = api_server.kubectl(*CHECK, "-k", str(overlay.folder))
    taken = [line for line in said.splitlines() if line.endswith("(server dry run)")]
    assert len(taken) == len(overlay.documents) > 10, said


def test_the_api_server_would_refuse_a_misspelt_field(api_server: Cluster, overlays: dict[str, Any]) -> None:
    service = overlays["local"].one("Service", "learning-lab")
    wrong = {**service, "spec": {**service["spec"], "selectors": {}}}
    with pytest.raises(CommandFailed, match=r"unknown field .*selectors"):
        api_server.kubectl(*CHECK, "-f", "-", text=json.dumps(wrong))


def test_the_peoples_namespaces_apply_by_themselves(api_server: Cluster) -> None:
    said = api_server.kubectl(*CHECK, "-f", str(NAMESPACES))
    assert all(f"namespace/{name} " in said for name in ("alice", "bob", "carol")), said


def test_everything_that_has_a_namespace_is_in_the_labs_own(overlay: Any) -> None:
    for document in overlay.documents:
        expected = None if document["kind"] in NOT_NAMESPACED else LAB
        assert document["metadata"].get("namespace") == expected, document["metadata"]


def test_the_labs_namespace_is_not_a_users(overlay: Any) -> None:
    [namespace] = overlay.of_kind("Namespace")
    assert namespace["metadata"]["name"] == LAB
    assert not any(key.startswith("learning-lab.dev/") for key in namespace["metadata"]["labels"])


def test_nothing_of_the_emulated_company_leaves_this_machine(elsewhere: Any) -> None:
    text = yaml.safe_dump_all(elsewhere.documents)
    for word in ("emulation", "hostPath", "NodePort", "LAB_LIVE", "localhost", "learning-lab-registry", "development"):
        assert word not in text, word
    assert elsewhere.of_kind("Secret") == []  # the site's own values, which never belong in a repository


def test_the_overlay_says_how_to_create_each_secret_that_it_needs(elsewhere: Any, overlays: dict[str, Any]) -> None:
    needed = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for container in elsewhere.containers
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    told = (overlays["staging"].folder / "kustomization.yaml").read_text()
    assert needed == set(re.findall(r"create secret generic (\S+)", told)) == {"proxy-token", "database"}


def test_every_file_with_an_example_address_is_marked_for_changing(elsewhere: Any) -> None:
    texts = {file.name: file.read_text() for file in elsewhere.folder.iterdir()}
    assert [name for name, text in texts.items() if "example.com" in text and "CHANGE HERE" not in text] == []


@pytest.mark.parametrize(
    ("name", "image"),
    [
        pytest.param("local", r"learning-lab/(hub|proxy)", id="local: names that make up and Tilt replace"),
        pytest.param("staging", r".+/learning-lab/(hub|proxy):[\w.-]+", id="staging: a tag"),
        pytest.param(
            "production",
            r".+/learning-lab/(hub|proxy)@sha256:[0-9a-f]{64}",
            id="production: a digest",
        ),
    ],
)
def test_only_our_own_two_images_are_used(overlays: dict[str, Any], name: str, image: str) -> None:
    used = {container["image"] for container in overlays[name].containers}
    assert len(used) == 2
    assert [each for each in used if not re.fullmatch(image, each)] == []


def test_a_moving_tag_is_pulled_again_when_the_lab_restarts(overlays: dict[str, Any]) -> None:
    policies = {name: overlays["staging"].container(name).get("imagePullPolicy") for name in ("hub", "proxy")}
    assert policies == {"hub": "Always", "proxy": "Always"}


def test_draining_a_node_waits_for_a_person(elsewhere: Any) -> None:
    budget = elsewhere.one("PodDisruptionBudget", "learning-lab")["spec"]
    assert budget["maxUnavailable"] == 0
    assert budget["selector"] == elsewhere.one("Deployment", "learning-lab")["spec"]["selector"]


def test_people_connect_only_over_tls(elsewhere: Any) -> None:
    ingress = elsewhere.one("Ingress", "learning-lab")["spec"]
    assert [host for tls in ingress["tls"] for host in tls["hosts"]] == [rule["host"] for rule in ingress["rules"]]


def test_no_overlay_depends_on_one_vendors_ingress_controller(elsewhere: Any) -> None:
    ingress = elsewhere.one("Ingress", "learning-lab")
    assert ingress["spec"]["ingressClassName"]
    assert not ingress["metadata"].get("annotations")
    texts = [file.read_text() for file in sorted((PROJECT / "k8s").rglob("*.yaml"))]
    assert not [text for text in texts if "nginx" in text]  # ingress-nginx was retired in March 2026


@pytest.mark.parametrize("name", ["learning-lab", "proxy"])
def test_two_hubs_or_two_proxies_never_run_at_once(overlay: Any, name: str) -> None:
    deployment = overlay.one("Deployment", name)["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}


def test_a_restarting_hub_stays_in_its_service(overlay: Any) -> None:
    hub, proxy = overlay.container("hub"), overlay.container("proxy")
    assert "readinessProbe" not in hub
    assert "startupProbe" in hub
    assert {"readinessProbe", "livenessProbe"} <= set(proxy)
    assert ("livenessProbe" in hub) == (overlay.name != "local")


def test_each_service_leads_to_the_port_of_its_pod(overlay: Any) -> None:
    ports = {}
    for service in overlay.of_kind("Service"):
        [deployment] = [
            each
            for each in overlay.of_kind("Deployment")
            if service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
        ]
        [port] = service["spec"]["ports"]
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        named = {each["name"]: each["containerPort"] for each in container["ports"]}
        name = service["metadata"]["name"]
        ports[name] = (deployment["metadata"]["name"], port["port"], named[port["targetPort"]])
    assert ports == {
        "learning-lab": ("proxy", 80, 8000),
        "proxy": ("proxy", 8001, 8001),
        "hub": ("learning-lab", 881, 881),
    }


def test_every_option_that_the_manifest_sets_exists(overlay: Any) -> None:
    options = {f"LEARNING_LAB_{name.upper()}" for name in LearningLab.class_traits(config=True)}
    hub = overlay.container("hub")
    variables = {variable["name"]: variable.get("value") for variable in hub["env"]}
    assert {name for name in variables if name.startswith("LEARNING_LAB_")} <= options
    mounts = {mount["name"]: mount["mountPath"] for mount in hub["volumeMounts"]}
    assert variables["LEARNING_LAB_UPDATE_NOTICE"] == mounts["update-notice"]


def test_each_overlay_names_the_proxies_in_front_of_its_own_lab(elsewhere: Any) -> None:
    # Staging's values differ from production's: an inherited one would be wrong but look right.
    lines = (elsewhere.folder / "hub.yaml").read_text().splitlines()
    [at] = [number for number, line in enumerate(lines) if f"name: {TRUSTED}" in line]
    assert "CHANGE HERE" in lines[at + 1]
    [value] = [each["value"] for each in elsewhere.container("hub")["env"] if each["name"] == TRUSTED]
    assert value in lines[at + 1]
    if value == NOT_YET:  # the project's placeholder, which a company replaces
        with pytest.raises(ValueError, match="give networks"):  # with this the hub refuses to start
            TrustedProxies.parse(value)
    else:
        assert TrustedProxies.parse(value) != TrustedProxies()


def test_the_image_update_gets_only_variables_that_it_knows(overlay: Any) -> None:
    job = overlay.one("CronJob", "image-update")["spec"]
    [only] = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert only["command"][-1] == image_update.__package__
    for variable in only.get("env", []):
        assert f"    {variable['name']} " in (image_update.__doc__ or ""), variable["name"]
    assert job["concurrencyPolicy"] == "Forbid"
    # Only a tag can move to another image.
    assert bool(job.get("suspend")) == (overlay.name != "staging")

"""A new image under the same tag: the lab is replaced by it, people are told, and what they chose is remembered."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from lab_testing.kind_cluster import DEPLOYMENT, LAB, Cluster, wait_until
from lab_testing.visitor import Visitor

pytestmark = pytest.mark.timeout(420)

TAG = "e2e"
TOLD = "The lab was updated at"
RESTARTED_FOR, RESTARTED_AT = "learning-lab.dev/restarted-for", "kubectl.kubernetes.io/restartedAt"


def test_a_new_image_under_the_tag_replaces_the_lab_and_keeps_what_people_chose(
    visitor: Callable[..., Visitor], cluster: Cluster, tagged: str
) -> None:
    alice = visitor("alice")
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()
    alice.stop()
    expect(alice.page.get_by_text(TOLD)).to_have_count(0)
    before = cluster.pod()["metadata"]["uid"]

    assert "hub: what runs is what the tags mean." in run_update(cluster)
    assert cluster.pod()["metadata"]["uid"] == before

    digest = push(tagged, base=tagged, label=f"changed={uuid.uuid4().hex}")
    assert "hub: a new image. It restarts." in run_update(cluster)
    wait_for_rollout(cluster)
    after = cluster.pod()
    assert after["metadata"]["uid"] != before
    hub = next(each for each in after["status"]["containerStatuses"] if each["name"] == "hub")
    assert hub["imageID"].endswith(digest)

    alice.page.goto("/hub/home")
    expect(alice.page.get_by_text(TOLD)).to_be_visible()
    again = visitor("alice")
    expect(again.page.get_by_text(TOLD)).to_be_visible()
    expect(again.page.get_by_role("button", name="Continue in Thesis").first).to_be_visible()
    again.start()
    again.wait_for_lab()
    assert again.directory() == "/s/alice/thesis"


def run_update(cluster: Cluster) -> str:
    """Do now what the CronJob does from time to time, and wait until it has ended well: what it said."""
    name = f"image-update-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "job", name, "--from=cronjob/image-update", "-n", LAB)
    try:
        condition = "jsonpath={.status.conditions[?(@.status=='True')].type}"
        ended: list[str] = []

        def has_ended() -> bool:
            ended[:] = cluster.kubectl("get", "job", name, "-n", LAB, "-o", condition).split()
            return bool({"Complete", "Failed"} & set(ended))

        wait_until(has_ended, 120, "the job of the CronJob did not end")
        said = cluster.kubectl("logs", "-n", LAB, f"job/{name}", "--tail=30", check=False)
        assert "Complete" in ended, said
        return said
    finally:
        cluster.kubectl("delete", "job", name, "-n", LAB, "--wait=false", check=False)


def wait_for_rollout(cluster: Cluster) -> None:
    cluster.kubectl("rollout", "status", DEPLOYMENT, "-n", LAB, "--timeout=170s", seconds=180)
    cluster.wait_until_healthy()


def docker(*arguments: str) -> str:
    command = [shutil.which("docker") or "docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()[-1000:]}"
    return done.stdout.strip()


def push(tag: str, base: str, label: str = "") -> str:
    """Push an image under a tag, with one label more if there is one: its digest in the registry."""
    if label:
        # A container's changes become an image without a builder; there are none but the label.
        container = docker("create", base)
        try:
            docker("commit", "--change", f"LABEL {label}", container, tag)
        finally:
            docker("rm", container)
    else:
        docker("tag", base, tag)
    pushed = docker("push", tag)
    digest = [word for word in pushed.split() if word.startswith("sha256:")]
    assert digest, pushed
    return digest[-1]


@pytest.fixture
def tagged(cluster: Cluster) -> Iterator[str]:
    """Let the Deployment run its hub from a tag of the local registry, as elsewhere; at the end it is as before."""
    hub = image_of_hub(cluster)
    present, policy = hub["image"], hub["imagePullPolicy"]
    tag = f"{present.partition('@')[0]}:{TAG}"
    if "@" not in present:
        pytest.fail(f"The hub's image is {present}, without a digest: run `make up`, this test needs what it makes.")
    push(tag, base=present)
    try:
        tell_nothing(cluster)  # a notice is shown for hours, longer than from one run to the next
        set_image(cluster, tag, "Always")
        yield tag
    finally:
        tell_nothing(cluster)
        if image_of_hub(cluster)["image"] == tag:  # else somebody has deployed another one meanwhile
            set_image(cluster, present, policy)


def image_of_hub(cluster: Cluster) -> dict[str, Any]:
    """The hub's container as the Deployment has it."""
    containers: list[dict[str, Any]] = cluster.get(DEPLOYMENT, "-n", LAB)["spec"]["template"]["spec"]["containers"]
    return next(each for each in containers if each["name"] == "hub")


def tell_nothing(cluster: Cluster) -> None:
    """Take the notice of an update away; a pod that starts after this has none."""
    cluster.kubectl("patch", "configmap/update-notice", "-n", LAB, "--type=merge", "-p", '{"data": null}')


def set_image(cluster: Cluster, image: str, policy: str) -> None:
    hub: dict[str, Any] = {"name": "hub", "image": image, "imagePullPolicy": policy}
    # What an update leaves there goes too.
    left: dict[str, Any] = {"annotations": {RESTARTED_FOR: None, RESTARTED_AT: None}}
    patch = json.dumps({"spec": {"template": {"metadata": left, "spec": {"containers": [hub]}}}})
    cluster.kubectl("patch", DEPLOYMENT, "-n", LAB, "--type=strategic", "-p", patch)
    wait_for_rollout(cluster)

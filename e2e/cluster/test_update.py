"""A new image under the same tag replaces the lab; people are told, and their choices are remembered."""

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

    assert "hub: up to date." in run_update(cluster)
    assert cluster.pod()["metadata"]["uid"] == before

    digest = push(tagged, base=tagged, label=f"changed={uuid.uuid4().hex}")
    assert "hub: a new image. Restarting." in run_update(cluster)
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
    """Run the CronJob's job now, and wait until it has succeeded. Returns its output."""
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
    """Push an image under a tag, with an extra label if one is given. Returns its digest in the registry."""
    if label:
        # Committing a container makes an image without a builder; the label is its only change.
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
    """Make the Deployment run its hub from a tag in the local registry, as on other sites; undone at the end."""
    hub = image_of_hub(cluster)
    present, policy = hub["image"], hub["imagePullPolicy"]
    tag = f"{present.partition('@')[0]}:{TAG}"
    if "@" not in present:
        pytest.fail(f"The hub's image is {present}, without a digest. This test needs what `make up` deploys.")
    push(tag, base=present)
    try:
        tell_nothing(cluster)  # a notice is shown for hours, so it would still be there in the next run
        set_image(cluster, tag, "Always")
        yield tag
    finally:
        tell_nothing(cluster)
        if image_of_hub(cluster)["image"] == tag:  # otherwise somebody has deployed another one in the meantime
            set_image(cluster, present, policy)


def image_of_hub(cluster: Cluster) -> dict[str, Any]:
    """The hub's container in the Deployment."""
    containers: list[dict[str, Any]] = cluster.get(DEPLOYMENT, "-n", LAB)["spec"]["template"]["spec"]["containers"]
    return next(each for each in containers if each["name"] == "hub")


def tell_nothing(cluster: Cluster) -> None:
    """Remove the update notice; a pod that starts after this shows none."""
    cluster.kubectl("patch", "configmap/update-notice", "-n", LAB, "--type=merge", "-p", '{"data": null}')


def set_image(cluster: Cluster, image: str, policy: str) -> None:
    hub: dict[str, Any] = {"name": "hub", "image": image, "imagePullPolicy": policy}
    # Also remove what an update leaves there.
    left: dict[str, Any] = {"annotations": {RESTARTED_FOR: None, RESTARTED_AT: None}}
    patch = json.dumps({"spec": {"template": {"metadata": left, "spec": {"containers": [hub]}}}})
    cluster.kubectl("patch", DEPLOYMENT, "-n", LAB, "--type=strategic", "-p", patch)
    wait_for_rollout(cluster)

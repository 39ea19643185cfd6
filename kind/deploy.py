"""Builds and pushes the lab's own images, applies the overlay to the cluster, and waits for the lab.

It does once what Tilt does continuously, with the same Dockerfile and the same overlay. Images go through the local
registry, so only changed layers are transferred; the overlay names them by digest, so an unchanged image restarts
nothing.
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

import cluster
import engine
import images
from steps import PROJECT, STATE, StepFailed, output_of, run, step

NAMESPACE = "learning-lab-system"
DOCKERFILE = PROJECT / "services" / "hub" / "Dockerfile"
OVERLAY = PROJECT / "k8s" / "overlays" / "local"
PEOPLE = PROJECT / "k8s" / "base" / "namespaces.yaml"
# Image name in the manifests -> stage in the Dockerfile.
STAGES = {"learning-lab/hub": "development", "learning-lab/proxy": "proxy"}
DEPLOYMENTS = ("deployment/proxy", "deployment/learning-lab")
# In the development system: where the checkout is mounted, and the folders into which it installs its own packages.
INSIDE = "/checkout"
INSTALLED = ("/.venv", "/.tools", "/node_modules")
_ROLLOUT_SECONDS = 300
_HEALTH_SECONDS = 120


def lab() -> None:
    """Build the lab's images and run them on the cluster.

    Raises:
        StepFailed: a step failed, or the lab does not respond.
    """
    digests = {name: _push(name, stage) for name, stage in STAGES.items()}
    with step("the lab on the cluster"):
        cluster.kubectl("apply", "--filename", PEOPLE, advice="The output says what is wrong with it.")
        cluster.kubectl("apply", "--kustomize", _overlay(digests), advice="The output says what is wrong with it.")
        for deployment in DEPLOYMENTS:
            cluster.kubectl(
                *("--namespace", NAMESPACE, "rollout", "status", deployment, f"--timeout={_ROLLOUT_SECONDS}s"),
                advice=f"kubectl --context {cluster.CONTEXT} -n {NAMESPACE} describe pods says why.",
                seconds=_ROLLOUT_SECONDS + 10,
            )
        _wait_for_health(f"http://127.0.0.1:{cluster.port()}/hub/health")


def shell(command: list[str]) -> list[str]:
    """The command that runs the Python development system: the emulated company, with the checkout bind-mounted.

    Args:
        command: what to run in it; a shell if empty.
    """
    name = "learning-lab/emulation:local"
    with step("the development system"):
        images.build(name, PROJECT, DOCKERFILE, target="emulation")
    mounts = [f"type=bind,source={PROJECT},target={INSIDE}"]
    # Packages installed for this machine's system don't work in the container, and vice versa.
    mounts += [
        f"type=volume,source=learning-lab-shell{part.replace('/', '-')},target={INSIDE}{part}" for part in INSTALLED
    ]
    # The tests rename the emulated company's directories, which an image's own file system refuses (EXDEV).
    mounts += ["type=volume,target=/s", "type=volume,target=/home"]
    if images.CERTIFICATES.exists():
        mounts.append(f"type=bind,source={images.CERTIFICATES},target={images.CERTIFICATES},readonly")
    terminal = ["--tty"] if sys.stdin.isatty() else []
    options = ["--rm", "--init", "--interactive", *terminal, "--workdir", INSIDE, "--hostname", "learning-lab"]
    return [
        engine.client(),
        "run",
        *options,
        *(part for mount in mounts for part in ("--mount", mount)),
        name,
        *command,
    ]


def _push(name: str, stage: str) -> str:
    """Build one image and push it.

    Returns:
        Its name with the digest in the local registry.
    """
    tagged = f"{cluster.REGISTRY_HOST}/{name}:local"
    with step(f"the image {name}"):
        images.build(tagged, PROJECT, DOCKERFILE, target=stage)
        run([engine.client(), "push", tagged], "Is the registry running? `make up` starts it; `docker ps -a` shows it.")
    found = output_of([engine.client(), "image", "inspect", "--format", "{{json .RepoDigests}}", tagged]) or "[]"
    for digest in yaml.safe_load(found):
        if digest.startswith(f"{cluster.REGISTRY_HOST}/{name}@"):
            return str(digest)
    raise StepFailed(
        f"{tagged} was pushed but has no digest. Run `docker rm -f {cluster.REGISTRY}`, then run this again."
    )


def _overlay(digests: dict[str, str]) -> Path:
    """Write the local overlay with the images that were just pushed. `k8s/` itself stays unchanged."""
    folder = STATE / "overlay"
    folder.mkdir(parents=True, exist_ok=True)
    replaced = []
    for name, reference in digests.items():
        new_name, digest = reference.split("@")
        replaced.append({"name": name, "newName": new_name, "digest": digest})
    kustomization = {"resources": ["../../../k8s/overlays/local"], "images": replaced}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return folder


def _wait_for_health(address: str) -> None:
    until = time.monotonic() + _HEALTH_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        if time.monotonic() > until:
            raise StepFailed(
                f"The pods are running, but {address} does not respond. To see why: kubectl --context {cluster.CONTEXT}"
                f" -n {NAMESPACE} logs deployment/learning-lab -c hub"
            )
        time.sleep(0.5)

"""The lab's own images, and the lab on the cluster: built, pushed, applied, waited for.

What Tilt does live, once: the same Dockerfile, the same overlay. Images travel through the local registry, so only
layers that changed do; the overlay names them by digest, so an unchanged image restarts nothing.
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
from steps import PROJECT, STATE, Stop, output_of, run, step

NAMESPACE = "learning-lab-system"
DOCKERFILE = PROJECT / "services" / "hub" / "Dockerfile"
OVERLAY = PROJECT / "k8s" / "overlays" / "local"
PEOPLE = PROJECT / "k8s" / "base" / "namespaces.yaml"
# Image of the manifests -> stage of the Dockerfile.
STAGES = {"learning-lab/hub": "development", "learning-lab/proxy": "proxy"}
DEPLOYMENTS = ("deployment/proxy", "deployment/learning-lab")
# Of the development system: where it has the checkout, and what it installs for itself.
INSIDE = "/checkout"
INSTALLED = ("/.venv", "/.tools", "/node_modules")
_ROLLOUT_SECONDS = 300
_HEALTH_SECONDS = 120


def lab() -> None:
    """Build the lab's images and make the cluster run them.

    Raises:
        Stop: a step failed, or the lab does not answer.
    """
    digests = {name: _push(name, stage) for name, stage in STAGES.items()}
    with step("the lab on the cluster"):
        cluster.kubectl("apply", "--filename", PEOPLE, advice="The text above says what is wrong with it.")
        cluster.kubectl("apply", "--kustomize", _overlay(digests), advice="The text above says what is wrong with it.")
        for deployment in DEPLOYMENTS:
            cluster.kubectl(
                *("--namespace", NAMESPACE, "rollout", "status", deployment, f"--timeout={_ROLLOUT_SECONDS}s"),
                advice=f"kubectl --context {cluster.CONTEXT} -n {NAMESPACE} describe pods tells why.",
                seconds=_ROLLOUT_SECONDS + 10,
            )
        _wait_for_health(f"http://127.0.0.1:{cluster.port()}/hub/health")


def shell(command: list[str]) -> list[str]:
    """The command of the Python development system: the emulated company, with the checkout bind-mounted.

    Args:
        command: what to run in it; a shell when empty.
    """
    name = "learning-lab/emulation:local"
    with step("the development system"):
        images.build(name, PROJECT, DOCKERFILE, target="emulation")
    mounts = [f"type=bind,source={PROJECT},target={INSIDE}"]
    # What is installed for this machine's system is not for that one's, and the other way round.
    mounts += [
        f"type=volume,source=learning-lab-shell{part.replace('/', '-')},target={INSIDE}{part}" for part in INSTALLED
    ]
    # The tests rename directories of the emulated company, which an image's own file system refuses (EXDEV).
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
        run([engine.client(), "push", tagged], "Does the registry run? `make up` starts it: docker ps -a shows it.")
    found = output_of([engine.client(), "image", "inspect", "--format", "{{json .RepoDigests}}", tagged]) or "[]"
    for digest in yaml.safe_load(found):
        if digest.startswith(f"{cluster.REGISTRY_HOST}/{name}@"):
            return str(digest)
    raise Stop(f"{tagged} was pushed and has no digest. `docker rm -f {cluster.REGISTRY}` and run this again.")


def _overlay(digests: dict[str, str]) -> Path:
    """The local overlay with the images that were just pushed. `k8s/` itself stays as it is for Tilt and people."""
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
            raise Stop(
                f"The pods run and {address} does not answer. kubectl --context {cluster.CONTEXT} -n {NAMESPACE}"
                " logs deployment/learning-lab -c hub tells why."
            )
        time.sleep(0.5)

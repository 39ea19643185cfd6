"""Gets the base images from Docker Hub, or where it cannot be reached, builds them here from packages.

One setting chooses: LAB_IMAGES=official, built, or auto (the default: official if Docker Hub responds).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import engine
from offline import debian
from steps import STATE, StepFailed, output_of, run, step, versions

HERE = Path(__file__).parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PULL_SECONDS = 120


def base() -> bool:
    """Make sure that the Debian image exists on which the others are based.

    Returns:
        Whether official images can be pulled here.

    Raises:
        StepFailed: LAB_IMAGES is invalid, or the images that it asks for are not available.
    """
    choice = os.environ.get("LAB_IMAGES", "auto")
    if choice not in ("auto", "official", "built"):
        raise StepFailed(f"LAB_IMAGES is {choice!r}; it must be official, built or auto.")
    name = versions()["DEBIAN_IMAGE"]
    # The first result is kept: if Docker Hub responds only some of the time, the cluster must not change with it.
    known = STATE / "images"
    if choice == "auto" and known.exists() and exists(name):
        return known.read_text() == "official"
    if choice != "built":
        with step(f"{name}, from Docker Hub"):
            official = output_of([engine.client(), "pull", "--quiet", name], seconds=_PULL_SECONDS) is not None
        if choice == "official" and not official:
            raise StepFailed(
                f"{name} cannot be pulled, but LAB_IMAGES=official needs it. LAB_IMAGES=built builds it here."
            )
    else:
        official = False
    if not official and not exists(name):
        debian.bootstrap(name)
    STATE.mkdir(parents=True, exist_ok=True)
    known.write_text("official" if official else "built")
    return official


def registry() -> str:
    """Build the local registry's image, unless it exists.

    Returns:
        The image's name.
    """
    folder = HERE / "registry"
    name = f"learning-lab/registry:{fingerprint(folder)}"
    if not exists(name):
        with step("the registry's image"):
            build(name, folder, folder / "Dockerfile")
    return name


def build(
    name: str, context: Path, dockerfile: Path, *, target: str | None = None, arguments: dict[str, str] | None = None
) -> None:
    """Build an image. If the system has a list of CA certificates, the build gets it as a secret."""
    command = [engine.client(), "build", "--progress", "plain", "--tag", name, "--file", str(dockerfile)]
    if target:
        command += ["--target", target]
    for key, value in {"DEBIAN_IMAGE": versions()["DEBIAN_IMAGE"], **(arguments or {})}.items():
        command += ["--build-arg", f"{key}={value}"]
    if CERTIFICATES.exists():
        command += ["--secret", f"id=ca,src={CERTIFICATES}"]
    run(
        [*command, str(context)],
        "Are Debian's, Python's and npm's packages reachable from a container?",
        environment={"DOCKER_BUILDKIT": "1"},
    )


def exists(name: str) -> bool:
    """Whether Docker has an image of that name."""
    return output_of([engine.client(), "image", "inspect", "--format", "{{.Id}}", name]) is not None


def fingerprint(folder: Path) -> str:
    """A short hash that changes when a file in the folder, a pin or the Debian image's name changes."""
    digest = hashlib.sha256((HERE.parent / "tools" / "versions.env").read_bytes())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]

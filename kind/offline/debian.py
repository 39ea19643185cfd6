"""Builds Debian's base image from its packages, where no image registry can be reached."""

from __future__ import annotations

import os
import shutil
import tarfile

import engine
from steps import STATE, TOOLS, StepFailed, run, step, versions


def bootstrap(name: str) -> None:
    """Build the image `name`, so that the same FROM line works here and where Docker Hub can be reached.

    Raises:
        StepFailed: we are not root, or Debian's packages are not available.
    """
    if os.geteuid() != 0:
        raise StepFailed(
            f"Docker Hub is not responding, and only root can build {name} from Debian's packages (debootstrap)."
            f" Import it from your own registry instead: docker pull ...; docker tag ... {name}"
        )
    release = versions()["DEBIAN"]
    if not shutil.which("debootstrap"):
        with step("debootstrap, from Debian's packages"):
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            run(
                ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap"],
                "Install it.",
                environment=quiet,
            )
    with step(f"{name}, built by debootstrap"):
        root = TOOLS / "debootstrap"
        shutil.rmtree(root, ignore_errors=True)
        exclude = "--exclude=e2fsprogs,tzdata"
        run(["debootstrap", "--variant=minbase", exclude, release, root], "Are Debian's packages reachable?")
        # Like the official slim images: no package lists, no documentation, no translations.
        for pattern in (
            "var/cache/apt/archives/*.deb",
            "var/lib/apt/lists/*",
            "usr/share/doc/*",
            "usr/share/man/*",
            "usr/share/locale/*",
        ):
            for path in root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        archive = STATE / "debian.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".")
        run([engine.client(), "import", "--change", 'CMD ["bash"]', archive, name], "Is the disk full?")
        archive.unlink()
        shutil.rmtree(root)

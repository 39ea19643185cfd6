"""Where the official images come from: Docker Hub, or where it is not reached, images built here from packages.

One setting chooses: LAB_IMAGES=official, built, or auto (the default: official where Docker Hub answers).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path

import binaries
import engine
from steps import STATE, TOOLS, Stop, output_of, run, step, versions

HERE = Path(__file__).parent
NODE = HERE / "node"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
_PULL_SECONDS = 120


def base() -> bool:
    """Make sure that there is the Debian image that the others stand on.

    Returns:
        Whether official images can be pulled here.

    Raises:
        Stop: LAB_IMAGES is wrong, or its images cannot be had.
    """
    choice = os.environ.get("LAB_IMAGES", "auto")
    if choice not in ("auto", "official", "built"):
        raise Stop(f"LAB_IMAGES is {choice!r}; it must be official, built or auto.")
    name = versions()["DEBIAN_IMAGE"]
    # What was found the first time holds: Docker Hub that answers only now and then must not change the cluster.
    known = STATE / "images"
    if choice == "auto" and known.exists() and _exists(name):
        return known.read_text() == "official"
    if choice != "built":
        with step(f"{name}, from Docker Hub"):
            official = output_of([engine.client(), "pull", "--quiet", name], seconds=_PULL_SECONDS) is not None
        if choice == "official" and not official:
            raise Stop(f"{name} cannot be pulled, and LAB_IMAGES=official asks for it. LAB_IMAGES=built makes it here.")
    else:
        official = False
    if not official and not _exists(name):
        _debootstrap(name)
    STATE.mkdir(parents=True, exist_ok=True)
    known.write_text("official" if official else "built")
    return official


def node() -> str:
    """Build the node image, unless there is one of the same inputs.

    Returns:
        Its name.
    """
    pins = versions()
    name = f"learning-lab/kind-node:{pins['KUBERNETES']}-{_fingerprint(NODE)}"
    if _exists(name):
        return name
    folder = binaries.kubernetes()
    with step("the node image"):
        context = folder.parent
        shutil.rmtree(context / "files", ignore_errors=True)
        shutil.copytree(NODE / "files", context / "files")
        (context / "images.tar").unlink(missing_ok=True)
        kubernetes = pins["KUBERNETES"]
        images = {target: f"registry.k8s.io/{target}:v{kubernetes}" for target in CONTROL_PLANE} | {
            "coredns": f"registry.k8s.io/coredns/coredns:v{pins['COREDNS']}",
            "etcd": f"registry.k8s.io/etcd:{pins['ETCD']}-0",
            "pause": f"registry.k8s.io/pause:{pins['PAUSE']}",
        }
        wanted = output_of([folder / "kubeadm", "config", "images", "list", "--kubernetes-version", f"v{kubernetes}"])
        if set((wanted or "").split()) != set(images.values()):
            raise Stop(
                f"kubeadm {kubernetes} asks for other images than tools/versions.env names: {wanted}."
                " Set ETCD, COREDNS and PAUSE to them."
            )
        for target, image in images.items():
            build(image, context, NODE / "Dockerfile", target=target)
        run([engine.client(), "save", "--output", context / "images.tar", *images.values()], "Is the disk full?")
        build(name, context, NODE / "Dockerfile", target="node", arguments={"KUBERNETES": kubernetes})
        (context / "images.tar").unlink()
    return name


def registry() -> str:
    """Build the image of the local registry, unless it is there.

    Returns:
        Its name.
    """
    folder = HERE / "registry"
    name = f"learning-lab/registry:{_fingerprint(folder)}"
    if not _exists(name):
        with step("the registry's image"):
            build(name, folder, folder / "Dockerfile")
    return name


def build(
    name: str, context: Path, dockerfile: Path, *, target: str | None = None, arguments: dict[str, str] | None = None
) -> None:
    """Build an image, with a company's own authority as a secret of the build where the system has a list of them."""
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


def _exists(name: str) -> bool:
    return output_of([engine.client(), "image", "inspect", "--format", "{{.Id}}", name]) is not None


def _fingerprint(folder: Path) -> str:
    """Changes when a file of the folder, a pin or the Debian image's name does."""
    digest = hashlib.sha256((HERE.parent / "tools" / "versions.env").read_bytes())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _debootstrap(name: str) -> None:
    """Make Debian's base image from its packages: the same FROM line works here and where Docker Hub is reached."""
    if os.geteuid() != 0:
        raise Stop(
            f"Docker Hub does not answer, and only root can make {name} from Debian's packages (debootstrap)."
            f" Import it from your own registry: docker pull ...; docker tag ... {name}"
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
    with step(f"{name}, made by debootstrap"):
        root = TOOLS / "debootstrap"
        shutil.rmtree(root, ignore_errors=True)
        exclude = "--exclude=e2fsprogs,tzdata"
        run(["debootstrap", "--variant=minbase", exclude, release, root], "Are Debian's packages reachable?")
        # As the official slim images: no package lists, no documentation, no translations.
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

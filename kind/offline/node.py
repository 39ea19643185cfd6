"""Builds kind's node image from Debian packages and Go modules, for sites that cannot pull kind's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import engine
import images
from offline import go
from steps import TOOLS, StepFailed, output_of, run, step, versions

HERE = Path(__file__).parent
FILES = HERE / "node_image"
CONFIGURATION = HERE / "node.yaml"
BINARIES = TOOLS / "node" / "bin"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")


def image() -> str:
    """Build the node image, unless one with the same inputs exists.

    Returns:
        The image's name.
    """
    pins = versions()
    name = f"learning-lab/kind-node:{pins['KUBERNETES']}-{images.fingerprint(FILES)}"
    if images.exists(name):
        return name
    folder = _kubernetes()
    with step("the node image"):
        context = folder.parent
        shutil.rmtree(context / "files", ignore_errors=True)
        shutil.copytree(FILES / "files", context / "files")
        (context / "images.tar").unlink(missing_ok=True)
        kubernetes = pins["KUBERNETES"]
        names = {target: f"registry.k8s.io/{target}:v{kubernetes}" for target in CONTROL_PLANE} | {
            "coredns": f"registry.k8s.io/coredns/coredns:v{pins['COREDNS']}",
            "etcd": f"registry.k8s.io/etcd:{pins['ETCD']}-0",
            "pause": f"registry.k8s.io/pause:{pins['PAUSE']}",
        }
        wanted = output_of([folder / "kubeadm", "config", "images", "list", "--kubernetes-version", f"v{kubernetes}"])
        if set((wanted or "").split()) != set(names.values()):
            raise StepFailed(
                f"kubeadm {kubernetes} needs other images than tools/versions.env names: {wanted}."
                " Set ETCD, COREDNS and PAUSE accordingly."
            )
        for target, each in names.items():
            images.build(each, context, FILES / "Dockerfile", target=target)
        run([engine.client(), "save", "--output", context / "images.tar", *names.values()], "Is the disk full?")
        images.build(name, context, FILES / "Dockerfile", target="node", arguments={"KUBERNETES": kubernetes})
        (context / "images.tar").unlink()
    return name


def _kubernetes() -> Path:
    """Build the programs that a node runs.

    Returns:
        The folder with kubeadm, kubelet, kubectl, the control plane, etcd, coredns and pause.
    """
    pins = versions()
    BINARIES.mkdir(parents=True, exist_ok=True)
    with step(f"Kubernetes {pins['KUBERNETES']}, built by Go (5 to 10 minutes the first time)"):
        go.build(FILES / "kubernetes", BINARIES, "tool")
    with step(f"etcd {pins['ETCD']} and CoreDNS {pins['COREDNS']}, built by Go"):
        go.build(FILES / "etcd", BINARIES / "etcd", "go.etcd.io/etcd/server/v3")
        go.build(FILES / "coredns", BINARIES / "coredns", ".")
        go.build(FILES / "pause", BINARIES / "pause", ".")
    return BINARIES

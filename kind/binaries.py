"""kind and kubectl for the checkout: the installed ones if they are suitable, else built by Go (offline/go.py)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from offline import go
from steps import BIN, output_of, step, versions

OFFLINE = Path(__file__).parent / "offline"


def tools() -> None:
    """Put the pinned kind, and a kubectl that works with the cluster, into .tools/bin."""
    pins = versions()
    BIN.mkdir(parents=True, exist_ok=True)
    if not _is_kind(BIN / "kind", pins["KIND"]):
        found = shutil.which("kind")
        if found and _is_kind(Path(found), pins["KIND"]):
            _link(found, "kind")
        else:
            with step(
                f"kind {pins['KIND']}, built by Go"
                + (", because the installed one is a different version" if found else "")
            ):
                go.build(OFFLINE / "kind_command", BIN / "kind", "sigs.k8s.io/kind")
    if not _is_kubectl(BIN / "kubectl", pins["KUBERNETES"]):
        found = shutil.which("kubectl")
        if found and _is_kubectl(Path(found), pins["KUBERNETES"]):
            _link(found, "kubectl")
        else:
            with step(f"kubectl {pins['KUBERNETES']}, built by Go (this takes minutes the first time)"):
                go.build(OFFLINE / "node_image" / "kubernetes", BIN / "kubectl", "k8s.io/kubernetes/cmd/kubectl")


def _is_kind(command: Path, pin: str) -> bool:
    """Whether it is exactly the pinned kind: another version needs another node image."""
    return f"v{pin}" in (output_of([command, "version"]) or "").split()


def _is_kubectl(command: Path, pin: str) -> bool:
    """Whether it is within one minor version of the cluster, as Kubernetes requires (version skew policy)."""
    said = re.search(r'"gitVersion": *"v([^"]+)"', output_of([command, "version", "--client", "-o", "json"]) or "")
    ours, theirs = go.version(pin), go.version(said.group(1) if said else None)
    return ours is not None and theirs is not None and ours[0] == theirs[0] and abs(ours[1] - theirs[1]) <= 1


def _link(found: str, name: str) -> None:
    (BIN / name).unlink(missing_ok=True)
    (BIN / name).symlink_to(found)

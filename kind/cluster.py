"""The kind cluster and the local registry next to it: created completely or not at all, and found again.

A cluster has a marker (a ConfigMap) that is written last: a cluster without it is incomplete and is created again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from pathlib import Path

import yaml

import engine
import images
from offline import node
from steps import BIN, STATE, StepFailed, output_of, run, step, versions

HERE = Path(__file__).parent
NAME = "learning-lab"
CONTEXT = f"kind-{NAME}"
NODE = f"{NAME}-control-plane"
REGISTRY = "learning-lab-registry"
REGISTRY_PORT = 5001
REGISTRY_HOST = f"localhost:{REGISTRY_PORT}"
_MARK = "learning-lab-cluster"
_READY_SECONDS = 180
_START_OVER = "To start over: `make down`, then `make up`."


def port() -> int:
    """The lab's port on this machine, from PORT.

    Raises:
        StepFailed: PORT is not a valid port.
    """
    text = os.environ.get("PORT") or "8000"
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65535:
        raise StepFailed(f"PORT is {text!r}; it must be a number from 1 to 65535.")
    return int(text)


def up(*, official: bool) -> None:
    """Create the cluster and the registry, or use the ones that exist.

    Args:
        official: whether kind's own node image can be pulled.

    Raises:
        StepFailed: the port is taken, the existing cluster is a different one, or the cluster does not start.
    """
    configuration = _configuration(official=official)
    image = None if official else node.image()
    mark = hashlib.sha256(json.dumps([configuration, image, versions()["KIND"]]).encode()).hexdigest()[:16]
    there = NAME in (output_of([BIN / "kind", "get", "clusters"]) or "").split()
    if there:
        _start_again()
        found = _mark()
        if found is None:
            with step("removing an incomplete cluster"):
                delete()
            there = False
        elif found != mark:
            raise StepFailed(
                f"The cluster {NAME} was created with another port, node image or kind. To keep it, use the PORT it was"
                " created with; or remove it and everything in it (make down), and run this again."
            )
    if not there:
        _make(configuration, image, mark)
    _registry()


def delete() -> None:
    """Remove the cluster and the registry."""
    run([BIN / "kind", "delete", "cluster", "--name", NAME], "`docker ps -a` shows what is left.")
    if _state(REGISTRY):
        run([engine.client(), "rm", "--force", "--volumes", REGISTRY], "`docker ps -a` shows what is left.")


def kubectl(*arguments: str | Path, advice: str = "", stdin: bytes | None = None, seconds: float = 120) -> None:
    """Run kubectl on this cluster, never on another.

    Raises:
        StepFailed: it failed.
    """
    run([BIN / "kubectl", "--context", CONTEXT, *arguments], advice, stdin=stdin, seconds=seconds)


def _configuration(*, official: bool) -> dict[str, object]:
    """kind's configuration for this site."""
    configuration: dict[str, object] = yaml.safe_load((HERE / "cluster.yaml").read_text())
    if not official:
        configuration |= yaml.safe_load(node.CONFIGURATION.read_text())
    configuration["nodes"][0]["extraPortMappings"][0]["hostPort"] = port()  # type: ignore[index]
    return configuration


def _make(configuration: dict[str, object], image: str | None, mark: str) -> None:
    other = " Or use another one: make up PORT=8001"
    for number, what, advice in ((port(), "the lab", other), (REGISTRY_PORT, "the local registry", "")):
        if not (number == REGISTRY_PORT and _state(REGISTRY)) and not _free(number):
            raise StepFailed(f"Port {number}, needed for {what}, is taken. `ss -ltnp` shows by which process.{advice}")
    with step("the cluster"):
        STATE.mkdir(parents=True, exist_ok=True)
        file = STATE / "cluster.yaml"
        file.write_text(yaml.safe_dump(configuration))
        command: list[str | Path] = [
            BIN / "kind",
            "create",
            "cluster",
            "--name",
            NAME,
            "--config",
            file,
            "--wait",
            f"{_READY_SECONDS}s",
        ]
        # kind removes the nodes of a cluster that it could not create.
        run([*command, *(["--image", image] if image else [])], _START_OVER)
        ready = ["wait", "--for=condition=Ready", f"node/{NODE}", f"--timeout={_READY_SECONDS}s"]
        kubectl(*ready, advice="The node did not become ready.", seconds=_READY_SECONDS + 10)
        kubectl("--namespace", "kube-public", "create", "configmap", _MARK, f"--from-literal=made={mark}")


def _mark() -> str | None:
    """A hash of what the cluster was created from; None if its creation was interrupted."""
    command: list[str | Path] = [
        BIN / "kubectl",
        "--context",
        CONTEXT,
        "--namespace",
        "kube-public",
        "get",
        "configmap",
        _MARK,
    ]
    return output_of([*command, "--output", "jsonpath={.data.made}"])


def _start_again() -> None:
    """Start the node of an existing cluster, which is stopped after a restart of the machine or of Docker."""
    if _state(NODE) != "running":
        with step("starting the cluster again"):
            run([engine.client(), "start", NODE], _START_OVER)
    run([BIN / "kind", "export", "kubeconfig", "--name", NAME], _START_OVER)
    until = time.monotonic() + _READY_SECONDS
    while not output_of([BIN / "kubectl", "--context", CONTEXT, "get", "--raw", "/readyz"], seconds=10):
        if time.monotonic() > until:
            raise StepFailed(f"The API server of the cluster {NAME} is not responding. {_START_OVER}")
        time.sleep(1)


def _registry() -> None:
    """Run the registry, and announce its address to the cluster's containerd, to Tilt and to people (KEP-1755)."""
    state = _state(REGISTRY)
    if state != "running":
        image = images.registry()
        with step("the local registry"):
            if state:
                run([engine.client(), "start", REGISTRY], f"Run `docker rm -f {REGISTRY}`, then run this again.")
            else:
                publish = f"127.0.0.1:{REGISTRY_PORT}:5000"
                command: list[str | Path] = [
                    engine.client(),
                    "run",
                    "--detach",
                    "--restart",
                    "unless-stopped",
                    "--name",
                    REGISTRY,
                ]
                run(
                    [*command, "--network", "kind", "--publish", publish, image],
                    f"Is port {REGISTRY_PORT} free? `docker rm -f {REGISTRY}` removes a leftover container.",
                )
    folder = f"/etc/containerd/certs.d/{REGISTRY_HOST}"
    hosts = f'[host."http://{REGISTRY}:5000"]\n'
    run(
        [engine.client(), "exec", "--interactive", NODE, "sh", "-c", f"mkdir -p {folder} && cat > {folder}/hosts.toml"],
        _START_OVER,
        stdin=hosts.encode(),
    )
    kubectl("apply", "--filename", HERE / "registry" / "hosting.yaml")


def _state(container: str) -> str | None:
    """The container's state in Docker's words ("running", "exited"); None if there is no such container."""
    return output_of([engine.client(), "inspect", "--type", "container", "--format", "{{.State.Status}}", container])


def _free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True

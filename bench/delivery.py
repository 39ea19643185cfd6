"""The ways in which an edit gets into the cluster: by live update, or with a new image and a new pod."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "kind"))

import engine  # noqa: E402  the path above
import images  # noqa: E402
from cluster import REGISTRY_HOST  # noqa: E402
from deploy import DOCKERFILE, STAGES  # noqa: E402
from lab_testing.embedded import free_ports  # noqa: E402
from lab_testing.kind_cluster import DEPLOYMENT, LAB, Cluster, NoCluster, tool, wait_until  # noqa: E402
from steps import run  # noqa: E402

IMAGE = "learning-lab/hub"
SECONDS = 600  # for one delivery, in case all packages are rebuilt on a busy machine


class Delivery(Protocol):
    """A way in which an edit gets into the cluster."""

    name: str

    def bring(self, path: Path) -> None:
        """Do what has to be done after the file is saved."""
        ...


class Push:
    """A new image through the local registry, and a new pod, as `make up` does it."""

    name = "docker build, docker push, rollout"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def bring(self, path: Path | None = None) -> None:  # noqa: ARG002  it sends the whole context
        """Build, push and roll out."""
        tagged = f"{REGISTRY_HOST}/{IMAGE}:bench"
        images.build(tagged, PROJECT, DOCKERFILE, target=STAGES[IMAGE])
        run([engine.client(), "push", tagged], "Does the registry run? `make up` starts it.")
        digests = subprocess.check_output(
            [engine.client(), "image", "inspect", "--format", "{{json .RepoDigests}}", tagged], text=True
        )
        roll_out(self._cluster, next(each for each in json.loads(digests) if each.startswith(tagged[: -len(":bench")])))


class Load:
    """A whole new image copied into the node, and a new pod, as is usual on kind without a registry."""

    name = "docker build, kind load, rollout"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def bring(self, path: Path | None = None) -> None:  # noqa: ARG002
        """Build, load and roll out."""
        tagged = f"{IMAGE}:bench-{uuid.uuid4().hex[:12]}"
        images.build(tagged, PROJECT, DOCKERFILE, target=STAGES[IMAGE])
        name = self._cluster.context.removeprefix("kind-")
        run([tool("kind"), "load", "docker-image", tagged, "--name", name], "Is the node's disk full?", seconds=SECONDS)
        roll_out(self._cluster, tagged)
        run([engine.client(), "image", "rm", tagged], "")


def roll_out(cluster: Cluster, image: str) -> None:
    """Make the lab's pod run this image, and wait until it does."""
    cluster.kubectl("set", "image", DEPLOYMENT, "-n", LAB, f"hub={image}", f"storage={image}")
    cluster.kubectl("rollout", "status", DEPLOYMENT, "-n", LAB, f"--timeout={SECONDS}s", seconds=SECONDS)


class ByHand:
    """The Tiltfile's sync and restart, done with kubectl."""

    name = "the Tiltfile's copy and restart by kubectl (no tilt on the PATH)"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def bring(self, path: Path) -> None:
        """Copy the file into the hub's container, and restart the hub if it is Python."""
        exec_in = [tool("kubectl"), "--context", self._cluster.context, "exec", "-n", LAB, DEPLOYMENT, "-c", "hub"]
        archive = subprocess.check_output(["tar", "-C", PROJECT, "-cf", "-", path.relative_to(PROJECT)])
        subprocess.run([*exec_in, "-i", "--", "tar", "-C", "/app", "-xf", "-"], input=archive, check=True)
        if path.suffix == ".py":
            subprocess.run([*exec_in, "--", "sv", "-w", "5", "restart", "/app/service/hub"], check=True)


class Tilt:
    """`tilt up`, which watches the files itself.

    Args:
        cluster: the only cluster that it may use.
        log: where its output goes.
    """

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self._log = log
        self._context = cluster.context
        version = subprocess.check_output(["tilt", "version"], text=True).split(",")[0]
        self.name = f"tilt up ({version})"
        self._port = str(free_ports(1)[0])  # so that it can run next to a developer's own Tilt

    def bring(self, path: Path) -> None:
        """Do nothing: Tilt has seen the edit."""

    @contextlib.contextmanager
    def up(self) -> Iterator[None]:
        """Run Tilt until its lab is ready, and end it after the block; the lab stays."""
        environment = {**os.environ, "TILT_DISABLE_ANALYTICS": "1"}
        command = ["tilt", "up", "--stream", "--port", self._port, "--context", self._context, "learning-lab"]
        with self._log.open("wb") as log:
            # In its own session, so that Ctrl-C reaches only us, and the files are restored while Tilt still runs.
            process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                wait_until(lambda: self._is_ready(process), SECONDS, "tilt up did not get the lab ready")
                yield
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise NoCluster(f"tilt up ended with {process.returncode}. See {self._log}.")
        command = ["tilt", "get", "uiresource", "learning-lab", "--port", self._port, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        status = json.loads(done.stdout)["status"] if done.returncode == 0 else {}
        return bool(status.get("runtimeStatus") == "ok" and status.get("updateStatus") == "ok")

"""The lab on a cluster, changed as its administrators would change it: with kubectl, and in the hub's container.

Rules kept here:
- only a kind cluster is touched: every command names the context, and one that is not kind's is refused;
- changes are undone from the project's files (its namespaces) or from what is recorded in the cluster and its storage,
  so the next run repairs what an interrupted one left behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lab_testing.embedded import NAMESPACES, PROJECT

IN_POD = Path(__file__).with_name("in_pod.py")
LAB = "learning-lab-system"
DEPLOYMENT = "deployment/learning-lab"
PROXY = "deployment/proxy"
POD_LABELS = "app.kubernetes.io/name=learning-lab,app.kubernetes.io/component=hub"
PROXY_LABELS = "app.kubernetes.io/name=learning-lab,app.kubernetes.io/component=proxy"
PYTHON = "/app/.venv/bin/python"
COMMAND_SECONDS = 60
API_SERVER = "/etc/kubernetes/manifests/kube-apiserver.yaml"
API_SERVER_ASIDE = "/etc/kubernetes/kube-apiserver.yaml.aside"


class NoCluster(RuntimeError):
    """The tests' cluster cannot be used. The message says why and what to do."""


class CommandFailed(AssertionError):
    """A command ended with an error.

    Attributes:
        words: the end of its output.
    """

    def __init__(self, command: list[str], how: str, words: str = "") -> None:
        super().__init__(f"{' '.join(command[:12])} {how}{': ' if words else ''}{words}")
        self.words = words or how


def tool(name: str) -> str:
    """The project's own kubectl or kind, else the one on the PATH.

    Raises:
        NoCluster: there is none.
    """
    own = PROJECT / ".tools" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if not found:
        raise NoCluster(f"There is no {name}, so the lab on the cluster cannot be changed. Run `make up` first.")
    return found


class Cluster:
    """A kind cluster with the lab on it.

    Args:
        context: the kubeconfig's context; it begins with ``kind-``.
        url: the lab's address.

    Raises:
        NoCluster: the context is not a kind cluster's, or there is no kubectl.
    """

    def __init__(self, context: str, url: str) -> None:
        if not context.startswith("kind-"):
            raise NoCluster(
                f"The context {context!r} is not kind's, and these tests break what they run on."
                " Set LAB_KUBE_CONTEXT to one that begins with kind-."
            )
        self.context = context
        self.node = f"{context.removeprefix('kind-')}-control-plane"
        self.address = url
        self._kubectl = tool("kubectl")

    @classmethod
    def of_environment(cls, url: str) -> Cluster:
        """The cluster that LAB_KUBE_CONTEXT names; kind-learning-lab if it is not set."""
        return cls(os.environ.get("LAB_KUBE_CONTEXT") or "kind-learning-lab", url)

    # --- Commands -------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, text: str = "", seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
        """Run kubectl.

        Args:
            arguments: kubectl's arguments after the context.
            text: its standard input.
            seconds: how long it may take.
            check: whether to raise an error; otherwise the error message is part of what is returned.

        Raises:
            CommandFailed: it ended with an error, or took too long.
        """
        return _run([self._kubectl, "--context", self.context, *arguments], text, seconds, check)

    def on_node(self, *command: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
        """Run a command on the node, which is a container on this machine."""
        return _run([shutil.which("docker") or "docker", "exec", self.node, *command], "", seconds, check)

    def in_hub(self, *command: str, text: str = "", seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
        """Run a command in the hub's container, as root."""
        exec_in = ["exec", "-i", "-n", LAB, DEPLOYMENT, "-c", "hub", "--"]
        return self.kubectl(*exec_in, *command, text=text, seconds=seconds, check=check)

    def in_pod(self, verb: str, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a verb of `in_pod.py` in the hub's container."""
        return self.in_hub(PYTHON, "-I", "-", verb, *arguments, text=IN_POD.read_text(), seconds=seconds)

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object, or a list of them, as kubectl prints it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    # --- Looking --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that the lab is there.

        Raises:
            NoCluster: it is not.
        """
        self.put_api_server_back()
        try:
            self.kubectl("get", DEPLOYMENT, "-n", LAB, "--request-timeout=10s", seconds=15)
        except CommandFailed as error:
            raise NoCluster(
                f"The lab cannot be found on the cluster of the context {self.context}: {error.words.splitlines()[-1]}."
                " Run `make up`, or set LAB_KUBE_CONTEXT."
            ) from None
        try:
            self.wait_until_healthy(60)
        except AssertionError:
            raise NoCluster(f"The lab does not answer at {self.address}/hub/health. Run `make up`.") from None

    def pod(self) -> dict[str, Any]:
        """The lab's pod that is not being deleted.

        Raises:
            AssertionError: there is none, or more than one.
        """
        items: list[dict[str, Any]] = self.get("pods", "-n", LAB, "-l", POD_LABELS)["items"]
        here = [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]
        assert len(here) == 1, f"pods of the lab: {[pod['metadata']['name'] for pod in items]}"
        return here[0]

    def wait_until_healthy(self, seconds: float = 120) -> None:
        """Wait until people can use the lab: until the hub answers through the proxy."""
        wait_until(lambda: _answers(f"{self.address}/hub/health"), seconds, f"the lab did not answer at {self.address}")

    # --- Changing -------------------------------------------------------------------------------------------------

    def apply(self, objects: Sequence[dict[str, Any]]) -> None:
        """Make objects exactly as given: anything more that they have in the cluster is removed."""
        for each in objects:
            text = json.dumps(each)
            try:
                self.kubectl("replace", "--save-config", "-f", "-", text=text)
            except CommandFailed as error:
                if "NotFound" not in error.words:
                    raise
                self.kubectl("create", "--save-config", "-f", "-", text=text)

    def put_api_server_back(self) -> None:
        """Restore the API server's manifest on the node if a run has left it without, and wait for the server."""
        move = f"[ ! -e {API_SERVER_ASIDE} ] || {{ mv {API_SERVER_ASIDE} {API_SERVER}; echo moved; }}"
        if "moved" in self.on_node("sh", "-c", move, check=False):
            wait_until(self.api_server_answers, 120, "the API server did not come back")

    def api_server_answers(self) -> bool:
        """Whether the API server is up and ready."""
        return self.kubectl("get", "--raw", "/readyz", seconds=10, check=False).strip() == "ok"

    def put_back(self) -> None:
        """Undo whatever a run may have changed without undoing it."""
        self.put_api_server_back()
        self.apply(namespaces())
        self.apply([each for each in self.manifests() if each["kind"] in {"ClusterRole", "ClusterRoleBinding"}])
        self.wait_until_healthy()
        self.in_pod("put-back")
        self.in_pod("forget-tabs")

    def manifests(self) -> list[dict[str, Any]]:
        """The objects of the local overlay."""
        text = self.kubectl("kustomize", str(PROJECT / "k8s" / "overlays" / "local"))
        return [document for document in yaml.safe_load_all(text) if document]

    def tail(self, lines: int = 20) -> str:
        """The end of the hub's log."""
        return self.kubectl("logs", "-n", LAB, DEPLOYMENT, "-c", "hub", f"--tail={lines}", check=False)

    def report(self) -> str:
        """What somebody who reads about a failure wants to see: pods, events, the pod's description, and the logs."""
        parts = [
            ("get", "pods", "-A", "-o", "wide"),
            ("get", "namespaces", "--show-labels"),
            ("get", "events", "-A", "--sort-by=.lastTimestamp"),
            ("describe", "pods", "-n", LAB),
            ("logs", "-n", LAB, DEPLOYMENT, "-c", "hub", "--tail=400", "--timestamps"),
            ("logs", "-n", LAB, PROXY, "--tail=100", "--timestamps"),
            ("logs", "-n", LAB, DEPLOYMENT, "-c", "hub", "--tail=200", "--previous"),
        ]
        told = [f"$ kubectl {' '.join(part)}\n{self.kubectl(*part, seconds=20, check=False)}" for part in parts]
        return "\n".join(told)


def namespaces() -> list[dict[str, Any]]:
    """Users' namespaces as in the project's file."""
    return [document for document in yaml.safe_load_all(NAMESPACES.read_text()) if document]


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it does not hold in time; `otherwise` says what is missing.
    """
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{otherwise} in {seconds:g} s"
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _run(command: list[str], text: str, seconds: float, check: bool) -> str:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        if not check:
            return f"took longer than {seconds:g} s"
        raise CommandFailed(command, f"took longer than {seconds:g} s") from None
    if done.returncode == 0:
        return done.stdout
    if not check:
        return done.stdout + done.stderr
    raise CommandFailed(command, f"ended with {done.returncode}", done.stderr.strip()[-1500:])

"""The overlays as kubectl renders them, and the kind cluster whose API server checks them.

On a machine without kubectl these tests fail with a message; `make up` provides one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab_testing.embedded import PROJECT
from lab_testing.kind_cluster import LAB, Cluster, CommandFailed, NoCluster

Document = dict[str, Any]


class Overlay:
    """One overlay, rendered.

        Attributes:
            name: local, staging or production.
            folder: where it is.
    documents: the objects in it.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self.folder: Path = PROJECT / "k8s" / "overlays" / name
        text = cluster.kubectl("kustomize", str(self.folder))
        self.documents: list[Document] = [each for each in yaml.safe_load_all(text) if each]

    def of_kind(self, kind: str) -> list[Document]:
        """The documents of this kind."""
        return [each for each in self.documents if each["kind"] == kind]

    def one(self, kind: str, name: str) -> Document:
        """The only document of this kind and name."""
        [found] = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found

    def pod(self, deployment: str = "learning-lab") -> Document:
        """The pod of a Deployment; by default, the hub's."""
        found: Document = self.one("Deployment", deployment)["spec"]["template"]["spec"]
        return found

    @property
    def pods(self) -> Iterator[Document]:
        """The pod of each workload."""
        for document in self.documents:
            spec = document.get("spec", {})
            template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
            if template:
                yield template["spec"]

    @property
    def containers(self) -> list[Document]:
        """Every container of every workload."""
        return [each for pod in self.pods for each in [*pod.get("initContainers", []), *pod["containers"]]]

    def container(self, name: str) -> Document:
        """The hub's container, or the proxy's."""
        [found] = [each for each in self.containers if each["name"] == name]
        return found

    def rights(self, account: str) -> list[tuple[str, Document]]:
        """The rules that apply to one of the lab's service accounts, each with the kind of its role."""
        found = []
        for binding in self.documents:
            for subject in binding.get("subjects", []):
                if (subject["kind"], subject["name"], subject["namespace"]) == ("ServiceAccount", account, LAB):
                    role = self.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
                    found += [(role["kind"], rule) for rule in role["rules"]]
        return found


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    try:
        return Cluster.of_environment("")
    except NoCluster as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def api_server(cluster: Cluster) -> Cluster:
    """The cluster, if its API server responds."""
    try:
        cluster.kubectl("get", "namespace", LAB, "--request-timeout=10s")
    except CommandFailed as error:
        pytest.fail(f"There is no lab on the context {cluster.context}: {error.words} Run `make up`.", pytrace=False)
    return cluster


@pytest.fixture(scope="session")
def overlays(cluster: Cluster) -> dict[str, Overlay]:
    """Every overlay, by name."""
    return {name: Overlay(name, cluster) for name in ("local", "staging", "production")}


@pytest.fixture(params=["local", "staging", "production"])
def overlay(request: pytest.FixtureRequest, overlays: dict[str, Overlay]) -> Overlay:
    return overlays[request.param]


@pytest.fixture(params=["staging", "production"])
def elsewhere(request: pytest.FixtureRequest, overlays: dict[str, Overlay]) -> Overlay:
    """An overlay for one of the company's clusters."""
    return overlays[request.param]

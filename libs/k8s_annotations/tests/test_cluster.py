"""The reader of a cluster against a real HTTPS server: how it is let in, and that every mishap has its error in time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s_annotations import ClusterReader

sys.path.insert(0, str(Path(__file__).parent))
from apiserver import Authority, Server, running, service_account


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("api server", "127.0.0.1", "localhost")


@pytest.fixture
def server(authority: Authority, certificate: tuple[Path, Path]) -> Iterator[Server]:
    with running(certificate=certificate, clients=authority) as state:
        yield state


@pytest.fixture
def pod(server: Server, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return service_account(tmp_path / "serviceaccount", authority)


def test_a_pod_reads_with_its_service_account(server: Server, pod: Path) -> None:
    found = ClusterReader(service_account=pod).read("alice")
    assert found.annotations["learning-lab.dev/userid"] == "alice"
    assert found.labels["learning-lab.dev/user"] == "true"

"""What is imported when: importing the package loads no Kubernetes client, whose API classes are never loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab_testing.api_server_double import TOKEN, Authority, Server, kubeconfig, running, service_account

READ = "from k8s_annotations import get_namespace_annotations as get\nassert get('alice')['learning-lab.dev/userid']"
GENERATED = ("kubernetes.client.api.", "kubernetes.client.models.")


def imported(code: str, **environment: str) -> set[str]:
    """The modules that a new process has loaded after it has run the code."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, check=True, capture_output=True, text=True, timeout=60
    )
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with running(certificate=authority.issue("api server", "127.0.0.1")) as state:
        yield state


def test_the_package_imports_neither_the_client_nor_the_http_library() -> None:
    found = imported("import k8s_annotations")
    assert "k8s_annotations.cluster.reader" in found
    assert not found & {"kubernetes", "urllib3", "requests", "oauthlib"}


def test_a_read_with_a_kubeconfig_imports_no_generated_module(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    cluster = {"certificate-authority-data": authority.data}
    file = kubeconfig(tmp_path / "config", server.url, {"token": TOKEN}, cluster=cluster)
    found = imported(READ, KUBECONFIG=str(file))
    assert "kubernetes.client.rest" in found
    assert [module for module in found if module.startswith(GENERATED)] == []


def test_a_read_in_a_pod_imports_no_generated_module(server: Server, authority: Authority, tmp_path: Path) -> None:
    pod = service_account(tmp_path / "serviceaccount", authority)
    code = (
        "from pathlib import Path\nfrom k8s_annotations import ClusterReader\n"
        f"assert ClusterReader(service_account=Path({str(pod)!r})).read('alice').name == 'alice'"
    )
    found = imported(code, KUBERNETES_SERVICE_HOST=server.host, KUBERNETES_SERVICE_PORT=str(server.port))
    assert [module for module in found if module.startswith(GENERATED)] == []


def test_a_read_of_a_file_imports_neither(tmp_path: Path) -> None:
    (tmp_path / "namespaces.yaml").write_text("kind: Namespace\nmetadata: {name: alice}\n")
    code = (
        "from pathlib import Path\nfrom k8s_annotations import ManifestReader\n"
        f"ManifestReader(Path({str(tmp_path / 'namespaces.yaml')!r})).read('alice')"
    )
    assert not imported(code) & {"kubernetes", "urllib3"}

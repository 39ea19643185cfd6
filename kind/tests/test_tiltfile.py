"""The Tiltfile: evaluated by Tilt itself if it is on the PATH; its paths are always compared with the tree.

Nothing here needs a lab or a cluster: Tilt evaluates the file with a kubeconfig that the test makes.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab_testing.embedded import PROJECT

TILTFILE = PROJECT / "Tiltfile"
DOCKERFILE = PROJECT / "services" / "hub" / "Dockerfile"

needs_tilt = pytest.mark.skipif(not shutil.which("tilt"), reason="no tilt on the PATH: the Tiltfile was not run")


@pytest.fixture
def tilt(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Evaluate the Tiltfile in a context with the given name, without any cluster behind it."""

    def run(context: str) -> subprocess.CompletedProcess[str]:
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "users": [{"name": context, "user": {"token": "none"}}],
            "current-context": context,
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        ours = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "TILT_DISABLE_ANALYTICS": "1", "PORT": "8123"}
        return subprocess.run(
            ["tilt", "alpha", "tiltfile-result", "--file", str(TILTFILE)],
            env={**os.environ, **ours},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def manifests(tilt: Callable[[str], subprocess.CompletedProcess[str]]) -> dict[str, Any]:
    """Tilt's resources, by name."""
    done = tilt("kind-x")
    assert done.returncode == 0, done.stderr
    return {each["Name"]: each for each in json.loads(done.stdout)["Manifests"]}


@pytest.fixture(scope="module")
def tree() -> ast.Module:
    """The syntax tree of the Tiltfile. Its language, Starlark, has Python's syntax."""
    return ast.parse(TILTFILE.read_text())


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def paths_of(node: ast.AST, tree: ast.Module) -> list[str]:
    """The string literals in an expression, including those of the top-level names in it."""
    named = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    found = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id in named:
            found += paths_of(named[each.id], tree)
    return found


class TestPaths:
    def test_every_path_that_goes_into_an_image_exists(self, tree: ast.Module) -> None:
        builds = list(calls(tree, "docker_build"))
        assert len(builds) == 2
        for build in builds:
            only = next(keyword.value for keyword in build.keywords if keyword.arg == "only")
            paths = paths_of(only, tree)
            assert paths
            assert [path for path in paths if not (PROJECT / path).exists()] == []

    def test_every_path_that_makes_a_new_image_exists(self, tree: ast.Module) -> None:
        (fall_back,) = calls(tree, "fall_back_on")
        paths = paths_of(fall_back, tree)
        assert {"pyproject.toml", "uv.lock"} <= set(paths)
        assert [path for path in paths if not (PROJECT / path).exists()] == []

    def test_every_synced_path_exists_and_goes_where_the_image_has_it(self, tree: ast.Module) -> None:
        copied = [line.split() for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
        syncs = [[paths_of(argument, tree)[0] for argument in call.args] for call in calls(tree, "sync")]
        assert len(syncs) == 4, "the library, the hub, the image updater, and the site's policy"
        for local, remote in syncs:
            assert (PROJECT / local).exists()
            there = [words[-1] for words in copied if words[-2] == local]
            assert there, f"the Dockerfile does not copy {local}"
            assert remote in {f"/app/{each}{Path(local).name if each.endswith('/') else ''}" for each in there}

    def test_no_line_allows_other_clusters(self, tree: ast.Module) -> None:
        assert not list(calls(tree, "allow_k8s_contexts"))


@needs_tilt
class TestTilt:
    def test_the_resources_have_the_documented_names(self, manifests: dict[str, Any]) -> None:
        assert set(manifests) == {
            "learning-lab",
            "proxy",
            "image-update",
            "namespaces-and-rights",
            "lint",
            "test",
            "e2e",
        }
        assert all(each["Labels"] for each in manifests.values())

    def test_an_edit_of_python_restarts_the_hub_and_one_of_a_template_or_style_does_not(
        self, manifests: dict[str, Any]
    ) -> None:
        spec = next(
            image["LiveUpdateSpec"]
            for image in manifests["learning-lab"]["ImageTargets"]
            if image["selector"] == "learning-lab/hub"
        )
        (restart,) = spec["execs"]
        triggers = {os.path.relpath(PROJECT / each, PROJECT) for each in restart["triggerPaths"]}
        sources = [PROJECT / each["localPath"] for each in spec["syncs"]]
        python = {
            str(path.relative_to(PROJECT))
            for source in sources
            for path in ([source] if source.is_file() else source.rglob("*.py"))
        }
        assert triggers == python
        assert "services/hub/src/learning_lab/config.py" in triggers

    def test_checks_run_only_on_request(self, manifests: dict[str, Any]) -> None:
        manual_without_first_run = 2  # Tilt's number for this mode
        assert {name: manifests[name]["TriggerMode"] for name in ("lint", "test", "e2e")} == {
            "lint": manual_without_first_run,
            "test": manual_without_first_run,
            "e2e": manual_without_first_run,
        }

    @pytest.mark.parametrize("context", ["production", "gke_company_eu_lab", "my-kind-cluster"])
    def test_a_context_that_is_not_kinds_is_refused_with_a_message(
        self, tilt: Callable[[str], subprocess.CompletedProcess[str]], context: str
    ) -> None:
        done = tilt(context)
        assert done.returncode != 0
        assert f'The current kubectl context is "{context}", but the lab is developed only on kind.' in done.stderr
        assert "make cluster" in done.stderr

"""What `make up` says and does when something is wrong with the machine, and the pinned versions that must agree.

Docker, kind and kubectl are test doubles here, separate commands on the PATH: with the real ones, one cannot test a
machine without Docker, a full disk or an interrupted cluster. `make e2e` uses the real ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import binaries
import cluster
import engine
import images
import steps
import up

Double = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own state and log, with nothing left over from another test."""
    place = tmp_path / "state"
    place.mkdir()
    for module in (steps, cluster, images, up):
        monkeypatch.setattr(module, "STATE", place)
    monkeypatch.setattr(steps, "LOG", place / "up.log")
    monkeypatch.setattr(engine, "PID_FILE", place / "dockerd.pid")
    monkeypatch.setattr(cluster, "BIN", tmp_path / "bin")
    monkeypatch.setattr(binaries, "BIN", tmp_path / "bin")
    engine.client.cache_clear()
    return place


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """Put a double on the PATH: a command's name and the body of a shell script. Its calls are logged."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def make(name: str, body: str) -> Path:
        command = folder / name
        command.write_text(f'#!/bin/sh\necho "{name} $*" >> "$CALLS"\n{body}\n')
        command.chmod(0o755)
        return command

    yield make
    engine.client.cache_clear()


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    return lambda: (tmp_path / "calls").read_text().splitlines()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


DOCKER_20 = """
case "$*" in
  version*) echo 20.10.24 ;;
  *inspect*) exit 1 ;;
esac
"""


class TestDocker:
    def test_no_docker_and_no_root_is_one_sentence(self, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
        double("docker", "exit 1")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(steps.StepFailed, match="Docker is not responding, and only root can start it"):
            engine.ready()

    def test_a_client_that_cannot_build_is_passed_over_for_one_that_can(
        self, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        double("docker", 'case "$*" in version*) echo 28.2.2 ;; buildx*) exit 1 ;; esac')
        old = tmp_path / "old"
        old.mkdir()
        (old / "docker").write_text("#!/bin/sh\necho 20.10.24\n")
        (old / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{old}:/usr/bin:/bin")
        assert engine.client() == str(old / "docker")

    def test_no_client_that_can_build_is_one_sentence(self, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = double("docker", 'case "$*" in version*) echo 28.2.2 ;; *) exit 1 ;; esac').parent
        shell = shutil.which("sh")
        assert shell is not None
        (folder / "sh").symlink_to(shell)
        monkeypatch.setenv("PATH", str(folder))
        with pytest.raises(steps.StepFailed, match="no docker command that can build with BuildKit"):
            engine.client()

    def test_a_nearly_full_disk_is_reported_before_anything_is_made(
        self, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        double(
            "docker", f'case "$*" in version*) echo 20.10.24 ;; *DockerRootDir*) echo {tmp_path} ;; *) echo 20 ;; esac'
        )
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**30))
        with pytest.raises(steps.StepFailed, match=r"has only 3\.0 GiB free, but the cluster needs 8"):
            engine.ready()

    def test_a_daemon_that_we_did_not_start_is_left_alone(self, double: Double) -> None:
        engine.stop()  # without a PID file there is nothing to do

    def test_a_reused_process_id_is_not_signalled(self, double: Double) -> None:
        with subprocess.Popen(["sleep", "60"]) as other:
            engine.PID_FILE.write_text(str(other.pid))
            engine.stop()
            assert other.poll() is None
            other.kill()
        assert not engine.PID_FILE.exists()


class TestSteps:
    def test_a_full_disk_is_reported_whatever_command_fails(self, double: Double) -> None:
        double("docker", 'echo "write /layer.tar: no space left on device"; exit 1')
        with pytest.raises(steps.StepFailed, match="The disk is full") as stop:
            steps.run(["docker", "build"], "Is it up?")
        assert "write /layer.tar" in str(stop.value)

    def test_a_missing_command_is_one_sentence(self, double: Double) -> None:
        with pytest.raises(steps.StepFailed, match=r"debootstrapp is not installed\. Install it\."):
            steps.run(["debootstrapp"], "Install it.")

    def test_a_command_that_hangs_is_ended(self, double: Double) -> None:
        with pytest.raises(steps.StepFailed, match="did not end within 0 s"):
            steps.run(["sleep", "60"], "", seconds=0.1)

    def test_the_end_of_the_output_and_the_log_are_named(self, double: Double) -> None:
        double("kubectl", "seq 1 100; exit 3")
        with pytest.raises(steps.StepFailed) as stop:
            steps.run(["kubectl", "apply"], "Look.")
        assert str(stop.value).startswith("kubectl failed (exit code 3). Look.\n    86\n")
        assert str(steps.LOG) in str(stop.value)


class TestCluster:
    @pytest.mark.parametrize("text", ["abc", "0", "65536", "-1", "80 80", "٣"])
    def test_an_invalid_port_is_one_sentence(self, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", text)
        with pytest.raises(steps.StepFailed, match="must be a number from 1 to 65535"):
            cluster.port()

    def test_a_taken_port_is_reported_before_anything_is_made(
        self, double: Double, taken_port: int, monkeypatch: pytest.MonkeyPatch, calls: Callable[[], list[str]]
    ) -> None:
        double("docker", DOCKER_20)
        double("kind", "true")
        monkeypatch.setenv("PORT", str(taken_port))
        with pytest.raises(steps.StepFailed, match=f"Port {taken_port}, needed for the lab, is taken"):
            cluster.up(official=True)
        assert not [call for call in calls() if call.startswith("kind create")]

    def test_an_incomplete_cluster_is_created_again(
        self, double: Double, monkeypatch: pytest.MonkeyPatch, calls: Callable[[], list[str]]
    ) -> None:
        double("docker", 'case "$*" in version*) echo 20.10.24 ;; *State.Status*) echo running ;; esac')
        double("kind", 'case "$*" in "get clusters") echo learning-lab ;; esac')
        double("kubectl", 'case "$*" in *"get configmap"*) exit 1 ;; *readyz*) echo ok ;; esac')
        monkeypatch.setattr(cluster, "_free", lambda _: True)
        cluster.up(official=True)
        kind = [call for call in calls() if call.startswith("kind")]
        assert "kind delete cluster --name learning-lab" in kind
        assert kind[-1].startswith("kind create cluster --name learning-lab")
        marked = [n for n, call in enumerate(calls()) if "create configmap learning-lab-cluster" in call]
        assert marked == [calls().index(kind[-1]) + 2]  # after the node is ready: the marker comes last

    def test_a_cluster_with_another_port_is_not_touched(self, double: Double, calls: Callable[[], list[str]]) -> None:
        double("docker", 'case "$*" in version*) echo 20.10.24 ;; *State.Status*) echo running ;; esac')
        double("kind", 'case "$*" in "get clusters") echo learning-lab ;; esac')
        double("kubectl", 'case "$*" in *"get configmap"*) echo 0123456789abcdef ;; *readyz*) echo ok ;; esac')
        with pytest.raises(steps.StepFailed, match="was created with another port, node image or kind"):
            cluster.up(official=True)
        assert not [call for call in calls() if "delete" in call or "create" in call]

    def test_kubectl_names_its_context_whatever_the_current_one_is(
        self, double: Double, calls: Callable[[], list[str]]
    ) -> None:
        double("kubectl", "true")
        cluster.kubectl("apply", "-k", "x")
        assert calls() == ["kubectl --context kind-learning-lab apply -k x"]

    def test_two_runs_at_once_do_not_trip_over_each_other(self, state: Path) -> None:
        with (state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with (
                pytest.raises(steps.StepFailed, match="Another `make up` or `make down` is running"),
                up._exclusive_lock(),
            ):
                pass


class TestImages:
    def test_an_unknown_choice_is_one_sentence(self, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LAB_IMAGES", "hub")
        with pytest.raises(steps.StepFailed, match="must be official, built or auto"):
            images.base()

    def test_official_images_are_not_silently_replaced(self, double: Double, monkeypatch: pytest.MonkeyPatch) -> None:
        double("docker", 'case "$*" in version*) echo 20.10.24 ;; *) exit 1 ;; esac')
        monkeypatch.setenv("LAB_IMAGES", "official")
        with pytest.raises(steps.StepFailed, match="cannot be pulled, but LAB_IMAGES=official needs it"):
            images.base()

    def test_the_first_result_is_kept(self, double: Double, state: Path) -> None:
        double("docker", 'case "$*" in version*) echo 20.10.24 ;; esac')
        (state / "images").write_text("built")
        assert images.base() is False
        (state / "images").write_text("official")
        assert images.base() is True


class TestTools:
    @pytest.mark.parametrize(
        ("said", "suits"),
        [
            pytest.param("1.34.0", True, id="the cluster's own minor version"),
            pytest.param("1.33.9", True, id="one minor version older"),
            pytest.param("1.35.1", True, id="one minor version newer"),
            pytest.param("1.32.4-dispatcher", False, id="two minor versions older"),
            pytest.param("2.34.4", False, id="another major version"),
        ],
    )
    def test_a_kubectl_within_one_minor_version_is_used(self, double: Double, said: str, suits: bool) -> None:
        version = json.dumps({"clientVersion": {"gitVersion": f"v{said}"}}, indent=2)
        assert binaries._is_kubectl(double("kubectl", f"cat <<'E'\n{version}\nE"), "1.34.4") is suits

    def test_an_old_kind_is_not_used(self, double: Double) -> None:
        assert not binaries._is_kind(double("kind", "echo kind v0.20.0 go1.20.4 linux/amd64"), "0.33.0")
        assert binaries._is_kind(double("kind", "echo kind v0.33.0 go1.26.8 linux/amd64"), "0.33.0")

    @pytest.mark.parametrize(
        ("pin", "module", "file"),
        [
            ("KIND", "sigs.k8s.io/kind", "kind_command"),
            ("KUBERNETES", "k8s.io/kubernetes", "node_image/kubernetes"),
            ("ETCD", "go.etcd.io/etcd/server/v3", "node_image/etcd"),
            ("COREDNS", "github.com/coredns/coredns", "node_image/coredns"),
        ],
    )
    def test_the_pins_and_the_modules_agree(self, pin: str, module: str, file: str) -> None:
        required = (binaries.OFFLINE / file / "go.mod").read_text()
        found = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", required, re.MULTILINE)
        assert found is not None
        assert found.group(1) == steps.versions()[pin]


class TestRuntimeWithoutResource:
    CAPABILITIES = {"bounding": ["CAP_KILL", "CAP_SYS_RESOURCE"], "ambient": None}  # noqa: RUF012
    LEFT = {"bounding": ["CAP_KILL"], "ambient": []}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def runc(self, double: Double) -> None:
        double("runc", "true")

    def run(self, *arguments: str | Path) -> None:
        # Not run as an executable, because its first line asks for the python3 on the PATH.
        subprocess.run([sys.executable, "-IS", str(engine.RUNTIME), *map(str, arguments)], check=True)

    @pytest.mark.parametrize("option", ["--bundle {}", "--bundle={}", "-b {}"])
    def test_a_container_is_made_without_it(self, option: str, tmp_path: Path, calls: Callable[[], list[str]]) -> None:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"process": {"args": ["sh"], "capabilities": self.CAPABILITIES}}))
        self.run("--root", "/run/x", "create", *option.format(tmp_path).split(), "id")
        assert json.loads(config.read_text()) == {"process": {"args": ["sh"], "capabilities": self.LEFT}}
        assert calls()[0].startswith("runc --root /run/x create")

    def test_a_command_in_a_container_is_run_without_it(self, tmp_path: Path) -> None:
        process = tmp_path / "process.json"
        process.write_text(json.dumps({"args": ["sh"], "capabilities": self.CAPABILITIES}))
        self.run("exec", "--process", process, "id")
        assert json.loads(process.read_text()) == {"args": ["sh"], "capabilities": self.LEFT}

    def test_everything_else_goes_through_untouched(self, calls: Callable[[], list[str]]) -> None:
        self.run("kill", "id", "9")
        assert calls() == ["runc kill id 9"]

"""Docker, which everything else here needs: finds it, or as root installs and starts it.

A daemon that we start runs until `make down`; one that was already running is left alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

from steps import STATE, StepFailed, output_of, run, step

RUNTIME = Path(__file__).with_name("runtime_without_resource.py")
PID_FILE = STATE / "dockerd.pid"
DAEMON_LOG = STATE / "dockerd.log"
STALE = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}
CAP_SYS_RESOURCE = 24  # capability(7)
START_SECONDS = 60
# The last client with BuildKit built in; from 23.0 on, `docker build` with BuildKit needs the buildx plugin.
LAST_WITH_BUILDKIT = 22
NEEDED_GIB = 8  # measured: 6 GiB for the node image, the cluster, the lab's images and the registry


def ready() -> None:
    """Make sure that a Docker daemon responds, that a client can build, and that there is enough disk space.

    Raises:
        StepFailed: there is no daemon and we may not start one, no client can build, or the disk is too full.
    """
    if not _answers():
        if os.geteuid() != 0:
            raise StepFailed(
                "Docker is not responding, and only root can start it. Start it (sudo systemctl start docker), join"
                " its group (sudo usermod -aG docker $USER, then log in again), and run this again."
            )
        _install()
        _start()
    client()
    _check_room()


@cache
def client() -> str:
    """A docker command that can build with BuildKit: with the buildx plugin, or old enough to have it built in.

    Raises:
        StepFailed: no docker command on the PATH can.
    """
    for folder in os.get_exec_path():
        command = shutil.which("docker", path=folder)
        if command and _builds(command):
            return command
    raise StepFailed(
        "There is no docker command that can build with BuildKit. Install Docker's buildx plugin"
        " (Debian: apt-get install docker-buildx, or docker.io in bookworm), and run this again."
    )


def stop() -> None:
    """Stop the daemon, if we started it."""
    if not PID_FILE.exists():
        return
    pid = int(PID_FILE.read_text())
    if output_of(["ps", "-o", "comm=", "-p", str(pid)]) == "dockerd":
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + START_SECONDS
        while output_of(["ps", "-o", "stat=", "-p", str(pid)]) not in (None, "Z", "Zs") and time.monotonic() < until:
            time.sleep(0.2)
    PID_FILE.unlink()


def _answers() -> bool:
    return bool(output_of(["docker", "info", "--format", "{{.ServerVersion}}"], seconds=20))


def _builds(command: str) -> bool:
    version = output_of([command, "version", "--format", "{{.Client.Version}}"]) or _client_version(command)
    major = version.split(".")[0]
    if major.isdecimal() and int(major) <= LAST_WITH_BUILDKIT:
        return True
    return output_of([command, "buildx", "version"]) is not None


def _client_version(command: str) -> str:
    """The version of a client whose daemon does not respond, from "Docker version 20.10.24, build ..."."""
    words = (output_of([command, "--version"]) or "").split()
    return words[2] if len(words) > 2 else ""


def _install() -> None:
    """Install Debian's Docker if there is none, with iptables and runc, which it needs but does not always bring."""
    if shutil.which("dockerd") and any(
        _builds(found) for folder in os.get_exec_path() if (found := shutil.which("docker", path=folder))
    ):
        return
    if not shutil.which("apt-get"):
        raise StepFailed("Docker is not installed. Install it from your distribution, and run this again.")
    with step("Docker, from Debian's packages"):
        advice = "Docker could not be installed. Are Debian's packages reachable?"
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], advice, environment=quiet)
        packages = ["docker.io", "containerd", "runc", "iptables", "ca-certificates"]
        if output_of(["apt-cache", "show", "docker-buildx"]):
            packages.append("docker-buildx")
        # The package's own start script fails without systemd; the daemon is started below in any case.
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], advice, environment=quiet)


def _start() -> None:
    with step("Docker's daemon"):
        if Path("/run/systemd/system").is_dir():
            run(["systemctl", "start", "docker"], "For details: systemctl status docker")
        else:
            STATE.mkdir(parents=True, exist_ok=True)
            for name, file in STALE.items():
                _forget(name, file)
            with DAEMON_LOG.open("ab") as log:
                daemon = subprocess.Popen(
                    ["dockerd", *_runtime_arguments()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            PID_FILE.write_text(str(daemon.pid))
        until = time.monotonic() + START_SECONDS
        while not _answers():
            if time.monotonic() > until:
                raise StepFailed(
                    f"Docker was started but did not respond within {START_SECONDS} s. Its log: {DAEMON_LOG}"
                )
            time.sleep(0.3)


def _forget(name: str, file: Path) -> None:
    """Remove the PID file of a killed daemon: dockerd takes any process with that number for a running daemon."""
    if file.exists() and output_of(["ps", "-o", "comm=", "-p", file.read_text().strip() or "0"]) != name:
        file.unlink()


def _runtime_arguments() -> list[str]:
    """Arguments that register our runtime, if the host withholds a capability that privileged containers ask for."""
    effective = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
    )
    if int(effective, 16) >> CAP_SYS_RESOURCE & 1:
        return []
    name = "without-resource"
    return ["--add-runtime", f"{name}={RUNTIME}", "--default-runtime", name]


def _check_room() -> None:
    folder = output_of(["docker", "info", "--format", "{{.DockerRootDir}}"]) or "/var/lib/docker"
    if Path(folder).is_dir():  # not if Docker runs in a virtual machine
        free = shutil.disk_usage(folder).free / 2**30
        if free < NEEDED_GIB:
            raise StepFailed(
                f"Docker's disk has only {free:.1f} GiB free, but the cluster needs {NEEDED_GIB}."
                " Free some space (docker system prune), and run this again."
            )

"""What reading a namespace costs in a new process, compared with the official client.

Each runs in its own process, against a local HTTPS server that speaks Kubernetes' wire format.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab_testing.api_server_double import TOKEN, Authority, kubeconfig, running
from report import Figure

PEER = "official client"

NOTHING = ""
OURS = "from k8s_annotations import ClusterReader; ClusterReader().read('alice')"
OFFICIAL = (
    "from kubernetes import client, config; config.load_kube_config();"
    " client.CoreV1Api().read_namespace('alice').metadata.annotations['learning-lab.dev/userid']"
)
# The process's own peak: getrusage would include what the parent used before exec.
PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def measure(repeats: int) -> list[Figure]:
    """Read one namespace in new processes, in turns."""
    seconds = Figure("one read in a new process", "s")
    memory = Figure("  peak memory", "MiB")
    bare = Figure("  a Python that does nothing, for comparison", "s")
    with tempfile.TemporaryDirectory() as place:
        authority = Authority(Path(place))
        with running(certificate=authority.issue("api server", "127.0.0.1")) as server:
            file = kubeconfig(
                Path(place) / "config",
                server.url,
                {"token": TOKEN},
                cluster={"certificate-authority-data": authority.data},
            )
            environment = os.environ | {"KUBECONFIG": str(file)}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compilation should not be measured
            for repeat in range(repeats + 1):
                ours, official = _cost(OURS, environment), _cost(OFFICIAL, environment)
                nothing = _cost(NOTHING, environment)
                if repeat:  # the first one fills the file cache
                    seconds.lab.append(ours[0])
                    seconds.peer.append(official[0])
                    memory.lab.append(ours[1])
                    memory.peer.append(official[1])
                    bare.lab.append(nothing[0])
    return [seconds, memory, bare]


def _cost(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and MiB that a Python process takes to run the code."""
    before = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + PEAK], env=environment, check=True, capture_output=True)
    return time.perf_counter() - before, int(done.stdout) / 2**10

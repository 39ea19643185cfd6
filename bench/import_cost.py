"""Measure what reading a namespace costs in a new process: time and peak memory, median of `ROUNDS`.

    python bench/import_cost.py

Each way runs in its own process, against a local HTTPS server that speaks Kubernetes' wire format. The ways take
turns, because machines are shared and noisy: read the ratios, not the milliseconds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab_testing.api_server_double import TOKEN, Authority, kubeconfig, running

ROUNDS = 5

WAYS = {
    "python -c pass": "",
    "import k8s_annotations": "import k8s_annotations",
    "one read through ClusterReader": "from k8s_annotations import ClusterReader; ClusterReader().read('alice')",
    "one read through the official client": (
        "from kubernetes import client, config; config.load_kube_config();"
        " client.CoreV1Api().read_namespace('alice').metadata.annotations['learning-lab.dev/userid']"
    ),
}


# Of the process alone: getrusage counts what the parent had before exec. Linux only.
PEAK = "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def cost(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds and MiB of a Python process that runs the code."""
    before = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code + PEAK], env=environment, check=True, capture_output=True)
    return time.perf_counter() - before, int(done.stdout) / 2**10


def main() -> None:
    """Print the table."""
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
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling is not what is measured
            for code in WAYS.values():  # once, for the files' cache
                cost(code, environment)
            taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way, code in WAYS.items():
                    taken[way].append(cost(code, environment))
    print("| | time | peak memory |\n|---|---|---|")
    for way, figures in taken.items():
        seconds, mebibytes = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| `{way}` | {seconds:.2f} s | {mebibytes:.0f} MiB |")


if __name__ == "__main__":
    main()

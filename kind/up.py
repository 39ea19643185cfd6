"""The lab on Kubernetes on this machine: `make up`, `make cluster`, `make down`, `make shell`.

python kind/up.py up        Docker, tools, cluster, registry, images, the lab; skips steps that are already done
python kind/up.py cluster   the same without the lab, for `tilt up`
python kind/up.py down      remove the cluster and the registry, and stop Docker if `up` started it
python kind/up.py shell     a Python development system with the emulated accounts [command ...]
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator

import binaries
import cluster
import deploy
import engine
import images
from steps import BIN, STATE, StepFailed, output_of, step


def main() -> None:
    """Do what the command line asks; if something goes wrong, say so in one sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("up", "cluster", "down", "shell"))
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    os.environ["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"]])
    try:
        with _exclusive_lock():
            replacement = _do(arguments.verb, arguments.command)
    except StepFailed as stop:
        sys.exit(f"up: {stop}")
    except KeyboardInterrupt:
        sys.exit("\nup: stopped. Run it again to continue.")
    if replacement:
        os.execvp(replacement[0], replacement)


def _do(verb: str, command: list[str]) -> list[str] | None:
    """Carry out a verb.

    Returns:
        A command that should replace this process, or None.
    """
    if verb == "down":
        _down()
        return None
    if verb != "shell":
        cluster.port()  # report a wrong one now, not after minutes of work
    engine.ready()
    official = images.base()
    if verb == "shell":
        return deploy.shell(command)
    binaries.tools()
    cluster.up(official=official)
    if verb == "cluster":
        print(f"\n  The cluster is ready: context {cluster.CONTEXT}, registry {cluster.REGISTRY_HOST}.\n")
        return None
    deploy.lab()
    people = "alice/pass1, bob/pass2, carol/pass3"
    print(f"\n  Learning Lab: http://127.0.0.1:{cluster.port()}   (log in as {people}; `make down` removes it)\n")
    return None


def _down() -> None:
    if output_of(["docker", "info", "--format", "{{.ServerVersion}}"], seconds=20):
        binaries.tools()
        with step("removing the cluster and the registry"):
            cluster.delete()
    engine.stop()


@contextlib.contextmanager
def _exclusive_lock() -> Iterator[None]:
    """Hold a lock against two runs at once, which would trip over each other's unfinished work."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepFailed(
                "Another `make up` or `make down` is running in this checkout. Wait for it to end."
            ) from None
        yield


if __name__ == "__main__":
    main()

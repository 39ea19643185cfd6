"""How long an edit of the sources takes to show at the lab's address: live, compared with a new image and a new pod.

Real sources are edited and restored, even after Ctrl-C. With a `tilt` on the PATH, `tilt up` with the project's own
Tiltfile does the live updates; without one, kubectl does the same copy and restart. Meanwhile alice has a server and a
kernel with a variable: the run fails if they are not the same afterwards. The peer is `kind load`, the usual way on
kind; a push of changed layers to the local registry, as `make up` does it, is measured too. For these two it makes no
difference what was edited, so each gets one edit per repeat.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "kind"))

from cluster import REGISTRY_HOST  # noqa: E402
from delivery import SECONDS, ByHand, Delivery, Load, Push, Tilt  # noqa: E402
from kernel_session import WorkingPerson  # noqa: E402
from lab_testing.kind_cluster import DEPLOYMENT, LAB, Cluster, NoCluster, wait_until  # noqa: E402
from lab_testing.person import Person  # noqa: E402
from report import Bar, Figure  # noqa: E402
from steps import StepFailed  # noqa: E402

PEER = "kind load"
TILT_LOG = PROJECT / ".tools" / "tilt.log"
HUB = PROJECT / "services/hub/src/learning_lab"
MARK = "live-update-"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Edit:
    """A change of a source file that can be seen from outside.

    Attributes:
        name: the name of the figure.
        path: the file.
        old: a text that occurs in it once.
        new: its replacement, with ``MARK`` for the text of this measurement.
        seen: whether the lab shows that text.
        within: the promised number of seconds.
        faster: how many times faster than `kind load` is promised.
    """

    name: str
    path: Path
    old: str
    new: str
    seen: Callable[[str], bool]
    within: float
    faster: float = 1


@contextlib.contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """Restore the files after the block, whatever happens."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, text in before.items():
            if path.read_bytes() != text:
                path.write_bytes(text)


def seconds_until_seen(edit: Edit, way: Delivery) -> float:
    """Make the edit, get it into the cluster, and wait until the lab shows it."""
    mark = f"{MARK}{uuid.uuid4().hex}"
    text = edit.path.read_text()
    text = re.sub(f"{MARK}[0-9a-f]{{32}}", mark, text) if MARK in text else text.replace(edit.old, edit.new)
    text = text.replace("MARK", mark) if mark not in text else text
    began = time.perf_counter()
    edit.path.write_text(text)
    way.bring(edit.path)
    while not edit.seen(mark):
        if time.perf_counter() - began > SECONDS:
            raise NoCluster(f"The edit of {edit.path.name} did not show within {SECONDS} s.")
        time.sleep(0.02)
    return time.perf_counter() - began


def edits(cluster: Cluster) -> list[Edit]:
    """The edits, and how to see each of them."""
    http = httpx.Client(base_url=cluster.address, timeout=10)
    bob = Person(cluster, "bob")
    bob.log_in()
    bob.stop()

    def shows(client: httpx.Client, path: str, mark: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return mark in client.get(path).text
        return False

    def style(mark: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            address = re.search(r"/hub/lab-static/lab\.css\?v=\w+", http.get("/hub/login").text)
            return address is not None and shows(http, address[0], mark)
        return False

    def header(mark: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return bool(http.get("/hub/health").headers.get("X-Live-Update") == mark)
        return False

    policy = '"Referrer-Policy": "same-origin",'
    described = 'values.get("description", "'
    library = PROJECT / "libs/k8s_annotations/src/k8s_annotations/grants/parsing.py"
    page, menu = (lambda mark: shows(http, "/hub/login", mark)), (lambda mark: shows(bob.http, "/hub/spawn", mark))
    title, root = '<span class="lab-of', ":root {\n"
    return [
        Edit("template", HUB / "pages/templates/login.html", f'{title}">', f'{title} MARK">', page, 1, 10),
        Edit("style sheet", HUB / "pages/static/lab.css", root, f"{root}  /* MARK */\n", style, 1, 10),
        Edit("Python of the hub", HUB / "config.py", policy, f'{policy} "X-Live-Update": "MARK",', header, 5, 10),
        Edit("Python of libs/k8s_annotations", library, f'{described}"', f'{described}MARK"', menu, 5),
    ]


def image_of(cluster: Cluster) -> dict[str, int]:
    """The layers of the hub's image in the registry: digest and compressed bytes."""
    containers = cluster.get(DEPLOYMENT, "-n", LAB)["spec"]["template"]["spec"]["containers"]
    reference = next(each["image"] for each in containers if each["name"] == "hub").partition("/")[2]
    name, _, tag = reference.rpartition("@" if "@" in reference else ":")
    request = urllib.request.Request(f"http://{REGISTRY_HOST}/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {layer["digest"]: layer["size"] for layer in json.load(answer)["layers"]}


def change_packages(cluster: Cluster, file: Path, way: Delivery) -> tuple[float, int, int]:
    """Change the file from which the packages are installed.

    Returns:
        Seconds until the lab runs with the new image, the bytes that were transferred, and those of the whole image.
    """
    before, pod = image_of(cluster), cluster.pod()["metadata"]["uid"]
    began = time.perf_counter()
    file.write_text(f"{file.read_text()}# {MARK}{uuid.uuid4().hex}\n")
    way.bring(file)

    def is_new() -> bool:
        with contextlib.suppress(AssertionError):  # raised between two pods
            found = cluster.pod()
            return (
                found["metadata"]["uid"] != pod
                and "containerStatuses" in found["status"]
                and all(each["ready"] for each in found["status"]["containerStatuses"])
            )
        return False

    wait_until(is_new, SECONDS, "no new pod")
    cluster.wait_until_healthy(SECONDS)
    took = time.perf_counter() - began
    after = image_of(cluster)
    return took, sum(size for digest, size in after.items() if digest not in before), sum(after.values())


def measure(repeats: int) -> list[Figure]:
    """Edit, check, and restore.

    Raises:
        RuntimeError: there is no cluster with the lab, a step failed, or alice lost her work.
    """
    cluster = Cluster.of_environment(f"http://127.0.0.1:{os.environ.get('PORT') or 8000}")
    tilt = Tilt(cluster, TILT_LOG) if shutil.which("tilt") else None
    if not tilt:
        cluster.check()
    try:
        return _measure(cluster, tilt, repeats)
    except (StepFailed, AssertionError, httpx.HTTPError) as error:
        raise RuntimeError(str(error)) from error


def _measure(cluster: Cluster, tilt: Tilt | None, repeats: int) -> list[Figure]:
    live: Delivery = tilt or ByHand(cluster)
    push, load = Push(cluster), Load(cluster)
    packages = PROJECT / "services/hub/pyproject.toml"
    with contextlib.ExitStack() as at_the_end:
        if tilt:
            say("tilt up: the first image and the first pod")
            at_the_end.enter_context(tilt.up())
        cluster.wait_until_healthy(SECONDS)
        all_edits = edits(cluster)
        figures = [
            Figure(each.name, "s", [Bar(each.within, "lab"), *([Bar(1 / each.faster)] if each.faster > 1 else [])])
            for each in all_edits
        ]
        pushed = Figure("the same by build, push and rollout", "s")
        image = Figure(f"a change of packages, by {(tilt or push).name}", "s")
        travelled = Figure("  of its image travelled", "MiB")
        with put_back(*(edit.path for edit in all_edits), packages):
            say(f"live, by {live.name}, while alice is working")
            alice = WorkingPerson(cluster)
            for _ in range(repeats):
                for edit, figure in zip(all_edits, figures, strict=True):
                    figure.lab.append(seconds_until_seen(edit, live))
                    alice.go_on()
            alice.leave()
            say("a change of packages")
            seconds, size, whole = change_packages(cluster, packages, tilt or push)
            image.lab.append(seconds)
            travelled.lab.append(size / 2**20)
            travelled.text = f"  of its image's {whole / 2**20:.0f} MiB travelled"
    with put_back(*(edit.path for edit in all_edits)):
        say(f"the peers: {push.name}; {load.name}")
        push.bring()  # so that the peers don't have to build what the change of packages left
        for repeat in range(repeats):
            edit = all_edits[repeat % len(all_edits)]
            pushed.lab.append(seconds_until_seen(edit, push))
            taken = seconds_until_seen(edit, load)
            for figure in (*figures, pushed):
                figure.peer.append(taken)
    say("the lab without the edits")
    push.bring()
    cluster.wait_until_healthy(SECONDS)
    return [*figures, pushed, image, travelled]


def say(what: str) -> None:
    """Print what is being done."""
    print(f"bench: {what} ...", file=sys.stderr, flush=True)

"""Measure live updates beside rebuild, push and rollout, in one run on the cluster of `make up`: `make bench-live`.

    python bench/live_update.py [--repeats 5] [--dependencies 2]

It edits real sources and puts them back, also after Ctrl-C. With a `tilt` on the PATH, `tilt up` of the project's own
Tiltfile does the live updates; without one, the same copy and the same restart by kubectl. While it does, alice has a
server and a kernel with a variable: the run fails when they are not the same afterwards. The peers take the same
edits through a new image and a new pod: with `kind load`, the usual way on kind, and with a push of changed layers to
the local registry, as `make up` does. These machines are shared and noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import httpx

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT / each) for each in ("kind",)]

from cluster import REGISTRY_HOST  # noqa: E402
from delivery import SECONDS, ByHand, Load, Push, Tilt, Way  # noqa: E402
from kernel_session import AtWork, LostWork, person  # noqa: E402  the path above
from lab_testing.kind_cluster import DEPLOYMENT, LAB, Cluster, NoCluster, wait_until  # noqa: E402
from steps import Stop  # noqa: E402

RESULTS = PROJECT / "bench" / "results"
HUB = PROJECT / "services/hub/src/learning_lab"
MARK = "live-update-"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Edit:
    """A change of a source file that can be seen from outside.

    Attributes:
        name: of the figure.
        path: the file.
        old: a text that is in it once.
        new: what takes its place, with ``MARK`` where the text of the measurement goes.
        seen: whether the lab shows that text.
        within: seconds that are promised for it.
        faster: times faster than with `kind load`, as is promised.
    """

    name: str
    path: Path
    old: str
    new: str
    seen: Callable[[str], bool]
    within: float
    faster: float = 1


@dataclass
class Figure:
    """What was measured of an edit, in seconds."""

    edit: Edit
    live: list[float] = field(default_factory=list)
    pushed: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)

    def times_faster_than(self, peer: list[float]) -> float:
        """By the medians."""
        return statistics.median(peer) / statistics.median(self.live)

    def kept(self) -> dict[str, Any]:
        """What goes into the file."""
        seconds = {"live": self.live, "pushed": self.pushed, "loaded": self.loaded}
        ratios = {name: self.times_faster_than(peer) for name, peer in seconds.items() if name != "live"}
        return {"name": self.edit.name, "seconds": seconds, "times_faster_than": ratios}


# --- Measuring --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """Write the files as they were, whatever happens."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, text in before.items():
            if path.read_bytes() != text:
                path.write_bytes(text)


def seconds_until_seen(edit: Edit, way: Way) -> float:
    """Make the edit, bring it into the cluster, and wait until the lab shows it."""
    mark = f"{MARK}{uuid.uuid4().hex}"
    text = edit.path.read_text()
    text = re.sub(f"{MARK}[0-9a-f]{{32}}", mark, text) if MARK in text else text.replace(edit.old, edit.new)
    text = text.replace("MARK", mark) if mark not in text else text
    began = time.perf_counter()
    edit.path.write_text(text)
    way.bring(edit.path)
    while not edit.seen(mark):
        if time.perf_counter() - began > SECONDS:
            raise NoCluster(f"The edit of {edit.path.name} was not seen in {SECONDS} s.")
        time.sleep(0.02)
    return time.perf_counter() - began


def edits(url: str) -> list[Edit]:
    """The edits, and how each is seen."""
    http = httpx.Client(base_url=url, timeout=10)
    bob = person(url, "bob").http

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
    page, menu = (lambda mark: shows(http, "/hub/login", mark)), (lambda mark: shows(bob, "/hub/spawn", mark))
    title, root = '<span class="lab-of', ":root {\n"
    return [
        Edit("template", HUB / "pages/templates/login.html", f'{title}">', f'{title} MARK">', page, 1, 10),
        Edit("style sheet", HUB / "pages/static/lab.css", root, f"{root}  /* MARK */\n", style, 1, 10),
        Edit("Python of the hub", HUB / "config.py", policy, f'{policy} "X-Live-Update": "MARK",', header, 5, 10),
        Edit("Python of libs/k8s_annotations", library, f'{described}"', f'{described}MARK"', menu, 5),
    ]


def image_of(cluster: Cluster) -> dict[str, int]:
    """The layers of the hub's image, digest and compressed bytes, as the registry has them."""
    containers = cluster.get(DEPLOYMENT, "-n", LAB)["spec"]["template"]["spec"]["containers"]
    reference = next(each["image"] for each in containers if each["name"] == "hub").partition("/")[2]
    name, _, tag = reference.rpartition("@" if "@" in reference else ":")
    request = urllib.request.Request(f"http://{REGISTRY_HOST}/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {layer["digest"]: layer["size"] for layer in json.load(answer)["layers"]}


def change_dependencies(cluster: Cluster, way: Way) -> tuple[float, int, int]:
    """Change what the packages are installed from.

    Returns:
        Seconds until the lab runs with the new image, the bytes that travelled, and those of the whole image.
    """
    file = PROJECT / "services/hub/pyproject.toml"
    before, pod = image_of(cluster), cluster.pod()["metadata"]["uid"]
    began = time.perf_counter()
    file.write_text(f"{file.read_text()}# {MARK}{uuid.uuid4().hex}\n")
    way.bring(file)

    def is_new() -> bool:
        with contextlib.suppress(AssertionError):  # between two pods
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


def measure(cluster: Cluster, repeats: int, dependency_repeats: int) -> dict[str, Any]:
    """Do all of it.

    Returns:
        The figures, and how they were come by.
    """
    dependencies: list[tuple[float, int, int]] = []
    lock = PROJECT / "services/hub/pyproject.toml"
    tilt = Tilt(cluster, RESULTS / "tilt.log") if shutil.which("tilt") else None
    live: Way = tilt or ByHand(cluster)
    push, load = Push(cluster), Load(cluster)
    with contextlib.ExitStack() as at_the_end:
        if tilt:
            say("tilt up: the first image and the first pod")
            at_the_end.enter_context(tilt.up())
        cluster.wait_until_healthy(SECONDS)
        all_edits = edits(cluster.url)
        figures = {edit.name: Figure(edit) for edit in all_edits}
        with put_back(*(edit.path for edit in all_edits), lock):
            say(f"live, by {live.name}, while alice is at work")
            alice = AtWork(cluster.url)
            for _ in range(repeats):
                for edit in all_edits:
                    figures[edit.name].live.append(seconds_until_seen(edit, live))
                    alice.go_on()
            alice.leave()
            say("a change of dependencies")
            way = live if tilt else push
            dependencies += [change_dependencies(cluster, way) for _ in range(dependency_repeats)]
    with put_back(*(edit.path for edit in all_edits)):
        say(f"the peers: {push.name}; {load.name}")
        push.bring()  # what the change of dependencies left is not the peers' to build
        for _ in range(repeats):
            for edit in all_edits:
                figures[edit.name].pushed.append(seconds_until_seen(edit, push))
                figures[edit.name].loaded.append(seconds_until_seen(edit, load))
    say("the lab without the edits")
    push.bring()
    cluster.wait_until_healthy(SECONDS)
    return {"live": live.name, "figures": list(figures.values()), "dependencies": dependencies}


def say(what: str) -> None:
    """Tell what is being done."""
    print(f"bench: {what} ...", file=sys.stderr, flush=True)


def report(result: dict[str, Any]) -> list[str]:
    """Print the table.

    Returns:
        The promises that were not kept.
    """
    print(f"\nlive: {result['live']}")
    print("Seconds from saving the file until the lab's address shows it; medians, and the worst of the live ones.\n")
    print(f"{'edit of':<32}{'live':>7}{'worst':>7}{'build, push, rollout':>24}{'build, kind load, rollout':>29}")
    broken = []
    for each in result["figures"]:
        live, name = statistics.median(each.live), each.edit.name
        print(f"{name:<32}{live:>7.2f}{max(each.live):>7.2f}", end="")
        for peer, width in ((each.pushed, 14), (each.loaded, 19)):
            print(f"{statistics.median(peer):>{width}.1f}{each.times_faster_than(peer):>8.1f} x", end="")
        print()
        if live > each.edit.within:
            broken.append(f"{name}: {live:.2f} s, and {each.edit.within:g} s are promised")
        ratio = each.times_faster_than(each.loaded)
        if ratio < each.edit.faster:
            broken.append(f"{name}: {ratio:.1f} times faster, and {each.edit.faster:g} are promised")
    seconds = [took for took, _, _ in result["dependencies"]]
    travelled, whole = (max(sizes) / 2**20 for sizes in list(zip(*result["dependencies"], strict=True))[1:])
    print(f"{'dependencies (a new image)':<32}{statistics.median(seconds):>7.2f}{max(seconds):>7.2f}", end="")
    print(f"   {travelled:.0f} of {whole:.0f} MiB travelled")
    print("\nalice's server, kernel and variable were the same after each of the live edits")
    return broken


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dependencies", type=int, default=2, help="how often the dependencies are changed")
    arguments = parser.parse_args()

    def end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    RESULTS.mkdir(exist_ok=True)
    try:
        cluster = Cluster.of_environment(f"http://127.0.0.1:{os.environ.get('PORT') or 8000}")
        if not shutil.which("tilt"):
            cluster.check()
        result = measure(cluster, arguments.repeats, arguments.dependencies)
    except (NoCluster, LostWork, Stop, AssertionError, httpx.HTTPError) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("\nbench: stopped; the files are as they were. `make up` brings the lab without the edits.")
    broken = report(result)
    kept = result | {"figures": [each.kept() for each in result["figures"]]}
    (RESULTS / "live_update.json").write_text(json.dumps(kept, indent=1))
    if broken:
        sys.exit("bench: not kept: " + "; ".join(broken))


if __name__ == "__main__":
    main()

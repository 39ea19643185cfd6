"""Failures around the lab, and what people see of them: a sentence, nothing that is somebody else's, and no lost work.

Rules kept here:
- each test repairs what it broke even if it fails, and waits until the lab has recovered;
- nobody helps the hub: it recovers by itself;
- the failures that take longest to recover from come last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from playwright.sync_api import expect

from lab_testing.cluster_site import ClusterSite
from lab_testing.kind_cluster import (
    API_SERVER,
    API_SERVER_ASIDE,
    LAB,
    POD_LABELS,
    PROXY_LABELS,
    PYTHON,
    Cluster,
    wait_until,
)
from lab_testing.running_server import Server
from lab_testing.visitor import Visitor

pytestmark = pytest.mark.timeout(420)

BINDING = "clusterrolebinding/learning-lab:read-namespaces"
LAST_KNOWN = "Your list of directories cannot be read at the moment: this is the last known one."
NOT_STARTED = "Your list of directories cannot be read at the moment, so nothing was started. Try again in a minute."
API_SERVER_SECONDS = 60
# A user's computation: when told to end, it needs a second to save its progress.
WRITES_DOWN = """
import signal, sys, time
def told(*_):
    time.sleep(1)
    open({file!r}, "w").write("written down")
    sys.exit()
signal.signal(signal.SIGTERM, told)
print("ready", flush=True)
time.sleep(600)
"""


class TestNamespace:
    def test_a_deleted_namespace_gives_nothing_and_says_so_and_recovers_when_it_is_back(
        self, visitor: Callable[..., Visitor], site: ClusterSite
    ) -> None:
        carol = visitor("carol")
        carol.see_menu()
        site.delete_namespace("carol")
        carol.page.reload()
        expect(carol.page.get_by_role("heading", name="There is nothing to open right now")).to_be_visible()
        expect(carol.page.get_by_text("No notebook directories have been set up for you yet.")).to_be_visible()
        assert "/s/" not in carol.page.locator("main").inner_text(), "neither the default directory nor anybody else's"
        refused = start_by_rest(carol, "/s/carol/notebooks")
        assert refused == (
            403,
            "No notebook directories have been set up for you. Ask the people who run this lab to add you.",
        )
        site.restore()
        carol.page.reload()
        carol.choose("Archive")
        carol.start()
        carol.wait_for_lab()
        assert carol.directory() == "/s/carol/archive"

    def test_a_malformed_annotation_gives_the_default_directory_and_a_notice(
        self, visitor: Callable[..., Visitor], site: ClusterSite
    ) -> None:
        site.annotate("alice", **{"notebook-dirs": "{paths: [/s/bob/notebooks]"})
        alice = visitor("alice")
        expect(alice.page.get_by_text("The list of your directories cannot be read:")).to_be_visible()
        # The second one is granted by a label, which is fine.
        assert values(alice) == ["/s/alice/notebooks", "/s/shared/climate"]
        alice.choose("notebooks")
        alice.start()
        alice.wait_for_lab()
        assert alice.directory() == "/s/alice/notebooks"


def test_without_the_right_to_read_namespaces_the_last_list_is_shown_and_nothing_starts(
    visitor: Callable[..., Visitor], cluster: Cluster, taken_away: Callable[[str], None]
) -> None:
    alice = visitor("alice")
    before = values(alice)
    taken_away(BINDING)
    wait_until_shown(alice, LAST_KNOWN)
    assert values(alice) == before
    assert_nothing_starts(alice)
    cluster.apply([each for each in cluster.manifests() if each["kind"] == "ClusterRoleBinding"])
    wait_until_gone(alice, LAST_KNOWN)
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()


def test_a_hub_that_restarts_leaves_servers_and_their_kernels_as_they_are(
    visitor: Callable[..., Visitor], cluster: Cluster
) -> None:
    alice = in_thesis(visitor)
    kernel = Server(alice).kernel()
    kernel.run("state = 41")
    hub, server, pod = cluster.in_pod("hub"), cluster.in_pod("server", "alice"), cluster.pod()["metadata"]["uid"]
    cluster.in_hub("sv", "term", "/app/service/hub")
    assert kernel.run("print(state + 1)") == "42", "even while there is no hub"
    wait_until(lambda: cluster.in_pod("hub").strip() not in {"0", hub.strip()}, 60, "the hub was not started again")
    cluster.wait_until_healthy()
    assert cluster.pod()["metadata"]["uid"] == pod
    assert cluster.in_pod("server", "alice") == server
    assert kernel.run("state += 1; print(state)") == "42"
    alice.page.goto("/hub/home")
    expect(alice.page.get_by_role("link", name="Open", exact=True)).to_be_visible()
    assert alice.directory() == "/s/alice/thesis"
    alice.stop()


def exit_codes(watched: str) -> set[tuple[str, int]]:
    """The containers that ended while `kubectl get pods --watch -o json` was running, and their exit codes."""
    codes, decoder = set(), json.JSONDecoder()
    while (start := watched.find("{")) >= 0:
        try:
            pod, end = decoder.raw_decode(watched[start:])
        except ValueError:  # the last object was cut off, or messages of kubectl follow
            break
        watched = watched[start + end :]
        for each in pod["status"].get("containerStatuses", []) + pod["status"].get("initContainerStatuses", []):
            if ended := each["state"].get("terminated"):
                codes.add((each["name"], ended["exitCode"]))
    return codes


def in_thesis(visitor: Callable[..., Visitor]) -> Visitor:
    """Alice, with JupyterLab open in her thesis directory."""
    alice = visitor("alice")
    alice.choose("Thesis")
    alice.start()
    alice.wait_for_lab()
    return alice


def test_a_computation_in_a_pod_that_ends_can_save_its_progress(
    visitor: Callable[..., Visitor], cluster: Cluster, site: ClusterSite
) -> None:
    folder = "/s/alice/thesis/before"
    site.make_folder(folder, "alice")
    alice = in_thesis(visitor)
    program = WRITES_DOWN.format(file=f"{folder}/told")
    started = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {program!r}], stdout=subprocess.PIPE,"
        " start_new_session=True); print(p.stdout.readline())"
    )
    assert Server(alice).kernel().run(started) == "b'ready\\n'"
    with ThreadPoolExecutor(1) as beside:
        watch = ("get", "pods", "-n", LAB, "-l", "app.kubernetes.io/component in (hub,proxy)", "--watch")
        watching = beside.submit(
            cluster.kubectl, *watch, "--request-timeout=40s", "-o", "json", seconds=60, check=False
        )
        replace_pod(cluster, grace_seconds=30)
        cluster.kubectl("delete", "pod", "-n", LAB, "-l", PROXY_LABELS, "--wait=true")
        said = exit_codes(watching.result())
    cluster.wait_until_healthy()
    assert said == {("hub", 0), ("storage", 0), ("proxy", 0)}
    # Read it as alice: the container's root may not enter directories that only she may enter.
    read = "import os, pwd, sys; a = pwd.getpwnam('alice'); os.setgid(a.pw_gid); os.setuid(a.pw_uid); "
    read += "print(open(sys.argv[1]).read(), end='')"
    assert cluster.in_hub(PYTHON, "-c", read, f"{folder}/told") == "written down"


def test_a_proxy_restart_stops_nothing_that_is_running(visitor: Callable[..., Visitor], cluster: Cluster) -> None:
    alice = in_thesis(visitor)
    kernel = Server(alice).kernel()
    kernel.run("state = 41")
    server, pod = cluster.in_pod("server", "alice"), cluster.pod()["metadata"]["uid"]
    cluster.kubectl("delete", "pod", "-n", LAB, "-l", PROXY_LABELS, "--wait=true")
    cluster.wait_until_healthy()
    until = time.monotonic() + 10  # JupyterHub by itself would take up to a minute
    while alice.page.request.get("/user/alice/api/contents/", max_redirects=0).status != 200:
        assert time.monotonic() < until, "the proxy did not get its routes back"
        time.sleep(0.1)
    assert alice.directory() == "/s/alice/thesis"
    assert Server(alice).run_cell(kernel.id, "print(state + 1)", 60).strip() == "42"
    assert cluster.in_pod("server", "alice") == server
    assert cluster.pod()["metadata"]["uid"] == pod


def test_a_killed_pod_stops_what_was_running_but_keeps_choices_and_notebooks(
    visitor: Callable[..., Visitor], cluster: Cluster, site: ClusterSite
) -> None:
    folder = "/s/alice/thesis/before"
    site.make_folder(folder, "alice")
    alice = visitor("alice")
    alice.type_name("thesis/before")
    alice.start()
    alice.wait_for_lab()
    said = Server(alice).kernel().run(f"print(open('{folder}/draft.ipynb', 'w').write('kept'))")
    assert said == "4"
    replace_pod(cluster)
    again = visitor("alice")
    again.see_menu()
    expect(again.page.get_by_role("button", name="Continue in Thesis / before").first).to_be_visible()
    again.start()
    again.wait_for_lab()
    assert again.directory() == folder
    assert again.root() == ["draft.ipynb"]
    assert Server(again).kernel().run(f"print(open('{folder}/draft.ipynb').read())") == "kept"


def test_an_api_server_outage_stops_starts_and_nothing_else(
    visitor: Callable[..., Visitor], cluster: Cluster, stopped_api_server: Callable[[], None]
) -> None:
    # Not alice: the folder that she used last in another test was deleted, and leaves her menu within seconds.
    carol, bob = visitor("carol"), visitor("bob")
    bob.choose("Demand forecast")
    bob.start()
    bob.wait_for_lab()
    kernel = Server(bob).kernel()
    kernel.run("state = 41")
    before = values(carol)
    stopped_api_server()
    down_since = time.monotonic()
    wait_until_shown(carol, LAST_KNOWN)
    assert values(carol) == before
    assert_nothing_starts(carol)
    while time.monotonic() < down_since + API_SERVER_SECONDS:
        assert kernel.run("print(state + 1)") == "42", "what is running keeps running"
        carol.page.goto("/hub/spawn")
        expect(carol.page.get_by_text(LAST_KNOWN)).to_be_visible()
        time.sleep(5)
    cluster.put_api_server_back()
    wait_until_gone(carol, LAST_KNOWN, seconds=120)
    carol.choose("Archive")
    carol.start()
    carol.wait_for_lab()
    assert carol.directory() == "/s/carol/archive"
    assert kernel.run("print(state + 1)") == "42"


# --- Looking at what people see --------------------------------------------------------------------------------------


def values(person: Visitor) -> list[str]:
    """The directories in the person's menu that can be chosen."""
    person.page.goto("/hub/open")
    person.see_menu()
    return sorted(str(radio.get_attribute("value")) for radio in person.page.get_by_role("radio", disabled=False).all())


def wait_until_shown(person: Visitor, notice: str, seconds: float = 60) -> None:
    """Reload the menu until the notice is there."""
    wait_until(lambda: _shows(person, notice), seconds, f"the menu did not say {notice!r}")


def wait_until_gone(person: Visitor, notice: str, seconds: float = 60) -> None:
    """Reload the menu until the notice is gone."""
    wait_until(lambda: not _shows(person, notice), seconds, f"the menu did not stop saying {notice!r}")


def _shows(person: Visitor, notice: str) -> bool:
    person.page.goto("/hub/open")
    person.see_menu()
    return person.page.get_by_text(notice).is_visible()


def assert_nothing_starts(person: Visitor) -> None:
    """Try the menu and the REST API: both refuse with the sentence, and nothing starts."""
    person.page.goto("/hub/spawn")
    person.see_menu()
    with person.page.expect_response("**/hub/spawn*") as answer:
        person.start()
    expect(person.page.get_by_role("alert")).to_contain_text(NOT_STARTED)
    assert answer.value.status == 503
    assert start_by_rest(person, f"/s/{person.userid}/notebooks") == (503, NOT_STARTED)
    assert person.directory() is None


def start_by_rest(person: Visitor, directory: str) -> tuple[int, str]:
    """Ask the hub's REST API for a start. Returns the status and the message of its answer."""
    cookies: Any = person.page.context.cookies()
    xsrf = next(each["value"] for each in cookies if each["name"] == "_xsrf" and each["path"] == "/hub/")
    answer = person.page.request.post(
        f"/hub/api/users/{person.userid}/server", headers={"X-XSRFToken": xsrf}, data={"directory": directory}
    )
    return answer.status, answer.json().get("message", "") if answer.body() else ""


# --- Breaking things -------------------------------------------------------------------------------------------------


def replace_pod(cluster: Cluster, grace_seconds: int = 1) -> None:
    """Kill the hub's pod, and wait for the next one and its hub."""
    gone = cluster.pod()["metadata"]["uid"]
    grace = f"--grace-period={grace_seconds}"
    cluster.kubectl("delete", "pod", "-n", LAB, "-l", POD_LABELS, grace, "--wait=true", seconds=120)

    def is_there() -> bool:
        items = cluster.get("pods", "-n", LAB, "-l", POD_LABELS)["items"]
        ready = [each for pod in items for each in pod["status"].get("containerStatuses", []) if each["ready"]]
        return (
            len(items) == 1
            and items[0]["metadata"]["uid"] != gone
            and len(ready) == len(items[0]["spec"]["containers"])
        )

    wait_until(is_there, 180, "the pod was not replaced")
    cluster.wait_until_healthy()


@pytest.fixture
def taken_away(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Delete objects of the local overlay; they are created again at the end."""
    taken: list[str] = []

    def take(name: str) -> None:
        taken.append(name.partition("/")[2])
        cluster.kubectl("delete", name)

    yield take
    cluster.apply([each for each in cluster.manifests() if each["metadata"]["name"] in taken])


@pytest.fixture
def stopped_api_server(cluster: Cluster) -> Iterator[Callable[[], None]]:
    """Stop the API server. At the end, it and everything that depends on it are up again."""

    def stop() -> None:
        # The kubelet stops a pod whose manifest is gone; it keeps the other containers, and so do we.
        cluster.on_node("mv", API_SERVER, API_SERVER_ASIDE)
        wait_until(lambda: not cluster.api_server_answers(), 90, "the API server did not stop")

    yield stop
    cluster.put_api_server_back()
    cluster.wait_until_healthy()

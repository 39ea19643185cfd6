"""The image-update job against a registry and an API server that speak the wire format, and what people read of it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from learning_lab.image_update import Cluster, Decision, decide, target, update
from learning_lab.registry import Image, Registry, UpdateError, addresses, credentials
from learning_lab.update_notice import notice

OLD = "sha256:" + "a" * 64
NEW = "sha256:" + "b" * 64
NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


class TestDecision:
    @pytest.mark.parametrize(
        ("given", "verb"),
        [
            pytest.param({"latest": {"hub": OLD}}, "rest", id="the same digest: nothing"),
            pytest.param({}, "announce", id="another digest: people are told first"),
            pytest.param({"notice": timedelta(0)}, "restart", id="without a notice it restarts at once"),
            pytest.param(
                {"planned_for": f"hub={NEW}", "planned_at": NOW + QUARTER}, "wait", id="announced and not yet due"
            ),
            pytest.param({"planned_for": f"hub={NEW}", "planned_at": NOW}, "restart", id="announced and due"),
            pytest.param(
                {"planned_for": f"hub=sha256:{'c' * 64}", "planned_at": NOW},
                "announce",
                id="what was announced is not what the tag means now: announced anew",
            ),
            pytest.param({"planned_for": f"hub={NEW}"}, "announce", id="an announcement without a time is none"),
            pytest.param(
                {"restarted_for": f"hub={NEW}"}, "rest", id="restarted for it already: never twice for one digest"
            ),
            pytest.param({"running": {}, "notice": timedelta(0)}, "restart", id="what runs has no digest"),
        ],
    )
    def test_of(self, given: dict[str, Any], verb: str) -> None:
        arguments: dict[str, Any] = {
            "running": {"hub": OLD},
            "latest": {"hub": NEW},
            "restarted_for": "",
            "planned_for": "",
            "planned_at": None,
            "now": NOW,
            "notice": QUARTER,
        } | given
        decision = decide(arguments.pop("running"), arguments.pop("latest"), **arguments)
        assert decision.verb == verb
        assert decision.at == (NOW + QUARTER if verb == "announce" else None)

    def test_target_does_not_depend_on_order(self) -> None:
        assert target({"proxy": NEW, "hub": OLD}) == target({"hub": OLD, "proxy": NEW}) == f"hub={OLD},proxy={NEW}"


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("registry.example.com/lab/hub:staging", Image("registry.example.com", "lab/hub", "staging")),
        ("localhost:5001/learning-lab/hub:e2e", Image("localhost:5001", "learning-lab/hub", "e2e")),
        ("localhost/hub", Image("localhost", "hub", "latest")),
        ("registry:5000/hub", Image("registry:5000", "hub", "latest")),
        ("debian:bookworm", Image("registry-1.docker.io", "library/debian", "bookworm")),
        ("jupyterhub/jupyterhub", Image("registry-1.docker.io", "jupyterhub/jupyterhub", "latest")),
        (f"registry.example.com/lab/hub@{OLD}", None),
        (f"registry.example.com/lab/hub:1@{OLD}", None),
    ],
)
def test_a_reference_is_taken_apart_as_docker_does(reference: str, image: Image | None) -> None:
    assert Image.parse(reference) == image


class Wire(ThreadingHTTPServer):
    """A registry and an API server in one: what each path answers, and what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tags: dict[str, str] = {}
        self.token: str | None = None  # of the registry: what a bearer must show
        self.challenge = ""
        self.objects: dict[str, dict[str, Any]] = {}
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.broken: int | None = None


class Handler(BaseHTTPRequestHandler):
    server: Wire

    def do_HEAD(self) -> None:
        if self.server.broken:
            self.answer(self.server.broken)
        elif self.server.token and self.headers.get("Authorization") != self.server.token:
            self.answer(401, {"WWW-Authenticate": self.server.challenge})
        elif "application/vnd.oci.image.index.v1+json" not in self.headers.get("Accept", ""):
            self.answer(404)
        else:
            digest = self.server.tags.get(self.path)
            self.answer(200 if digest else 404, {"Docker-Content-Digest": digest} if digest else {})

    def do_GET(self) -> None:
        found = self.server.objects.get(self.path)
        self.answer(200 if found is not None else 403, body=found or {"kind": "Status"})

    def do_PATCH(self) -> None:
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.patches.append((self.path, body))
        self.answer(200, body={})

    def answer(self, status: int, headers: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


HUB = Image("registry.example.com", "lab/hub", "staging")
MANIFEST = "/v2/lab/hub/manifests/staging"


class TestRegistry:
    def test_the_digest_of_a_tag(self, wire: Wire) -> None:
        wire.tags[MANIFEST] = NEW
        assert Registry({HUB.registry: wire.url}, {}).digest(HUB) == NEW

    def test_a_log_in_by_password(self, wire: Wire) -> None:
        wire.tags[MANIFEST] = NEW
        wire.token, wire.challenge = "Basic " + base64.b64encode(b"bot:secret").decode(), 'Basic realm="x"'
        assert Registry({HUB.registry: wire.url}, {HUB.registry: "bot:secret"}).digest(HUB) == NEW

    @pytest.mark.parametrize("challenge", ['Bearer realm="http://{}/token",service="r"', "Negotiate", ""])
    def test_a_password_does_not_go_over_http_or_to_a_stranger(self, wire: Wire, challenge: str) -> None:
        wire.token, wire.challenge = "Bearer x", challenge.format(wire.url.removeprefix("http://"))
        with pytest.raises(UpdateError, match=r"wants a log-in\. Give UPDATE_CREDENTIALS"):
            Registry({HUB.registry: wire.url}, {HUB.registry: "bot:secret"}).digest(HUB)

    @pytest.mark.parametrize(
        ("digest", "said"),
        [(None, "answered 404"), ("sha256:short", "without a digest"), ("md5:" + "a" * 64, "without a digest")],
    )
    def test_an_odd_answer_is_one_sentence(self, wire: Wire, digest: str | None, said: str) -> None:
        if digest:
            wire.tags[MANIFEST] = digest
        with pytest.raises(UpdateError, match=said):
            Registry({HUB.registry: wire.url}, {}).digest(HUB)

    def test_a_registry_that_is_down_is_one_sentence(self) -> None:
        with pytest.raises(UpdateError, match=r"cannot be asked: .*Is the registry up"):
            Registry({HUB.registry: "http://127.0.0.1:9"}, {}).digest(HUB)

    def test_where_registries_answer_is_read_from_the_environment(self) -> None:
        assert addresses("localhost:5001=http://registry:5000/ b=https://c") == {
            "localhost:5001": "http://registry:5000",
            "b": "https://c",
        }

    @pytest.mark.parametrize("text", ["localhost:5001", "a=ftp://b", "=", "a="])
    def test_a_wrong_one_is_one_sentence(self, text: str) -> None:
        with pytest.raises(UpdateError, match="each part must be NAME=http"):
            addresses(text)

    def test_log_ins_come_from_a_docker_configuration(self, tmp_path: Path) -> None:
        file = tmp_path / "config.json"
        auth = base64.b64encode(b"bot:secret").decode()
        file.write_text(json.dumps({"auths": {"https://registry.example.com/v1/": {"auth": auth}, "x": {}}}))
        assert credentials(str(file)) == {"registry.example.com": "bot:secret"}
        file.write_text('{"auths": {"x": {"auth": "%%%"}}}')
        with pytest.raises(UpdateError, match=r"no docker config\.json"):
            credentials(str(file))


SELECTOR = {"app.kubernetes.io/name": "learning-lab"}
DEPLOYMENT = "/apis/apps/v1/namespaces/lab/deployments/learning-lab"
NOTICE = "/api/v1/namespaces/lab/configmaps/update-notice"
PODS = "/api/v1/namespaces/lab/pods?labelSelector=app.kubernetes.io%2Fname%3Dlearning-lab"


@pytest.fixture
def cluster(wire: Wire) -> Cluster:
    """A cluster on which the hub runs the old digest of a tag that means the new one."""
    containers = [
        {"name": "hub", "image": "registry.example.com/lab/hub:staging", "imagePullPolicy": "Always"},
        {"name": "proxy", "image": f"registry.example.com/lab/proxy@{OLD}"},
    ]
    template = {"metadata": {"labels": SELECTOR}, "spec": {"containers": containers}}
    wire.objects = {
        DEPLOYMENT: {"spec": {"selector": {"matchLabels": SELECTOR}, "template": template}},
        NOTICE: {"data": {}},
        PODS: {
            "items": [
                pod("2026-11-23T13:00:00Z", OLD),
                pod("2026-11-22T13:00:00Z", NEW),  # an old one on its way out
            ]
        },
    }
    wire.tags[MANIFEST] = NEW
    return Cluster(client.ApiClient(client.Configuration(host=wire.url)), "lab")


def pod(created: str, digest: str) -> dict[str, Any]:
    statuses = [{"name": "hub", "imageID": f"registry.example.com/lab/hub@{digest}"}, {"name": "proxy", "imageID": ""}]
    return {"metadata": {"creationTimestamp": created}, "status": {"containerStatuses": statuses}}


class TestUpdate:
    def look(self, wire: Wire, cluster: Cluster, notice: timedelta = QUARTER) -> Decision:
        return update(cluster, Registry({HUB.registry: wire.url}, {}), notice, NOW)

    def test_people_are_told_first(self, wire: Wire, cluster: Cluster) -> None:
        assert self.look(wire, cluster).verb == "announce"
        told = {"planned-at": "2026-11-23T14:15:00+00:00", "planned-for": f"hub={NEW}"}
        assert wire.patches == [(NOTICE, {"data": told})]

    def test_when_it_is_due_the_deployment_restarts_and_the_pages_tell_it(self, wire: Wire, cluster: Cluster) -> None:
        wire.objects[NOTICE] = {"data": {"planned-at": NOW.isoformat(), "planned-for": f"hub={NEW}"}}
        assert self.look(wire, cluster).verb == "restart"
        (first, told), (second, patch) = wire.patches
        assert (first, second) == (NOTICE, DEPLOYMENT)
        assert told["data"] == {"planned-at": None, "planned-for": None, "updated-at": "2026-11-23T14:00:00+00:00"}
        annotations = patch["spec"]["template"]["metadata"]["annotations"]
        assert annotations["learning-lab.dev/restarted-for"] == f"hub={NEW}"
        assert set(patch["spec"]["template"]) == {"metadata"}, "nothing but annotations is changed"

    def test_a_tag_that_went_back_is_announced_no_more(self, wire: Wire, cluster: Cluster) -> None:
        wire.tags[MANIFEST] = OLD
        wire.objects[NOTICE] = {"data": {"planned-at": NOW.isoformat(), "planned-for": f"hub={NEW}"}}
        assert self.look(wire, cluster).verb == "rest"
        assert wire.patches == [(NOTICE, {"data": {"planned-at": None, "planned-for": None}})]

    def test_nothing_is_restarted_when_the_registry_is_broken(self, wire: Wire, cluster: Cluster) -> None:
        wire.broken = 500
        with pytest.raises(UpdateError, match="answered 500"):
            self.look(wire, cluster, timedelta(0))
        assert not wire.patches

    def test_a_tag_that_nodes_do_not_pull_again_is_said(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"]
        with pytest.raises(UpdateError, match="no imagePullPolicy Always"):
            self.look(wire, cluster)

    def test_images_by_digest_are_nothing_to_look_for(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]
        assert "by digest" in self.look(wire, cluster).why

    def test_a_right_that_is_missing_is_said(self, wire: Wire, cluster: Cluster) -> None:
        del wire.objects[NOTICE]
        with pytest.raises(UpdateError, match=re.escape(f"answered 403 to GET {NOTICE}. Check the Role.")):
            self.look(wire, cluster)

    def test_outside_of_a_pod_it_says_so(self) -> None:
        command = [sys.executable, "-m", "learning_lab.image_update"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KUBERNETES_")}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("image-update: This is no pod with a service account")
        assert len(done.stderr.splitlines()) == 1


class TestNotice:
    def folder(self, tmp_path: Path, **times: str) -> str:
        for name, text in times.items():
            (tmp_path / f"{name}-at").write_text(text)
        return str(tmp_path)

    def test_of_what_is_planned(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-23T14:15:00+00:00"), NOW)
        assert told is not None
        assert told.startswith("The lab will be updated at 14:15 UTC. What runs then is stopped: save your work")

    def test_of_another_day_names_it(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-24T02:00:00+00:00"), NOW)
        assert told is not None
        assert "at Tuesday 02:00 UTC." in told

    def test_of_what_has_been(self, tmp_path: Path) -> None:
        told = notice(self.folder(tmp_path, planned="2026-11-23T13:55:00Z", updated="2026-11-23T13:55:00Z"), NOW)
        assert told is not None
        assert told.startswith("The lab was updated at 13:55 UTC. What was running was stopped; your files are all")

    def test_ends_after_half_a_day(self, tmp_path: Path) -> None:
        assert notice(self.folder(tmp_path, updated="2026-11-23T01:59:00Z"), NOW) is None

    @pytest.mark.parametrize(
        "text", ["", "tomorrow", "2026-11-23T14:15:00", "<script>alert(1)</script>", "9" * 10_000, "\0"]
    )
    def test_of_anything_else_is_none(self, tmp_path: Path, text: str) -> None:
        assert notice(self.folder(tmp_path, planned=text, updated=text), NOW) is None

    def test_without_a_folder_is_none(self, tmp_path: Path) -> None:
        assert notice("", NOW) is None
        assert notice(str(tmp_path / "gone"), NOW) is None

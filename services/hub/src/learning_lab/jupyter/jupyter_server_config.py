"""What every user's server is configured with; Jupyter finds it through JUPYTER_CONFIG_PATH.

Where a site wants something else it says so on the server's command line, which wins: `c.Spawner.args`.
"""

import os

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter puts it here

# The lab's packages are root's, so nobody can install one from within JupyterLab. The manager that offers it asks the
# internet, and makes a TLS context for that at every start: 0.3 s with OpenSSL 3.0. This one shows what there is.
# For the same reason nobody can build JupyterLab: whether that is needed, 0.4 s of CPU, is not asked either
# (labconfig/page_config.json).
c.LabApp.extension_manager = "readonly"

# The hub serves JupyterLab's files to everybody, compressed, and browsers fetch them while people read the menu. A
# server with a JupyterLab of its own serves its own.
if (address := os.environ.get("LAB_JUPYTERLAB_URL")) and "JUPYTERLAB_DIR" not in os.environ:
    c.LabApp.override_static_url = address

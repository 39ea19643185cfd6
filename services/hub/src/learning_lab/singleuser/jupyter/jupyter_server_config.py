"""What every user's server is configured with; Jupyter finds it through JUPYTER_CONFIG_PATH.

Where a site wants something else it says so on the server's command line, which wins: `c.Spawner.args`.
"""

import os

from jupyter_core.paths import jupyter_runtime_dir

from learning_lab.singleuser.kernel_sockets import can_be_private

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

# A tab whose directory was closed offers what is not saved for download (tab.js), so it must find its documents.
c.LabApp.expose_app_in_browser = True
c.JupyterNotebookApp.expose_app_in_browser = True

# What a kernel says is not for everybody on the machine: see kernel_sockets.py. Where there can be no private sockets
# (a home on a file system without them, or with a very long path) it is encrypted instead, and kernels of languages
# that cannot do that do not start. This file comes before a person's own; a site that wants plain TCP says
# `c.Spawner.args = ["--KernelManager.transport=tcp", "--KernelManager.transport_encryption=disabled"]`.
if can_be_private(jupyter_runtime_dir()):
    c.KernelManager.transport = "ipc"
else:
    c.KernelManager.transport_encryption = "required"

# JupyterLab's debugger listens on 127.0.0.1 and asks for no password, so everybody beside a notebook that is debugged
# could read and run what they like in it. A server passes on no request to debug, of any kernel (and JupyterLab offers
# none: labconfig/page_config.json). Jupyter can say this only by naming the messages that it does pass on: those of
# https://jupyter-client.readthedocs.io/en/stable/messaging.html, and usage_request of ipykernel.
c.MappingKernelManager.allowed_message_types = [
    *("execute_request", "inspect_request", "complete_request", "history_request", "is_complete_request"),
    *("kernel_info_request", "connect_request", "comm_info_request", "comm_open", "comm_msg", "comm_close"),
    *("input_reply", "interrupt_request", "shutdown_request", "usage_request"),
    *("create_subshell_request", "delete_subshell_request", "list_subshell_request"),
]

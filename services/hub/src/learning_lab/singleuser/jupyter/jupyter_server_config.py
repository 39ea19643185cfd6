"""The configuration of every user's server; Jupyter finds it through JUPYTER_CONFIG_PATH.

A site that wants something else sets it on the server's command line, which takes precedence: `c.Spawner.args`.
"""

import os

from jupyter_core.paths import jupyter_runtime_dir

from learning_lab.singleuser.kernel_sockets import can_be_private

c = get_config()  # type: ignore[name-defined]  # noqa: F821  Jupyter puts it here

# The lab's packages belong to root, so nobody can install one from within JupyterLab. The default extension manager,
# which offers to, contacts the internet and makes a TLS context for that at every start: 0.3 s with OpenSSL 3.0. This
# one shows what is installed. For the same reason nobody can build JupyterLab, so the check whether a build is needed,
# 0.4 s of CPU, is off too (labconfig/page_config.json).
c.LabApp.extension_manager = "readonly"

# The hub serves JupyterLab's files to everybody, compressed, and browsers fetch them while people read the menu. A
# server with a JupyterLab of its own serves its own.
if (address := os.environ.get("LAB_JUPYTERLAB_URL")) and "JUPYTERLAB_DIR" not in os.environ:
    c.LabApp.override_static_url = address

# A tab whose directory was closed offers unsaved work for download (tab.js), so it must be able to find its documents.
c.LabApp.expose_app_in_browser = True
c.JupyterNotebookApp.expose_app_in_browser = True

# Not everybody on the machine may read what a kernel sends: see kernel_sockets.py. Where private sockets are impossible
# (a home on a file system that does not support them, or with a very long path), messages are encrypted instead, and
# kernels that cannot do that do not start. This file is read before the user's own; a site that wants plain TCP sets
# `c.Spawner.args = ["--KernelManager.transport=tcp", "--KernelManager.transport_encryption=disabled"]`.
if can_be_private(jupyter_runtime_dir()):
    c.KernelManager.transport = "ipc"
else:
    c.KernelManager.transport_encryption = "required"

# JupyterLab's debugger listens on 127.0.0.1 and asks for no password, so any user on the same machine could read and
# run anything in a notebook that is being debugged. So the server passes no debug request on to any kernel, and
# JupyterLab does not offer it (labconfig/page_config.json). Jupyter can only list the messages that it does pass on:
# those of https://jupyter-client.readthedocs.io/en/stable/messaging.html, and ipykernel's usage_request.
c.MappingKernelManager.allowed_message_types = [
    *("execute_request", "inspect_request", "complete_request", "history_request", "is_complete_request"),
    *("kernel_info_request", "connect_request", "comm_info_request", "comm_open", "comm_msg", "comm_close"),
    *("input_reply", "interrupt_request", "shutdown_request", "usage_request"),
    *("create_subshell_request", "delete_subshell_request", "list_subshell_request"),
]

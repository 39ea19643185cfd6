"""A Jupyter Server extension that takes over the open descriptors that the hub passes to a user's server.

- The socket to serve on, which the hub has bound. If a server bound its own port, another user could get there first.
- The root directory, which was already open when it was checked: names can be swapped, even while the server runs.
  Contents are read and written through the descriptor; kernels, terminals and pages are told the name.

Without the variables (a server that somebody starts by hand) it does nothing.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from jupyter_server.services.contents import filemanager
from jupyter_server.services.contents.filemanager import FileContentsManager
from send2trash import send2trash

LISTENING_VARIABLE, ROOT_VARIABLE = "LAB_LISTENING_FD", "LAB_ROOT_FD"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "learning_lab.singleuser.inherited_descriptors"}]


def _load_jupyter_server_extension(app: Any) -> None:
    # Removed from the environment, because the processes that the server starts do not have these descriptors.
    listening = os.environ.pop(LISTENING_VARIABLE, "")
    if listening:
        _serve_on(app, int(listening))
    root = os.environ.pop(ROOT_VARIABLE, "")
    if root and isinstance(app.contents_manager, FileContentsManager):
        _root_in(app.contents_manager, int(root))


def _serve_on(app: Any, descriptor: int) -> None:
    os.set_inheritable(descriptor, False)

    def bind() -> bool:
        taken = socket.socket(fileno=descriptor)
        taken.setblocking(False)
        app.http_server.add_socket(taken)
        return True

    # Replace the two steps of ServerApp.init_httpserver that find a port and bind it.
    app._find_http_port = lambda: None
    app._bind_http_server_tcp = bind


def _root_in(contents: FileContentsManager, descriptor: int) -> None:
    os.set_inheritable(descriptor, False)
    contents.root_dir = f"/proc/self/fd/{descriptor}"
    if hasattr(contents.checkpoints, "root_dir"):
        contents.checkpoints.root_dir = contents.root_dir
    # The trash records a file's real path, so that it can be restored there.
    setattr(filemanager, "send2trash", _send_to_trash)  # noqa: B010  mypy rejects a plain assignment


def _send_to_trash(path: str) -> None:
    file = Path(path)
    send2trash(str(file.parent.resolve() / file.name))

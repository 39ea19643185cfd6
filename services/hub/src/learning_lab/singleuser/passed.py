"""An extension of Jupyter Server: takes what the hub passes to a person's server, as open descriptors.

- The socket to serve on, which the hub has bound: a server that bound a port itself could find another person there.
- The directory that is its root, which was open when it was checked: names can be swapped, also while it runs. Contents
  are read and written through the descriptor; kernels, terminals and pages are told the name.

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
    return [{"module": "learning_lab.singleuser.passed"}]


def _load_jupyter_server_extension(app: Any) -> None:
    # Taken out of the environment: what the server starts has these descriptors not.
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

    # The two steps of ServerApp.init_httpserver that look for a port and bind it.
    app._find_http_port = lambda: None
    app._bind_http_server_tcp = bind


def _root_in(contents: FileContentsManager, descriptor: int) -> None:
    os.set_inheritable(descriptor, False)
    contents.root_dir = f"/proc/self/fd/{descriptor}"
    if hasattr(contents.checkpoints, "root_dir"):
        contents.checkpoints.root_dir = contents.root_dir
    # The trash keeps the path that a file had, to put it back there.
    setattr(filemanager, "send2trash", _send_to_trash)  # noqa: B010  types know no such change


def _send_to_trash(path: str) -> None:
    file = Path(path)
    send2trash(str(file.parent.resolve() / file.name))

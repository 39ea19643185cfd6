"""JupyterHub with a menu of your notebook directories.

This module exports what a site's configuration names: `configure`, and the classes behind the entry points. They are
imported lazily, because people's servers import parts of this package and need no hub.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import configure
    from .login.authenticator import LabPAMAuthenticator
    from .spawners.local import LabLocalSpawner

__all__ = ["LabLocalSpawner", "LabPAMAuthenticator", "configure"]
_MODULES = {
    "LabLocalSpawner": "spawners.local",
    "LabPAMAuthenticator": "login.authenticator",
    "configure": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

"""JupyterHub with a menu of the notebook directories that are yours.

What a site's configuration names: `configure`, and the classes that its entry points stand for. They are imported when
they are asked for: people's servers import parts of this package, and need no hub.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's own: processes that only fork import this package too
if TYPE_CHECKING:
    from typing import Any

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
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

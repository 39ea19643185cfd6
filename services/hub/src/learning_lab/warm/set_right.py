"""What a forked server sets right of what its parent's modules have kept: with it, they are as if imported by itself.

`jupyterlab` and `jupyter_server` cannot be imported without these modules, so they are not left to the servers although
they read what is each user's own, or make something random, while they are imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import sys
import tempfile
import threading
from typing import Any

# What a module may take while it is imported, beside environment variables.
RANDOM, ALL = "(something-random)", "(all-variables)"
# By module, what it takes while it is imported that is set right below, or serves nothing here.
SET_RIGHT = {
    "jupyter_client.session": {"USER", RANDOM},
    "jupyterlab.labapp": {  # it also runs Node, which would be a part of every start
        *("HOME", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_NO_CONFIG"),
    },
    "multiprocessing.process": {RANDOM},
    "rich.style": {RANDOM},  # the numbers of links in a terminal
    "send2trash.plat_other": {"HOME", "XDG_DATA_HOME"},
    "sysconfig": {"HOME", "PYTHONUSERBASE"},
    "wsgiref.handlers": {ALL},  # a copy of the parent's, for CGI
    "zoneinfo._tzpath": {"HOME", "PYTHONUSERBASE"},  # it asks sysconfig, for something else
}
_GENERATORS: list[random.Random] = []


def find_generators() -> None:
    """Find the random generators that modules keep, which have the same state in every child. Call it in the parent."""
    _GENERATORS[:] = [each for each in gc.get_objects() if issubclass(type(each), random.Random)]


def set_right() -> None:
    """Make what imported modules keep of the environment the user's own. Call it with the user's environment set."""
    import site
    import sysconfig  # not above: the trial imports this module, and is to see what sysconfig reads

    site.USER_BASE = site.USER_SITE = None
    sysconfig.get_config_vars()["userbase"] = site.getuserbase()
    if site.ENABLE_USER_SITE:
        site.addsitedir(site.getusersitepackages())
    tempfile.tempdir = None
    for generator in _GENERATORS:
        generator.seed()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # Python does so from 3.13 on
    modules = sys.modules
    if "multiprocessing.process" in modules:
        process: Any = modules["multiprocessing.process"]
        process.current_process().authkey = os.urandom(32)
        with contextlib.suppress(OSError):
            process.ORIGINAL_DIR = os.getcwd()  # noqa: PTH109  a string, as it is there
    if "send2trash.plat_other" in modules:
        importlib.reload(modules["send2trash.plat_other"])
    if "jupyter_client.session" in modules:
        session = modules["jupyter_client.session"]
        session.session_flags["secure"][0]["Session"]["key"] = session.new_id_bytes()
        _set_default(session.Session, username=os.environ.get("USER", "username"))
    if "jupyterlab.labapp" in modules:
        lab, commands = modules["jupyterlab.labapp"].LabApp, modules["jupyterlab.commands"]
        _set_default(
            lab, user_settings_dir=commands.get_user_settings_dir(), workspaces_dir=commands.get_workspaces_dir()
        )
    if "numpy.random" in modules:
        modules["numpy.random"].seed()  # its old global generator; Python's own and OpenSSL's are seeded by fork


def _set_default(owner: Any, **values: str) -> None:
    """Give traits of a class another default, as if its body had said so."""
    for name, value in values.items():
        getattr(owner, name).default_value = value
    for each in [owner, *owner.__subclasses__()]:
        each.setup_class(each.__dict__)

"""What a warm parent imports: everything that a user's server would, and nothing that would then be another user's.

Rules kept here:
- what there is to import is found by a trial (`trial`);
- a module that reads, while it is imported, a variable that is each user's own (HOME, the hub's address for this
  server, ...) would keep the parent's value, and one that asks for something random would have it in common with every
  server. It is left to the servers, with every module that imports it;
- so is a module that starts a thread: threads do not survive a fork, and the locks that they hold stay held;
- which variables the others read is told, so that a server with another value of one is not forked.

A module that was only half imported leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import os
import random
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable
from typing import Any

from .trial import OWN, RANDOM, imported_now

Mark = tuple[int, int, int] | frozenset[str] | None  # when a file changed, its size and its number; a directory's names

# These read such variables, and to leave them out is to leave out almost everything, or (labapp) to run Node at every
# start. What they keep of the variables is set right in the child, by `set_right`, or serves nothing here.
SET_RIGHT = {
    "jupyter_client.session": {"USER", RANDOM},
    "jupyterlab.labapp": {
        *("HOME", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_NO_CONFIG"),
    },
    "multiprocessing.process": {RANDOM},
    "rich.style": {RANDOM},  # the numbers of links in a terminal
    "send2trash.plat_other": {"HOME", "XDG_DATA_HOME"},
    "sysconfig": {"HOME", "PYTHONUSERBASE"},
    "wsgiref.handlers": {"*"},  # a copy of the parent's environment for CGI
    "zoneinfo._tzpath": {"HOME", "PYTHONUSERBASE"},  # it asks sysconfig, for something else
}
_GENERATORS: list[random.Random] = []  # made by imported modules, of no seed of their own


class StartsThread(BaseException):
    """A module starts a thread when it is imported. The text is its name, or that of one that it imports.

    Like `_LeftOut` no `except Exception` of another module may stop it.
    """


def import_all(trial: dict[str, Any], left_out: Collection[str], own: Collection[str]) -> dict[str, Any]:
    """Import what a trial found, but for what must be imported by each server.

    Args:
        trial: what `hold_trial` told.
        left_out: names of modules and packages to leave to the servers.
        own: variables that are each server's own.

    Returns:
        `reads`, the variables that imported modules have read, with what they found, and `left_out`, the modules that
        were left to the servers for themselves, not for what they import.

    Raises:
        StartsThread: this process cannot be used any more; begin anew without that module.
    """
    readers: dict[str, list[str]] = trial["readers"]
    settled = {
        name: {*readers[name]} if "*" in names else names for name, names in SET_RIGHT.items() if name in readers
    }
    unsettled = {name: {*names} - settled.get(name, set()) for name, names in readers.items()}
    personal = {name for name, names in unsettled.items() if not names.isdisjoint({*own, *OWN, RANDOM, "*"})}
    sys.meta_path.insert(0, barrier := _Barrier({*left_out, *personal}))
    start_thread, seed = threading.Thread.start, random.Random.seed

    def noted_seed(generator: random.Random, a: Any = None, version: int = 2) -> None:
        seed(generator, a, version)
        if a is None:
            _GENERATORS.append(generator)

    setattr(threading.Thread, "start", _refuse_thread)  # noqa: B010  types know no such change
    setattr(random.Random, "seed", noted_seed)  # noqa: B010
    try:
        for name in trial["modules"]:
            # What a server imported after its own set-up may refuse to be imported alone. The servers will.
            with contextlib.suppress(Exception, _LeftOut):
                importlib.import_module(name)
        barrier.look_at_threads()
    finally:
        setattr(threading.Thread, "start", start_thread)  # noqa: B010
        setattr(random.Random, "seed", seed)  # noqa: B010
        sys.meta_path.remove(barrier)
    for name in list(sys.modules):
        if name.rpartition(".")[0] not in {"", *sys.modules}:
            del sys.modules[name]
    kept = [variables for name, variables in unsettled.items() if name in sys.modules]
    return {
        "reads": {variable: os.environ.get(variable) for variables in kept for variable in variables},
        "left_out": sorted({*left_out, *personal}),
    }


def set_right() -> None:
    """Make what imported modules keep of the environment the user's own. Call it with the user's environment set."""
    import site
    import sysconfig

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
        # Python's own generator is seeded anew at a fork, OpenSSL's too; numpy's old global one is not.
        modules["numpy.random"].seed()


def _set_default(owner: Any, **values: str) -> None:
    """Give traits of a class another default, as if its body had said so."""
    for name, value in values.items():
        getattr(owner, name).default_value = value
    for each in [owner, *owner.__subclasses__()]:
        each.setup_class(each.__dict__)


class _LeftOut(BaseException):
    """Goes through `except ImportError` and `except Exception`: a module must not take a missing one for absent."""


class _Barrier(importlib.abc.MetaPathFinder):
    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._last = ""

    def look_at_threads(self) -> None:
        """Find what no Python code started: the threads of a library in C, when the next module is looked for."""
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208  two thousand times
            raise StartsThread(self._last)

    def find_spec(self, fullname: str, *_: object) -> None:
        self.look_at_threads()
        self._last = fullname
        parts = fullname.split(".")
        if any(".".join(parts[: count + 1]) in self._names for count in range(len(parts))):
            raise _LeftOut(fullname)


def _refuse_thread(_: threading.Thread) -> None:
    raise StartsThread(imported_now())


def packages() -> dict[str, Mark]:
    """Marks of every file that this process has imported from, and the names in every directory that it imports from.

    About 2 ms for 1,600 modules.
    """
    marks: dict[str, Mark] = {}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file:
            marks[file] = _mark(file)
    for directory in sys.path:
        with contextlib.suppress(OSError):
            marks[directory] = frozenset(os.listdir(directory)) - {"__pycache__"}  # noqa: PTH208  it is quick
    return marks


def changed_meanwhile(before: dict[str, Mark], after: dict[str, Mark], since: int) -> bool:
    """Whether something changed between two looks at the packages, of which only the second knows every file.

    Args:
        before: the first look.
        after: the second one.
        since: when the first was, in nanoseconds.
    """
    return any(after.get(name) != mark for name, mark in before.items()) or any(
        isinstance(mark, tuple) and mark[0] >= since for mark in after.values()
    )


def _mark(file: str) -> Mark:
    try:
        found = os.stat(file)  # noqa: PTH116  a thousand times
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino

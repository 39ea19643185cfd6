"""The list of what a warm parent imports: how it is read, imported, and known to fit the installed packages.

The list is a text file. Its first line tells which packages it is for. Every other one names a module that servers
import, and what it takes while it is imported: environment variables, `(something-random)`, `(a-thread)`. "-" leaves it
to each server, with every module that imports it:

    # For Python 3.11.2, jupyterhub 6.1.1, jupyter_server 2.21.1, jupyterlab 4.6.6 and all else here: 3f5a...
    tornado.util TORNADO_EXTENSION TORNADO_NO_EXTENSION
    - jupyterhub.services.auth JUPYTERHUB_API_URL JUPYTERHUB_SERVICE_PREFIX
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.abc
import json
import os
import platform
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

# Of a file: when it was changed, the second it was written in, its size and its number. Of a directory: its names.
Mark = tuple[int, int, int, int] | frozenset[str] | None


def leave(text: str, leave_out: Collection[str], own: Collection[str]) -> str:
    """The same list, with more modules left to the servers.

    Args:
        text: the list.
        leave_out: names of modules and packages.
        own: variables that each server has its own value of; modules that read them are left to the servers.
    """

    def marked(line: str) -> str:
        name, *taken = line.split() or [""]
        more = name in leave_out or not set(own).isdisjoint(taken)
        return f"- {line}" if more and name not in {"#", "-"} else line

    return "".join(map(marked, text.splitlines(keepends=True)))


def import_all(text: str) -> dict[str, str | None]:
    """Import what a list names.

    Returns:
        The variables that imported modules have read, with their values here.

    Raises:
        RuntimeError: a module has started a thread, which it had not in the trial.
    """
    lines = [line.split() for line in text.splitlines()]
    listed = {words[0]: words[1:] for words in lines if words and words[0] not in {"#", "-"}}
    left = {words[1] for words in lines if words[:1] == ["-"]}
    sys.meta_path.insert(0, barrier := _Barrier(left))
    for name in listed:
        # What a server imports after its own set-up may refuse to be imported alone. The servers will.
        with contextlib.suppress(Exception, _LeftOut):
            importlib.import_module(name)
    sys.meta_path.remove(barrier)
    if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208
        raise RuntimeError("a module started a thread that it had not started in the trial")
    for name in list(sys.modules):
        if name.rpartition(".")[0] not in {"", *sys.modules}:  # of a package that was imported half
            del sys.modules[name]
    read = (variable for name, variables in listed.items() if name in sys.modules for variable in variables)
    return {variable: os.environ.get(variable) for variable in read}


class _LeftOut(BaseException):
    """No `except ImportError` or `except Exception` may take a module for absent that each server will have."""


class _Barrier(importlib.abc.MetaPathFinder):
    """Stops the import of modules, and of packages with all that is in them."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in self._names:
            raise _LeftOut


def first_line(marks: Mapping[str, Mark], reads: Mapping[str, str | None], leave_out: Collection[str]) -> str:
    """The first line of a list, which is another one when something has changed that the list depends on.

    Args:
        marks: `packages()`, with the modules imported. Of files, their size and the second in which they were written
            count, as for Python's own .pyc files: an image keeps these.
        reads: the variables that modules have read, with their values.
        leave_out: the modules that a setting leaves to the servers.
    """
    kept = [[name, sorted(mark) if isinstance(mark, frozenset) else mark and mark[1:3]] for name, mark in marks.items()]
    everything = [sys.version, sorted(kept, key=str), sorted(reads.items()), sorted(leave_out)]
    digest = hashlib.sha256(json.dumps(everything).encode())
    told = ", ".join(f"{name} {version(name)}" for name in ("jupyterhub", "jupyter_server", "jupyterlab"))
    return f"# For Python {platform.python_version()}, {told} and all else here: {digest.hexdigest()}\n"


def packages() -> dict[str, Mark]:
    """Marks of every file that this process has imported, of what is in each directory that it imports from, and, when
    Jupyter is imported, of its configuration, which names the extensions. It takes about 2 ms for 1,600 modules.
    """
    files = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    if jupyter := sys.modules.get("jupyter_core.paths"):
        patterns = ("jupyter*_config.*", "jupyter*_config.d/*")
        places = [Path(directory) for directory in jupyter.jupyter_config_path()]
        files += [str(file) for place in places for pattern in patterns for file in place.glob(pattern)]
    marks = {file: _mark(file) for file in files}
    for directory in sys.path:
        with contextlib.suppress(OSError):
            marks[directory] = frozenset(os.listdir(directory)) - {"__pycache__"}  # noqa: PTH208  it is quick
    return marks


def _mark(file: str) -> Mark:
    try:
        found = os.stat(file)  # noqa: PTH116  a thousand times
    except OSError:
        return None
    return found.st_ctime_ns, int(found.st_mtime), found.st_size, found.st_ino

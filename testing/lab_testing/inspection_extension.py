"""A site's Jupyter Server extension that reports what a server is like from the inside.

`forked_servers.Site` copies this file to where servers find it; no test imports it. Like every extension of a site it
is imported in the warm parent, and answers in a server: GET <server>/witness?ask=<one of QUESTIONS>&about=<text>.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import locale
import logging
import multiprocessing.synchronize
import os
import random
import resource
import secrets
import signal
import sqlite3
import ssl
import sys
import tempfile
import threading
import time
import traceback
import types
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import aiohttp.connector
import aiohttp.http_websocket
import send2trash.plat_other
import zmq
from jupyter_client.manager import KernelManager
from jupyter_client.session import Session
from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.web import RequestHandler

IMPORTED_BY = os.getpid()


def random_things(app: Any, about: str) -> dict[str, Any]:
    """Values that must differ between any two servers."""
    manager = KernelManager(connection_file=tempfile.mktemp(prefix=f"{tempfile.gettempdir()}/connection-"))
    manager.write_connection_file()
    connection = json.loads(Path(manager.connection_file).read_text())
    manager.cleanup_connection_file()
    things = {
        "random": random.random(),
        "bits": random.getrandbits(64),
        "secrets": secrets.token_hex(),
        "uuid1": str(uuid.uuid1()),
        "uuid4": str(uuid.uuid4()),
        "temporary name": tempfile.mktemp(),
        "temporary name of multiprocessing": next(multiprocessing.synchronize.SemLock._rand),  # type: ignore[attr-defined]
        "key of multiprocessing": bytes(multiprocessing.current_process().authkey).hex(),
        "cookie secret": app.web_app.settings["cookie_secret"].hex(),
        "token": app.identity_provider.token or os.environ["JUPYTERHUB_API_TOKEN"],
        "port": app.port,
        "session": Session().session,
        "kernel key": connection["key"],
        "kernel port": connection["shell_port"],
        "TLS": ssl.RAND_bytes(16).hex(),
        "mask of aiohttp": _default_of(aiohttp.http_websocket.WebSocketWriter, "random").getrandbits(64),
    }
    if "numpy" in sys.modules:
        things["numpy"] = sys.modules["numpy"].random.random()
    return things


def _default_of(kind: Any, parameter: str) -> Any:
    return inspect.signature(kind.__init__).parameters[parameter].default


def process(app: Any, about: str) -> dict[str, Any]:
    """Properties of the process."""
    umask = os.umask(0)
    os.umask(umask)
    loop = asyncio.get_running_loop()
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "imported by": IMPORTED_BY,
        "environment": dict(os.environ),
        "arguments": sys.argv,
        "flags": str(sys.flags),
        "module path": sys.path,
        "ids": [*os.getresuid(), *os.getresgid()],
        "groups": sorted(os.getgroups()),
        "directory": str(Path.cwd()),
        "umask": umask,
        "limits": {
            name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"
        },
        "signals": {
            each.name: _told(signal.getsignal(each)) for each in signal.valid_signals() if hasattr(each, "name")
        },
        "descriptors": {int(each.name): _link(each) for each in Path("/proc/self/fd").iterdir()},
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "thread count": len(list(Path("/proc/self/task").iterdir())),
        "main thread": threading.main_thread().native_id,
        "locale": locale.setlocale(locale.LC_CTYPE),
        "encodings": [sys.getfilesystemencoding(), locale.getpreferredencoding(False), sys.stdout.encoding],
        "time zone": time.tzname,
        "loop": [loop.is_running(), type(loop).__name__, asyncio.get_event_loop_policy().get_event_loop() is loop],
        "loops": sum(isinstance(each, asyncio.AbstractEventLoop) for each in _everything()),
        "loggers": {name: _handlers(name) for name in ["", *logging.root.manager.loggerDict] if _handlers(name)},
        "authorities": sorted(str(each["subject"]) for each in aiohttp.connector._SSL_CONTEXT_VERIFIED.get_ca_certs()),
        "multiprocessing starts in": multiprocessing.process.ORIGINAL_DIR,  # type: ignore[attr-defined]
        "trash": os.fsdecode(send2trash.plat_other.HOMETRASH),
        "username": Session().username,
        "lab": {name: str(getattr(_lab(app), name)) for name in ("user_settings_dir", "workspaces_dir")},
        "modules": sorted(sys.modules),
    }


def work(app: Any, about: str) -> dict[str, Any]:
    """Whether libraries written in C work. `about` is the address of an HTTPS server."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(about, timeout=10, context=context) as answer:
        said = json.load(answer)["said"]
    with tempfile.TemporaryDirectory() as directory, sqlite3.connect(f"{directory}/db.sqlite") as database:
        database.execute("create table words (word text)")
        database.execute("insert into words values ('written')")
        (word,) = database.execute("select word from words").fetchone()
    found = {"TLS": said, "sqlite3": word}
    for transport in ("inproc://witness", "tcp://127.0.0.1:*"):
        context_of_zmq: Any = zmq.Context.instance()
        with context_of_zmq.socket(zmq.PAIR) as one, context_of_zmq.socket(zmq.PAIR) as other:
            one.bind(transport)
            other.connect(one.last_endpoint)
            other.send(b"heard")
            found[transport.partition(":")[0]] = one.recv().decode() if one.poll(5000) else "nothing"
    import numpy

    found["numpy"] = (numpy.ones((200, 200)) @ numpy.ones((200, 200)))[0, 0]
    return found


def constants(app: Any, about: str) -> dict[str, dict[str, Any]]:
    """The constants (names in capitals) of modules whose names are separated by commas."""
    return {
        name: {each: _plain(value) for each, value in vars(sys.modules[name]).items() if each.isupper()}
        for name in about.split(",")
    }


def strings(app: Any, about: str) -> list[str]:
    """Strings in imported modules that contain `about`, which is given backwards, and what holds them."""
    return sorted({f"{_named(owner)}: {text[:200]}" for owner, text in _strings() if about[::-1] in text})


def held_locks(app: Any, about: str) -> list[str]:
    """Locks that are taken, although this thread holds none and there is no other."""
    kinds = (type(threading.Lock()), type(threading.RLock()))
    held = [each for each in _everything() if isinstance(each, kinds) and repr(each).startswith("<locked")]
    holders = [
        [_named(owner) for owner in gc.get_referrers(each) if not isinstance(owner, (list, set))] for each in held
    ]
    return sorted(", ".join(sorted(each)) for each in holders)


def _plain(value: Any) -> Any:
    return value.random() if isinstance(value, random.Random) else value


def _everything() -> list[Any]:
    gc.unfreeze()  # or objects that the parent has frozen would not be listed
    return gc.get_objects()


def _named(owner: Any, depth: int = 3) -> str:
    """The closest thing to a name for what holds an object."""
    for name in ("__qualname__", "__name__"):
        if isinstance(found := getattr(owner, name, None), str):
            return found
    if isinstance(owner, dict) and isinstance(found := owner.get("__name__", owner.get("__module__")), str):
        return found
    kind = type(owner).__name__
    if depth and isinstance(owner, (dict, tuple, types.CellType)):
        above = [each for each in gc.get_referrers(owner) if not isinstance(each, types.FrameType)]
        return f"{kind} of {_named(above[0], depth - 1)}" if above else kind
    return kind


def _strings() -> Any:
    seen: set[int] = set()
    for owner in _everything():
        waiting = list(gc.get_referents(owner))
        while waiting:
            each = waiting.pop()
            if id(each) in seen:
                continue
            if isinstance(each, str):
                seen.add(id(each))
                yield owner, each
            elif isinstance(each, (tuple, dict)) and not gc.is_tracked(each):
                seen.add(id(each))
                waiting.extend(gc.get_referents(each))


def _lab(app: Any) -> Any:
    (found,) = app.extension_manager.extension_apps["jupyterlab"]
    return found


def _handlers(name: str) -> list[str]:
    return [_stream(each) for each in logging.getLogger(name or None).handlers]


def _stream(handler: logging.Handler) -> str:
    stream = getattr(handler, "stream", None)
    return f"{type(handler).__name__} {getattr(stream, 'name', '')}".strip()


def _told(handler: Any) -> str:
    return getattr(handler, "__qualname__", None) or str(handler)


def _link(path: Path) -> str:
    with contextlib.suppress(OSError):
        return str(path.readlink())
    return "gone"


QUESTIONS = {each.__name__: each for each in (random_things, process, work, constants, strings, held_locks)}


class Witness(RequestHandler):
    """Answers a question with JSON."""

    def initialize(self, app: Any) -> None:
        self.app = app

    @allow_unauthenticated
    async def get(self) -> None:
        try:
            self.finish(json.dumps(QUESTIONS[self.get_argument("ask")](self.app, self.get_argument("about", ""))))
        except Exception:
            self.set_status(500)
            self.finish(traceback.format_exc())


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "witness"}]


def _load_jupyter_server_extension(app: Any) -> None:
    app.web_app.add_handlers(".*$", [(f"{app.base_url}witness", Witness, {"app": app})])

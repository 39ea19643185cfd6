"""A connection pool whose calls end at a deadline, whatever the server does.

A read timeout starts anew with every byte, so a server that dribbles its answer holds a caller for ever. Here a timer
shuts the socket down when the time is over; the reading thread then sees a closed connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_using = threading.local()  # .connection: the one that this thread's call uses


class _Seen:
    """Remembers which connection a call uses."""

    def connect(self) -> None:
        _using.connection = self
        super().connect()  # type: ignore[misc]

    def request(self, *arguments: Any, **options: Any) -> None:
        _using.connection = self
        super().request(*arguments, **options)  # type: ignore[misc]


class _SeenHTTP(_Seen, HTTPConnection):
    pass


class _SeenHTTPS(_Seen, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _SeenHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _SeenHTTPS


class GuardedPools:
    """The official client's pools for one cluster, with deadlines."""

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self.manager = manager
        manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    @contextlib.contextmanager
    def until(self, when: float) -> Iterator[None]:
        """End the call inside at a moment (`time.monotonic`) by closing its connection."""
        _using.connection = None
        call = _using.__dict__  # of this thread; the timer's thread has another
        timer = threading.Timer(max(0.0, when - monotonic()), lambda: _shut(call.get("connection")))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def clear(self) -> None:
        """Close the connections."""
        self.manager.clear()


def guarded_pools(configuration: Any) -> GuardedPools:
    """Make the pools from the official client's configuration: its TLS, proxy and keep-alive settings hold."""
    from kubernetes.client.rest import RESTClientObject

    configuration.connection_pool_maxsize = 32
    return GuardedPools(RESTClientObject(configuration).pool_manager)


def _shut(connection: Any) -> None:
    sock = getattr(connection, "sock", None)
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

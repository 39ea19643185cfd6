"""Calls that end at a deadline, whatever the other side does.

A read timeout starts again with every byte, a name server may not answer, and a program may hang. So anything that can
take long runs in its own thread, and the caller waits for it only until the deadline. Abandoned work must not live on:
the call's connection is shut down, and a connection that is made too late sends nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Generic, TypeVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

Result = TypeVar("Result")

_this_thread = threading.local()  # .call: the call that this thread is making


class Overdue(Exception):
    """The deadline passed first."""


class Task(Generic[Result]):
    """Work that runs in a thread; any number of threads may wait for it.

    Attributes:
        began: when it started, by `time.monotonic`.
    """

    def __init__(self, work: Callable[[], Result], name: str) -> None:
        self.began = monotonic()
        self._work = work
        self._result: Result
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def result(self, until: float) -> Result:
        """Wait for the work, and return or raise what it returned or raised.

        Raises:
            Overdue: it is not done by then.
        """
        self._thread.join(max(0.0, until - monotonic()))
        if self._thread.is_alive():
            raise Overdue
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error


class Pools:
    """The official client's connection pools for one cluster, with its TLS, proxy and keep-alive settings."""

    def __init__(self, configuration: Any) -> None:
        from kubernetes.client.rest import RESTClientObject

        configuration.connection_pool_maxsize = 32
        self.manager: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
        self.manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: urllib3.Timeout,
        largest: int,
        until: float,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Make one request, without retries or redirects.

        Args:
            method: the HTTP method.
            url: the address.
            body: the body to send, or None.
            headers: the request's headers.
            timeout: to connect, and between two chunks of the answer.
            largest: bytes of the answer to read; one more byte is read, to show whether there was more.
            until: the deadline, by `time.monotonic`.

        Returns:
            The status, the headers and the body.

        Raises:
            Overdue: the deadline passed first.
            urllib3.exceptions.HTTPError, OSError, ValueError: from urllib3.
        """
        call = _Call()

        def send() -> tuple[int, Mapping[str, str], bytes]:
            _this_thread.call = call
            response = self.manager.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                # Not `.data`, which reads without a limit.
                answer = response.read(largest + 1, decode_content=True)
            except BaseException:
                response.close()
                raise
            if len(answer) > largest:
                response.close()  # with an unread rest the connection cannot be reused
            response.release_conn()
            return response.status, response.headers, answer

        try:
            return Task(send, "cluster-call").result(until)
        except Overdue:
            call.give_up()
            raise

    def clear(self) -> None:
        """Close the connections."""
        self.manager.clear()


class _Call:
    """A call and the connection that it uses."""

    connection: Any = None
    given_up = False

    def give_up(self) -> None:
        self.given_up = True
        sock = getattr(self.connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Tracked:
    """A connection that registers itself with this thread's call."""

    def request(self, *arguments: Any, **options: Any) -> None:
        call = _this_thread.call
        call.connection = self
        if call.given_up:  # nobody is waiting for the answer any more
            raise TimeoutError
        super().request(*arguments, **options)  # type: ignore[misc]


class _TrackedHTTP(_Tracked, HTTPConnection):
    pass


class _TrackedHTTPS(_Tracked, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _TrackedHTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TrackedHTTPS

"""Blocking calls off the event loop, for calls that may never return (PAM, the name service).

Rules kept here:
- threads are daemons, so a call that hangs does not keep the hub from ending. A `ThreadPoolExecutor` would join its
  threads at exit, and its hung threads would be lost to all other calls;
- a caller stops waiting at its deadline, but the place that its call holds becomes free only when the call has ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(concurrent.futures.Executor):
    """Runs each call in an idle thread, or in a new one if none is idle. Callers must limit concurrency (`CallLimit`).

    *Notes*: threads are kept, because `Thread.start` waits for the new thread, measured at 2 ms of a busy event loop.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]:
        """Run a function in a thread.

        Returns:
            Its future. It cannot be cancelled, because no call waits for a thread.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def call() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                self._is_idle()
                future.set_exception(error)
            else:
                self._is_idle()
                future.set_result(result)

        with self._lock:
            start = self._idle == 0
            self._idle -= 0 if start else 1
        self._calls.put(call)
        if start:
            threading.Thread(target=self._work, name="learning-lab-call", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()

    def _is_idle(self) -> None:
        # Called before the result is set: whoever waits for it may submit the next call at once.
        with self._lock:
            self._idle += 1


def in_thread(threads: concurrent.futures.Executor, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
    """Call a function in a thread, for `await`."""
    return asyncio.wrap_future(threads.submit(function, *arguments))


class CallLimit:
    """Limits how many calls that may hang can run at the same time.

    Args:
        count: how many calls may run at the same time, including hung ones.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._held: set[asyncio.Future[Any]] = set()

    async def call(self, start: Callable[[], Awaitable[T]], within: float) -> T:
        """Start a call and wait for it.

        Args:
            start: starts the call and returns what to wait for.
            within: seconds to wait, including the wait for a place.

        Returns:
            What the call returns.

        Raises:
            TimeoutError: no answer in time.
            Exception: what the call raises.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        await asyncio.wait_for(self._free.acquire(), within)
        try:
            future = asyncio.ensure_future(start())
        except BaseException:
            self._free.release()
            raise
        self._held.add(future)
        future.add_done_callback(self._ended)
        return await asyncio.wait_for(asyncio.shield(future), max(0.0, until - loop.time()))

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._held.discard(future)
        self._free.release()
        if not future.cancelled():
            future.exception()  # read it, so that asyncio does not report an exception that nobody waited for

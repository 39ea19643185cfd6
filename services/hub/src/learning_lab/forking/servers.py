"""The start of a server: its turn, and the parent that forks it.

Rules kept here:
- the warm parent never blocks a start: what it cannot fork is started plainly, and a metric and the log say so;
- when many people start at once, `AT_ONCE` starts run and the others wait: the first people get in as quickly as if
  they were alone, and the last one no later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator

from prometheus_client import Counter

from learning_lab.errors import Refused

from .parents import Forked, ParentOfServers, PlainParent, Request

STARTS = Counter(
    "learning_lab_server_starts_total",
    "Servers started, by how: warm is a fork of the warm parent, plain a process of its own",
    ["way"],
)

AT_ONCE = 2 * (os.cpu_count() or 1)  # starts under way
TURN_SECONDS = 3.0
PLAIN_SECONDS = 10.0  # for the process that starts servers plainly to be there


class Servers:
    """Starts servers.

    Args:
        warm: the warm parent; None where it is turned off.
        plain: the parent for what the warm one cannot give.
        log: where it is told why a server is not started, or not quickly.
    """

    def __init__(self, warm: ParentOfServers | None, plain: PlainParent, log: logging.Logger) -> None:
        self._warm, self._plain, self._log = warm, plain, log
        self._turns = StartTurns()

    @contextlib.asynccontextmanager
    async def started(
        self, whose: str, request: Request, listening: socket.socket, *, ours: bool
    ) -> AsyncIterator[Forked]:
        """Wait for a turn and start a server; hold this until it answers.

        Args:
            whose: server it is, for the log.
            request: what it is.
            listening: the socket that it serves on; the caller keeps its own copy.
            ours: whether it is the program that the warm parent forks.

        Raises:
            Refused: it cannot be had.
        """
        async with self._turns.turn():
            yield await self._start(whose, request, listening, ours=ours)

    async def _start(self, whose: str, request: Request, listening: socket.socket, *, ours: bool) -> Forked:
        forked = await self._warm.fork(request, listening) if self._warm and ours else None
        if forked is not None:
            STARTS.labels(way="warm").inc()
            return forked
        if self._warm and ours:
            self._log.warning("No warm parent for the server of %s: starting it plainly", whose)
        elif not ours:
            self._log.info("The server of %s has a command of its own, so it is started plainly", whose)
        self._plain.keep()
        with contextlib.suppress(TimeoutError):
            await self._plain.until_ready(PLAIN_SECONDS)
        forked = await self._plain.fork(request, listening)
        if forked is None:
            self._log.error("No server for %s: the process that starts servers gave none", whose)
            raise Refused(503, "Your server could not be started. Try again in a minute.", retry_after=30)
        STARTS.labels(way="plain").inc()
        return forked


class StartTurns:
    """Turns of the starts that come at once."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Hold this while a server comes up. One that takes long holds up the others for `TURN_SECONDS` only."""
        await self._turns.acquire()
        given_back = False

        def give_back() -> None:
            nonlocal given_back
            if not given_back:
                given_back = True
                self._turns.release()

        late = asyncio.get_running_loop().call_later(TURN_SECONDS, give_back)
        try:
            yield
        finally:
            late.cancel()
            give_back()

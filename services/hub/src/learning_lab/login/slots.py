"""Whose password is checked next. One event loop; no threads, no clock.

A check of a password holds a thread for as long as PAM takes, and there are only a few threads. Rules kept here:
- known browsers first, then those without many failures, then the others; inside each, the addresses take turns
  (start-time fair queueing), so one address that sends hundreds delays itself;
- one address never holds all threads, so that another finds one free however slow PAM is;
- a thread is given back when its check has ended (`free`), not when the person who asked has gone away;
- how many attempts are under way is bounded, in all and for one address. An address that has none under way is let in
  even when all places are taken, up to twice their number.
"""

from __future__ import annotations

import asyncio
import bisect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .limits import Turn

KNOWN = 0  # the rank of a known browser


@dataclass(order=True, slots=True)
class _Waiting:
    rank: int
    start: int  # virtual time, see `Turns.take`
    number: int
    address: str = field(compare=False)
    ready: Callable[[], Turn] = field(compare=False)
    called: asyncio.Future[Turn] = field(compare=False)


class Turns:
    """Hands out the threads.

    Args:
        threads: checks at the same time.
        at_once: attempts under way at the same time: waiting, checked, or waiting for their answer.
        at_once_from_one: those of one address.
    """

    def __init__(self, threads: int, at_once: int, at_once_from_one: int) -> None:
        self._free = threads
        self._from_one = max(1, threads - 1)
        self._at_once, self._at_once_from_one = at_once, at_once_from_one
        self._here: Counter[str] = Counter()
        self._here_in_all = 0
        self._holding: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        self._waiting_from: Counter[str] = Counter()
        self._virtual = 0
        self._next_start: dict[str, int] = {}  # of addresses that have somebody waiting
        self._number = 0

    @property
    def under_way(self) -> int:
        """Attempts under way now."""
        return self._here_in_all

    @property
    def waiting(self) -> int:
        """Attempts that wait for a thread now."""
        return len(self._waiting)

    def arrive(self, address: str) -> bool:
        """Let an attempt in; False when there are too many. Each True is followed by one `leave`."""
        here = self._here[address]
        full = self._here_in_all >= (self._at_once if here else 2 * self._at_once)
        if full or here >= self._at_once_from_one:
            if not here:
                del self._here[address]
            return False
        self._here[address] += 1
        self._here_in_all += 1
        return True

    def leave(self, address: str) -> None:
        """The attempt has its answer."""
        self._here_in_all -= 1
        _less(self._here, address)

    async def take(self, rank: int, address: str, ready: Callable[[], Turn], within: float) -> Turn:
        """Wait for a thread.

        Args:
            rank: lower ones first.
            address: where the attempt comes from.
            ready: asked when a thread is free: GO takes it, LATER stays in the queue, NEVER gives up.
            within: seconds to wait at most.

        Returns:
            GO or NEVER. After GO, and only then, `free` gives the thread back.

        Raises:
            TimeoutError: the time is over; no thread is held.
        """
        # Virtual time goes on by one when everybody who waits had one turn: an address that waits alone starts now,
        # the second attempt of an address one later, and so on.
        self._number += 1
        start = max(self._virtual, self._next_start.get(address, 0))
        called: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(rank, start, self._number, address, ready, called)
        bisect.insort(self._waiting, waiting)
        self._waiting_from[address] += 1
        self._next_start[address] = start + 1
        self._call()
        try:
            await asyncio.wait([called], timeout=within)
        except asyncio.CancelledError:
            # Cancelled between the call and this line: the thread would be lost.
            if called.done() and called.result() is Turn.GO:
                self.free(address)
            raise
        finally:
            if not called.done():
                self._remove(self._waiting.index(waiting))
        if not called.done():
            raise TimeoutError
        return called.result()

    def free(self, address: str) -> None:
        """Give a thread back."""
        self._free += 1
        _less(self._holding, address)
        self._call()

    def _call(self) -> None:
        """Call those who can go now."""
        place = 0
        while place < len(self._waiting) and self._free:
            waiting = self._waiting[place]
            if waiting.rank != KNOWN and self._holding[waiting.address] >= self._from_one:
                place += 1
                continue
            turn = waiting.ready()
            if turn is Turn.LATER:
                place += 1
                continue
            self._remove(place)
            if turn is Turn.GO:
                self._virtual = max(self._virtual, waiting.start)
                self._free -= 1
                self._holding[waiting.address] += 1
            waiting.called.set_result(turn)

    def _remove(self, place: int) -> None:
        address = self._waiting.pop(place).address
        _less(self._waiting_from, address)
        if address not in self._waiting_from:
            del self._next_start[address]


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]

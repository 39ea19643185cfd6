"""Whose password is checked next: semaphores on the event loop.

A check holds a thread for as long as PAM takes, and the number of threads is limited. Rules kept here:
- addresses take turns: of each one only one attempt at a time waits in the common queue, which is first come, first
  served. So an address that sends hundreds delays itself;
- one address never holds all slots, so another one finds a free slot however slow PAM is;
- known browsers have slots of their own, and each has its own turn: they never queue behind strangers;
- checks of one pair (`limits.Attempt.pair`) do not overlap, so attempts sent at the same time cannot exceed its limit;
- the number of attempts under way is bounded, in total and for each address. An address that has none is let in over
  the total, up to twice of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator
from weakref import WeakValueDictionary

from .limits import Attempt


class Slots:
    """Hands out the slots for checks.

    Args:
        count: checks at the same time, and as many again for known browsers.
        at_once: attempts under way at the same time (waiting, being checked, or waiting for their answer); a quarter
            of them from one address.
    """

    def __init__(self, count: int, at_once: int) -> None:
        self._strangers, self._known = asyncio.Semaphore(count), asyncio.Semaphore(count)
        self._share = max(1, count - 1)
        self._at_once = at_once
        self._arrived: Counter[str] = Counter()
        # Each lives as long as an attempt holds it or waits for it.
        self._semaphores: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def under_way(self) -> int:
        """Attempts under way now."""
        return self._arrived.total()

    @contextlib.contextmanager
    def arrival(self, address: str) -> Iterator[bool]:
        """Count an attempt as under way while the block lasts; False when there are too many."""
        here, bound = self._arrived[address], self._at_once
        admitted = here < bound // 4 and self.under_way < (bound if here else 2 * bound)
        self._arrived[address] += admitted
        try:
            yield admitted
        finally:
            self._arrived[address] -= admitted
            if not self._arrived[address]:
                del self._arrived[address]

    async def take(self, attempt: Attempt) -> contextlib.ExitStack:
        """Wait for a slot, for as long as the caller does.

        Returns:
            What gives the slot back when it is closed.
        """
        lane = attempt.browser or attempt.address
        with contextlib.ExitStack() as held:
            for semaphore in (self._semaphore("pair", attempt.pair, 1), self._semaphore("share", lane, self._share)):
                await semaphore.acquire()
                held.callback(semaphore.release)
            free = self._known if attempt.browser else self._strangers
            async with self._semaphore("turn", lane, 1):
                await free.acquire()
            held.callback(free.release)
            return held.pop_all()

    def _semaphore(self, purpose: str, key: Hashable, value: int) -> asyncio.Semaphore:
        return self._semaphores.setdefault((purpose, key), asyncio.Semaphore(value))

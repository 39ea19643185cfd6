"""How many wrong passwords are too many, and what happens then. Pure: the clock is passed in, and nothing sleeps.

Wrong passwords are counted over a sliding window by three keys, each against another way of guessing:

- the **pair** of user id and address is the limit that people meet. Over it, attempts are checked `Limits.pair_pace`
  seconds apart: one waits, the others get 429. So ten wrong passwords from a shared address make a right one slow
  there, never impossible, and change nothing at other addresses;
- the **address** counts all user ids. Over its limit, attempts from there queue, `Limits.address_pace` seconds apart,
  except those of pairs with fewer than `Limits.first` failures: a whole company may be one address, behind a proxy
  that the lab has not been told about, and nobody there should queue behind somebody who guesses. That costs little,
  because the pair still limits the guesses at each account;
- the **user id** counts all addresses. Over its limit, attempts queue, `Limits.user_pace` seconds apart.

A **known browser** (a signed cookie says that this user id has logged in there before) has a count of its own in place
of all three. So nobody can lock a person out of a browser that they use, not even from the same address.

Rules kept here:
- what a stranger sees depends on what was typed, never on whether there is such an account: the keys are made from the
  typed user id in lower case. Other spellings of one account (`LAB\\alice`) are also counted by account (`exhausted`),
  and that count only turns an answer into "wrong", never into 429;
- a successful log-in resets the pair's count; an attempt that was refused without a check is not counted;
- every table has a maximum size and drops the key that failed longest ago, so memory is bounded whatever is sent.
"""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Clock = Callable[[], float]
Name = Literal["pair", "address", "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers. Times are in seconds.

    Attributes:
        window: how long a failure counts.
        pair: failures of one user id from one address.
        pair_pace: between two attempts of a pair over its limit; the first of them waits as long.
        first: failures of a pair before it queues for its address.
        address: failures from one address.
        address_pace: between two attempts from an address over its limit.
        user: failures of one user id from all addresses.
        user_pace: between two attempts for a user id over its limit.
        longest_wait: how long an attempt may queue for an address or a user id; if the queue is longer, 429.
        delay: when a wrong password is answered, counted from its arrival; it rises with the failures.
        longest_delay: where it stops rising.
        remembered: the size of each table.
    """

    window: float = 300.0
    pair: int = 10
    pair_pace: float = 10.0
    first: int = 3
    address: int = 300
    address_pace: float = 0.2
    user: int = 100
    user_pace: float = 1.0
    longest_wait: float = 20.0
    delay: float = 1.0
    longest_delay: float = 4.0
    remembered: int = 10_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to log in, as seen from outside.

    Attributes:
        userid: as typed.
        address: the network that counts as one address (`request_origin.network`).
        browser: the mark of a known browser, "" for any other.
    """

    userid: str
    address: str
    browser: str = ""

    @property
    def pair(self) -> tuple[str, ...]:
        """The key of the pair's limit."""
        return (self.browser,) if self.browser else (self.userid.lower(), self.address)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with an attempt that has arrived.

    Attributes:
        limit: which limit refuses it; None: it is not refused.
        retry_after: seconds until another try makes sense, for one that is refused.
        wait: seconds to wait before the password is checked.
        slow: whether it is over the pair's limit, and has its place in that queue.
    """

    limit: Name | None = None
    retry_after: float = 0.0
    wait: float = 0.0
    slow: bool = False


@dataclass(slots=True)
class _Entry:
    failed_at: array[float] = field(default_factory=lambda: array("d"))
    next_place: float | None = None


class Limit:
    """Counts failures by key, and queues the attempts of a key that is over the limit.

    Args:
        failures: how many are too many.
        window: seconds for which a failure counts.
        size: how many keys are kept.
        clock: tells the time in seconds; it never goes backwards.
        pace: seconds between two attempts over the limit.
        longest: seconds that one may wait in the queue.
        lead: seconds that the first one waits.
    """

    def __init__(
        self,
        failures: int,
        window: float,
        size: int,
        clock: Clock,
        *,
        pace: float = 0.0,
        longest: float = 0.0,
        lead: float = 0.0,
    ) -> None:
        self._failures, self._window, self._size, self._clock = failures, window, size, clock
        self._pace, self._longest, self._lead = pace, longest, lead
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # by last failure

    def __len__(self) -> int:
        return len(self._entries)

    def failed(self, key: Hashable) -> None:
        """Count a failure."""
        now = self._clock()
        times = self._entries.setdefault(key, _Entry()).failed_at
        times.append(now)
        del times[: -self._failures]
        self._entries.move_to_end(key)
        while len(self) > self._size or next(iter(self._entries.values())).failed_at[-1] <= now - self._window:
            self._entries.popitem(last=False)

    def count(self, key: Hashable) -> int:
        """How many failures count now; never more than the limit."""
        entry = self._entries.get(key)
        return sum(time > self._clock() - self._window for time in entry.failed_at) if entry else 0

    def over(self, key: Hashable) -> bool:
        """Whether there were too many failures."""
        return self.count(key) >= self._failures

    def since_last(self, key: Hashable) -> float:
        """Seconds since the last failure."""
        return self._clock() - self._entries[key].failed_at[-1] if key in self._entries else math.inf

    def take_place(self, key: Hashable) -> float | None:
        """Join the queue of a key that has failed.

        Returns:
            Seconds to wait, or None when the queue is too long; then no place is taken.
        """
        now, entry = self._clock(), self._entries[key]
        place = max(now, now + self._lead if entry.next_place is None else entry.next_place)
        if place > now + self._longest:  # added as above: a difference of floats is not the same
            return None
        entry.next_place = place + self._pace
        return place - now

    def retry_after(self, key: Hashable) -> float:
        """Seconds until the queue has a place; 0 when it has one now."""
        next_place = self._entries[key].next_place if key in self._entries else None
        return max(0.0, (next_place or 0.0) - self._longest - self._clock())

    def forget(self, key: Hashable) -> None:
        """Reset the count and the queue."""
        self._entries.pop(key, None)


class Throttle:
    """The three limits, and the one by account.

    Args:
        limits: the numbers.
        clock: tells the time in seconds; it never goes backwards.

    An attempt goes through `decide` on arrival, then `used_up` just before its check, then `failed` or `succeeded`
    (neither if nothing was learned about the password). Checks of one pair must not overlap.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        shared = (limits.window, limits.remembered, clock)
        # The first one waits as long as the queue may be, so no more than one waits.
        pair_pace = limits.pair_pace
        self._pairs = Limit(limits.pair, *shared, pace=pair_pace, longest=pair_pace, lead=pair_pace)
        self._addresses = Limit(limits.address, *shared, pace=limits.address_pace, longest=limits.longest_wait)
        self._users = Limit(limits.user, *shared, pace=limits.user_pace, longest=limits.longest_wait)
        self._accounts = Limit(limits.pair, *shared)  # by account and address, however the user id was typed

    def decide(self, attempt: Attempt) -> Decision:
        """Decide on an attempt that has arrived."""
        slow, wait = self._pairs.over(attempt.pair), 0.0
        for name, limit, key in self._applying(attempt):
            if limit.over(key):
                place = limit.take_place(key)
                if place is None:
                    return Decision(name, limit.retry_after(key) if name == "pair" else self._limits.longest_wait)
                wait = max(wait, place)
        return Decision(wait=wait, slow=slow)

    def _applying(self, attempt: Attempt) -> Iterator[tuple[Name, Limit, Hashable]]:
        yield "pair", self._pairs, attempt.pair
        if not attempt.browser:
            if self._pairs.count(attempt.pair) >= self._limits.first:
                yield "address", self._addresses, attempt.address
            yield "user", self._users, attempt.userid.lower()

    def used_up(self, attempt: Attempt) -> bool:
        """Whether the pair has reached its limit by now."""
        return self._pairs.over(attempt.pair)

    def retry_after(self, attempt: Attempt) -> float:
        """Seconds until a pair over its limit should try again."""
        return self._pairs.retry_after(attempt.pair)

    def exhausted(self, attempt: Attempt, account: str) -> bool:
        """Whether this account has used up its failures at this address under all its spellings.

        One attempt is let through in every half of `Limits.pair_pace`, so whoever waits in the pair's queue has it.
        """
        key = (account, attempt.address)
        paced = self._accounts.since_last(key) < self._limits.pair_pace / 2
        return not attempt.browser and self._accounts.over(key) and paced

    def failed(self, attempt: Attempt, account: str | None = None) -> None:
        """Count a wrong password.

        Args:
            attempt: whose.
            account: the account that the user id stands for; None when there is none, or it is exhausted.
        """
        self._pairs.failed(attempt.pair)
        if not attempt.browser:
            self._addresses.failed(attempt.address)
            self._users.failed(attempt.userid.lower())
            if account is not None:
                self._accounts.failed((account, attempt.address))

    def succeeded(self, attempt: Attempt, account: str) -> None:
        """Reset the pair's count. Those of the address and the user id stay: they count other people too."""
        self._pairs.forget(attempt.pair)
        self._accounts.forget((account, attempt.address))

    def delay(self, attempt: Attempt) -> float:
        """Seconds from the arrival to the answer of an attempt that fails now: one step more for every third failure.

        The failures of the user id from all addresses count too: a step more for every quarter of their limit.
        """
        pair = self._pairs.count(attempt.pair) // 3
        user = 0 if attempt.browser else 4 * self._users.count(attempt.userid.lower()) // self._limits.user
        return min(self._limits.delay * (1 + max(pair, user)), max(self._limits.longest_delay, self._limits.delay))


def answer_at(due: float, now: float, step: float) -> float:
    """When to give an answer that was due at a time set before the check began.

    Args:
        due: that time, computed from the arrival of the attempt.
        now: the time at which the answer is known.
        step: seconds. A late answer goes out a whole number of steps after `due`, so that it shows as little as
            possible of how long the check took.

    Returns:
        The time, never before `due` or `now`.
    """
    if now <= due or step <= 0:
        return max(due, now)
    return max(now, due + step * math.ceil((now - due) / step))

"""How many wrong passwords are too many, and what then. Pure: the clock comes from outside, nothing sleeps in here.

Three counts of failures over a sliding window, each for another guesser:

- the **pair** of user id and address is the limit that a person meets: `Limits.pair` failures, then 429 until the
  oldest of them is out of the window. One address cannot lock a user id for another address;
- the **address** counts all user ids. Over `Limits.address` its attempts are let through one after the other, with
  `Limits.address_pace` seconds between them. It is a queue and no lock, and `Limits.address` is thirty times
  `Limits.pair`: a class behind one address gets there only when thirty user ids have used up their own limit;
- the **user id** counts all addresses. Over `Limits.user` its attempts queue in the same way, so guessing from many
  addresses goes no faster than one attempt per `Limits.user_pace`.

A **known browser**, one in which this user id has logged in before (a signed cookie says so), has a count of its own
and passes by the other three. So a stranger who fails on purpose, even one behind the same address, locks nobody out
of a browser that they use.

Rules kept here:
- what a stranger can see depends only on what was typed, never on whether such an account exists: counts are by the
  typed user id in lower case. Other spellings of one account (`LAB\\alice`) are counted by the account too
  (`exhausted`), and that count only turns an answer into "wrong", never into 429;
- a success clears the pair's count, and an attempt that was refused without a check adds nothing to any count;
- every table has a largest size and drops what failed longest ago: memory is bounded whatever is sent.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers. Times are in seconds.

    Attributes:
        window: how long a failure counts.
        pair: failures of one user id from one address.
        address: failures from one address.
        address_pace: between two attempts from an address over its limit.
        user: failures of one user id from all addresses.
        user_pace: between two attempts for a user id over its limit.
        longest_wait: how long an attempt may queue for its pace; where the queue is longer, 429.
        delay: when a wrong password is answered, counted from when it came in; it rises with the failures.
        longest_delay: where it stops rising.
        remembered: the size of each table.
    """

    window: float = 300.0
    pair: int = 10
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
    """One try to log in, as seen from outside.

    Attributes:
        userid: as typed.
        address: the network that counts as one address (`client.network`).
        browser: the mark of a known browser, "" for any other.
    """

    userid: str
    address: str
    browser: str = ""

    @property
    def pair(self) -> tuple[str, ...]:
        """What the pair's limit counts."""
        return (self.browser,) if self.browser else (self.userid.lower(), self.address)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with an attempt that has come in.

    Attributes:
        limit: which limit refuses it, None when none does.
        retry_after: seconds until it is worth another try; 0 when it is not refused.
        wait: seconds to wait before the password is checked.
    """

    limit: Literal["pair", "address", "user"] | None = None
    retry_after: float = 0.0
    wait: float = 0.0


class Turn(Enum):
    """Whether an attempt that waits may be checked now."""

    GO = "go"
    LATER = "later"  # others of the same pair are being checked, and their failure would use up the limit
    NEVER = "never"  # the limit was used up while it waited


class Failures:
    """Times of failures by key.

    Args:
        limit: how many failures are too many.
        window: seconds for which a failure counts.
        size: how many keys are kept; the one whose last failure is longest ago goes first.
        clock: tells the time in seconds; it never goes backwards.
    """

    def __init__(self, limit: int, window: float, size: int, clock: Clock) -> None:
        self._limit, self._window, self._size, self._clock = limit, window, size, clock
        self._times: OrderedDict[Hashable, array[float]] = OrderedDict()  # by last failure

    def __len__(self) -> int:
        return len(self._times)

    def add(self, key: Hashable) -> None:
        """Count a failure."""
        now = self._clock()
        times = self._times.setdefault(key, array("d"))
        times.append(now)
        del times[: -self._limit]
        self._times.move_to_end(key)
        while len(self._times) > self._size or next(iter(self._times.values()))[-1] <= now - self._window:
            self._times.popitem(last=False)

    def count(self, key: Hashable) -> int:
        """How many failures count now; never more than the limit."""
        return sum(time > self._clock() - self._window for time in self._times.get(key, ()))

    def retry_after(self, key: Hashable) -> float:
        """Seconds until one more try is inside the limit; 0 when it is now."""
        if self.count(key) < self._limit:
            return 0.0
        return self._times[key][0] + self._window - self._clock()

    def forget(self, key: Hashable) -> None:
        """Count from nothing again."""
        self._times.pop(key, None)


class Pace:
    """Lets attempts of a key through one after the other.

    Args:
        interval: seconds between two.
        longest: seconds that one may wait.
        size: how many keys are kept.
        clock: tells the time in seconds.
    """

    def __init__(self, interval: float, longest: float, size: int, clock: Clock) -> None:
        self._interval, self._longest, self._size, self._clock = interval, longest, size, clock
        self._next: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._next)

    def take(self, key: Hashable) -> float | None:
        """Take the next place in the queue.

        Returns:
            Seconds to wait, or None when the queue is too long; then no place is taken.
        """
        now = self._clock()
        place = max(now, self._next.get(key, now))
        if place - now > self._longest:
            return None
        self._next[key] = place + self._interval
        self._next.move_to_end(key)
        if len(self._next) > self._size:
            self._next.popitem(last=False)
        return place - now


class Throttle:
    """The counts, and what follows from them.

    Args:
        limits: the numbers.
        clock: tells the time in seconds; it never goes backwards.

    An attempt goes through `decide` when it comes in, `turn` until it says GO, `failed` or `succeeded` (neither when
    nothing was learned of the password), and `finished`.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        shared = (limits.window, limits.remembered, clock)
        self._pairs = Failures(limits.pair, *shared)
        self._addresses = Failures(limits.address, *shared)
        self._users = Failures(limits.user, *shared)
        self._accounts = Failures(limits.pair, *shared)  # by account and address, however the user id was typed
        self._address_pace = Pace(limits.address_pace, limits.longest_wait, limits.remembered, clock)
        self._user_pace = Pace(limits.user_pace, limits.longest_wait, limits.remembered, clock)
        self._running: Counter[tuple[str, ...]] = Counter()  # pairs whose password is being checked: few

    def decide(self, attempt: Attempt) -> Decision:
        """Decide on an attempt that has come in."""
        retry_after = self._pairs.retry_after(attempt.pair)
        if retry_after > 0:
            return Decision("pair", retry_after)
        if attempt.browser:
            return Decision()
        wait = 0.0
        if self._addresses.retry_after(attempt.address) > 0:
            place = self._address_pace.take(attempt.address)
            if place is None:
                return Decision("address", self._limits.longest_wait)
            wait = place
        user = attempt.userid.lower()
        if self._users.retry_after(user) > 0:
            place = self._user_pace.take(user)
            if place is None:
                return Decision("user", self._limits.longest_wait)
            wait = max(wait, place)
        return Decision(wait=wait)

    def rank(self, attempt: Attempt) -> int:
        """Who is checked first when many wait: 0 a known browser, 1 who may have mistyped, 2 who fails a lot."""
        if attempt.browser:
            return 0
        suspect = self._pairs.count(attempt.pair) > 2 or self._addresses.retry_after(attempt.address) > 0
        return 2 if suspect else 1

    def turn(self, attempt: Attempt) -> Turn:
        """Whether the password may be checked now; GO counts it as running until `finished`."""
        failures = self._pairs.count(attempt.pair)
        if failures >= self._limits.pair:
            return Turn.NEVER
        if failures + self._running[attempt.pair] >= self._limits.pair:
            return Turn.LATER
        self._running[attempt.pair] += 1
        return Turn.GO

    def finished(self, attempt: Attempt) -> None:
        """The check that `turn` let go has ended, however it did."""
        self._running[attempt.pair] -= 1
        if self._running[attempt.pair] <= 0:
            del self._running[attempt.pair]

    def exhausted(self, attempt: Attempt, account: str) -> bool:
        """Whether this account has used up its failures at this address under all its spellings."""
        return not attempt.browser and self._accounts.retry_after((account, attempt.address)) > 0

    def failed(self, attempt: Attempt, account: str | None = None) -> None:
        """Count a wrong password.

        Args:
            attempt: whose.
            account: the account that the user id stands for, None when there is none.
        """
        self._pairs.add(attempt.pair)
        if attempt.browser:
            return
        self._addresses.add(attempt.address)
        self._users.add(attempt.userid.lower())
        if account is not None:
            self._accounts.add((account, attempt.address))

    def succeeded(self, attempt: Attempt, account: str) -> None:
        """Clear the pair's count. Those of the address and the user id stay: they count other people too."""
        self._pairs.forget(attempt.pair)
        self._accounts.forget((account, attempt.address))

    def delay(self, attempt: Attempt) -> float:
        """Seconds after which an attempt that fails now is answered: one step more for every third failure.

        The failures of the user id from all addresses count by the quarter of their limit.
        """
        pair = self._pairs.count(attempt.pair) // 3
        user = 0 if attempt.browser else 4 * self._users.count(attempt.userid.lower()) // self._limits.user
        return min(self._limits.delay * (1 + max(pair, user)), max(self._limits.longest_delay, self._limits.delay))


def answer_at(due: float, now: float, step: float) -> float:
    """When to give an answer that was due at a time set before the check began.

    Args:
        due: the time, computed from when the attempt came in.
        now: the time at which the answer is known.
        step: seconds. An answer that is late goes out at the next whole number of steps after `due`, so that how
            long the check took shows as little as possible.

    Returns:
        The time, never before `due` or `now`.
    """
    if now <= due or step <= 0:
        return max(due, now)
    return max(now, due + step * math.ceil((now - due) / step))

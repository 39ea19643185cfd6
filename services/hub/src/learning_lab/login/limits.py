"""How many wrong passwords are too many, and what then. Pure: the clock comes from outside, nothing sleeps in here.

Three counts of failures over a sliding window, each for another guesser:

- the **pair** of user id and address is the limit that a person meets. After `Limits.pair` failures its attempts are
  checked one every `Limits.pair_pace` seconds: one waits, the others are refused with 429. So ten wrong passwords from
  a shared address make a right one slow and never impossible, and guessing goes on at that pace. One address cannot
  hold up a user id at another address;
- the **address** counts all user ids. Over `Limits.address` its attempts are let through one after the other, with
  `Limits.address_pace` seconds between them, but for the `Limits.first` first ones of each user id: whole companies are
  one address behind a proxy that the lab has not been told of, and there a person who comes first must not queue
  behind somebody who guesses. That costs little: the pair still limits what is tried with each account;
- the **user id** counts all addresses. Over `Limits.user` its attempts queue in the same way, so guessing from many
  addresses goes no faster than one attempt per `Limits.user_pace`.

A **known browser**, one in which this user id has logged in before (a signed cookie says so), has a count of its own
and passes by the other three. So a stranger who fails on purpose, even one behind the same address, locks nobody out
of a browser that they use.

Rules kept here:
- what a stranger can see depends only on what was typed, never on whether such an account exists: counts are by the
  typed user id in lower case. Other spellings of one account (`LAB\\alice`) are counted by the account too
  (`exhausted`), and that count only turns an answer into "wrong", never into 429; it too leaves one at a pace;
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
        pair_pace: between two attempts of a pair over its limit; the first of them waits as long.
        first: failures of a pair before it queues for its address.
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
        slow: whether it has one of the few places of a pair over its limit.
    """

    limit: Literal["pair", "address", "user"] | None = None
    retry_after: float = 0.0
    wait: float = 0.0
    slow: bool = False


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

    def since_last(self, key: Hashable) -> float:
        """Seconds since the last failure."""
        return self._clock() - self._times[key][-1] if key in self._times else math.inf

    def forget(self, key: Hashable) -> None:
        """Reset the count."""
        self._times.pop(key, None)


class Pace:
    """Lets attempts of a key through one after the other.

    Args:
        interval: seconds between two.
        longest: seconds that one may wait.
        size: how many keys are kept.
        clock: tells the time in seconds.
        lead: seconds that the first of a key waits.
    """

    def __init__(self, interval: float, longest: float, size: int, clock: Clock, lead: float = 0.0) -> None:
        self._interval, self._longest, self._size, self._clock = interval, longest, size, clock
        self._lead = lead
        self._next: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._next)

    def take(self, key: Hashable) -> float | None:
        """Take the next place in the queue.

        Returns:
            Seconds to wait, or None when the queue is too long; then no place is taken.
        """
        now = self._clock()
        place = max(now, self._next.get(key, now + self._lead))
        if place > now + self._longest:  # as it is added above: a difference of floats is not the same
            return None
        self._next[key] = place + self._interval
        self._next.move_to_end(key)
        if len(self._next) > self._size:
            self._next.popitem(last=False)
        return place - now

    def retry_after(self, key: Hashable) -> float:
        """Seconds until there is a place in the queue; 0 when there is one now."""
        return max(0.0, self._next.get(key, 0.0) - self._longest - self._clock())

    def forget(self, key: Hashable) -> None:
        """Let the key begin anew."""
        self._next.pop(key, None)


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
        # Waiting for one's place is the one's before, so no more than one waits.
        pair_pace = limits.pair_pace
        self._pair_pace = Pace(pair_pace, pair_pace, limits.remembered, clock, lead=pair_pace)
        self._address_pace = Pace(limits.address_pace, limits.longest_wait, limits.remembered, clock)
        self._user_pace = Pace(limits.user_pace, limits.longest_wait, limits.remembered, clock)
        self._running: Counter[tuple[str, ...]] = Counter()  # pairs whose password is being checked: few

    def decide(self, attempt: Attempt) -> Decision:
        """Decide on an attempt that has come in."""
        slow = self._pairs.retry_after(attempt.pair) > 0
        wait = 0.0
        if slow:
            place = self._pair_pace.take(attempt.pair)
            if place is None:
                return Decision("pair", self.retry_after(attempt))
            wait = place
        if attempt.browser:
            return Decision(wait=wait, slow=slow)
        if self._pairs.count(attempt.pair) >= self._limits.first and self._addresses.retry_after(attempt.address) > 0:
            place = self._address_pace.take(attempt.address)
            if place is None:
                return Decision("address", self._limits.longest_wait)
            wait = max(wait, place)
        user = attempt.userid.lower()
        if self._users.retry_after(user) > 0:
            place = self._user_pace.take(user)
            if place is None:
                return Decision("user", self._limits.longest_wait)
            wait = max(wait, place)
        return Decision(wait=wait, slow=slow)

    def retry_after(self, attempt: Attempt) -> float:
        """Seconds until it is worth it for a pair over its limit to try again."""
        return self._pair_pace.retry_after(attempt.pair)

    def rank(self, attempt: Attempt) -> int:
        """Who is checked first when many wait: 0 a known browser, 1 who may have mistyped, 2 who fails a lot."""
        if attempt.browser:
            return 0
        suspect = self._pairs.count(attempt.pair) > 2 or self._addresses.retry_after(attempt.address) > 0
        return 2 if suspect else 1

    def turn(self, attempt: Attempt, *, slow: bool = False) -> Turn:
        """Whether the password may be checked now; GO counts it as running until `finished`.

        Args:
            attempt: whose.
            slow: what `decide` has said of it.
        """
        failures = self._pairs.count(attempt.pair)
        if not slow and failures >= self._limits.pair:
            return Turn.NEVER
        if not slow and failures + self._running[attempt.pair] >= self._limits.pair:
            return Turn.LATER
        self._running[attempt.pair] += 1
        return Turn.GO

    def finished(self, attempt: Attempt) -> None:
        """The check that `turn` let go has ended, however it did."""
        self._running[attempt.pair] -= 1
        if self._running[attempt.pair] <= 0:
            del self._running[attempt.pair]

    def exhausted(self, attempt: Attempt, account: str) -> bool:
        """Whether this account has used up its failures at this address under all its spellings.

        One every half of `Limits.pair_pace` seconds is left, so that whoever waits for a place of the pair has it here.
        """
        counted = (account, attempt.address)
        if attempt.browser or self._accounts.retry_after(counted) <= 0:
            return False
        return self._accounts.since_last(counted) < self._limits.pair_pace / 2

    def failed(self, attempt: Attempt, account: str | None = None) -> None:
        """Count a wrong password.

        Args:
            attempt: whose.
            account: the account that the user id stands for; None when there is none, or it is exhausted.
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
        self._pair_pace.forget(attempt.pair)
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

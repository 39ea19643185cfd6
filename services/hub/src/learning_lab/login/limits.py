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
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

Clock = Callable[[], float]
Name = Literal["pair", "address", "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The numbers: failures, and seconds."""

    window: float = 300.0  # for which a failure counts
    pair: int = 10
    pair_pace: float = 10.0
    first: int = 3  # failures of a pair before it queues for its address
    address: int = 300
    address_pace: float = 0.2
    user: int = 100
    user_pace: float = 1.0
    longest_wait: float = 20.0  # in the queue of an address or a user id; if the queue is longer, 429
    delay: float = 1.0  # from the arrival of a wrong password to its answer; it rises with the failures
    longest_delay: float = 4.0
    remembered: int = 10_000  # keys of each table


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
    failed_at: array[float]
    next_place: float = 0.0


class Limit:
    """Counts failures by key, and queues the attempts of a key that is over the limit.

    Args:
        failures: how many are too many.
        pace: seconds between two attempts over the limit, and between the last failure and the first of them.
        longest: seconds that one may wait.
        window: seconds for which a failure counts.
        size: how many keys are kept.
        clock: tells the time in seconds; it never goes backwards.
    """

    def __init__(self, failures: int, pace: float, longest: float, window: float, size: int, clock: Clock) -> None:
        self._failures, self._pace, self.longest = failures, pace, longest
        self._window, self._size, self._clock = window, size, clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # by last failure

    def __len__(self) -> int:
        return len(self._entries)

    def failed(self, key: Hashable) -> None:
        """Count a failure."""
        now = self._clock()
        entry = self._entries.setdefault(key, _Entry(array("d")))
        entry.failed_at.append(now)
        del entry.failed_at[: -self._failures]
        entry.next_place = max(entry.next_place, now + self._pace)
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

    def wait(self, key: Hashable) -> float:
        """Seconds until the next place in the queue."""
        entry = self._entries.get(key)
        return max(0.0, entry.next_place - self._clock()) if entry else 0.0

    def is_full(self, key: Hashable) -> bool:
        """Whether the next place is too far away."""
        entry = self._entries.get(key)
        # Added, as the place was: a difference of floats is not the same.
        return entry is not None and entry.next_place > self._clock() + self.longest

    def take_place(self, key: Hashable) -> float:
        """Take the next place in the queue of a key that has failed; returns the seconds to wait for it."""
        entry, wait = self._entries[key], self.wait(key)
        entry.next_place = max(entry.next_place, self._clock()) + self._pace
        return wait

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
        self._pairs = Limit(limits.pair, limits.pair_pace, limits.pair_pace, *shared)  # so no more than one waits
        self._addresses = Limit(limits.address, limits.address_pace, limits.longest_wait, *shared)
        self._users = Limit(limits.user, limits.user_pace, limits.longest_wait, *shared)
        # By account and address. Half the pace: whoever waits in the pair's queue is let through here.
        self._accounts = Limit(limits.pair, limits.pair_pace / 2, 0.0, *shared)

    def decide(self, attempt: Attempt) -> Decision:
        """Decide on an attempt that has arrived."""
        pair, user = attempt.pair, attempt.userid.lower()
        applying: list[tuple[Name, Limit, Hashable]] = [("pair", self._pairs, pair)]
        if not attempt.browser:
            if self._pairs.count(pair) >= self._limits.first:
                applying.append(("address", self._addresses, attempt.address))
            applying.append(("user", self._users, user))
        queues = [(name, limit, key) for name, limit, key in applying if limit.over(key)]
        for name, limit, key in queues:
            if limit.is_full(key):
                # The pair's queue is one place, and it is known when that is free. In the others many wait for many.
                return Decision(name, limit.wait(key) - limit.longest if name == "pair" else limit.longest)
        return Decision(
            wait=max((limit.take_place(key) for _, limit, key in queues), default=0.0), slow=self.used_up(attempt)
        )

    def used_up(self, attempt: Attempt) -> bool:
        """Whether the pair has reached its limit by now."""
        return self._pairs.over(attempt.pair)

    def exhausted(self, attempt: Attempt, account: str) -> bool:
        """Whether this account has used up its failures at this address under all its spellings.

        One attempt is let through in every half of `Limits.pair_pace`.
        """
        key = (account, attempt.address)
        return not attempt.browser and self._accounts.over(key) and self._accounts.is_full(key)

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

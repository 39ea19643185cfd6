"""One attempt to log in, from its arrival to its answer: limits, a slot, PAM in a thread, and when to answer.

Rules kept here:
- a right password is answered at once. Any other answer goes out at a time that follows from the arrival and the counts
  (`Throttle.delay`), so it does not show how long the check took;
- a check that has begun runs to its end and counts, even if the browser has gone or the deadline has passed, and holds
  its slot until PAM has answered;
- a user id without an account is checked like any other. What is wrong with an account is said only after the right
  password;
- every answer has a deadline, whatever PAM does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace

from .limits import Attempt, Throttle, answer_at
from .pam import Result, unavailable
from .slots import Slots

LONGEST_NAME = 256  # bytes; user principal names of Active Directory are the longest in use
LONGEST_PASSWORD = 1_024  # bytes: hashing a long one costs the hub more than it costs the sender


class Attempts:
    """Runs the attempts.

    Args:
        throttle: the limits.
        slots: hands out slots.
        check: (user id, passwords, address) to a result, computed in a thread.
        deadline: seconds to wait for a slot, and then for PAM.
        step: seconds; a late answer goes out after a whole number of them.
        log: for failures of ours.
    """

    def __init__(
        self,
        throttle: Throttle,
        slots: Slots,
        check: Callable[[str, tuple[str, ...], str], asyncio.Future[Result]],
        *,
        deadline: float,
        step: float,
        log: logging.Logger,
    ) -> None:
        self._throttle, self._slots, self._check = throttle, slots, check
        self._deadline, self._step, self._log = deadline, step, log
        self._checks: set[asyncio.Task[Result]] = set()  # the event loop itself holds tasks only weakly

    async def ended(self) -> None:
        """Wait until all checks have ended, including those whose browser has gone or whose PAM is late."""
        while self._checks:
            await asyncio.wait(self._checks)

    async def run(self, attempt: Attempt, passwords: tuple[str, ...], address: str) -> Result:
        """Run an attempt and return its result when the answer is due.

        Args:
            attempt: what the limits see.
            passwords: the password, and a one-time password if there is one.
            address: the full address, for PAM.
        """
        arrived = time.monotonic()
        with self._slots.arrival(attempt.address) as admitted:
            if not admitted:
                message = "Too many people are logging in at the moment. Try again in 5 seconds."
                return Result("limited", "too many at once", message, retry_after=5)
            decision = self._throttle.decide(attempt)
            due = arrived + decision.wait + self._throttle.delay(attempt)
            if decision.limit:
                result = _limited(decision.limit, decision.retry_after - (due - arrived), attempt.userid)
            else:
                await asyncio.sleep(decision.wait)
                result = await self._checked(attempt, passwords, address, slow=decision.slow)
            now = time.monotonic()
            if result.outcome != "ok":
                await asyncio.sleep(answer_at(due, now, self._step) - now)
            return replace(result, decided=now - arrived)

    async def _checked(self, attempt: Attempt, passwords: tuple[str, ...], address: str, *, slow: bool) -> Result:
        if problem := _problem(attempt.userid, passwords):
            self._throttle.failed(attempt)
            return Result("wrong", problem)
        try:
            async with asyncio.timeout(self._deadline):
                slot = await self._slots.take(attempt)
        except TimeoutError:
            return unavailable("no slot was free in time: every check of a password takes long")
        if not slow and self._throttle.used_up(attempt):  # while it waited
            slot.close()
            return _limited("pair", 1, attempt.userid)
        check = asyncio.create_task(self._check_and_count(slot, attempt, passwords, address))
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)
        await asyncio.wait({check}, timeout=self._deadline)
        if not check.done():
            return unavailable(f"PAM did not answer in {self._deadline:g} seconds")
        return check.result()

    async def _check_and_count(
        self, slot: contextlib.ExitStack, attempt: Attempt, passwords: tuple[str, ...], address: str
    ) -> Result:
        with slot:
            try:
                result = await self._check(attempt.userid, passwords, address)
            except Exception as error:
                self._log.exception("The check of a password failed")
                return unavailable(f"{type(error).__name__}: {error}")
            if result.account and self._throttle.exhausted(attempt, result.account):
                result = Result("wrong", "too many failures of this account under other spellings")
            if result.outcome == "wrong":
                self._throttle.failed(attempt, result.account)
            elif result.account and result.outcome != "error":
                self._throttle.succeeded(attempt, result.account)
            return result


def _problem(name: str, passwords: tuple[str, ...]) -> str | None:
    """Why PAM need not be asked: no account can have such a name or password."""
    # "surrogatepass": text that is not valid Unicode is answered, not raised.
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
        return "the user id is too long"
    if not name.isprintable() or set(name) & set("/:") or name != name.strip() or name.startswith("-"):
        return "no account has such a name"
    for password in passwords:
        if len(password.encode("utf-8", "surrogatepass")) > LONGEST_PASSWORD:
            return "the password is too long"
        if "\0" in password:  # a C string ends there: the rest would not count
            return "the password has a NUL"
    return None


def _limited(limit: str, seconds: float, userid: str) -> Result:
    retry_after = max(1, math.ceil(seconds))
    whose = {
        "pair": f" for {shown(userid)} from this address",
        "address": " from this address",
        "user": f" for {shown(userid)}",
    }[limit]
    wait = "a second" if retry_after == 1 else f"{retry_after} seconds"
    message = f"Too many failed log-ins{whose}. Try again in {wait}."
    return Result("limited", f"over the limit of the {limit}", message, retry_after)


def shown(name: str) -> str:
    """A typed user id for a page or a log: short, and without anything that cannot be printed."""
    text = "".join(each if each.isprintable() else "?" for each in name[:64])
    return text if len(name) <= 32 else f"{text[:16]}... ({len(name)} characters)"

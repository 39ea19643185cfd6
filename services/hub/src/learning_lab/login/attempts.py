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
from dataclasses import dataclass, replace
from typing import Literal

from .limits import Attempt, Throttle, answer_at
from .pam import Outcome, Verdict
from .slots import Slots

LONGEST_NAME = 256  # bytes; user principal names of Active Directory are the longest in use
LONGEST_PASSWORD = 1_024  # bytes: hashing a long one costs the hub more than it costs the sender


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt.

    Attributes:
        outcome: for the metrics.
        reason: for the log; never a password.
        account: the account's own name, with "ok" only.
        message: for the person; "" with "ok" and "wrong", where JupyterHub has its own words.
        retry_after: seconds until another try makes sense; 0 when waiting does not help.
        decided: seconds from the arrival until this was known; the answer may come later.
    """

    outcome: Literal["ok", "wrong", "limited", "refused", "error"]
    reason: str = ""
    account: str = ""
    message: str = ""
    retry_after: int = 0
    decided: float = 0.0


UNAVAILABLE = Result(
    "error", message="Your password cannot be checked at the moment. Try again in a minute.", retry_after=60
)
_CROWDED = Result(
    "limited",
    "too many at once",
    message="Too many people are logging in at the moment. Try again in 5 seconds.",
    retry_after=5,
)
_RESULTS = {
    Outcome.RIGHT: Result("ok"),
    Outcome.WRONG: Result("wrong"),
    Outcome.BROKEN: UNAVAILABLE,
    Outcome.ACCOUNT_EXPIRED: Result(
        "refused", message="Your account has expired. Ask the people who look after the accounts."
    ),
    Outcome.PASSWORD_EXPIRED: Result(
        "refused", message="Your password has expired. Change it where you usually do, then log in here."
    ),
    Outcome.NOT_PERMITTED: Result(
        "refused", message="Your account may not log in here. Ask the people who look after the accounts."
    ),
}


class Attempts:
    """Runs the attempts.

    Args:
        throttle: the limits.
        slots: hands out slots.
        check: (user id, passwords, address) to a verdict, computed in a thread.
        deadline: seconds to wait for a slot, and then for PAM.
        step: seconds; a late answer goes out after a whole number of them.
        log: for failures of ours.
    """

    def __init__(
        self,
        throttle: Throttle,
        slots: Slots,
        check: Callable[[str, tuple[str, ...], str], asyncio.Future[Verdict]],
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
                return _CROWDED
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
            return replace(UNAVAILABLE, reason="no slot was free in time: every check of a password takes long")
        if not slow and self._throttle.used_up(attempt):  # while it waited
            slot.close()
            return _limited("pair", 1, attempt.userid)
        check = asyncio.create_task(self._check_and_count(slot, attempt, passwords, address))
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)
        await asyncio.wait({check}, timeout=self._deadline)
        if not check.done():
            return replace(UNAVAILABLE, reason=f"PAM did not answer in {self._deadline:g} seconds")
        return check.result()

    async def _check_and_count(
        self, slot: contextlib.ExitStack, attempt: Attempt, passwords: tuple[str, ...], address: str
    ) -> Result:
        with slot:
            try:
                verdict = await self._check(attempt.userid, passwords, address)
            except Exception as error:
                self._log.exception("The check of a password failed")
                return replace(UNAVAILABLE, reason=f"{type(error).__name__}: {error}")
            if verdict.account and self._throttle.exhausted(attempt, verdict.account):
                verdict = Verdict(Outcome.WRONG, "too many failures of this account under other spellings")
            if verdict.outcome is Outcome.WRONG:
                self._throttle.failed(attempt, verdict.account)
            elif verdict.account and verdict.outcome is not Outcome.BROKEN:
                self._throttle.succeeded(attempt, verdict.account)
            result = _RESULTS[verdict.outcome]
            account = verdict.account or "" if result.outcome == "ok" else ""
            return replace(result, reason=verdict.reason or result.reason, account=account)


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
    return Result("limited", f"over the limit of the {limit}", message=message, retry_after=retry_after)


def shown(name: str) -> str:
    """A typed user id for a page or a log: short, and without anything that cannot be printed."""
    text = "".join(each if each.isprintable() else "?" for each in name[:64])
    return text if len(name) <= 32 else f"{text[:16]}... ({len(name)} characters)"

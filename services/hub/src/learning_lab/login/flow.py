"""One attempt to log in, from its arrival to its answer: limits, a thread, PAM, and the time of the answer.

Rules kept here:
- a right password is answered at once. Any other answer goes out at a time that follows from when the attempt came in
  and from the counts (`limits.delay`), so it does not tell how long the check took;
- an attempt runs to its end and counts, also when the browser has gone: going away neither frees a thread early nor
  saves a guesser a failure;
- a user id without account is checked like any other. What is said about an account is said after the right password;
- each answer has a deadline, whatever PAM does; the thread that PAM holds stays counted until PAM has answered.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Literal

from learning_lab.blocking import in_thread

from . import pam
from .limits import Attempt, Throttle, Turn, answer_at
from .pam import Outcome, Verdict
from .slots import Turns

LONGEST_NAME = 256  # bytes; user principal names of Active Directory are the longest in use
LONGEST_PASSWORD = 1_024  # bytes: hashing a long one costs the hub more than it costs the sender
BUSY_SECONDS, BROKEN_SECONDS = 5, 60  # when to try again

_AFTER_RIGHT_PASSWORD = {
    Outcome.ACCOUNT_EXPIRED: "Your account has expired. Ask the people who look after the accounts.",
    Outcome.PASSWORD_EXPIRED: "Your password has expired. Set a new one where you always do, then log in here.",
    Outcome.NOT_PERMITTED: "Your account may not log in here. Ask the people who look after the accounts.",
}
CANNOT_CHECK = "Your password cannot be checked at the moment. Try again in a minute."


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt.

    Attributes:
        outcome: for the metrics.
        reason: for the log; never a password.
        account: the account's own name, with "ok" only.
        message: for the person; "" with "ok" and "wrong", where JupyterHub has its own words.
        retry_after: seconds after which another try is worth it, 0 when that is no matter of time.
        decided: seconds from the arrival until this was known; the answer may come later.
    """

    outcome: Literal["ok", "wrong", "limited", "refused", "error"]
    reason: str = ""
    account: str = ""
    message: str = ""
    retry_after: int = 0
    decided: float = 0.0


class Attempts:
    """Runs the attempts.

    Args:
        throttle: the limits.
        turns: hands out the threads.
        threads: where PAM is called.
        check: (account, passwords, address) to a verdict; called in a thread.
        deadline: seconds to wait for a thread, and then for PAM.
        step: seconds; a late answer goes out at a whole number of them.
        log: where failures of ours are told.
    """

    def __init__(
        self,
        throttle: Throttle,
        turns: Turns,
        threads: concurrent.futures.Executor,
        check: Callable[[str, tuple[str, ...], str], Verdict],
        *,
        deadline: float,
        step: float,
        log: logging.Logger,
    ) -> None:
        self._throttle, self._turns, self._threads, self._check = throttle, turns, threads, check
        self._deadline, self._step, self._log = deadline, step, log
        self._under_way: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks only weakly

    async def ended(self) -> None:
        """Wait until all attempts have ended, those whose browser has gone and those whose PAM is late too."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def run(self, attempt: Attempt, name: str, passwords: tuple[str, ...], address: str) -> Result:
        """Run an attempt and return when its answer is due.

        Args:
            attempt: what the limits see.
            name: the user id as typed.
            passwords: the password, and a one-time password where there is one.
            address: the full address, for PAM and the log.

        Returns:
            The result. Being cancelled ends the waiting, not the attempt.
        """
        return await asyncio.shield(self._task(self._attempt(attempt, name, passwords, address)))

    def _task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _attempt(self, attempt: Attempt, name: str, passwords: tuple[str, ...], address: str) -> Result:
        arrived = time.monotonic()
        if not self._turns.arrive(attempt.address):
            message = f"Too many people are logging in at the moment. Try again in {in_words(BUSY_SECONDS)}."
            return Result("limited", "too many at once", message=message, retry_after=BUSY_SECONDS)
        try:
            decision = self._throttle.decide(attempt)
            due = arrived + decision.wait + self._throttle.delay(attempt)
            if decision.limit:
                result = _limited(decision.limit, decision.retry_after - (due - arrived), name)
            else:
                await asyncio.sleep(decision.wait)
                result = await self._checked(attempt, name, passwords, address, slow=decision.slow)
            now = time.monotonic()
            if result.outcome != "ok":
                await asyncio.sleep(answer_at(due, now, self._step) - now)
            return replace(result, decided=now - arrived)
        finally:
            self._turns.leave(attempt.address)

    async def _checked(
        self, attempt: Attempt, name: str, passwords: tuple[str, ...], address: str, *, slow: bool
    ) -> Result:
        problem = _problem(name, passwords)
        if problem:
            self._throttle.failed(attempt)
            return Result("wrong", problem)
        try:
            turn = await self._turns.take(
                self._throttle.rank(attempt),
                attempt.address,
                lambda: self._throttle.turn(attempt, slow=slow),
                self._deadline,
            )
        except TimeoutError:
            return _broken("no thread was free in time: every check of a password takes long")
        if turn is not Turn.GO:
            return _limited("pair", self._throttle.retry_after(attempt), name)
        work = self._task(self._work(attempt, name, passwords, address))
        await asyncio.wait({work}, timeout=self._deadline)
        if not work.done():
            return _broken(f"PAM did not answer in {self._deadline:g} seconds")
        result: Result = work.result()
        return result

    async def _work(self, attempt: Attempt, name: str, passwords: tuple[str, ...], address: str) -> Result:
        """Check, and count what came of it. It holds the thread until PAM has answered, however late."""
        try:
            account, verdict = await in_thread(self._threads, self._resolved_and_checked, name, passwords, address)
            if verdict.outcome.password_was_right and not account:
                verdict = Verdict(Outcome.WRONG, "PAM takes the password, but there is no such account on this machine")
            if account and self._throttle.exhausted(attempt, account):
                verdict = Verdict(Outcome.WRONG, "too many failures of this account under other spellings")
                account = None
            if verdict.outcome is Outcome.WRONG:
                self._throttle.failed(attempt, account)
            elif verdict.outcome.password_was_right and account:
                self._throttle.succeeded(attempt, account)
            return _result(verdict, account or "")
        except Exception as error:
            self._log.exception("The check of a password failed")
            return _broken(f"{type(error).__name__}: {error}")
        finally:
            self._throttle.finished(attempt)
            self._turns.free(attempt.address)

    def _resolved_and_checked(self, name: str, passwords: tuple[str, ...], address: str) -> tuple[str | None, Verdict]:
        account = pam.account_name(name)
        return account, self._check(account or name, passwords, address)


def _problem(name: str, passwords: tuple[str, ...]) -> str | None:
    """Why PAM need not be asked: no account can have such a name or password."""
    # "surrogatepass": text that is no UTF-8 is answered, not raised.
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


def _result(verdict: Verdict, account: str) -> Result:
    if verdict.outcome is Outcome.RIGHT:
        return Result("ok", account=account)
    if verdict.outcome is Outcome.WRONG:
        return Result("wrong", verdict.reason)
    if verdict.outcome is Outcome.BROKEN:
        return _broken(verdict.reason)
    return Result("refused", verdict.reason, message=_AFTER_RIGHT_PASSWORD[verdict.outcome])


def _broken(reason: str) -> Result:
    return Result("error", reason, message=CANNOT_CHECK, retry_after=BROKEN_SECONDS)


def _limited(limit: str, seconds: float, name: str) -> Result:
    retry_after = max(1, math.ceil(seconds))
    whose = {
        "pair": f" for {shown(name)} from this address",
        "address": " from this address",
        "user": f" for {shown(name)}",
    }[limit]
    message = f"Too many failed log-ins{whose}. Try again in {in_words(retry_after)}."
    return Result("limited", f"over the limit of the {limit}", message=message, retry_after=retry_after)


def in_words(seconds: int) -> str:
    """A time to wait, for a sentence: seconds below a minute, else minutes, rounded up."""
    if seconds <= 1:
        return "a second"
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = math.ceil(seconds / 60)
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def shown(name: str) -> str:
    """A typed user id for a page or a log: short, and without anything that is not printed."""
    text = "".join(each if each.isprintable() else "?" for each in name[:64])
    return text if len(name) <= 32 else f"{text[:16]}... ({len(name)} characters)"

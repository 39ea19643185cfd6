"""Log-ins with real PAM accounts that stay quick while somebody guesses passwords.

JupyterHub's PAMAuthenticator hands every log-in to four threads in order of arrival, and PAM sleeps there after each
wrong password. This one keeps JupyterHub's extension points and settings, but `authenticate` goes through `Attempts`,
and what JupyterHub asks the name service afterwards runs in threads with a deadline.

Rules kept here:
- nobody learns whether an account exists: the words, the status and the timing are the same. What is wrong with an
  account (expired, not allowed) is said only after the right password;
- nothing asks PAM or the name service on the event loop, and every answer has a deadline;
- the hub's name for a person is the account's own, however it was typed;
- log lines name the user id (shortened), the address and the reason; never a password.

JupyterHub's own log-in page shows the text of an HTTPError that `authenticate` raises, with its status and its
`headers` (`LoginHandler.render_template`, `BaseHandler.write_error`), so no handler is needed here.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jupyterhub.auth import PAMAuthenticator
from jupyterhub.utils import maybe_future, url_path_join
from prometheus_client import Counter, Histogram
from tornado import web
from traitlets import Float, Int, TraitError, Unicode, default

from learning_lab.blocking import CallLimit, DaemonThreads, in_thread
from learning_lab.errors import Refused, SettingError
from learning_lab.serving.hub_server import client_address

from . import pam
from .attempts import LONGEST_NAME, Attempts, shown
from .limits import Attempt, Limits, Throttle
from .request_origin import known_browser, network, remember_browser
from .slots import Slots

LOGINS = Counter("learning_lab_logins", "Log-ins by outcome", ["outcome"])
LOGIN_SECONDS = Histogram(
    "learning_lab_login_seconds",
    "Seconds from a log-in's arrival until it was decided; a wrong password is answered later",
    ["outcome"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
)
for _outcome in ("ok", "wrong", "limited", "refused", "error"):  # there from the start, for dashboards
    LOGINS.labels(_outcome)
    LOGIN_SECONDS.labels(_outcome)

_STATUS = {"limited": 429, "refused": 403, "error": 503}
_NOT_ALLOWED = "Your account may not use this lab. Ask the people who run it."


class LabPAMAuthenticator(PAMAuthenticator):  # type: ignore[misc]
    """PAM with limits.

    As with every JupyterHub authenticator, who may come in is an explicit decision: `allow_all`, `allowed_users` or
    `allowed_groups` (Linux groups). Nobody may until one of them is set.

    *Notes*: counts live in this process; they are lost when the hub restarts.
    """

    service = Unicode(
        "learning-lab",
        help="""The PAM service: the file in /etc/pam.d (or /usr/lib/pam.d) that says how passwords are checked. It
        must exist, because PAM silently uses the service `other` for a missing one.""",
    ).tag(config=True)

    pair_failures = Int(
        10,
        min=1,
        help="""Wrong passwords for one user id from one address within `failure_window`. After that, its log-ins from
        there are checked `pair_pace` seconds apart: one waits, others are answered 429 with Retry-After. A successful
        log-in resets the count.""",
    ).tag(config=True)

    pair_pace = Float(
        10.0,
        min=0.1,
        help="""Seconds between two log-ins of a user id from an address where it is over its limit. A right password
        is that slow there, but not refused; guessing is no faster.""",
    ).tag(config=True)

    failure_window = Float(300.0, min=1.0, help="Seconds for which a wrong password counts.").tag(config=True)

    address_failures = Int(
        300,
        min=1,
        help="""Wrong passwords from one address, for all user ids together, within `failure_window`. After that, its
        log-ins queue, `address_pace` seconds apart, except those of user ids that have failed there fewer than three
        times: a person who comes first does not queue behind somebody who guesses. The default lets thirty people
        behind one address (a class) use up their own limits first. Browsers that a person has logged in with before
        do not queue.""",
    ).tag(config=True)

    address_pace = Float(0.2, min=0.0, help="Seconds between log-ins from an address over its limit.").tag(config=True)

    user_failures = Int(
        100,
        min=1,
        help="""Wrong passwords for one user id from all addresses together within `failure_window`. After that, its
        log-ins queue, `user_pace` seconds apart, except from browsers in which this user id has logged in before.""",
    ).tag(config=True)

    user_pace = Float(1.0, min=0.0, help="Seconds between two log-ins of a user id over its limit.").tag(config=True)

    failure_delay = Float(
        1.0,
        min=0.0,
        help="""Seconds from the arrival of a wrong password to its answer. It rises to four times as much with the
        number of failures. No thread waits in the meantime, and a right password is answered at once.""",
    ).tag(config=True)

    executor_threads = Int(
        8,
        help="""Passwords checked at the same time; at most all but one of them from one address. Browsers that a person
        has logged in with before have as many again for themselves. More than there are processors is right: a check
        that waits for a directory service needs none.""",
    ).tag(config=True)

    deadline = Float(
        20.0,
        min=0.1,
        help="Seconds that a log-in may wait for its turn, and that PAM may then take. After that: 503.",
    ).tag(config=True)

    lookup_deadline = Float(5.0, min=0.1, help="Seconds that the name service may take to answer.").tag(config=True)

    attempts_at_once = Int(
        1_000,
        min=4,
        help="""Log-ins under way at the same time, including those that wait for their answer; from one address a
        quarter of them. More are answered 429 at once.""",
    ).tag(config=True)

    remembered = Int(10_000, min=100, help="Pairs, addresses and user ids to remember, of each.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
            self._check_settings()
        except (SettingError, TraitError) as error:
            sys.exit(f"learning-lab: cannot start: {error}")
        limits = Limits(
            window=self.failure_window,
            pair=self.pair_failures,
            pair_pace=self.pair_pace,
            address=self.address_failures,
            address_pace=self.address_pace,
            user=self.user_failures,
            user_pace=self.user_pace,
            delay=self.failure_delay,
            longest_delay=4 * self.failure_delay,
            remembered=self.remembered,
        )
        self._attempts = Attempts(
            Throttle(limits, time.monotonic),
            Slots(self.executor_threads, self.attempts_at_once),
            lambda *asked: in_thread(self.executor, pam.check_password, self.service, *asked, self.encoding),
            deadline=self.deadline,
            step=self.failure_delay,
            log=self.log,
        )
        self._lookups = CallLimit(2 * self.executor_threads)
        self._name_service_hangs_until = 0.0

    def _check_settings(self) -> None:
        problem = pam.service_problem(self.service)
        if problem:
            raise SettingError(f"c.LabPAMAuthenticator.service is {self.service!r}: {problem}")
        if not self.check_account:
            raise SettingError("c.LabPAMAuthenticator.check_account is False: then expired accounts come in")
        if self.open_sessions:
            raise SettingError("c.LabPAMAuthenticator.open_sessions is True: the lab opens no PAM sessions")
        if self.executor_threads < 1:
            raise SettingError(f"c.LabPAMAuthenticator.executor_threads is {self.executor_threads}: give 1 or more")
        if os.geteuid() != 0 and not os.access("/etc/shadow", os.R_OK):
            self.log.warning("The hub is not root: with local accounts PAM can check only the hub's own password")

    @default("executor")
    def _default_executor(self) -> DaemonThreads:
        return DaemonThreads()

    async def authenticate(self, handler: web.RequestHandler | None, data: dict[str, str]) -> dict[str, Any] | None:
        """Check a user id and a password.

        Args:
            handler: of the request.
            data: the form: `username`, `password`, and `otp` where one is asked for.

        Returns:
            The account's own name and the address, or None for a wrong password: JupyterHub has the words for it.

        Raises:
            Refused: 400 for an empty form, 403 for an account that may not come in (after the right password), 429 for
                too many failures, 503 when PAM does not answer.
        """
        name, password = data.get("username", ""), data.get("password", "")
        if not name or not password:
            raise Refused(400, "Type your user id and your password.")
        passwords = (password, data["otp"]) if "otp" in data else (password,)
        address = client_address(handler)
        attempt = Attempt(name[: LONGEST_NAME + 1], network(address), known_browser(handler, name))
        result = await self._attempts.run(attempt, passwords, address)
        if result.outcome == "ok":
            # Counted when JupyterHub has let the account in, too: `run_post_auth_hook`.
            return {"name": result.account, "address": address, "decided": result.decided}
        self._tell(result, name, address)
        if result.outcome == "wrong":
            return None
        raise Refused(_STATUS[result.outcome], result.message, result.retry_after)

    def normalize_username(self, username: str) -> str:
        """Keep the name: `authenticate` gives the account's own, which may have capitals.

        JupyterHub calls this on the event loop, so it must not ask the name service (`pam_normalize_username` does).
        """
        name: str = self.username_map.get(username, username)
        return name

    async def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Whether the account is not blocked.

        Raises:
            Refused: 403, it is, and the password was right.
        """
        unblocked = await maybe_future(super().check_blocked_users(username, authentication))
        return self._permitted(unblocked, username, authentication)

    async def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Whether the account may come in, by `allowed_users` or `allowed_groups`.

        Raises:
            Refused: 403, it may not, and the password was right; 503, the name service does not answer.
        """
        check = functools.partial(super().check_allowed, username, authentication)

        async def allowed() -> object:
            return await maybe_future(await in_thread(self.executor, check))

        return self._permitted(await self._looked_up(allowed, username, authentication), username, authentication)

    async def is_admin(self, handler: web.RequestHandler | None, authentication: dict[str, Any]) -> bool | None:
        """Whether the account is an admin, by `admin_users` or `admin_groups`; None leaves it as it is.

        Raises:
            Refused: 503, the name service does not answer.
        """
        if not self.admin_groups:
            return True if authentication["name"] in self.admin_users else None
        check = functools.partial(super().is_admin, handler, authentication)  # runs in `executor` and gives a future
        admin: bool | None = await self._looked_up(check, authentication["name"], authentication)
        return admin

    async def run_post_auth_hook(
        self, handler: web.RequestHandler | None, auth_model: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Run the site's hook; then the log-in is complete: count it, and remember the browser."""
        decided = auth_model.get("decided", 0.0)
        model: dict[str, Any] | None = await super().run_post_auth_hook(handler, auth_model)
        if model:
            LOGINS.labels("ok").inc()
            LOGIN_SECONDS.labels("ok").observe(decided)
            hub = getattr(handler, "hub", None)
            remember_browser(handler, model["name"], url_path_join(getattr(hub, "base_url", "/"), "login"))
        return model

    async def system_user_exists(self, user: Any) -> bool:
        """Whether there is an account of exactly this name. JupyterHub asks when a user is new, and for all at start.

        If the name service does not answer, this is True: the person has just logged in, or has been here before, and
        a hub must be able to start without it. It is then not asked again for a minute.
        """
        if time.monotonic() < self._name_service_hangs_until:
            return True
        try:
            account = await self._lookups.call(
                lambda: in_thread(self.executor, pam.account_name, user.name), self.lookup_deadline
            )
        except TimeoutError:
            self._name_service_hangs_until = time.monotonic() + 60
            self.log.error("The name service does not answer; for a minute, users are assumed to exist")
            return True
        return bool(account == user.name)

    def pre_spawn_start(self, user: Any, spawner: Any) -> Any:
        """Open a PAM session where the site wants them. JupyterHub would take a thread to find that it does not."""
        return super().pre_spawn_start(user, spawner) if self.open_sessions else None

    def post_spawn_stop(self, user: Any, spawner: Any) -> Any:
        """Close it."""
        return super().post_spawn_stop(user, spawner) if self.open_sessions else None

    async def _looked_up(
        self, start: Callable[[], Awaitable[Any]], username: str, authentication: dict[str, Any] | None
    ) -> Any:
        try:
            return await self._lookups.call(start, self.lookup_deadline)
        except TimeoutError:
            result = pam.unavailable("the name service does not answer")
        self._tell(result, username, (authentication or {}).get("address", ""))
        raise Refused(503, result.message, result.retry_after)

    def _permitted(self, permitted: object, username: str, authentication: dict[str, Any] | None) -> bool:
        # Only True is a yes: if a later JupyterHub answers with something else that is truthy, nobody comes in by it.
        if permitted is True:
            return True
        self._tell(pam.Result("refused", "not allowed"), username, (authentication or {}).get("address", ""))
        raise Refused(403, _NOT_ALLOWED)

    def _tell(self, result: pam.Result, name: str, address: str) -> None:
        """Count an attempt that does not get in, and log it."""
        LOGINS.labels(result.outcome).inc()
        LOGIN_SECONDS.labels(result.outcome).observe(result.decided)
        level = logging.ERROR if result.outcome == "error" else logging.WARNING
        line = "Log-in of %r from %s: %s (%s)"
        self.log.log(level, line, shown(name), address or "an unknown address", result.outcome, result.reason)

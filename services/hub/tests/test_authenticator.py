"""Log-ins through real PAM, with the emulated accounts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from jupyterhub.auth import PAMAuthenticator
from prometheus_client import REGISTRY
from tornado import httputil, web
from traitlets.config import Config

from learning_lab.errors import Refused
from learning_lab.login import pam
from learning_lab.login.authenticator import LabPAMAuthenticator
from learning_lab.login.pam import Outcome

pytestmark = pytest.mark.usefixtures("in_sandbox")

QUICK = 0.05  # seconds after which a wrong password is answered in most tests
SECRET = "cookie secret of a test" * 2

Make = Callable[..., LabPAMAuthenticator]


class Context:
    def __init__(self, address: str) -> None:
        self.address = (address, 50_000)
        self.remote_ip = address
        self.protocol = "http"


class Connection:
    """The part of a connection that a request handler touches before it answers."""

    def __init__(self, address: str) -> None:
        self.context = Context(address)

    def set_close_callback(self, callback: object) -> None:
        pass


class Hub:
    base_url = "/hub/"


def a_request(address: str = "192.0.2.1", **headers: str) -> web.RequestHandler:
    request = httputil.HTTPServerRequest(
        start_line=httputil.RequestStartLine("POST", "/hub/login", "HTTP/1.1"),
        headers=httputil.HTTPHeaders({"Host": "127.0.0.1:8000", **headers}),
        connection=cast(httputil.HTTPConnection, Connection(address)),
    )
    handler = web.RequestHandler(web.Application(cookie_secret=SECRET), request)
    handler.hub = Hub()  # type: ignore[attr-defined]  # as JupyterHub's handlers have it
    return handler


@pytest.fixture
def make() -> Make:
    def make(**settings: Any) -> LabPAMAuthenticator:
        return LabPAMAuthenticator(config=Config(LabPAMAuthenticator={"failure_delay": QUICK, **settings}))

    return make


@pytest.fixture
def service() -> Iterator[Callable[[str, str], str]]:
    """Write a PAM service into the sandbox's /etc/pam.d."""
    written: list[Path] = []

    def write(name: str, text: str) -> str:
        file = Path("/etc/pam.d") / name
        written.append(file)
        file.write_text(text)
        return name

    yield write
    for file in written:
        file.unlink()


@pytest.fixture
def alias() -> Iterator[str]:
    """A second spelling of alice's account, as a name service has them."""
    passwd = Path("/etc/passwd")
    before = passwd.read_text()
    line = next(line for line in before.splitlines() if line.startswith("alice:"))
    passwd.write_text(before + line.replace("alice:", "LAB\\alice:", 1) + "\n")
    yield r"LAB\alice"
    passwd.write_text(before)


async def try_to(
    authenticator: LabPAMAuthenticator, userid: str, password: str, address: str = "192.0.2.1"
) -> str | int | None:
    """Log in. The account's name, None for a wrong password, or the status of a refusal."""
    try:
        done = await authenticator.authenticate(a_request(address), {"username": userid, "password": password})
    except Refused as refused:
        return int(refused.status_code)
    return str(done["name"]) if done else None


async def is_limited(authenticator: LabPAMAuthenticator, userid: str, address: str = "192.0.2.1") -> bool:
    """Whether a user id is over its limit: then one attempt waits for its place, and another one is refused."""
    waits = asyncio.create_task(try_to(authenticator, userid, "wrong", address))
    await asyncio.sleep(0)
    try:
        return await try_to(authenticator, userid, "wrong", address) == 429
    finally:
        waits.cancel()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("learning_lab_logins_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    ("userid", "password", "came"),
    [
        pytest.param("alice", "pass1", "alice", id="the right password"),
        pytest.param("Alice", "pass1", "alice", id="a capital, as telephones begin words"),
        pytest.param("alice", "pass2", None, id="somebody else's password"),
        pytest.param("alice", "pass1 ", None, id="a space after the password"),
        pytest.param("alice", "pass1\0", None, id="a NUL after the password, where C would stop reading"),
        pytest.param("alice", "x" * 1_025, None, id="a password that is too long to be hashed"),
        pytest.param("alice", "\ud800", None, id="a password that is no UTF-8"),
        pytest.param("nobody-of-this-name", "pass1", None, id="no such account"),
        pytest.param("alice\0", "pass1", None, id="a NUL in the user id"),
        pytest.param("alice/../bob", "pass2", None, id="a path for a user id"),
        pytest.param("-alice", "pass1", None, id="an option for a user id"),
        pytest.param("a" * 257, "pass1", None, id="a user id that is too long"),
        pytest.param("\u202ealice", "pass1", None, id="a user id that is written from the right"),
        pytest.param("erik", "pass5", None, id="a locked password"),
        pytest.param("dora", "wrong", None, id="a wrong password for an expired account"),
        pytest.param("dora", "pass4", 403, id="the right password for an expired account"),
        pytest.param("", "pass1", 400, id="no user id"),
        pytest.param("alice", "", 400, id="no password"),
    ],
)
async def test_who_comes_in(make: Make, userid: str, password: str, came: str | int | None) -> None:
    assert await try_to(make(), userid, password) == came


async def test_a_form_without_fields_is_told_what_to_type(make: Make) -> None:
    with pytest.raises(Refused, match="Type your user id and your password") as refused:
        await make().authenticate(a_request(), {})
    assert refused.value.status_code == 400


async def test_an_expired_account_is_told_so_after_the_right_password_only(make: Make) -> None:
    authenticator = make()
    assert await authenticator.authenticate(a_request(), {"username": "dora", "password": "x"}) is None
    with pytest.raises(Refused, match="Your account has expired"):
        await authenticator.authenticate(a_request(), {"username": "dora", "password": "pass4"})


async def test_after_ten_wrong_passwords_one_attempt_waits_and_the_others_are_refused(make: Make) -> None:
    authenticator = make(failure_delay=0.01, pair_pace=1.5)
    assert [await try_to(authenticator, "alice", "wrong") for _ in range(10)] == [None] * 10
    before = time.monotonic()
    waits = asyncio.create_task(try_to(authenticator, "alice", "pass1"))
    await asyncio.sleep(0.1)
    with pytest.raises(Refused) as refused:
        await authenticator.authenticate(a_request(), {"username": "alice", "password": "pass1"})
    message = refused.value.jupyterhub_message
    assert message == "Too many failed log-ins for alice from this address. Try again in 2 seconds."
    assert refused.value.headers["Retry-After"] == "2"
    assert await try_to(authenticator, "bob", "pass2") == "bob"
    assert await try_to(authenticator, "alice", "pass1", "192.0.2.2") == "alice"
    assert await waits == "alice"
    assert time.monotonic() - before == pytest.approx(1.5, abs=0.5)


async def test_a_right_password_is_let_in_slowly_where_others_have_used_up_an_accounts_spellings(
    make: Make, alias: str
) -> None:
    authenticator = make(pair_failures=4, failure_delay=0.01, pair_pace=1.0)
    for _ in range(4):
        assert await try_to(authenticator, alias, "wrong") is None
    assert await try_to(authenticator, "alice", "pass1") is None, "or two spellings were twice as many guesses"
    await asyncio.sleep(0.6)
    assert await try_to(authenticator, "alice", "pass1") == "alice"


async def test_a_user_id_that_is_no_account_is_limited_with_the_same_words(make: Make) -> None:
    authenticator = make(pair_failures=2, failure_delay=0.01)
    told = []
    for userid in ("alice", "nobody-of-this-name"):
        assert [await try_to(authenticator, userid, "wrong") for _ in range(2)] == [None, None]
        waits = asyncio.create_task(try_to(authenticator, userid, "wrong"))
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await authenticator.authenticate(a_request(), {"username": userid, "password": "wrong"})
        waits.cancel()
        told.append(refused.value.jupyterhub_message.replace(userid, "..."))
    assert told[0] == told[1]


async def test_a_success_clears_the_count(make: Make) -> None:
    authenticator = make(pair_failures=3, failure_delay=0.01)
    for _ in range(3):
        assert [await try_to(authenticator, "alice", "wrong") for _ in range(2)] == [None, None]
        assert await try_to(authenticator, "alice", "pass1") == "alice"


@pytest.mark.parametrize(
    "userid", [pytest.param("alice", id="an account"), pytest.param("nobody-of-this-name", id="none")]
)
async def test_a_wrong_password_is_answered_on_schedule_whether_the_account_exists_or_not(
    make: Make, userid: str
) -> None:
    authenticator = make(failure_delay=0.4)
    took = []
    for _ in range(4):
        before = time.monotonic()
        assert await try_to(authenticator, userid, "wrong") is None
        took.append(time.monotonic() - before)
    # Three at the first delay, then one at the second: whole steps, not how long PAM took.
    assert [int(seconds / 0.4) for seconds in took] == [1, 1, 1, 2]


async def test_a_right_password_is_answered_at_once(make: Make) -> None:
    authenticator = make(failure_delay=3.0)
    before = time.monotonic()
    assert await try_to(authenticator, "alice", "pass1") == "alice"
    assert time.monotonic() - before < 1


async def test_going_away_saves_nobody_a_failure_and_loses_no_thread(make: Make) -> None:
    authenticator = make(pair_failures=5, executor_threads=2)
    tasks = [asyncio.create_task(try_to(authenticator, "alice", "wrong")) for _ in range(12)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    attempts = authenticator._attempts
    await attempts.ended()
    assert attempts._turns.under_way == attempts._turns.waiting == 0
    assert await is_limited(authenticator, "alice")
    assert await try_to(authenticator, "bob", "pass2") == "bob"


async def test_passwords_sent_at_the_same_time_do_not_get_past_the_limit(make: Make) -> None:
    authenticator = make(pair_failures=3, failure_delay=0.01)
    came = await asyncio.gather(*(try_to(authenticator, "alice", "wrong") for _ in range(20)))
    assert came.count(None) == 3
    assert came.count(429) == 17


async def test_libpam_does_not_sleep_whatever_the_service_says(make: Make, service: Callable[[str, str], str]) -> None:
    name = service(
        "learning-lab-slow",
        "auth optional pam_faildelay.so delay=3000000\nauth required pam_unix.so\naccount required pam_unix.so\n",
    )
    authenticator = make(service=name)
    before = time.monotonic()
    assert await try_to(authenticator, "alice", "wrong") is None
    assert time.monotonic() - before < 1.5


async def test_a_pam_that_hangs_is_answered_503_and_holds_its_thread_until_it_ends(
    make: Make, service: Callable[[str, str], str]
) -> None:
    name = service(
        "learning-lab-hangs",
        "auth required pam_exec.so quiet /bin/sleep 1\nauth required pam_unix.so\naccount required pam_unix.so\n",
    )
    authenticator = make(service=name, deadline=0.2, executor_threads=1)
    with pytest.raises(Refused, match="cannot be checked at the moment") as refused:
        await authenticator.authenticate(a_request(), {"username": "alice", "password": "pass1"})
    assert refused.value.status_code == 503
    assert refused.value.headers["Retry-After"]
    assert await try_to(authenticator, "bob", "pass2") == 503  # no thread is free
    await authenticator._attempts.ended()
    authenticator._attempts._deadline = 5
    assert await try_to(authenticator, "bob", "pass2") == "bob"


async def test_other_spellings_of_an_account_come_in_under_its_own_name_and_share_its_limit(
    make: Make, alias: str
) -> None:
    authenticator = make(pair_failures=4, failure_delay=0.01)
    assert await try_to(authenticator, alias, "pass1") == "alice"
    for spelling in (alias, "alice") * 2:
        assert await try_to(authenticator, spelling, "wrong") is None
    assert await try_to(authenticator, alias, "pass1") is None
    assert await try_to(authenticator, alias, "pass1", "192.0.2.2") == "alice"


async def test_a_browser_that_she_has_used_is_not_locked_by_failures_of_others(make: Make) -> None:
    authenticator = make(pair_failures=2, failure_delay=0.01, allow_all=True)
    first = a_request()
    form = {"username": "alice", "password": "pass1"}
    assert await authenticator.get_authenticated_user(first, form)
    cookie = first._new_cookie["learning-lab-browser"]
    assert cookie["path"] == "/hub/login"
    assert cookie["httponly"]
    assert [await try_to(authenticator, "alice", "wrong") for _ in range(2)] == [None, None]
    assert await is_limited(authenticator, "alice")
    hers = a_request(Cookie=f"learning-lab-browser={cookie.value}")
    assert (await authenticator.authenticate(hers, form) or {})["name"] == "alice"
    forged = a_request(Cookie="learning-lab-browser=2|1:0|10:1|20:learning-lab-browser|8:YTphbGljZQ==|00")
    with pytest.raises(Refused):
        await authenticator.authenticate(forged, form)


async def test_the_address_is_not_what_the_browser_says_it_is(make: Make) -> None:
    authenticator = make(pair_failures=2, failure_delay=0.01)
    form = {"username": "alice", "password": "wrong"}
    for number in range(2):
        made_up = {"X-Real-Ip": f"10.0.0.{number}", "X-Forwarded-For": f"10.0.0.{number}, 192.0.2.1"}
        assert await authenticator.authenticate(a_request("127.0.0.1", **made_up), form) is None
    assert await is_limited(authenticator, "alice", "127.0.0.1")


@pytest.mark.parametrize(
    ("userid", "password", "allowed"),
    [
        pytest.param("alice", "pass1", True, id="a member of the group"),
        pytest.param("carol", "pass3", False, id="an account outside it"),
    ],
)
async def test_a_group_decides_who_may_come_in(make: Make, userid: str, password: str, allowed: bool) -> None:
    authenticator = make(allowed_groups={"shared"})
    form = {"username": userid, "password": password}
    if allowed:
        user = await authenticator.get_authenticated_user(a_request(), form)
        assert user["name"] == userid
    else:
        with pytest.raises(Refused, match="may not use this lab"):
            await authenticator.get_authenticated_user(a_request(), form)
        assert await authenticator.get_authenticated_user(a_request(), {**form, "password": "wrong"}) is None


async def test_blocked_users_stay_out_and_groups_make_admins(make: Make) -> None:
    authenticator = make(allow_all=True, blocked_users={"carol"}, admin_groups={"shared"})
    alice = await authenticator.get_authenticated_user(a_request(), {"username": "alice", "password": "pass1"})
    assert alice["admin"] is True
    with pytest.raises(Refused):
        await authenticator.get_authenticated_user(a_request(), {"username": "carol", "password": "pass3"})


async def test_nobody_may_come_in_until_somebody_has_decided_who(make: Make) -> None:
    with pytest.raises(Refused, match="may not use this lab"):
        await make().get_authenticated_user(a_request(), {"username": "alice", "password": "pass1"})


@pytest.mark.parametrize("name", ["check_allowed", "check_blocked_users"])
@pytest.mark.parametrize("answer", [False, None, "yes", 1], ids=repr)
async def test_a_later_jupyterhub_whose_checks_are_awaited_lets_in_nobody_but_by_true(
    make: Make, monkeypatch: pytest.MonkeyPatch, name: str, answer: object
) -> None:
    async def later(*_: object) -> object:
        return answer

    monkeypatch.setattr(PAMAuthenticator, name, later)
    with pytest.raises(Refused, match="may not use this lab"):
        await make(allowed_users={"alice"}).get_authenticated_user(
            a_request(), {"username": "alice", "password": "pass1"}
        )


class HangingGroups(LabPAMAuthenticator):
    """The group database does not answer, as with a directory service that is down."""

    @staticmethod
    def _getgrnam(name: str) -> Any:
        time.sleep(0.6)


async def test_a_group_database_that_hangs_refuses_at_its_deadline_and_holds_up_nobody() -> None:
    settings = {"allowed_groups": {"shared"}, "admin_groups": {"shared"}, "lookup_deadline": 0.1}
    authenticator = HangingGroups(config=Config(LabPAMAuthenticator=settings))
    before = time.monotonic()
    for asked in (authenticator.check_allowed("alice"), authenticator.is_admin(None, {"name": "alice"})):
        with pytest.raises(Refused) as refused:
            await asked
        assert refused.value.status_code == 503
    assert time.monotonic() - before < 0.5


async def test_a_user_exists_when_there_is_an_account_of_exactly_this_name(make: Make) -> None:
    authenticator = make()

    class User:
        def __init__(self, name: str) -> None:
            self.name = name

    found = {name: await authenticator.system_user_exists(User(name)) for name in ("alice", "Alice", "nobody-there")}
    assert found == {"alice": True, "Alice": False, "nobody-there": False}


async def test_every_log_in_is_counted_once_and_told_without_its_password(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    authenticator = make(allow_all=True, pair_failures=1, failure_delay=0.01, pair_pace=0.2)
    log = logging.Logger("test")
    log.addHandler(caplog.handler)
    authenticator.log = authenticator._attempts._log = log
    before = {outcome: counted(outcome) for outcome in ("ok", "wrong", "limited", "refused", "error")}
    await authenticator.get_authenticated_user(a_request(), {"username": "alice", "password": "pass1"})
    for userid, password in (("dora", "pass4"), ("x" * 90 + "\n", "geheim"), ("bob", "geheim")):
        await try_to(authenticator, userid, password)
    await asyncio.gather(*(try_to(authenticator, "bob", "geheim") for _ in range(2)))
    after = {outcome: counted(outcome) - count for outcome, count in before.items()}
    assert after == {"ok": 1, "wrong": 3, "limited": 1, "refused": 1, "error": 0}
    assert "geheim" not in caplog.text
    assert "pass" not in caplog.text.replace("password", "")
    assert "x" * 40 not in caplog.text
    assert "'bob' from 192.0.2.1: wrong (PAM error 7: Authentication failure)" in caplog.text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({"service": "no-such-service"}, "c.LabPAMAuthenticator.service", id="no such service"),
        pytest.param({"service": "Learning-Lab"}, "c.LabPAMAuthenticator.service", id="capitals in the service"),
        pytest.param({"service": "../passwd"}, "c.LabPAMAuthenticator.service", id="a path for a service"),
        pytest.param({"service": ""}, "c.LabPAMAuthenticator.service", id="no service"),
        pytest.param({"check_account": False}, "c.LabPAMAuthenticator.check_account", id="no account check"),
        pytest.param({"open_sessions": True}, "c.LabPAMAuthenticator.open_sessions", id="PAM sessions"),
        pytest.param({"executor_threads": 0}, "c.LabPAMAuthenticator.executor_threads", id="no threads"),
        pytest.param({"pair_failures": 0}, "pair_failures", id="a limit of nothing"),
        pytest.param({"failure_window": "long"}, "failure_window", id="a text for a number"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(make: Make, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        make(**settings)
    line = str(stopped.value)
    assert line.startswith("learning-lab: cannot start:")
    assert told in line
    assert "\n" not in line


def test_a_service_without_an_account_check_is_told(service: Callable[[str, str], str]) -> None:
    name = service("learning-lab-half", "# nothing here\nauth required pam_unix.so\n")
    assert "no line for 'account'" in (pam.service_problem(name) or "")


def test_an_account_with_an_empty_password_is_refused_also_with_nullok(service: Callable[[str, str], str]) -> None:
    name = service("learning-lab-nullok", "auth required pam_unix.so nullok\naccount required pam_unix.so\n")
    passwd, shadow = Path("/etc/passwd"), Path("/etc/shadow")
    before = passwd.read_text(), shadow.read_text()
    passwd.write_text(before[0] + "empty:x:10900:10900::/:/bin/sh\n")
    shadow.write_text(before[1] + "empty::20000:0:99999:7:::\n")
    try:
        assert pam.check_password(name, "empty", ("anything",), "").outcome is Outcome.WRONG
    finally:
        passwd.write_text(before[0])
        shadow.write_text(before[1])

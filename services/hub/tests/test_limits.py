"""The limits, on a clock that only the test moves."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from learning_lab.login.limits import Attempt, Decision, Limit, Limits, Throttle, answer_at

LIMITS = Limits()


class Clock:
    """Tells the time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(LIMITS, clock)


def fail(throttle: Throttle, times: int, userid: str = "alice", address: str = "192.0.2.1", browser: str = "") -> None:
    for _ in range(times):
        throttle.failed(Attempt(userid, address, browser))


ALICE = Attempt("alice", "192.0.2.1")


@pytest.mark.parametrize(
    ("failures", "attempt", "slow"),
    [
        pytest.param(9, ALICE, False, id="nine failures leave one more try"),
        pytest.param(10, ALICE, True, id="ten failures are the limit"),
        pytest.param(10, Attempt("ALICE", "192.0.2.1"), True, id="capitals do not make another user id"),
        pytest.param(10, Attempt("bob", "192.0.2.1"), False, id="another person behind the same address goes on"),
        pytest.param(10, Attempt("alice", "192.0.2.2"), False, id="the same person at another address goes on"),
        pytest.param(10, replace(ALICE, browser="b1"), False, id="her own browser behind the same address goes on"),
    ],
)
def test_ten_failures_slow_one_user_id_down_at_one_address(
    throttle: Throttle, failures: int, attempt: Attempt, slow: bool
) -> None:
    fail(throttle, failures)
    assert throttle.decide(attempt) == Decision(None, 0, LIMITS.pair_pace if slow else 0, slow)


def test_over_the_limit_one_waits_and_the_others_are_told_when_to_try_again(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 10)
    assert throttle.decide(ALICE).slow
    clock.now += 4
    assert throttle.decide(ALICE) == Decision("pair", LIMITS.pair_pace - 4)
    clock.now += LIMITS.pair_pace - 4
    assert throttle.decide(ALICE) == Decision(wait=LIMITS.pair_pace, slow=True)


def test_guessing_over_the_limit_goes_on_at_its_pace_and_no_quicker(throttle: Throttle, clock: Clock) -> None:
    fail(throttle, 10)
    began, checked = clock.now, []
    for _ in range(6_000):  # ten a second, for ten minutes
        decision = throttle.decide(ALICE)
        if decision.limit is None:
            checked.append(clock.now + decision.wait)
            fail(throttle, 1)
        clock.now += 0.1
    assert len(checked) == pytest.approx((clock.now - began) / LIMITS.pair_pace, abs=2)
    spaces = [later - earlier for earlier, later in itertools.pairwise(checked)]
    assert min(spaces) >= LIMITS.pair_pace - 1e-6


@given(st.floats(0, 1e6), st.floats(0.1, 60))
def test_the_first_over_the_limit_always_has_its_place(now: float, pace: float) -> None:
    clock = Clock()
    clock.now = now
    limit = Limit(1, pace, pace, 300.0, 10, clock)
    limit.failed("alice")
    assert not limit.is_full("alice")
    assert limit.take_place("alice") == pytest.approx(pace)
    assert limit.is_full("alice")


def test_until_the_window_is_over_everything_is_slow(throttle: Throttle, clock: Clock) -> None:
    for number in range(30):
        fail(throttle, 10, f"u{number}")
    for number in range(100):
        fail(throttle, 1, "bob", address=f"198.51.100.{number}")
    fail(throttle, 10)
    clock.now += LIMITS.window - 0.5
    assert throttle.decide(ALICE).slow
    guess = guesser(throttle, "g")
    assert [throttle.decide(guess).wait for _ in range(2)] == pytest.approx(
        [LIMITS.address_pace, 2 * LIMITS.address_pace]
    )
    bobs = Attempt("bob", "203.0.113.9")
    assert [throttle.decide(bobs).wait for _ in range(2)] == pytest.approx([0, LIMITS.user_pace])


@pytest.mark.parametrize("later", [0, 1, LIMITS.window])
def test_after_the_window_nothing_is_slow(throttle: Throttle, clock: Clock, later: float) -> None:
    fail(throttle, 10)
    clock.now += LIMITS.window + later
    assert throttle.decide(ALICE) == Decision()


def test_an_attempt_that_waited_for_others_of_its_pair_sees_that_they_have_used_up_the_limit(
    throttle: Throttle,
) -> None:
    fail(throttle, 9)
    assert throttle.decide(ALICE) == Decision()
    assert not throttle.used_up(ALICE)
    fail(throttle, 1)
    assert throttle.used_up(ALICE)
    assert not throttle.used_up(replace(ALICE, browser="b1"))


def test_a_success_counts_from_nothing_again(throttle: Throttle) -> None:
    fail(throttle, 9)
    throttle.succeeded(ALICE, "alice")
    fail(throttle, 9)
    assert throttle.decide(ALICE) == Decision()
    fail(throttle, 1)
    assert throttle.decide(ALICE).wait == LIMITS.pair_pace
    throttle.succeeded(ALICE, "alice")
    fail(throttle, 10)
    assert throttle.decide(ALICE).wait == LIMITS.pair_pace, "another time begins anew"


def test_a_known_browser_has_a_limit_of_its_own(throttle: Throttle) -> None:
    known = replace(ALICE, browser="b1")
    fail(throttle, 10, browser="b1")
    assert throttle.decide(known).slow
    assert throttle.decide(ALICE) == Decision()


def guesser(throttle: Throttle, name: str, failures: int = LIMITS.first) -> Attempt:
    """One that has failed as often as makes it queue for its address."""
    fail(throttle, failures, name)
    return Attempt(name, "192.0.2.1")


def test_thirty_people_behind_one_address_use_up_their_own_limits_before_the_address_queues(throttle: Throttle) -> None:
    for number in range(29):
        fail(throttle, 10, f"u{number}")
    assert throttle.decide(guesser(throttle, "g0")).wait == 0
    fail(throttle, 10, "u29")
    waits = [throttle.decide(guesser(throttle, f"g{number}", 2 + number)).wait for number in range(1, 4)]
    assert waits == pytest.approx([0.2, 0.4, 0.6])


def test_an_address_over_its_limit_queues_and_says_when_the_queue_is_too_long(throttle: Throttle, clock: Clock) -> None:
    for number in range(30):
        fail(throttle, 10, f"u{number}")
    decisions = [throttle.decide(guesser(throttle, f"g{number}")) for number in range(110)]
    assert max(decision.wait for decision in decisions) <= LIMITS.longest_wait
    assert decisions[-1].limit == "address"
    assert decisions[-1].retry_after == LIMITS.longest_wait
    assert throttle.decide(Attempt("g1", "192.0.2.2")).wait == 0
    assert throttle.decide(Attempt("g1", "192.0.2.1", "b1")).wait == 0
    clock.now += LIMITS.longest_wait + 1
    assert throttle.decide(guesser(throttle, "late")).wait < 1


@pytest.mark.parametrize("failures", [0, 2], ids=["comes first", "has mistyped twice"])
def test_a_person_does_not_queue_behind_those_who_guess_at_the_same_address(throttle: Throttle, failures: int) -> None:
    for number in range(30):
        fail(throttle, 10, f"u{number}")
    for number in range(110):
        throttle.decide(guesser(throttle, f"g{number}"))
    fail(throttle, failures, "carol")
    assert throttle.decide(Attempt("carol", "192.0.2.1")) == Decision()


def test_guessing_one_user_id_from_many_addresses_is_slowed_and_locks_nobody_out(throttle: Throttle) -> None:
    for number in range(200):
        fail(throttle, 1, address=f"198.51.100.{number}")
    waits = [throttle.decide(Attempt("alice", f"203.0.113.{number}")).wait for number in range(3)]
    assert waits == pytest.approx([1, 2, 3])
    assert throttle.decide(Attempt("alice", "203.0.113.9", "her browser")).wait == 0
    assert throttle.decide(Attempt("bob", "203.0.113.9")).wait == 0


def test_other_spellings_of_an_account_are_counted_with_it(throttle: Throttle, clock: Clock) -> None:
    for spelling in ("alice", r"LAB\alice"):
        for _ in range(5):
            assert not throttle.exhausted(Attempt(spelling, "192.0.2.1"), "alice")
            throttle.failed(Attempt(spelling, "192.0.2.1"), "alice")
    third = Attempt("alice@lab", "192.0.2.1")
    assert throttle.exhausted(third, "alice")
    assert not throttle.exhausted(replace(third, browser="b1"), "alice"), "her own browser has a count of its own"
    assert throttle.decide(third).limit is None, "429 would tell that both user ids are one account"
    assert not throttle.exhausted(Attempt("alice@lab", "192.0.2.2"), "alice")
    clock.now += LIMITS.pair_pace / 2
    assert not throttle.exhausted(third, "alice"), "one is left, at a pace"
    clock.now += 1
    assert not throttle.exhausted(third, "alice"), "and stays so until it is used"
    throttle.failed(third, "alice")
    assert throttle.exhausted(third, "alice")
    throttle.succeeded(Attempt(r"LAB\alice", "192.0.2.1"), "alice")
    assert not throttle.exhausted(third, "alice")


def test_the_delay_of_a_wrong_answer_rises_and_stops_rising(throttle: Throttle) -> None:
    delays = []
    for _ in range(20):
        delays.append(throttle.delay(ALICE))
        fail(throttle, 1)
    assert delays == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 11
    assert delays[-1] == LIMITS.longest_delay


@pytest.mark.parametrize(("failures", "delay"), [(24, 1), (25, 2), (49, 2), (50, 3), (75, 4), (150, 4)])
def test_the_delay_rises_with_the_failures_of_a_user_id_at_all_addresses(
    throttle: Throttle, failures: int, delay: float
) -> None:
    for number in range(failures):
        fail(throttle, 1, address=f"198.51.100.{number}")
    assert throttle.delay(ALICE) == delay
    assert throttle.delay(replace(ALICE, userid="Alice")) == delay
    assert throttle.delay(replace(ALICE, browser="b1")) == 1
    assert throttle.delay(replace(ALICE, userid="bob")) == 1


@pytest.mark.parametrize(
    ("due", "now", "step", "at"),
    [
        pytest.param(1.0, 0.2, 1.0, 1.0, id="known early, answered when due"),
        pytest.param(1.0, 1.2, 1.0, 2.0, id="known late, answered a whole step later"),
        pytest.param(1.0, 4.0, 1.0, 4.0, id="known at a whole step, answered then"),
        pytest.param(1.0, 4.2, 1.5, 5.5, id="known after two steps, answered after three"),
        pytest.param(1.0, 1.2, 0.0, 1.2, id="no step, answered when known"),
    ],
)
def test_an_answer_goes_out_on_its_schedule(due: float, now: float, step: float, at: float) -> None:
    assert answer_at(due, now, step) == pytest.approx(at)


times = st.floats(0, 1e6, allow_nan=False)


@given(due=times, now=times, step=st.floats(0.1, 10))
def test_an_answer_is_never_early_and_at_most_one_step_late(due: float, now: float, step: float) -> None:
    at = answer_at(due, now, step)
    assert at >= max(due, now)
    assert at <= max(due, now) + step * (1 + 1e-9)


class TestTables:
    def test_who_failed_longest_ago_is_forgotten_when_there_are_too_many(self, clock: Clock) -> None:
        limit = Limit(3, 1.0, 5.0, 60.0, 3, clock)
        for key in ("a", "b", "c", "a", "d"):
            limit.failed(key)
        assert [limit.count(key) for key in "abcd"] == [2, 0, 1, 1]

    @pytest.mark.parametrize(("later", "kept"), [(59.9, 2), (60.0, 1), (61.0, 1), (600.0, 1)])
    def test_what_counts_no_more_is_forgotten(self, clock: Clock, later: float, kept: int) -> None:
        limit = Limit(3, 1.0, 5.0, 60.0, 10, clock)
        for key in ("a", "a"):
            limit.failed(key)
        clock.now += later
        assert limit.count("a") == (2 if later < 60 else 0)
        limit.failed("b")
        assert len(limit) == kept

    def test_failures_are_counted_up_to_the_limit_until_they_are_over(self, clock: Clock) -> None:
        limit = Limit(3, 1.0, 5.0, 60.0, 10, clock)
        for number in range(5):
            assert limit.over("a") == (number >= 3)
            clock.now += 1
            limit.failed("a")
        assert limit.count("a") == 3
        clock.now += 57
        assert limit.over("a")
        clock.now += 1
        assert not limit.over("a"), "the third last is over then"

    def test_a_queue_keeps_its_pace_and_tells_when_it_has_a_place_again(self, clock: Clock) -> None:
        limit = Limit(1, 2.0, 5.0, 60.0, 3, clock)
        assert (limit.wait("a"), limit.is_full("a")) == (0, False)
        limit.failed("a")
        assert [limit.take_place("a") for _ in range(2)] == [2, 4]
        assert (limit.wait("a"), limit.is_full("a")) == (6, True)
        clock.now += 1
        assert (limit.wait("a"), limit.is_full("a")) == (5, False)
        assert limit.take_place("a") == 5
        clock.now += 30
        assert limit.take_place("a") == 0, "nobody has come meanwhile"
        assert limit.wait("a") == 2


names = st.text(min_size=1, max_size=20)


user_ids = st.sampled_from(["alice", "Alice", "bob", "nobody"])


@settings(max_examples=1_000)
@given(st.lists(st.tuples(user_ids, st.integers(0, 2), st.booleans()), max_size=60))
def test_what_a_stranger_sees_does_not_depend_on_which_accounts_exist(
    sent: list[tuple[str, int, bool]],
) -> None:
    """Two labs get the same attempts; in one every user id is an account, in the other none is."""
    clock = Clock()
    limits = replace(LIMITS, pair=3, address=8, user=5)
    here, there = Throttle(limits, clock), Throttle(limits, clock)
    for userid, address, later in sent:
        attempt = Attempt(userid, f"192.0.2.{address}")
        clock.now += 7 if later else 0
        assert here.decide(attempt) == there.decide(attempt)
        assert here.delay(attempt) == there.delay(attempt)
        assert here.used_up(attempt) == there.used_up(attempt)
        here.failed(attempt, userid.lower())
        there.failed(attempt)


class ManyNames(RuleBasedStateMachine):
    """Whatever is sent, the tables stay within their size and the pair's limit holds for who is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.size = 8
        self.limit = Limit(3, 1.0, 5.0, 60.0, self.size, self.clock)
        self.true: dict[str, list[float]] = {}

    @rule(name=names)
    def a_name_fails(self, name: str) -> None:
        self.limit.failed(name)
        self.true.setdefault(name, []).append(self.clock.now)

    @rule(name=names)
    def a_name_queues(self, name: str) -> None:
        if self.limit.over(name) and not self.limit.is_full(name):
            assert 0 <= self.limit.take_place(name) <= 5.0 + 1e-6  # floats: the clock has been added to

    @rule(name=names)
    def a_name_succeeds(self, name: str) -> None:
        self.limit.forget(name)
        self.true.pop(name, None)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def the_tables_stay_within_their_size(self) -> None:
        assert len(self.limit) <= self.size

    @invariant()
    def nobody_is_counted_for_more_than_they_failed(self) -> None:
        for name, at in self.true.items():
            counted = sum(time > self.clock.now - 60.0 for time in at)
            assert self.limit.count(name) <= min(3, counted)
            assert 0 <= self.limit.wait(name) <= 5.0 + 1.0 + 1e-6


TestManyNames = ManyNames.TestCase
TestManyNames.settings = settings(max_examples=200, stateful_step_count=40)


def test_a_spray_of_many_names_keeps_its_memory_bounded() -> None:
    clock = Clock()
    throttle = Throttle(replace(LIMITS, remembered=500), clock)
    for number in range(100_000):
        clock.now += 0.001
        attempt = Attempt(f"name{number}", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
        throttle.decide(attempt)
        throttle.failed(attempt, attempt.userid)
    tables = (throttle._pairs, throttle._addresses, throttle._users, throttle._accounts)
    assert [len(table) for table in tables] == [500] * 4
    assert math.isclose(throttle.delay(Attempt("name99999", "10.1.134.159")), 1.0)

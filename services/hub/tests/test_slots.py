"""Whose password is checked next."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learning_lab.login.limits import Attempt
from learning_lab.login.slots import Slots

_userids = (f"u{number}" for number in itertools.count())


def an_attempt(address: str, browser: str = "") -> Attempt:
    """An attempt for a user id of its own."""
    return Attempt(next(_userids), address, browser)


class Queue:
    """Attempts that wait, by name; `order` is in which order they got a slot."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def send(self, name: str, attempt: Attempt) -> None:
        async def check() -> None:
            with await self.slots.take(attempt):
                self.order.append(name)
                await asyncio.sleep(0)

        self.tasks.append(asyncio.create_task(check()))
        for _ in range(3):
            await asyncio.sleep(0)

    async def finish(self) -> list[str]:
        await asyncio.gather(*self.tasks)
        return self.order


async def test_addresses_take_turns_so_a_flood_delays_itself() -> None:
    slots = Slots(1, 400)
    queue = Queue(slots)
    with await slots.take(an_attempt("elsewhere")):
        for number in range(20):
            await queue.send(f"flood {number}", an_attempt("192.0.2.66"))
        await queue.send("alice", an_attempt("192.0.2.1"))
    order = await queue.finish()
    assert order.index("alice") <= 1
    assert [name for name in order if name != "alice"] == [f"flood {number}" for number in range(20)]


@settings(max_examples=100)
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40), st.integers(1, 4))
def test_no_address_is_two_turns_ahead_of_another_that_waits(addresses: list[str], count: int) -> None:
    async def order() -> list[str]:
        slots = Slots(count, 1_000)
        queue = Queue(slots)
        with contextlib.ExitStack() as all_busy:
            for number in range(count):
                all_busy.enter_context(await slots.take(an_attempt(f"elsewhere {number}")))
            for address in addresses:
                await queue.send(address, an_attempt(address))
        return await queue.finish()

    served: Counter[str] = Counter()
    waiting = Counter(addresses)
    for address in asyncio.run(order()):
        assert served[address] <= min(served[other] for other in waiting) + 1
        served[address] += 1
        waiting[address] -= 1
        waiting += Counter()  # drops those that wait no more


async def test_known_browsers_do_not_queue_behind_strangers() -> None:
    slots = Slots(2, 100)
    with await slots.take(an_attempt("a")), await slots.take(an_attempt("b")):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take(an_attempt("c")), 0.02)
        with await asyncio.wait_for(slots.take(an_attempt("a", browser="b1")), 0.02):
            pass


async def test_one_address_never_holds_all_slots() -> None:
    slots = Slots(4, 100)
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(await slots.take(an_attempt("192.0.2.66")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take(an_attempt("192.0.2.66")), 0.02)
        held.enter_context(await asyncio.wait_for(slots.take(an_attempt("192.0.2.1")), 0.02))


async def test_checks_of_one_pair_do_not_overlap_and_hold_up_nobody_else() -> None:
    slots = Slots(4, 100)
    alice = Attempt("alice", "192.0.2.1")
    with await slots.take(alice):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take(Attempt("ALICE", "192.0.2.1")), 0.02)
        for other in (Attempt("alice", "192.0.2.2"), Attempt("bob", "192.0.2.1")):
            (await asyncio.wait_for(slots.take(other), 0.02)).close()
    (await asyncio.wait_for(slots.take(alice), 0.02)).close()


async def test_who_stops_waiting_leaves_nothing_behind() -> None:
    slots = Slots(1, 100)
    with await slots.take(an_attempt("a")):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.take(an_attempt("a")), 0.01)
        cancelled = asyncio.create_task(slots.take(an_attempt("b")))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
    (await asyncio.wait_for(slots.take(an_attempt("c")), 0.1)).close()
    del cancelled
    assert not slots._semaphores, "nothing is kept of who does not wait"


async def test_a_slot_given_to_somebody_who_is_cancelled_in_that_moment_is_given_back() -> None:
    slots = Slots(1, 100)
    with await slots.take(an_attempt("a")):
        waiting = asyncio.create_task(slots.take(an_attempt("b")))
        await asyncio.sleep(0)
    waiting.cancel()  # it has been given the slot, and has not run since
    with pytest.raises(asyncio.CancelledError):
        await waiting
    (await asyncio.wait_for(slots.take(an_attempt("c")), 0.1)).close()


def test_attempts_are_bounded_and_an_address_without_any_is_let_in_over_the_bound() -> None:
    slots = Slots(4, 12)

    with contextlib.ExitStack() as arrived:

        def arrive(address: str) -> bool:
            return arrived.enter_context(slots.arrival(address))

        with slots.arrival("flood") as first, slots.arrival("flood") as second:
            assert [first, second, arrive("flood"), arrive("flood")] == [True, True, True, False]
            for number in range(9):
                assert arrive(f"others {number}")
            assert not arrive("others 0"), "all places are taken and it has one"
            assert arrive("alice's")
        assert slots.under_way == 11
        assert arrive("flood")
        for number in range(20):
            arrive(f"many {number}")
        assert slots.under_way == 24
    assert slots.under_way == 0
